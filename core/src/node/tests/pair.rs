//! Two nodes that reach each other: sessions and their ends, discovery and dials.

use super::*;
use crate::contract::{BanTarget, Label};

/// What is kept of an action beyond the next call.
enum Do {
    Send(SocketAddr, Vec<u8>),
    Dial(ConnId),
    Flush(ConnId),
    Close(ConnId),
}

/// Two nodes and the streams between them. Nothing is lost, and nothing takes time.
struct Pair {
    nodes: [Node; 2],
    now: Instant,
    /// Each node's connection of each stream.
    streams: Vec<[ConnId; 2]>,
    ended: [Vec<End>; 2],
    banned: [usize; 2],
}

impl Pair {
    fn new(configs: [Config; 2]) -> Self {
        let mut seed = 0;
        let nodes = configs.map(|config| {
            seed += 1;
            Node::new(config, [seed; 32], Instant::ZERO, UNIX).unwrap()
        });
        let (ended, banned) = Default::default();
        Self { nodes, now: Instant::ZERO, streams: Vec::new(), ended, banned }
    }

    /// Two nodes in session.
    fn in_session() -> Self {
        let config = |n| Config { secret: secret(n), ip: Some([9, 9, 9, n].into()), ..quiet() };
        let mut pair = Self::new([config(1), config(2)]);
        let contact = *pair.nodes[1].contact();
        pair.nodes[0].command(pair.now, Command::Dial { contact }).unwrap();
        pair.settle();
        assert!(pair.nodes.iter().all(|node| node.peers().counts().established == 1));
        pair
    }

    /// Carries everything across until there is nothing left.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some((i, action)) = (0..2).find_map(|i| Some((i, self.next_action(i)?))) else { return };
            self.carry_out(i, action);
        }
        panic!("the nodes do not come to rest");
    }

    fn next_action(&mut self, i: usize) -> Option<Do> {
        loop {
            match self.nodes[i].poll_action()? {
                Action::Send { to, bytes } => return Some(Do::Send(to, bytes.to_vec())),
                Action::Dial { conn, .. } => return Some(Do::Dial(conn)),
                Action::Flush { conn } => return Some(Do::Flush(conn)),
                Action::Close { conn } => return Some(Do::Close(conn)),
                Action::Emit(Event::Ended { end, .. }) => self.ended[i].push(end),
                Action::Emit(Event::Banned { .. } | Event::AddressBanned { .. }) => self.banned[i] += 1,
                Action::Emit(_) => {}
            }
            assert_counted(&self.nodes[i]);
        }
    }

    fn other_end(&self, i: usize, conn: ConnId) -> Option<ConnId> {
        self.streams.iter().find(|stream| stream[i] == conn).map(|stream| stream[1 - i])
    }

    fn carry_out(&mut self, i: usize, action: Do) {
        let now = self.now;
        let from = *self.nodes[i].contact();
        match action {
            Do::Send(to, bytes) => {
                if to == self.nodes[1 - i].contact().udp_addr() {
                    self.nodes[1 - i].handle(now, Input::Datagram { from: from.udp_addr(), bytes: &bytes });
                }
            }
            Do::Dial(conn) => match self.nodes[1 - i].accept(now, from.tcp_addr()) {
                Some(other) => {
                    self.streams.push(if i == 0 { [conn, other] } else { [other, conn] });
                    self.nodes[i].handle(now, Input::Connected { conn });
                }
                None => self.nodes[i].handle(now, Input::Broken { conn, why: IoFault::Refused }),
            },
            Do::Flush(conn) => {
                let bytes = self.nodes[i].outbound(conn).to_vec();
                self.nodes[i].handle(now, Input::Wrote { conn, n: bytes.len() });
                if let Some(other) = self.other_end(i, conn) {
                    self.nodes[1 - i].handle(now, Input::Bytes { conn: other, bytes: &bytes });
                }
            }
            Do::Close(conn) => {
                if let Some(other) = self.other_end(i, conn) {
                    self.nodes[1 - i].handle(now, Input::Eof { conn: other });
                }
            }
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.settle();
            let next = self.nodes.iter().filter_map(|node| node.poll_timeout()).map(|(at, _)| at).min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = next;
            self.nodes.iter_mut().for_each(|node| node.handle(next, Input::Timeout));
        }
        self.now = until;
    }

    fn id(&self, i: usize) -> crate::crypto::NodeId {
        self.nodes[i].contact().id
    }

    /// Both nodes have seen the session end because the first one has banned the second one.
    fn assert_banned(&mut self) {
        self.settle();
        let told = self.ended.each_ref().map(|ends| ends.iter().map(|end| (end.by, end.why)).collect::<Vec<_>>());
        let refused: Vec<_> = [(Side::Us, EndReason::Refused(Refusal::Banned))].into();
        let dismissed: Vec<_> = [(Side::Them, EndReason::Disconnect(DisconnectReason::UselessPeer))].into();
        assert_eq!(told, [refused, dismissed]);
        assert_eq!(self.banned, [1, 0], "and the application is told");
        assert!(self.nodes.iter().all(|node| node.sessions().next().is_none()));
    }
}

