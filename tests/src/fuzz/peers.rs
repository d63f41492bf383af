//! Places, dials, scores, bans and commands of the embedder under a list of events of connections, against a model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use peerless::contract::{
    BanTarget, CommandError, ConnId, ConnTimer, Direction, End, EndReason, Fault, IoFault, Label, PeerKind, Refusal,
    ScoreReason, Side, Source, Stage, StatusRefusal,
};
use peerless::crypto::{Crypto, NodeId};
use peerless::limits::BOOK_PER_GROUP;
use peerless::netfilter::NetFilter;
use peerless::peers::book::Group;
use peerless::peers::score::{BAN_SCORE, CREDIT_MAX};
use peerless::peers::{Accepted, Admission, Charge, Origin, PeerLimits, Peers, View};
use peerless::rng::{Rng, Seed};
use peerless::time::{Duration, Instant, UnixTime};
use peerless::wire::enode::Contact;
use peerless::wire::p2p::DisconnectReason;

use super::crypto::secret;
use super::{Cheap, Choices, Memory, Reached, Target};

/// Accepts, dials, proofs, ends, charges, declarations.
pub const PEERS: Target = Target {
    name: "peers",
    body: peers,
    memory: Memory::machine(2),
    landmarks: &[
        "accepted",
        "not accepted",
        "makes room",
        "dialled",
        "admitted",
        "replaces",
        "evicts",
        "refused",
        "established",
        "ended",
        "charged",
        "banned",
        "declared",
        "throttled",
        "commanded",
        "offered",
        "reported",
        "banned by the embedder",
    ],
    generated: (1_500, 400),
};

const IDS: usize = 16;
const OWN: usize = 3;

struct World {
    peers: Peers,
    config: PeerLimits,
    rng: Rng,
    now: Instant,
    next: u64,
    /// The connections, as in the node's table.
    conns: BTreeMap<ConnId, View>,
    declared: BTreeMap<NodeId, PeerKind>,
    contacts: Vec<Contact>,
    /// Peers that were ever trusted or dialled on command: they may pass the limits.
    exempt: BTreeSet<NodeId>,
    /// Whether the limits have shrunk, so that there may be more peers than they allow.
    shrunk: bool,
}

fn peers(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut config = PeerLimits::default();
    config.max_peers = choices.pick(&[4, 6, 0, 1, 12]);
    config.dial_ratio = choices.pick(&[3, 2, 0, 1]);
    config.max_pending = choices.pick(&[3, 6, 50]);
    config.inbound_per_subnet = choices.pick(&[2, 1]);
    let contacts: Vec<Contact> = (0..IDS)
        .map(|i| {
            Contact::new(Cheap.public_key(&secret(20 + i as u8)), address(i), 30303, if i == 7 { 0 } else { 30303 })
        })
        .collect();
    let own = contacts[OWN].id();
    let mut world = World {
        peers: Peers::new(config, own),
        config,
        rng: Seed::new([choices.byte(); 32]).fork("peers"),
        now: Instant::from_micros(1),
        next: 0,
        conns: BTreeMap::new(),
        declared: BTreeMap::new(),
        contacts,
        exempt: BTreeSet::new(),
        shrunk: false,
    };
    let mut steps = 0;
    while !choices.is_empty() && steps < 400 {
        steps += 1;
        world.step(&mut choices, reached);
        world.check();
    }
}

/// A few subnets, one of them local.
fn address(i: usize) -> IpAddr {
    [[8, 8, 8, 1], [8, 8, 8, 2], [8, 8, 8, 3], [9, 9, 9, 1], [127, 0, 0, 1], [1, 1, 1, 1], [8, 8, 4, 4], [5, 5, 5, 5]]
        [i % 8]
        .into()
}

impl World {
    fn conn(&self, choices: &mut Choices<'_>) -> ConnId {
        let at = choices.below(self.conns.len());
        // Sometimes one that does not exist, or never did.
        if choices.once_in(32) {
            ConnId(choices.number())
        } else {
            self.conns.keys().nth(at).copied().unwrap_or(ConnId(0))
        }
    }

