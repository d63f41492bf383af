//! Visits by discv4: ping, proof of our endpoint, record, buckets; and answers to others' pings.
//!
//! A datagram is checked cheapest first: its source and, where it names one, the request that it answers; then its hash; then
//! its signature.

use std::net::SocketAddr;

use peerless::contract::{Cx, DropReason, Via};
use peerless::crypto::{Digest, PublicKey};
use peerless::time::UnixTime;
use peerless::wire::discv4::{Datagram, Endpoint, Kind, Neighbor, Packet};
use peerless::wire::enr::Record;

use crate::language::Crawl;
use crate::machine::{Core, FINDS, NAMED_MAX};
use crate::nodes::Named;
use crate::targets::Targets;
use crate::visits::{Phase, Step, Thread, VisitId};

/// Seconds until a packet is void.
const EXPIRATION_SECS: u64 = 20;

impl Core {
    /// Sends the request of a visit's step.
    pub(crate) fn request_v4(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId) {
        let Some(visit) = self.visits.get(id) else { return };
        let (to, expiration) = (visit.addr, expiration(cx));
        let packet = match visit.step {
            Step::Hello | Step::Proof => self.ping(to, expiration),
            Step::Record => Packet::EnrRequest { expiration },
            Step::Find(n) => {
                let target = if n + 1 < FINDS {
                    self.targets.at(&visit.id.0, 256 - u16::from(n))
                } else {
                    // The node's own key: all buckets nearer than those before.
                    *visit.key.as_bytes()
                };
                Packet::FindNode { target, expiration }
            }
        };
        let hash = self.seal_v4(cx, &packet);
        if let Some(Thread::V4 { hash: last, .. }) = self.visits.get_mut(id).map(|visit| &mut visit.thread) {
            *last = hash;
        }
        self.send(cx, to);
    }

    fn ping(&self, to: SocketAddr, expiration: UnixTime) -> Packet {
        let addresses = &self.config.addresses;
        let from = Endpoint { ip: addresses.ip(), udp: addresses.udp, tcp: addresses.tcp };
        let enr_seq = Some(self.local.record().seq());
        Packet::Ping { version: 4, from, to: Endpoint::from(to), expiration, enr_seq }
    }

    fn seal_v4(&mut self, cx: &Cx<'_, Crawl>, packet: &Packet) -> Digest {
        self.scratch.clear();
        packet.seal(cx.crypto, &self.config.secret, &mut self.scratch)
    }

    /// Handles a datagram that is not of discv5.
    pub(crate) fn receive_v4(
        &mut self,
        cx: &mut Cx<'_, Crawl>,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let datagram = Datagram::split(bytes).map_err(DropReason::Malformed)?;
        let kind = datagram.kind().map_err(DropReason::Malformed)?;
        let visit = self.visits.find(Via::Discv4, from);
        match (kind, visit) {
            (Kind::Ping, None) if self.strangers.allows(cx.now) => {}
            (Kind::Ping, None) => return Err(DropReason::RateLimited),
            (Kind::Ping | Kind::EnrRequest, Some(_)) => {}
            (_, Some(id)) if self.is_expected(id, &datagram, kind) => {}
            _ => return Err(DropReason::Unsolicited),
        }
        datagram.check_hash(cx.crypto).map_err(DropReason::Malformed)?;
        if visit.is_none() {
            self.strangers.take(cx.now);
        }
        let signer = datagram.signer(cx.crypto).map_err(DropReason::Malformed)?;
        let visit = visit.filter(|id| self.visits.get(*id).is_some_and(|visit| visit.key == signer));
        let packet = datagram.decode().map_err(DropReason::Malformed)?;
        if packet.expiration().is_some_and(|at| at.as_secs() < cx.unix.as_secs()) {
            return Err(DropReason::Expired);
        }
        if signer == *self.local.key() {
            return Err(DropReason::FromSelf);
        }
        match (packet, visit) {
            (Packet::Ping { from: claimed, .. }, visit) => {
                self.on_ping(cx, from, datagram.hash, &signer, claimed.tcp, visit);
            }
            (Packet::EnrRequest { .. }, Some(_)) => {
                let record = self.local.record().as_bytes().to_vec();
                self.seal_v4(cx, &Packet::EnrResponse { request_hash: *datagram.hash, record });
                self.send(cx, from);
            }
            (Packet::Pong { enr_seq, .. }, Some(id)) => self.on_pong(cx, id, enr_seq),
            (Packet::Neighbors { nodes, .. }, Some(id)) => self.on_neighbors(cx, id, from, &nodes),
            (Packet::EnrResponse { record, .. }, Some(id)) => self.on_enr_response(cx, id, &record)?,
            _ => return Err(DropReason::Unsolicited),
        }
        Ok(())
    }

