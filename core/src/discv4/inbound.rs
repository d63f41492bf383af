//! Inbound datagrams, cheapest check first: size, filter, what type and source admit, hash, content, expiration, replay, and
//! only then the signature (attacks D1 to D6, D8, D13).
//!
//! Type and source tell which kind of sender pays for the check of the signature ([`Admission`]). Budgets are looked at
//! before the hash and taken after it, so that a datagram beyond them costs less than a hash, and one with a wrong hash
//! takes nothing. An answer that names the hash of a request in flight needs no budget: no sender off the path can guess it.
//! What is dropped so early may belong to another protocol on the port: its hash is checked nevertheless while such datagrams
//! are few, which they are except in a flood.
//!
//! A node that has not proven its endpoint receives a pong and at most one ping, and nothing larger than what it sent.

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use super::bonds::Bond;
use super::calls::{CallId, Match, Purpose, Request};
use super::requests::{Outcome, expiration, rtt};
use super::{Discv4, Lifecycle};
use crate::contract::{Cx, DropReason};
use crate::crypto::{Digest, NodeId, PublicKey, keccak256};
use crate::kad::limiter::{Allowance, Source};
use crate::kad::{Received, Statement, Verdict};
use crate::limits;
use crate::netfilter::{canonical, relay_allowed};
use crate::time::UnixTime;
use crate::wire::DecodeError;
use crate::wire::discv4::{Datagram, Endpoint, Kind, NEIGHBORS_PER_PACKET, Neighbor, Packet};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

/// UDP ports up to this belong to other services. A relayed node at one is not used.
const PRIVILEGED_PORTS: u16 = 1024;

/// Who pays for the check of a datagram's signature.
#[derive(Clone, Copy)]
enum Admission {
    /// A request: the budgets of its source.
    Request(Source),
    /// Neighbors for a call: the call, and the budget of all Neighbors.
    Neighbors(CallId),
    /// An answer that names the hash of a call's request: the call.
    Answer(CallId),
    /// A pong that names the hash of a ping back that is not a call: that ping.
    PingBack,
}

/// The sender of a datagram. Its key is proven by the signature, its address is not.
#[derive(Clone, Copy)]
struct Sender {
    key: PublicKey,
    id: NodeId,
    addr: SocketAddr,
}

impl Discv4 {
    /// Handles a datagram from `from`.
    pub fn handle_datagram(&mut self, cx: &mut Cx<'_>, from: SocketAddr, bytes: &[u8]) -> Verdict {
        let received = self.receive(cx, from, bytes);
        Verdict { received, growth: core::mem::take(&mut self.growth), statement: self.statement.take() }
    }

    fn receive(&mut self, cx: &mut Cx<'_>, from: SocketAddr, bytes: &[u8]) -> Received {
        let from = canonical(from);
        let datagram = match Datagram::split(bytes) {
            Ok(datagram) => datagram,
            Err(DecodeError::Truncated) => return Received::Unrecognised,
            Err(error) => return Received::Dropped(DropReason::Malformed(error)),
        };
        if !cx.filter.permits(from.ip()) || from.port() == 0 {
            return Received::Dropped(DropReason::Filtered);
        }
        let Ok(kind) = datagram.kind() else { return Received::Unrecognised };
        let admission = self.admit(cx, from, kind, &datagram);
        if let Err(reason) = admission
            && !self.limiter.admit_foreign_check(cx.now)
        {
            return Received::Dropped(reason);
        }
        if datagram.check_hash(cx.crypto).is_err() {
            return Received::Unrecognised;
        }
        match admission.and_then(|admission| self.accept_datagram(cx, from, &datagram, admission)) {
            Ok(()) => Received::Handled,
            Err(reason) => Received::Dropped(reason),
        }
    }