    /// Changes a connection and updates the index, as the node does.
    fn set(&mut self, conn: ConnId, after: Option<View>) {
        let before = match after {
            Some(view) => self.conns.insert(conn, view),
            None => self.conns.remove(&conn),
        };
        self.peers.update(before.as_ref(), after.as_ref());
    }

    fn open(&mut self, addr: SocketAddr, origin: Origin, id: Option<NodeId>) {
        let conn = ConnId(self.next);
        self.next += 1;
        self.set(conn, Some(View::new(conn, addr, origin, id)));
    }

    fn step(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let (now, filter) = (self.now, NetFilter::default());
        match choices.below(16) {
            0 | 1 => {
                let addr = SocketAddr::new(address(choices.below(8)), 1000 + u16::from(choices.byte()));
                match self.peers.accept(now, &filter, addr) {
                    Ok(Accepted { origin, displaced }) => {
                        reached.note("accepted");
                        assert!(self.peers.bans().addr_until(now, addr.ip()).is_none());
                        if let Some((other, why)) = displaced {
                            reached.note("makes room");
                            let view = self.conns[&other];
                            assert!(view.place.is_none() && view.direction() == Direction::Inbound);
                            self.end(other, refused(why), reached);
                        }
                        self.open(addr, origin, None);
                    }
                    Err(Refusal::Throttled) => reached.note("throttled"),
                    Err(_) => reached.note("not accepted"),
                }
            }
            2 => {
                let contact = choices.pick(&self.contacts);
                let refused = |refusal| Err(CommandError::Refused(refusal));
                let expected = match () {
                    () if contact.id() == self.contacts[OWN].id() => refused(Refusal::ToSelf),
                    () if contact.tcp() == 0 => Err(CommandError::NoPort),
                    () if self.peers.is_banned(now, &contact.id()) => refused(Refusal::Banned),
                    () if self.knows(&contact.id()) => refused(Refusal::AlreadyConnected),
                    () if self.pending(Direction::Outbound) >= self.config.max_pending => {
                        refused(Refusal::TooManyPending)
                    }
                    () => Ok(()),
                };
                let result = self.peers.dial(now, &filter, &contact);
                assert_eq!(result, expected);
                if result.is_ok() {
                    reached.note("commanded");
                    self.exempt.insert(contact.id());
                    self.open(contact.tcp_addr(), Origin::Dialled { commanded: true }, Some(contact.id()));
                }
            }
            3 | 4 => self.dial_next(choices, reached),
            5..=8 => self.identify(choices, reached),
            9 => {
                let conn = self.conn(choices);
                if let Some(mut view) = self.conns.get(&conn).copied()
                    && let Some(place) = &mut view.place
                {
                    place.since = now;
                    view.stage = Stage::Established;
                    self.set(conn, Some(view));
                    reached.note("established");
                    self.take_over(conn, choices.flag(), reached);
                }
            }
            10 | 11 => {
                let conn = self.conn(choices);
                self.end(conn, end(choices), reached);
                if choices.flag() {
                    self.forget(conn);
                }
            }
            12 => {
                let conn = self.conn(choices);
                self.forget(conn);
            }
            13 => {
                let conn = self.conn(choices);
                let reason = reason(choices);
                let Some(view) = self.conns.get(&conn).copied() else { return };
                let charge = self.peers.charge(now, &view, reason);
                let admitted = view.place.and(view.id);
                assert!(charge.is_none_or(|charge| Some(charge.id) == admitted), "only a peer with a place is charged");
                self.carry_out(charge, reached);
            }
            14 => self.embedder(choices, reached),
            _ => self.now = now + choices.span(),
        }
    }