    /// Whether a packet may answer the last request of a visit.
    fn is_expected(&self, id: VisitId, datagram: &Datagram<'_>, kind: Kind) -> bool {
        let Some(visit) = self.visits.get(id) else { return false };
        let Thread::V4 { hash, .. } = &visit.thread else { return false };
        let names_request = || datagram.request_hash() == Some(hash);
        let is_sent = visit.phase == Phase::Sent;
        match (kind, visit.step) {
            (Kind::Pong, Step::Hello) | (Kind::EnrResponse, Step::Record) => is_sent && names_request(),
            (Kind::Neighbors, Step::Find(_)) => (is_sent || visit.phase == Phase::Settling) && visit.named < NAMED_MAX,
            _ => false,
        }
    }

    fn on_ping(
        &mut self,
        cx: &mut Cx<'_, Crawl>,
        from: SocketAddr,
        ping_hash: &Digest,
        signer: &PublicKey,
        tcp: u16,
        visit: Option<VisitId>,
    ) {
        let (ping_hash, enr_seq) = (*ping_hash, Some(self.local.record().seq()));
        let pong = Packet::Pong { to: Endpoint::from(from), ping_hash, expiration: expiration(cx), enr_seq };
        self.seal_v4(cx, &pong);
        self.send(cx, from);
        let Some(id) = visit else {
            // A stranger, or another node at the endpoint of the one that is asked.
            _ = self.named(cx, signer, from, tcp);
            return;
        };
        let Some(visit) = self.visits.get_mut(id) else { return };
        if let Thread::V4 { is_proven, .. } = &mut visit.thread {
            *is_proven = true;
        }
        if visit.step == Step::Proof {
            self.advance(cx, id);
        }
    }

    fn on_pong(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId, enr_seq: Option<u64>) {
        self.on_answer(cx, id);
        let Some(visit) = self.visits.get_mut(id) else { return };
        if let Thread::V4 { is_record_wanted, .. } = &mut visit.thread {
            *is_record_wanted = self.nodes.get(visit.node).seq < enr_seq.unwrap_or(0);
        }
        self.advance(cx, id);
    }

    /// The step after a node's first answer, or after its own ping.
    pub(crate) fn step_after_contact(&self, id: VisitId) -> Option<Step> {
        let visit = self.visits.get(id)?;
        Some(match visit.thread {
            Thread::V4 { is_proven: false, .. } if visit.step == Step::Hello => Step::Proof,
            Thread::V4 { is_record_wanted: true, .. } => Step::Record,
            Thread::V4 { .. } | Thread::V5 { .. } => Step::Find(0),
        })
    }

    fn on_neighbors(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId, from: SocketAddr, nodes: &[Neighbor]) {
        self.on_answer(cx, id);
        for node in nodes {
            let at = SocketAddr::new(node.ip, node.udp);
            let Some(visit) = self.visits.get_mut(id).filter(|visit| visit.named < NAMED_MAX) else { return };
            visit.named += 1;
            if !Self::is_relayable(cx, from.ip(), at) {
                continue;
            }
            let named = match self.nodes.find_xy(&node.key) {
                // The index holds keys that were checked; this one may differ from it in what the index does not compare.
                Some(number) if self.nodes.get(number).key.as_bytes() == &node.key => {
                    let key = self.nodes.get(number).key;
                    self.named(cx, &key, at, node.tcp)
                }
                Some(_) => Named::Refused,
                None => match cx.crypto.public_key_from_xy(&node.key) {
                    Some(key) => self.named(cx, &key, at, node.tcp),
                    None => Named::Refused,
                },
            };
            self.note_neighbour(id, named);
        }
    }

    fn on_enr_response(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId, raw: &[u8]) -> Result<(), DropReason> {
        self.on_answer(cx, id);
        let (node, key) = match self.visits.get(id) {
            Some(visit) => (visit.node, visit.key),
            None => return Ok(()),
        };
        self.advance(cx, id);
        let record = Record::decode(cx.crypto, raw).map_err(DropReason::Malformed)?;
        self.records += 1;
        if *record.key() == key {
            self.on_record(cx, node, &record);
        }
        Ok(())
    }

    /// What a new visit recognises answers by.
    pub(crate) const fn thread(via: Via) -> Thread {
        match via {
            Via::Discv4 => Thread::V4 { hash: [0; 32], is_proven: false, is_record_wanted: false },
            Via::Discv5 => Thread::V5 { nonce: [0; 12], request: 0, keys: None, messages: 0 },
        }
    }
}

fn expiration(cx: &Cx<'_, Crawl>) -> UnixTime {
    cx.unix.plus_secs(EXPIRATION_SECS)
}

const _: () = assert!(256 - (FINDS as u16 - 2) >= Targets::DISTANCE_MIN, "each bucket of its own has targets");
