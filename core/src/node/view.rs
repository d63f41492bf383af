//! A node's state, for reading between calls. Derives each value at the call.

use core::net::SocketAddr;

use super::{Discovery, Node};
use crate::contract::{Addresses, ConnId, Direction, Stage, Stats};
use crate::crypto::NodeId;
use crate::peers::{Peers, Place, View};
use crate::protocols::{Chain, Protocols};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;
use crate::wire::p2p::{Hello, Shared};

/// One connection of a node.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SessionView<'a> {
    /// Its id.
    pub conn: ConnId,
    /// The other end.
    pub addr: SocketAddr,
    /// Which side dialled.
    pub direction: Direction,
    /// The peer's id: from a dial on the expected one, from Hello on the proven one.
    pub id: Option<NodeId>,
    /// The stage that it has reached.
    pub stage: Stage,
    /// Its place among our peers, if the peer was admitted and the end is not decided.
    pub place: Option<Place>,
    /// Whether its end is decided.
    pub is_ending: bool,
    /// The peer's Hello.
    pub hello: Option<&'a Hello>,
    /// The capabilities that both sides have; empty before Hello.
    pub shared: &'a [Shared],
    /// Its protocols, once the peer has a place.
    pub protocols: Option<&'a Protocols>,
    /// Bytes that wait for the socket.
    pub outbound_bytes: usize,
}

impl Node {
    /// Our key and endpoint; the address is `0.0.0.0` while none is known.
    pub fn contact(&self) -> Contact {
        self.identity.contact()
    }

    /// The addresses in our record and pings.
    pub fn addresses(&self) -> Addresses {
        self.identity.addresses()
    }

    /// Our current record.
    pub fn record(&self) -> &Record {
        self.identity.record()
    }

    /// Our chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.context.stats
    }

    /// The number of events that were dropped because the driver did not drain in time: only such that the application can
    /// miss.
    pub fn events_dropped(&self) -> u64 {
        self.context.out.events_dropped()
    }

    /// The discovery protocols.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// The scores, bans, limits and counts of peers.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// All connections, oldest first, until their `Ended` has been popped.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.conns.iter().map(|slot| {
            let View { conn: id, addr, origin, id: peer, stage, place, is_ending, .. } = slot.view();
            let conn = &slot.conn;
            SessionView {
                conn: id,
                addr,
                direction: origin.direction(),
                id: peer,
                stage,
                place,
                is_ending,
                hello: conn.hello(),
                shared: conn.shared(),
                protocols: conn.protocols(),
                outbound_bytes: conn.outbound().len(),
            }
        })
    }
}