    fn embedder(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let (now, filter, contact) = (self.now, NetFilter::default(), choices.pick(&self.contacts));
        let is_possible = contact.tcp() != 0 && contact.id() != self.contacts[OWN].id();
        match choices.below(8) {
            0 => {
                let was = self.declared.remove(&contact.id()).is_some();
                assert_eq!(self.peers.remove_peer(&contact.id()).is_ok(), was);
            }
            1 | 2 => {
                let (delta, label) = (i32::from(choices.byte()) - 128, Label::new("fuzz").expect("short"));
                let at = self.placed(&contact.id()).map(|conn| self.conns[&conn].addr);
                let charge = self.peers.report(now, contact.id(), at, delta, label);
                reached.note("reported");
                self.carry_out(charge, reached);
            }
            3 => {
                let result = self.peers.offer(now, self.unix(), &filter, contact);
                assert!(result.is_err() || is_possible && !self.knows(&contact.id()));
                if result.is_ok() {
                    reached.note("offered");
                    assert!(self.peers.book().get(&contact.id()).is_some_and(|entry| entry.is_offered()));
                }
            }
            4 => {
                let target =
                    if choices.flag() { BanTarget::Id(contact.id()) } else { BanTarget::Address(contact.ip()) };
                if choices.flag() {
                    self.peers.unban(now, target);
                    assert!(!self.peers.unban(now, target));
                    return;
                }
                reached.note("banned by the embedder");
                self.peers.ban(now, target, Duration::from_secs(60));
                let is_meant = |view: &View| match target {
                    BanTarget::Id(id) => view.target_id() == Some(id),
                    BanTarget::Address(_) => self.peers.is_refused(now, &filter, view.addr).is_some(),
                };
                let meant: Vec<ConnId> =
                    self.conns.values().filter(|view| is_meant(view)).map(|view| view.conn).collect();
                for conn in meant {
                    self.end(conn, refused(Refusal::Banned), reached);
                }
            }
            5 if choices.once_in(4) => {
                self.config.max_peers = choices.pick(&[4, 1, 12]);
                self.shrunk = true;
                self.peers.set_limits(self.config);
            }
            _ => {
                let kind = choices.pick(&[PeerKind::Static, PeerKind::Trusted]);
                let result = self.peers.add_peer(now, &filter, contact, kind);
                assert_eq!(result.is_ok(), is_possible);
                if result.is_err() {
                    return;
                }
                reached.note("declared");
                self.declared.insert(contact.id(), kind);
                if kind == PeerKind::Trusted {
                    self.exempt.insert(contact.id());
                }
                let theirs: Vec<ConnId> = self.peers.conns(&contact.id()).collect();
                for conn in theirs {
                    let mut view = self.conns[&conn];
                    if let Some(place) = &mut view.place {
                        place.promote(kind);
                    }
                    self.set(conn, Some(view));
                }
            }
        }
    }

    fn dial_next(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let now = self.now;
        let filter = NetFilter::default();
        for _ in 0..choices.below(10) {
            self.peers.heard(now, self.unix(), &filter, Source::Discv4, choices.pick(&self.contacts));
        }
        let known: BTreeSet<NodeId> = self.peers.book().entries().iter().map(|entry| entry.contact().id()).collect();
        let views = |conn| self.conns.get(&conn).copied();
        let dialled = self.peers.dial_next(now, &mut self.rng, &filter, views);
        let Some(contact) = dialled else {
            let due = self.peers.poll_timeout(true);
            assert!(due.is_none_or(|at| at > now), "deadlines advance");
            return;
        };
        reached.note("dialled");
        let is_declared = self.declared.contains_key(&contact.id());
        assert!(known.contains(&contact.id()) || is_declared);
        assert!(contact.tcp() != 0 && contact.id() != self.contacts[OWN].id());
        assert!(!self.peers.is_banned(now, &contact.id()) && !self.knows(&contact.id()));
        assert!(self.pending(Direction::Outbound) < self.config.max_pending);
        self.open(contact.tcp_addr(), Origin::Dialled { commanded: false }, Some(contact.id()));
    }

    fn unix(&self) -> UnixTime {
        UnixTime::from_micros(self.now.as_micros())
    }

