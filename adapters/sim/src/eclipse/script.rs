//! What scripted nodes do in discv4: they answer pings, FindNodes and record requests, and ping back a node that they have
//! not seen. There is no work for a node that nothing is sent to.

use peerless::crypto::{NodeId, keccak256};
use peerless::limits::{BOND_LIFETIME, EXPIRATION};
use peerless::time::{Instant, UnixTime};
use peerless::wire::discv4::{Datagram, Endpoint, NEIGHBORS_PER_PACKET, Packet};
use peerless::wire::enr::{Record, RecordBuilder};
use peerless::wire::forkid::ForkId;

use super::cast::{Cast, Identity};

/// What scripted nodes remember of discv4.
pub(super) struct Script {
    fork_id: ForkId,
    /// For each node, until when it holds the real node's endpoint proven.
    proven_until: Vec<Instant>,
    records: Vec<Option<Record>>,
}

impl Script {
    /// No node knows the real one.
    pub(super) fn new(cast: &Cast, fork_id: ForkId) -> Self {
        let count = cast.hostile().end as usize;
        Self { fork_id, proven_until: vec![Instant::ZERO; count], records: vec![None; count] }
    }

    /// Lets a node know the real one from an earlier run.
    pub(super) fn recall(&mut self, now: Instant, node: u32) {
        self.proven_until[node as usize] = now + BOND_LIFETIME;
    }

    /// Whether a node holds the real node's endpoint proven.
    pub(super) fn knows_real(&self, now: Instant, node: u32) -> bool {
        self.proven_until[node as usize] > now
    }

    /// Handles a datagram of the real node, and returns the node's own. Those that cannot be read have no answer.
    pub(super) fn answer(
        &mut self,
        cast: &Cast,
        (now, unix): (Instant, UnixTime),
        node: u32,
        bytes: &[u8],
    ) -> Vec<Vec<u8>> {
        let Ok(datagram) = Datagram::split(bytes) else { return Vec::new() };
        let identity = cast.get(node);
        let to = cast.real.addr;
        let expiration = unix.plus_secs(EXPIRATION.as_secs());
        let seal = |packet: &Packet| {
            let mut out = Vec::new();
            packet.seal(&*cast.crypto, &identity.secret, &mut out);
            out
        };
        match datagram.decode() {
            Ok(Packet::Ping { .. }) => {
                let to = Endpoint::from(to);
                let pong = Packet::Pong { to, ping_hash: *datagram.hash, expiration, enr_seq: Some(1) };
                let mut sent = vec![seal(&pong)];
                if !self.knows_real(now, node) {
                    sent.push(ping(cast, identity, unix));
                }
                sent
            }
            Ok(Packet::Pong { .. }) => {
                self.recall(now, node);
                Vec::new()
            }
            Ok(Packet::FindNode { target, .. }) => {
                let nodes = cast.nearest(node, &NodeId(keccak256(&target)));
                let packets = nodes.chunks(NEIGHBORS_PER_PACKET);
                packets.map(|nodes| seal(&Packet::Neighbors { nodes: nodes.to_vec(), expiration })).collect()
            }
            Ok(Packet::EnrRequest { .. }) => {
                let record = self.record(cast, node).as_bytes().to_vec();
                vec![seal(&Packet::EnrResponse { request_hash: *datagram.hash, record })]
            }
            Ok(Packet::Neighbors { .. } | Packet::EnrResponse { .. }) | Err(_) => Vec::new(),
        }
    }

    /// A node's record, signed when it is first requested.
    fn record(&mut self, cast: &Cast, node: u32) -> &Record {
        let fork_id = self.fork_id;
        self.records[node as usize].get_or_insert_with(|| {
            let Identity { secret, addr, .. } = cast.get(node);
            let mut builder = RecordBuilder::default();
            builder.endpoint(*addr, addr.port()).fork_id(fork_id);
            builder.sign(&*cast.crypto, secret, 1).expect("an endpoint and a fork id fit a record")
        })
    }
}

/// A ping of a scripted node to the real one.
pub(super) fn ping(cast: &Cast, identity: &Identity, unix: UnixTime) -> Vec<u8> {
    let port = identity.addr.port();
    let packet = Packet::Ping {
        version: 4,
        from: Endpoint { tcp: port, ..Endpoint::from(identity.addr) },
        to: Endpoint::from(cast.real.addr),
        expiration: unix.plus_secs(EXPIRATION.as_secs()),
        enr_seq: Some(1),
    };
    let mut out = Vec::new();
    packet.seal(&*cast.crypto, &identity.secret, &mut out);
    out
}
