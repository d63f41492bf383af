//! Visits: the nodes that are being asked, what each has been asked, and when that is given up.
//!
//! A visit is at one endpoint, and no other visit of its protocol is there at the same time, so that a datagram's source tells
//! the visit. This file sends nothing and decodes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use peerless::contract::Via;
use peerless::crypto::discv5::{Nonce, SessionKeys};
use peerless::crypto::{Digest, NodeId, PublicKey};
use peerless::time::{Deadlines, Duration, Instant};

use crate::nodes::{NodeNumber, index_of};

/// The place of a visit; free again when it ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct VisitId(u32);

/// What a visit asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The first request: a discv4 ping, or in discv5 the node's own record.
    Hello,
    /// Nothing: a discv4 node is waited for, which wants a proof of our endpoint.
    Proof,
    /// The record, by discv4.
    Record,
    /// The nodes of one bucket, from the farthest on.
    Find(u8),
}

/// Where a visit stands with its step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The request waits to be sent.
    Ready,
    /// The request waits until its subnet may be sent a datagram.
    Held,
    /// The request was sent.
    Sent,
    /// The request was answered; the rest of the answer may follow, and the next request waits.
    Settling,
}

/// What answers of one protocol are recognised by.
#[derive(Clone, Debug)]
pub(crate) enum Thread {
    /// discv4.
    V4 {
        /// The hash of the last request.
        hash: Digest,
        /// Whether the node has pinged us, and got its answer.
        is_proven: bool,
        /// Whether its pong names a newer record than is known.
        is_record_wanted: bool,
    },
    /// discv5.
    V5 {
        /// The nonce of the last packet that can be challenged.
        nonce: Nonce,
        /// The id of the last request.
        request: u64,
        /// The keys of the session, if there is one.
        keys: Option<Box<SessionKeys>>,
        /// Nodes messages that answered the last request.
        messages: u64,
    },
}

/// A node that is being asked.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) node: NodeNumber,
    pub(crate) via: Via,
    pub(crate) key: PublicKey,
    pub(crate) id: NodeId,
    pub(crate) addr: SocketAddr,
    pub(crate) step: Step,
    pub(crate) phase: Phase,
    pub(crate) thread: Thread,
    /// Requests sent for the present step.
    pub(crate) attempts: u8,
    /// When the last request was sent.
    pub(crate) sent: Instant,
    /// The round-trip time of the first answer.
    pub(crate) rtt: Option<Duration>,
    /// Nodes that the present answer has named so far.
    pub(crate) named: u8,
    /// Whether one of them was new to the crawl.
    pub(crate) is_fresh: bool,
    /// Answers in a row that named no new node.
    pub(crate) stale: u8,
    /// Requests in a row that were not answered, after the first answer.
    pub(crate) failures: u8,
    /// The nodes that it named, if they are asked for.
    pub(crate) neighbours: Vec<NodeNumber>,
}

/// The visits of both protocols.
#[derive(Debug)]
pub(crate) struct Visits {
    places: Vec<Option<Box<Visit>>>,
    free: Vec<u32>,
    by_addr: BTreeMap<(usize, SocketAddr), VisitId>,
    deadlines: Deadlines<VisitId>,
    ready: VecDeque<VisitId>,
    visits_max: usize,
}

impl Visits {
    pub(crate) fn new(visits_max: u32) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            by_addr: BTreeMap::new(),
            deadlines: Deadlines::default(),
            ready: VecDeque::new(),
            visits_max: visits_max.max(1) as usize,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn count(&self, via: Via) -> usize {
        self.places.iter().flatten().filter(|visit| visit.via == via).count()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.len() < self.visits_max
    }

    /// The visit of a protocol at an endpoint.
    pub(crate) fn find(&self, via: Via, addr: SocketAddr) -> Option<VisitId> {
        self.by_addr.get(&(index_of(via), addr)).copied()
    }

    pub(crate) fn get_mut(&mut self, id: VisitId) -> Option<&mut Visit> {
        self.places.get_mut(id.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn get(&self, id: VisitId) -> Option<&Visit> {
        self.places.get(id.0 as usize)?.as_deref()
    }

    /// Adds a visit that is ready.
    pub(crate) fn start(&mut self, visit: Visit) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        let id = VisitId(place);
        self.by_addr.insert((index_of(visit.via), visit.addr), id);
        self.places[place as usize] = Some(Box::new(visit));
        self.ready.push_back(id);
    }

    /// Ends a visit.
    pub(crate) fn end(&mut self, id: VisitId) -> Option<Box<Visit>> {
        let visit = self.places.get_mut(id.0 as usize)?.take()?;
        self.by_addr.remove(&(index_of(visit.via), visit.addr));
        self.deadlines.set(id, None);
        self.free.push(id.0);
        Some(visit)
    }

    /// Ends all visits.
    pub(crate) fn end_all(&mut self) -> impl Iterator<Item = Visit> + use<> {
        let all = std::mem::replace(self, Self::new(self.visits_max as u32));
        all.places.into_iter().flatten().map(|visit| *visit)
    }

    /// Moves a visit to a phase: [`Phase::Ready`] without a deadline, any other with one.
    pub(crate) fn set_phase(&mut self, id: VisitId, phase: Phase, until: Option<Instant>) {
        let Some(visit) = self.get_mut(id) else { return };
        let was_ready = std::mem::replace(&mut visit.phase, phase) == Phase::Ready;
        self.deadlines.set(id, until);
        if phase == Phase::Ready && !was_ready {
            self.ready.push_back(id);
        }
    }

    /// Moves a visit to a step, ready to be sent.
    pub(crate) fn set_step(&mut self, id: VisitId, step: Step) {
        if let Some(visit) = self.get_mut(id) {
            (visit.step, visit.attempts, visit.named, visit.is_fresh) = (step, 0, 0, false);
            self.set_phase(id, Phase::Ready, None);
        }
    }

    /// Takes the visit that has been ready for longest. The caller moves it to another phase.
    pub(crate) fn pop_ready(&mut self) -> Option<VisitId> {
        while let Some(id) = self.ready.pop_front() {
            // One that has ended or moved on meanwhile is passed over.
            if self.get(id).is_some_and(|visit| visit.phase == Phase::Ready) {
                return Some(id);
            }
        }
        None
    }

    /// Whether a visit may be ready.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The earliest deadline.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.deadlines.next().map(|(at, _)| at)
    }

    /// A visit whose deadline has passed. It has none from here on.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<VisitId> {
        self.deadlines.pop_due(now).map(|(_, id)| id)
    }
}