    /// Decides by type and source, and by the request that an answer names, whether the signature may be checked.
    fn admit(
        &mut self,
        cx: &Cx<'_>,
        from: SocketAddr,
        kind: Kind,
        datagram: &Datagram<'_>,
    ) -> Result<Admission, DropReason> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(DropReason::ShuttingDown);
        }
        let (admission, allowance) = match kind {
            Kind::Ping | Kind::FindNode | Kind::EnrRequest => {
                let source = self.source(from);
                (Admission::Request(source), self.limiter.allows_request(source, from, cx.now))
            }
            Kind::Pong | Kind::Neighbors | Kind::EnrResponse => {
                let named = datagram.request_hash();
                let matched = match kind {
                    Kind::Neighbors => self.calls.match_answer(from, kind, None),
                    _ => named.map_or(Match::Unsolicited, |hash| self.calls.match_answer(from, kind, Some(hash))),
                };
                match matched {
                    Match::Unsolicited if kind == Kind::Pong && self.has_ping_back(cx, named) => {
                        (Admission::PingBack, Allowance::Allowed)
                    }
                    Match::Unsolicited => return Err(DropReason::Unsolicited),
                    Match::Excessive => return Err(DropReason::RateLimited),
                    Match::Call(call) if kind == Kind::Neighbors => {
                        (Admission::Neighbors(call), self.limiter.allows_neighbors(cx.now))
                    }
                    Match::Call(call) => (Admission::Answer(call), Allowance::Allowed),
                }
            }
        };
        match allowance {
            Allowance::Allowed => Ok(admission),
            Allowance::Excessive => Err(DropReason::RateLimited),
            Allowance::Exhausted => {
                self.on_flooded(cx.now);
                Err(DropReason::RateLimited)
            }
        }
    }

    fn has_ping_back(&self, cx: &Cx<'_>, named: Option<&Digest>) -> bool {
        named.is_some_and(|hash| self.ping_backs.admits(hash, cx.now))
    }

    /// What is known of the sender of a request.
    fn source(&self, from: SocketAddr) -> Source {
        if self.table.has_endpoint(from) {
            Source::Entry
        } else if self.bonds.has_endpoint(from) || self.calls.is_open_to(from) {
            Source::Bonded
        } else {
            Source::Stranger
        }
    }

    fn accept_datagram(
        &mut self,
        cx: &mut Cx<'_>,
        from: SocketAddr,
        datagram: &Datagram<'_>,
        admission: Admission,
    ) -> Result<(), DropReason> {
        let packet = datagram.decode().map_err(DropReason::Malformed)?;
        if packet.expiration().is_some_and(|at| is_void(at, cx.unix)) {
            return Err(DropReason::Expired);
        }
        match admission {
            Admission::Request(source) => {
                if self.limiter.is_replay(from, datagram.hash, cx.now) {
                    return Err(DropReason::Replayed);
                }
                self.limiter.take_request(source, from, cx.now);
            }
            Admission::Neighbors(call) => {
                self.limiter.take_neighbors(cx.now);
                self.calls.count_answer(call);
            }
            Admission::Answer(call) => self.calls.count_answer(call),
            Admission::PingBack => {
                datagram.request_hash().into_iter().for_each(|hash| self.ping_backs.count_answer(hash, cx.now))
            }
        }
        let key = datagram.signer(cx.crypto).map_err(DropReason::Malformed)?;
        if key == self.local.key {
            return Err(DropReason::FromSelf);
        }
        let sender = Sender { key, id: cx.crypto.node_id(&key), addr: from };
        match packet {
            Packet::Ping { from: claimed, enr_seq, .. } => {
                return self.handle_ping(cx, sender, datagram.hash, claimed.tcp, enr_seq);
            }
            Packet::FindNode { target, .. } => return self.handle_find_node(cx, sender, &target),
            Packet::EnrRequest { .. } => return self.handle_enr_request(cx, sender, datagram.hash),
            Packet::Pong { to, ping_hash, enr_seq, .. } => self.handle_pong(cx, sender, &ping_hash, to, enr_seq)?,
            Packet::Neighbors { nodes, .. } => self.handle_neighbors(cx, sender, &nodes)?,
            Packet::EnrResponse { request_hash, record } => {
                self.handle_enr_response(cx, sender, &request_hash, &record)?;
            }
        }
        // An answer ends a call and makes room for others.
        self.advance(cx);
        Ok(())
    }

    fn handle_ping(
        &mut self,
        cx: &mut Cx<'_>,
        sender: Sender,
        hash: &Digest,
        tcp: u16,
        enr_seq: Option<u64>,
    ) -> Result<(), DropReason> {
        let Sender { key, id, addr } = sender;
        let contact = Contact::with_id(key, id, addr.ip(), addr.port(), tcp);
        if self.is_passive && !self.calls.needs_proof(&contact) {
            return Err(DropReason::Unsolicited);
        }
        let pong = Packet::Pong {
            to: Endpoint { tcp, ..Endpoint::from(addr) },
            ping_hash: *hash,
            expiration: expiration(cx),
            enr_seq: self.local.record.as_ref().map(Record::seq),
        };
        self.local.send(cx, addr, &pong);

        let mut bond = self.bonds.find(&id, addr, cx.now);
        bond.iter_mut().for_each(Bond::set_peer_bonded);
        if bond.is_some_and(|bond| bond.is_proven()) {
            if self.lifecycle == Lifecycle::Running {
                self.insert_into_table(cx, contact);
            }
            self.table.update_tcp(&id, addr, tcp);
            self.table.clear_suspicion(&id, addr);
            self.request_newer_record(cx, &contact, enr_seq);
        } else if self.calls.find_in_flight(&contact, Kind::Pong).is_none()
            && self.limiter.admit_ping_back(addr.ip(), cx.now)
        {
            self.ping_back(cx, contact);
        }
        self.on_pinged(cx, &contact);
        Ok(())
    }

    fn handle_pong(
        &mut self,
        cx: &mut Cx<'_>,
        sender: Sender,
        ping_hash: &Digest,
        to: Endpoint,
        enr_seq: Option<u64>,
    ) -> Result<(), DropReason> {
        let Sender { key, id, addr } = sender;
        let call = self.calls.find_matching_request(addr, &key, Kind::Pong, Some(ping_hash));
        let (contact, purpose, pinged_us, ended) = match call.and_then(|id| Some((id, self.calls.get(id)?))) {
            Some((ping, call)) => {
                let outcome = Outcome::Pong { rtt: rtt(call, cx.now), enr_seq, seen_as: to.udp_addr() };
                (call.contact, call.purpose, call.pinged_us, Some((ping, outcome)))
            }
            None => {
                let node = self.limiter.node_hash(&id, addr);
                let tcp = self.ping_backs.take(ping_hash, node, cx.now).ok_or(DropReason::Unsolicited)?;
                (Contact::with_id(key, id, addr.ip(), addr.port(), tcp), Purpose::PingBack, true, None)
            }
        };
        self.statement = to.udp_addr().map(|seen_as| Statement { from: addr, seen_as });
        self.limiter.proven(addr.ip(), cx.now);
        let mut bond = self.bonds.prove(&id, addr, cx.now);
        if pinged_us {
            bond.set_peer_bonded();
        }
        let changes = self.table.confirm_connectivity(&id, cx.now, cx.rng);
        self.emit_changes(cx, changes);
        if purpose != Purpose::PingBack || self.lifecycle == Lifecycle::Running {
            self.insert_into_table(cx, contact);
        }
        if let Some((ping, outcome)) = ended {
            self.complete(cx, ping, outcome);
        }
        self.request_newer_record(cx, &contact, enr_seq);
        Ok(())
    }

    fn handle_find_node(&mut self, cx: &mut Cx<'_>, sender: Sender, target: &[u8; 64]) -> Result<(), DropReason> {
        let Sender { key, id, addr } = sender;
        if self.is_passive {
            return Err(DropReason::Unsolicited);
        }
        if !self.bonds.is_proven(&id, addr, cx.now) {
            return Err(DropReason::NoEndpointProof);
        }
        let hash = NodeId(keccak256(target));
        // Compares keys, which are read in the order in which they lie in memory.
        let may_be_told = |contact: &Contact| contact.key() != key && relay_allowed(addr.ip(), contact.ip());
        let nearest = self.table.nearest(&hash, limits::BUCKET_SIZE, may_be_told);
        let packets = nearest.len().div_ceil(NEIGHBORS_PER_PACKET).max(1);
        let mut chunks = nearest.chunks(NEIGHBORS_PER_PACKET);
        for _ in 0..packets {
            self.local.send_neighbors(cx, addr, chunks.next().unwrap_or_default());
        }
        Ok(())
    }

    fn handle_neighbors(&mut self, cx: &mut Cx<'_>, sender: Sender, nodes: &[Neighbor]) -> Result<(), DropReason> {
        let Sender { key, addr, .. } = sender;
        let id = self.calls.find_matching_request(addr, &key, Kind::Neighbors, None).ok_or(DropReason::Unsolicited)?;
        let call = self.calls.get_mut(id).ok_or(DropReason::Unsolicited)?;
        call.answered_empty |= nodes.is_empty();
        call.nodes.reserve_exact(limits::BUCKET_SIZE - call.nodes.len());
        for node in nodes {
            if call.nodes_received >= limits::BUCKET_SIZE {
                break;
            }
            call.nodes_received += 1;
            let is_usable = node.udp > PRIVILEGED_PORTS
                && relay_allowed(addr.ip(), node.ip)
                && cx.filter.permits(node.ip)
                && node.key != *self.local.key.as_bytes()
                && call.nodes.iter().all(|other| *other.key().as_bytes() != node.key);
            if is_usable && let Some((key, id)) = cx.crypto.identify(&node.key) {
                call.nodes.push(Contact::with_id(key, id, node.ip, node.udp, node.tcp));
            }
        }
        if call.nodes_received >= limits::BUCKET_SIZE {
            let nodes = core::mem::take(&mut call.nodes);
            self.complete(cx, id, Outcome::Nodes(nodes));
        }
        Ok(())
    }

    fn handle_enr_request(&mut self, cx: &mut Cx<'_>, sender: Sender, hash: &Digest) -> Result<(), DropReason> {
        if self.is_passive {
            return Err(DropReason::Unsolicited);
        }
        if !self.bonds.is_proven(&sender.id, sender.addr, cx.now) {
            return Err(DropReason::NoEndpointProof);
        }
        self.local.send_record(cx, sender.addr, hash);
        Ok(())
    }

    fn handle_enr_response(
        &mut self,
        cx: &mut Cx<'_>,
        sender: Sender,
        request_hash: &Digest,
        record: &[u8],
    ) -> Result<(), DropReason> {
        let Sender { key, id, addr } = sender;
        let call = self
            .calls
            .find_matching_request(addr, &key, Kind::EnrResponse, Some(request_hash))
            .ok_or(DropReason::Unsolicited)?;
        let record = Record::decode(cx.crypto, record).map_err(DropReason::Malformed)?;
        if *record.key() != key {
            return Err(DropReason::Malformed(DecodeError::BadKey));
        }
        if !self.table.update_record(&id, record.seq(), record.fork_id()) {
            return Err(DropReason::Malformed(DecodeError::BadValue));
        }
        self.follow_record(cx, sender, &record);
        // Only the proven endpoint is believed; the record adds the TCP port at the same address.
        if let Some((_, _, tcp)) = record.endpoints().find(|(ip, ..)| *ip == addr.ip()) {
            self.table.update_tcp(&id, addr, tcp);
        }
        self.complete(cx, call, Outcome::Record(Box::new(record)));
        Ok(())
    }

    /// Moves the entry of a node to the endpoint that its newest record names, if that is where the record came from. A
    /// record that came from elsewhere, perhaps relayed, names the endpoint to ask.
    fn follow_record(&mut self, cx: &mut Cx<'_>, Sender { key, id, addr }: Sender, record: &Record) {
        let Some(entry) = self.table.entry(&id).map(|entry| *entry.contact()) else { return };
        let is_usable = |(ip, udp, _): &(IpAddr, u16, u16)| {
            *udp > PRIVILEGED_PORTS && relay_allowed(addr.ip(), *ip) && cx.filter.permits(*ip)
        };
        let named = record.endpoints().find(is_usable);
        let is_elsewhere = named.is_some() && !record.names(entry.udp_addr());
        self.table.set_at_record(&id, !is_elsewhere);
        if !is_elsewhere {
            return;
        }
        if record.names(addr) {
            let tcp = if addr.is_ipv4() { record.tcp() } else { record.tcp6() };
            let contact = Contact::with_id(key, id, addr.ip(), addr.port(), tcp.unwrap_or(0));
            return self.table.relocate(contact, cx.now, cx.rng);
        }
        if let Some((ip, udp, tcp)) = named {
            let contact = Contact::with_id(key, id, ip, udp, tcp);
            // If it does not answer, the entry is not where its record says, and the next pong asks for the record again.
            _ = self.start_request(cx, contact, Request::EnrRequest, Purpose::Record);
        }
    }

    /// Requests the record of a table entry that says that it has a newer one (EIP-868), or whose entry is not where its record
    /// says.
    fn request_newer_record(&mut self, cx: &mut Cx<'_>, contact: &Contact, enr_seq: Option<u64>) {
        let (Some(seq), Some(entry)) = (enr_seq, self.table.entry(&contact.id())) else { return };
        let is_wanted = seq > entry.record_seq() || !self.table.is_at_record(&contact.id());
        let is_asked = self.calls.is_open(contact, Kind::EnrResponse, Purpose::Record);
        if is_wanted && !is_asked {
            // If it cannot be asked now, a later pong has the number again.
            _ = self.start_request(cx, *contact, Request::EnrRequest, Purpose::Record);
        }
    }
}

/// Whether an expiration has passed, or lies further ahead than that of any honest clock.
fn is_void(expiration: UnixTime, now: UnixTime) -> bool {
    let (expiration, now) = (expiration.as_secs(), now.as_secs());
    expiration < now || expiration > now.saturating_add(limits::EXPIRATION_FUTURE_MAX.as_secs())
}