    /// A peer is in session, and takes a place over if it was admitted for that.
    fn take_over(&mut self, conn: ConnId, is_busy: bool, reached: &mut Reached) {
        let view = self.conns[&conn];
        let views = |conn| self.conns.get(&conn).copied();
        match self.peers.established(self.now, &mut self.rng, &view, views, |_| is_busy) {
            None => assert!(view.place.is_some_and(|place| !place.takes_over)),
            Some(Admission::Refused(refusal)) => self.end(conn, refused(refusal), reached),
            Some(Admission::Admitted { place, displaced }) => {
                assert!(!place.takes_over && (displaced.is_none() || !is_busy));
                if let Some((other, why)) = displaced {
                    assert!(other != conn && self.conns[&other].place.is_some_and(|place| place.kind.is_none()));
                    self.end(other, refused(why), reached);
                }
                self.set(conn, Some(View { place: Some(place), ..view }));
            }
        }
    }

    fn knows(&self, id: &NodeId) -> bool {
        self.conns.values().any(|view| view.target_id() == Some(*id))
    }

    fn pending(&self, wanted: Direction) -> usize {
        self.conns.values().filter(|view| view.direction() == wanted && view.place.is_none()).count()
    }

    fn placed(&self, id: &NodeId) -> Option<ConnId> {
        self.conns.values().find(|view| view.admitted_id() == Some(*id)).map(|view| view.conn)
    }

    fn identify(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let conn = self.conn(choices);
        let Some(view) = self.conns.get(&conn).copied() else { return };
        // A peer that we dialled proves the key that we dialled.
        let id = view.id.unwrap_or_else(|| choices.pick(&self.contacts).id());
        let twin = self.placed(&id);
        let admission = self.peers.identified(self.now, &view, id, |conn| self.conns.get(&conn).copied());
        if view.place.is_some() || view.is_ending {
            assert!(matches!(admission, Admission::Refused(_)), "a key is proven once");
            return;
        }
        match admission {
            Admission::Admitted { place, displaced } => {
                reached.note("admitted");
                self.set(conn, Some(View { id: Some(id), place: Some(place), stage: Stage::Status, ..view }));
                assert_eq!(twin, displaced.filter(|(_, why)| *why == Refusal::AlreadyConnected).map(|(conn, _)| conn));
                if let Some((other, why)) = displaced {
                    let gone = self.conns[&other].admitted_id().expect("it had a place");
                    if twin.is_some() {
                        reached.note("replaces");
                    } else {
                        reached.note("evicts");
                        assert_eq!(why, Refusal::TooManyPeers);
                        assert!(!self.declared.contains_key(&gone), "static and trusted peers are not displaced");
                    }
                    self.end(other, refused(why), reached);
                }
                assert!(!self.peers.is_banned(self.now, &id) && id != self.contacts[OWN].id());
            }
            Admission::Refused(refusal) => {
                reached.note("refused");
                let own = id == self.contacts[OWN].id();
                match refusal {
                    Refusal::Banned => assert!(self.peers.is_banned(self.now, &id)),
                    Refusal::ToSelf => assert!(own),
                    Refusal::AlreadyConnected => assert!(twin.is_some()),
                    Refusal::TooManyPeers | Refusal::TooManyFromSubnet => assert!(!own && twin.is_none()),
                    other => panic!("{other:?}"),
                }
                self.end(conn, refused(refusal), reached);
            }
        }
    }

    fn end(&mut self, conn: ConnId, end: End, reached: &mut Reached) {
        let Some(before) = self.conns.get(&conn).copied().filter(|view| !view.is_ending) else { return };
        self.set(conn, Some(View { place: None, is_ending: true, ..before }));
        reached.note("ended");
        let charge = self.peers.ended(self.now, &mut self.rng, &before, &end);
        self.carry_out(charge, reached);
    }

