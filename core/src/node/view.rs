//! What a node lets people see of itself, between calls. Everything here is derived when asked for.

use core::net::SocketAddr;

use super::Node;
use crate::contract::{ConnId, Direction, Stage, Stats};
use crate::crypto::NodeId;
use crate::discv4::Discv4;
use crate::peers::Peers;
use crate::protocols::{Chain, Protocols};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;
use crate::wire::p2p::{Hello, Shared};

/// One connection.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    /// Its name.
    pub conn: ConnId,
    /// The other end.
    pub addr: SocketAddr,
    /// Who dialled.
    pub direction: Direction,
    /// The peer's id: expected from a dial on, proven from Hello on.
    pub id: Option<NodeId>,
    /// How far it has come.
    pub stage: Stage,
    /// Whether its end is decided.
    pub is_ending: bool,
    /// The peer's Hello.
    pub hello: Option<&'a Hello>,
    /// What is shared; empty before Hello.
    pub shared: &'a [Shared],
    /// Its protocols, from the decision on that the peer has a place.
    pub protocols: Option<&'a Protocols>,
    /// Bytes that wait for the socket.
    pub outbound_bytes: usize,
}

impl Node {
    /// Who and where we are, as far as we were told.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Our current record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Our chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What has been counted since the start.
    pub fn stats(&self) -> &Stats {
        &self.context.stats
    }

    /// Discovery, unless it is off.
    pub fn discovery(&self) -> Option<&Discv4> {
        self.discovery.as_deref()
    }

    /// Peers, scores, bans and slots.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// All connections, oldest first, until their `Ended` has been popped.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.conns.iter().map(|(id, conn)| SessionView {
            conn: *id,
            addr: conn.addr(),
            direction: conn.direction(),
            id: conn.peer(),
            stage: conn.stage(),
            is_ending: conn.is_ending(),
            hello: conn.hello(),
            shared: conn.shared(),
            protocols: conn.protocols(),
            outbound_bytes: conn.outbound().len(),
        })
    }
}