#[test]
fn a_ban_ends_the_connections_of_the_peer() {
    let mut pair = Pair::in_session();
    let id = pair.id(1);
    pair.nodes[0].report(id, -100, Label::new("bad block").unwrap());
    assert!(pair.nodes[0].peers().is_banned(pair.now, &id));
    pair.assert_banned();
}

#[test]
fn a_ban_of_the_embedder_ends_the_connections_that_it_names() {
    for by_address in [false, true] {
        let mut pair = Pair::in_session();
        let contact = *pair.nodes[1].contact();
        let target = if by_address { BanTarget::Address(contact.ip) } else { BanTarget::Id(contact.id) };
        pair.nodes[0].ban(target, Duration::from_secs(60));
        pair.assert_banned();
        assert_eq!(pair.nodes[0].accept(pair.now, contact.tcp_addr()).is_none(), by_address);
        pair.nodes[0].unban(target).unwrap();
        assert_eq!(pair.nodes[0].unban(target), Err(CommandError::UnknownPeer));
        pair.run_for(Duration::from_secs(40));
        pair.nodes[0].command(pair.now, Command::Dial { contact }).unwrap();
        pair.settle();
        assert_eq!(pair.nodes[0].peers().counts().established, 1);
    }
}

#[test]
fn a_report_that_leads_to_no_ban_keeps_the_connection() {
    let mut pair = Pair::in_session();
    let id = pair.id(1);
    pair.nodes[0].report(id, -99, Label::new("slow").unwrap());
    pair.settle();
    assert_eq!(pair.nodes[0].peers().counts().established, 1);
    assert_eq!(pair.nodes[0].peers().ledgers().score(pair.now, &id), -99);
}

#[test]
fn a_filter_ends_the_connections_that_it_forbids() {
    let mut pair = Pair::in_session();
    pair.nodes[0].set_filter("9.0.0.0/8".parse().unwrap());
    pair.settle();
    assert_eq!(pair.nodes[0].peers().counts().established, 1, "it is permitted");
    pair.nodes[0].set_filter("10.0.0.0/8".parse().unwrap());
    pair.settle();
    assert_eq!(pair.ended[0].len(), 1);
    assert_eq!(pair.ended[0][0].why, EndReason::Refused(Refusal::Filtered));
    let contact = *pair.nodes[1].contact();
    assert_eq!(pair.nodes[0].accept(pair.now, contact.tcp_addr()), None);
    let dial = pair.nodes[0].command(pair.now, Command::Dial { contact });
    assert_eq!(dial, Err(CommandError::Refused(Refusal::Filtered)));
}

#[test]
fn a_trusted_peer_is_exempt_from_the_moment_that_it_is_declared() {
    let mut pair = Pair::in_session();
    let contact = *pair.nodes[0].contact();
    assert_eq!(pair.nodes[1].peers().counts().exempt, 0);
    pair.nodes[1].command(pair.now, Command::AddPeer { contact, kind: PeerKind::Trusted }).unwrap();
    assert_eq!(pair.nodes[1].peers().counts().exempt, 1);
    assert_counted(&pair.nodes[1]);
}

/// Two nodes that find each other by discovery, the second of the given network.
fn discovered(network: u8) -> Pair {
    let config = |n: u8, network| Config { ip: Some([9, 9, 9, n].into()), ..Config::new(secret(n), chain(network)) };
    let [mut first, second] = [config(1, 1), config(2, network)];
    let bootnode = Contact::new(Secp256k1::new().public_key(&secret(2)), [9, 9, 9, 2].into(), 30303, 30303);
    first.discovery.as_mut().unwrap().bootnodes = [bootnode].into();
    let mut pair = Pair::new([first, second]);
    pair.run_for(Duration::from_secs(60));
    assert!(pair.nodes.iter().all(|node| node.discovery().unwrap().table().len() == 1), "they know each other");
    pair
}

#[test]
fn a_node_of_another_network_is_not_dialled() {
    let dials = |pair: &Pair| pair.nodes.iter().map(|node| node.stats().dials).sum::<u64>();
    assert!(dials(&discovered(1)) > 0, "one of the same network is");
    assert_eq!(dials(&discovered(2)), 0, "its fork id is another");
}