    fn carry_out(&mut self, charge: Option<Charge>, reached: &mut Reached) {
        let Some(charge) = charge else { return };
        reached.note("charged");
        assert_ne!(charge.delta, 0);
        assert_eq!(charge.ban.is_some(), charge.score <= BAN_SCORE && charge.delta < 0, "the list is never full here");
        if charge.ban.is_none() {
            return;
        }
        reached.note("banned");
        assert!(self.peers.is_banned(self.now, &charge.id));
        let theirs: Vec<ConnId> = self.peers.conns(&charge.id).collect();
        for conn in theirs {
            if self.conns[&conn].place.is_some() {
                self.end(conn, refused(Refusal::Banned), reached);
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        if self.conns.get(&conn).is_some_and(|view| view.is_ending) {
            self.set(conn, None);
        }
    }

    /// Checks that the address book is within its bounds and has all targets, and no entry that is ourselves.
    fn check_book(&self) {
        let mut groups: BTreeMap<Group, usize> = BTreeMap::new();
        for entry in self.peers.book().entries() {
            assert!(entry.contact().id() != self.contacts[OWN].id() && entry.contact().tcp() != 0);
            *groups.entry(entry.group()).or_default() += 1;
        }
        assert!(groups.values().all(|n| *n <= BOOK_PER_GROUP), "{groups:?}");
        assert!(
            self.peers.outbound().targets().list().iter().all(|target| self.peers.book().get(&target.id).is_some())
        );
    }

    /// Checks that the counts are those of the connections, and within the limits.
    fn check(&self) {
        let counts = self.peers.counts();
        let count = |f: &dyn Fn(&View) -> bool| self.conns.values().filter(|view| f(view)).count();
        assert_eq!(counts.total(), self.conns.len());
        assert_eq!(counts.pending_inbound, self.pending(Direction::Inbound));
        assert_eq!(counts.pending_outbound, self.pending(Direction::Outbound));
        assert_eq!(counts.limited() + counts.exempt, count(&|view| view.place.is_some()));
        assert_eq!(counts.established, count(&|view| view.is_established()));
        if !self.shrunk {
            assert!(counts.limited() <= self.config.max_peers, "{counts:?}");
            assert!(counts.inbound <= self.config.max_inbound(), "{counts:?}");
        }
        let placed = || self.conns.values().filter_map(|view| Some((view.id?, view.place?)));
        let ids: BTreeSet<NodeId> = placed().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), placed().count(), "one place each");
        for id in &ids {
            assert!((BAN_SCORE + 1..=CREDIT_MAX).contains(&self.peers.ledgers().score(self.now, id)));
            assert!(!self.peers.is_banned(self.now, id), "no banned peer has a place");
        }
        let exempt = placed().filter(|(_, place)| place.exempt && !place.takes_over);
        assert!({ exempt }.all(|(id, _)| self.exempt.contains(&id)));
        assert!(placed().filter(|(_, place)| place.takes_over).count() <= 1, "one peer at a time takes a place over");
        self.check_book();
    }
}

fn refused(refusal: Refusal) -> End {
    End { by: Side::Us, stage: Stage::Established, why: EndReason::Refused(refusal) }
}

fn reason(choices: &mut Choices<'_>) -> ScoreReason {
    choices.pick(&[
        ScoreReason::Served,
        ScoreReason::Unanswered,
        ScoreReason::Fault(Fault::UnsolicitedResponse),
        ScoreReason::Fault(Fault::ForbiddenMessage),
        ScoreReason::Fault(Fault::Snappy),
        ScoreReason::Fault(Fault::UnexpectedIdentity),
        ScoreReason::Status(StatusRefusal::Network(7)),
        ScoreReason::Status(StatusRefusal::Range),
    ])
}

fn end(choices: &mut Choices<'_>) -> End {
    End {
        by: choices.pick(&[Side::Us, Side::Them, Side::Network]),
        stage: choices.pick(&[Stage::Established, Stage::Dial, Stage::Handshake, Stage::Hello, Stage::Status]),
        why: choices.pick(&[
            EndReason::Eof,
            EndReason::Io(IoFault::Refused),
            EndReason::Io(IoFault::Exhausted),
            EndReason::Timeout(ConnTimer::Idle),
            EndReason::Timeout(ConnTimer::Closing),
            EndReason::Fault(Fault::Handshake),
            EndReason::Fault(Fault::FrameMac),
            EndReason::Fault(Fault::ForbiddenMessage),
            EndReason::Status(StatusRefusal::Genesis),
            EndReason::Disconnect(DisconnectReason::TooManyPeers),
            EndReason::Disconnect(DisconnectReason::Requested),
        ]),
    }
}
