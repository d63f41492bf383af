//! Two nodes with discovery, a session, a request and its answer, and a Disconnect; with all bytes between them.

use std::net::{IpAddr, SocketAddr};

use peerless::contract::{Action, Command, ConnId, Event, Input, SocketId, Via};
use peerless::crypto::SecretKey;
use peerless::crypto::secrets::SessionSecrets;
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::time::{Instant, UnixTime};
use peerless::wire::forkid::{ForkSchedule, Head, Network};
use peerless::wire::p2p::{Capability, DisconnectReason};

use crate::pcap::Said;

/// What passed, and what opens it.
pub struct Talk {
    pub said: Vec<Said>,
    pub secrets: Vec<SessionSecrets>,
    /// The dialling node's key, then the dialled one's.
    pub keys: [SecretKey; 2],
}

/// A node's key.
pub fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes([number; 32]).expect("in range")
}

/// The configuration of a node that exports its secrets.
pub fn config(number: u8, ip: IpAddr) -> Config {
    let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
    let network = Network { name: "mine".into(), network_id: 1337, schedule };
    let mut config = Config::new(key(number), Chain::new(network, Head::default(), 0, [0; 32]));
    config.addresses.set_ip(ip);
    config.export_secrets = true;
    config
}

impl Talk {
    /// Has the two talk, `export` saying whether they tell their secrets.
    pub fn new(ips: [IpAddr; 2], export: bool) -> Self {
        let mut nodes: Vec<Node> = [1, 2]
            .into_iter()
            .zip(ips)
            .map(|(number, ip)| {
                let mut config = config(number, ip);
                config.export_secrets = export;
                Node::new(config, [number; 32], Instant::ZERO, UnixTime::from_secs(1_750_000_000)).expect("valid")
            })
            .collect();
        let mut talk = Self { said: Vec::new(), secrets: Vec::new(), keys: [key(1), key(2)] };
        let contact = nodes[1].contact();
        let udp = [nodes[0].contact().udp_addr(), nodes[1].contact().udp_addr()];
        let tcp = [SocketAddr::new(ips[0], 50_000), contact.tcp_addr()];
        nodes[0].command(Instant::ZERO, Command::RequestRecord { via: Via::Discv4, contact }).expect("possible");
        nodes[0].command(Instant::ZERO, Command::Dial { contact }).expect("possible");
        let mut conns: [Option<ConnId>; 2] = [None; 2];
        for millisecond in 0..400 {
            let now = Instant::from_micros(millisecond * 1000);
            for i in 0..2 {
                nodes[i].handle(now, Input::Timeout);
                talk.turn(&mut nodes, &mut conns, now, i, udp, tcp);
            }
        }
        talk
    }

    fn turn(
        &mut self,
        nodes: &mut [Node],
        conns: &mut [Option<ConnId>; 2],
        now: Instant,
        i: usize,
        udp: [SocketAddr; 2],
        tcp: [SocketAddr; 2],
    ) {
        let other = 1 - i;
        let mut inbox: Vec<Vec<u8>> = Vec::new();
        let (mut dialled, mut flush, mut closed) = (None, false, false);
        let (mut established, mut request, mut answered) = (false, None, false);
        while let Some(action) = nodes[i].poll_action() {
            match action {
                Action::Send { bytes, .. } => inbox.push(bytes.to_vec()),
                Action::Dial { conn, .. } => dialled = Some(conn),
                Action::Flush { .. } => flush = true,
                Action::Close { .. } => closed = true,
                Action::Emit(Event::Secrets { secrets, .. }) => self.secrets.push(*secrets),
                Action::Emit(Event::Established { .. }) => established = i == 0,
                Action::Emit(Event::Request { capability, request_id, id, .. }) => {
                    request = Some((capability, request_id, id));
                }
                Action::Emit(Event::Response { .. }) => answered = true,
                Action::Emit(_) | Action::Query { .. } => {}
            }
        }
        for bytes in inbox {
            nodes[other].handle(now, Input::Datagram { socket: SocketId::MAIN, from: udp[i], bytes: &bytes });
            self.said.push(Said::Datagram { from: udp[i], to: udp[other], bytes });
        }
        if let Some(conn) = dialled {
            self.said.push(Said::Opened { from: tcp[i], to: tcp[other] });
            conns[i] = Some(conn);
            conns[other] = nodes[other].accept(now, SocketId::MAIN, tcp[i]);
            nodes[i].handle(now, Input::Connected { conn, local: None });
        }
        let [Some(ours), Some(theirs)] = [conns[i], conns[other]] else { return };
        if flush {
            let bytes = nodes[i].outbound(ours).to_vec();
            nodes[other].handle(now, Input::Bytes { conn: theirs, bytes: &bytes });
            nodes[i].handle(now, Input::Wrote { conn: ours, n: bytes.len() });
            self.said.push(Said::Bytes { from: tcp[i], to: tcp[other], bytes });
        }
        if established {
            // Three headers from block 5.
            let body = [0xc4, 5, 3, 0x80, 0x80];
            nodes[i]
                .command(now, Command::Request { conn: ours, capability: Capability::eth(69), id: 3, body: &body })
                .expect("open");
        }
        if let Some((capability, request_id, id)) = request {
            nodes[i]
                .command(now, Command::Respond { conn: ours, capability, request_id, id, body: &[0xc2, 0xc0, 0xc0] })
                .expect("open");
        }
        if answered {
            nodes[i]
                .command(now, Command::Disconnect { conn: ours, reason: DisconnectReason::Requested })
                .expect("open");
        }
        if closed {
            nodes[other].handle(now, Input::Eof { conn: theirs });
            *conns = [None; 2];
            self.said.push(Said::Closed { from: tcp[i], to: tcp[other] });
        }
    }
}
