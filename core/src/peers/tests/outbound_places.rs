//! The address book and the outbound places under random steps.

use super::*;
use crate::peers::book::Group;
use crate::peers::outbound::{Situation, Wish, wish};
use crate::peers::rotation::Stage as Turn;

/// Nodes in all kinds of addresses: 400 in subnets of eight, 40 at private addresses, 40 at shared ones, 120 in IPv6 blocks.
fn neighbour(n: u64) -> Contact {
    let ip: IpAddr = match n {
        ..400 => [20 + (n / 24 % 9) as u8, 1, (n / 8) as u8, n as u8].into(),
        400..440 => [10, 0, 0, (n % 4) as u8].into(),
        440..480 => [100, 64 + (n % 3) as u8, 0, (n % 9) as u8].into(),
        _ => core::net::Ipv6Addr::new(0x2a00, (n % 40 * 4) as u16, 0, 0, 0, 0, 0, n as u16).into(),
    };
    contact(n, ip).with_tcp(30303 + (n % 16) as u16)
}

struct Model {
    bench: Bench,
    dice: Rng,
    config: PeerLimits,
    rotated: usize,
}

impl Model {
    fn new(seed: u8) -> Self {
        let config = PeerLimits { max_peers: 24, dial_ratio: 2, ..PeerLimits::default() };
        Self { bench: Bench::new(config), dice: Seed::new([seed; 32]).fork("model"), config, rotated: 0 }
    }

    /// Any connection, mostly one that has no place yet.
    fn any_conn(&mut self) -> Option<ConnId> {
        let pending = self.bench.conns.values().filter(|view| view.place.is_none()).map(|view| view.conn);
        let mut conns: Vec<ConnId> = pending.collect();
        if conns.is_empty() || self.dice.below(4) == 0 {
            conns = self.bench.conns.keys().copied().collect();
        }
        self.dice.choose(&conns).copied()
    }

    fn step(&mut self) {
        let n = self.dice.below(600);
        match self.dice.below(24) {
            0..6 => self.bench.heard(neighbour(n)),
            6 => {
                let _ = self.bench.offer(neighbour(n));
            }
            7 => self.bench.peers.forget(&id(n)),
            8 => {
                let duration = secs(self.dice.below(600));
                let target =
                    if n.is_multiple_of(2) { BanTarget::Id(id(n)) } else { BanTarget::Address(neighbour(n).ip()) };
                self.bench.peers.ban(self.bench.now, target, duration);
                let meant = |view: &&View| match target {
                    BanTarget::Id(id) => view.id == Some(id),
                    BanTarget::Address(ip) => host(view.addr.ip()) == host(ip),
                };
                let meant: Vec<ConnId> = self.bench.conns.values().filter(meant).map(|view| view.conn).collect();
                for conn in meant {
                    let _ =
                        self.bench.end(conn, &end(Side::Us, Stage::Established, EndReason::Refused(Refusal::Banned)));
                }
            }
            9 => {
                // The same key at another address.
                let other = neighbour(self.dice.below(600));
                self.bench.heard(contact(n, other.ip()));
            }
            10..14 => self.bench.now = self.bench.now + secs(self.dice.below(30)),
            14..18 => self.dial(),
            _ => self.answer(n),
        }
    }

    fn dial(&mut self) {
        let connected: BTreeSet<NodeId> = self.bench.conns.values().filter_map(|view| view.id).collect();
        let known: BTreeSet<NodeId> =
            self.bench.peers.book().entries().iter().map(|entry| entry.contact().id()).collect();
        let Some((_, contact)) = self.bench.dial_next(NO_CANDIDATES) else {
            let due = self.bench.peers.poll_timeout(true);
            assert!(due.is_none_or(|at| at > self.bench.now), "deadlines advance");
            return;
        };
        let now = self.bench.now;
        assert!(known.contains(&contact.id()) && !connected.contains(&contact.id()) && contact.id() != LOCAL);
        assert!(!self.bench.peers.is_banned(now, &contact.id()));
        assert!(self.bench.peers.bans().ordered_until(now, contact.ip()).is_none());
    }

    fn answer(&mut self, n: u64) {
        let Some(conn) = self.any_conn() else { return };
        let view = self.bench.conns[&conn];
        if view.place.is_some() {
            if self.dice.below(32) == 0 {
                let _ = self.bench.end(conn, &BYE);
            } else if n.is_multiple_of(2) {
                self.bench.busy.insert(conn);
            } else {
                self.bench.busy.remove(&conn);
            }
            return;
        }
        match self.dice.below(8) {
            0 => drop(self.bench.end(conn, &DEAD)),
            1 => drop(self.bench.end(conn, &end(Side::Us, Stage::Status, EndReason::Status(StatusRefusal::Genesis)))),
            2 | 3 => {
                let full = EndReason::Disconnect(DisconnectReason::TooManyPeers);
                let _ = self.bench.end(conn, &end(Side::Them, Stage::Hello, full));
            }
            _ => {
                let busy = self.bench.busy.clone();
                self.bench.join_dialled(conn);
                for gone in self.bench.rotated.drain(..) {
                    assert!(!busy.contains(&gone), "a peer with open requests stays");
                    self.rotated += 1;
                }
            }
        }
    }

    fn check(&self) {
        let peers = &self.bench.peers;
        let book = peers.book();
        let mut groups: BTreeMap<Group, usize> = BTreeMap::new();
        for entry in book.entries() {
            *groups.entry(entry.group()).or_default() += 1;
            assert!(entry.contact().id() != LOCAL && !peers.is_banned(self.bench.now, &entry.contact().id()));
            assert_eq!(book.get(&entry.contact().id()), Some(entry));
        }
        assert!(book.entries().len() <= BOOK_ENTRIES_MAX && groups.values().all(|n| *n <= BOOK_PER_GROUP));
        assert!(book.entries().iter().filter(|entry| entry.is_offered()).count() <= OFFERED_MAX);
        assert!(book.entries().is_sorted_by_key(|entry| (entry.group(), entry.contact().id())));
        let elders = book.elders();
        assert_eq!(
            book.entries().iter().filter(|entry| elders.seniority(entry.age()).is_elder()).count(),
            book.entries().len() / 3
        );

        let targets = peers.outbound().targets();
        let ids: BTreeSet<NodeId> = targets.list().iter().map(|target| target.id).collect();
        assert!(ids.len() == targets.list().len() && ids.len() <= TARGETS_MAX);
        assert!(ids.iter().all(|id| book.get(id).is_some()), "targets are in the book");

        let placed: Vec<&View> = self.bench.placed().map(|(view, _)| view).collect();
        assert_eq!(peers.counts().outbound + peers.counts().exempt, placed.len());
        assert!(peers.counts().outbound <= self.config.max_dialled() && peers.counts().exempt <= 1);
        let taken: Vec<Group> = placed.iter().map(|view| Group::of(view.addr)).collect();
        let count = |is_like: &dyn Fn(&Group) -> bool| taken.iter().filter(|group| is_like(group)).count();
        for group in &taken {
            let (same, near) = match group {
                Group::Local(_) => continue,
                Group::Subnet([a, b, _]) => {
                    (1, count(&|other| matches!(other, Group::Subnet([x, y, _]) if x == a && y == b)))
                }
                Group::Block(_) | Group::Shared(_) => (1, 0),
            };
            assert!(count(&|other| other == group) <= same && near <= OUTBOUND_PER_SLASH16, "{taken:?}");
        }
        assert!(count(&|group| matches!(group, Group::Block(_))) <= self.config.max_dialled() * 3 / 4);
    }
}

fn run(steps: u64, seed: u8) {
    let mut model = Model::new(seed);
    for step in 0..steps {
        model.step();
        if step % 64 == 0 {
            model.check();
        }
    }
    assert!(model.rotated as u64 > steps / 20_000, "{} rotations", model.rotated);
}

/// E1, E2, P2, P5: no order of events breaks a bound of the book or of the outbound places.
#[test]
fn a_million_random_steps_keep_every_bound_of_the_book_and_the_places() {
    run(1_000_000, 7);
}

/// `docs/attacks.md`, "Long runs".
#[test]
#[ignore = "a long run"]
fn ten_million_random_steps_keep_every_bound_of_the_book_and_the_places() {
    (0..10).for_each(|seed| run(1_000_000, seed));
}

#[test]
fn a_free_place_waits_for_a_target_unless_half_of_them_are_free() {
    let now = Instant::ZERO + secs(1000);
    let of = |taken, free, pending: u64| {
        let holder = |n| Holder { id: id(n), addr: addr(far(n)), is_pending: true };
        Situation { places: 16, taken, free, holders: (0..pending).map(holder).collect() }
    };
    let [fresh, late] = [Some(now), Some(Instant::ZERO)];
    for (situation, waits_since, turn, expected) in [
        (of(0, 16, 0), fresh, Turn::Resting, Wish::AtOnce),
        (of(0, 16, 16), fresh, Turn::Resting, Wish::Target),
        (of(0, 16, 32), fresh, Turn::Resting, Wish::Nothing),
        (of(7, 9, 1), late, Turn::Resting, Wish::AtOnce),
        (of(7, 9, 2), fresh, Turn::Resting, Wish::Target),
        (of(8, 8, 0), fresh, Turn::Any, Wish::Target),
        (of(8, 8, 0), late, Turn::Resting, Wish::Any),
        (of(8, 8, 1), late, Turn::Resting, Wish::Nothing),
        (of(16, 0, 0), None, Turn::Resting, Wish::Nothing),
        (of(16, 0, 0), None, Turn::Targets, Wish::Target),
        (of(16, 0, 1), None, Turn::Targets, Wish::Nothing),
        (of(16, 0, 0), None, Turn::Any, Wish::Any),
        (of(16, 0, 0), None, Turn::Over, Wish::Nothing),
        (of(15, 0, 0), None, Turn::Any, Wish::Nothing),
    ] {
        assert_eq!(wish(now, &situation, waits_since, turn), expected, "{situation:?} {turn:?}");
    }
}

/// Waits for the next dial.
fn next_dial(bench: &mut Bench) -> ConnId {
    loop {
        bench.now = bench.now + secs(1);
        if let Some((conn, _)) = bench.dial_next(NO_CANDIDATES) {
            return conn;
        }
    }
}

/// A newcomer takes a place over when it is in session, and not before.
#[test]
fn a_newcomer_takes_a_place_over_once_it_is_in_session() {
    let mut bench = Bench::new(PeerLimits { max_peers: 6, dial_ratio: 2, ..PeerLimits::default() });
    let join = |bench: &mut Bench, n: u64| {
        let (conn, contact) = bench.dial_next([contact(n, far(n))]).unwrap();
        assert_eq!(contact.id(), id(n));
        assert!(bench.join_dialled(conn));
        conn
    };
    let conns = [1, 2, 3].map(|n| join(&mut bench, n));
    bench.now = bench.now + secs(150);
    assert_eq!(bench.dial_next([contact(4, far(4))]), None, "no rotation is due");
    let newcomer = next_dial(&mut bench);
    assert_eq!(displaced(Some(bench.identify(newcomer, id(4)))), Ok(None));
    assert_eq!((bench.peers.counts().outbound, bench.peers.counts().exempt), (3, 1));
    assert_eq!(bench.dial_next([contact(5, far(5))]), None, "one at a time");
    bench.busy.insert(conns[0]);
    bench.establish(newcomer);
    assert_eq!(bench.rotated, [conns[1]], "the oldest without open requests leaves");
    assert_eq!((bench.peers.counts().outbound, bench.peers.counts().exempt), (3, 0));
    assert_eq!(bench.dial_next([contact(6, far(6))]), None, "the next rotation is not due");
}

/// If all have open requests, the newcomer leaves.
#[test]
fn no_peer_with_open_requests_leaves_for_a_newcomer() {
    let mut bench = Bench::new(PeerLimits { max_peers: 2, dial_ratio: 2, ..PeerLimits::default() });
    let (first, _) = bench.dial_next([contact(1, far(1))]).unwrap();
    assert!(bench.join_dialled(first));
    bench.busy.insert(first);
    bench.heard(contact(2, far(2)));
    let newcomer = next_dial(&mut bench);
    bench.join_dialled(newcomer);
    assert_eq!(bench.conns.keys().copied().collect::<Vec<_>>(), [first]);
    bench.now = bench.now + secs(61);
    assert_eq!(bench.peers.outbound().targets().list().iter().filter(|target| target.id == id(1)).count(), 0);
}

/// A peer that was dialled and refused gets no second outbound place of its subnet by calling back.
#[test]
fn a_call_back_passes_no_limit_of_outbound_places() {
    let mut bench = Bench::new(PeerLimits::default());
    let [one, other] = [[8, 8, 8, 1], [8, 8, 8, 2]].map(IpAddr::from);
    let (conn, _) = bench.dial_next([contact(1, one)]).unwrap();
    let _ = bench.end(conn, &end(Side::Them, Stage::Hello, EndReason::Disconnect(DisconnectReason::TooManyPeers)));
    let (conn, _) = bench.dial_next([contact(2, other)]).unwrap();
    assert!(bench.join_dialled(conn));
    assert_eq!(displaced(bench.join(1, one).1), Ok(None));
    assert_eq!((bench.peers.counts().outbound, bench.peers.counts().inbound), (1, 1));
}

/// What an earlier run knew is dialled at once, and keeps its age.
#[test]
fn a_restored_book_is_dialled_at_once() {
    let mut bench = Bench::new(PeerLimits::default());
    for n in 0..30 {
        bench.now = bench.now + secs(60);
        bench.heard(contact(n, far(n)));
    }
    let records: Vec<BookRecord> = bench.peers.book().entries().iter().map(BookRecord::from).collect();
    let mut later = Bench::new(PeerLimits::default());
    later.now = bench.now + secs(86_400);
    let (unix, filter) = (later.unix(), later.filter.clone());
    later.peers.restore_book(later.now, unix, &filter, records.clone());
    assert_eq!(later.peers.book().entries().iter().map(BookRecord::from).collect::<Vec<_>>(), records);
    for n in 100..130 {
        later.heard(contact(n, far(n)));
    }
    let is_elder = |bench: &Bench, id: &NodeId| {
        let outbound = bench.peers.outbound();
        outbound.seniority(&outbound.book().elders(), id).is_elder()
    };
    assert!((0..20).all(|n| is_elder(&later, &id(n))), "the oldest third is of the earlier run");
    let first: BTreeSet<NodeId> = (0..4).map(|_| later.dial_next(NO_CANDIDATES).unwrap().1.id()).collect();
    assert!(first.iter().all(|id| is_elder(&later, id)), "a quarter of the places belongs to it");
    let other = "9.0.0.0/8".parse().unwrap();
    let mut filtered = Bench::new(PeerLimits::default());
    filtered.peers.restore_book(filtered.now, unix, &other, records.clone());
    assert!(filtered.peers.book().entries().is_empty());
    let mut ahead = Bench::new(PeerLimits::default());
    ahead.peers.restore_book(ahead.now, UnixTime::from_secs(5), &filter, records);
    assert!(
        ahead.peers.book().entries().iter().all(|entry| entry.first_seen() == UnixTime::from_secs(5)),
        "no later than now"
    );
}

/// D19: a source that names most of what is dialled gives way to another, and takes what that leaves.
#[test]
fn a_source_has_more_than_a_third_only_while_no_other_has_entries() {
    for (few, least) in [(0, 0), (2, 2), (30, 5)] {
        let mut bench = Bench::new(PeerLimits::default());
        let (unix, filter) = (bench.unix(), bench.filter.clone());
        let record = |n| {
            let source = if n < few { Source::Embedder } else { Source::Discv4 };
            BookRecord { contact: contact(n, far(n)), source, first_seen: unix }
        };
        bench.peers.restore_book(bench.now, unix, &filter, (0..600).map(record).collect());
        let dialled: Vec<NodeId> =
            (0..16).map_while(|_| bench.dial_next(NO_CANDIDATES)).map(|(_, contact)| contact.id()).collect();
        assert_eq!(dialled.len(), 16, "the limit costs no dial");
        let of_few = dialled.iter().filter(|dialled| (0..few).any(|n| id(n) == **dialled)).count();
        assert!((least..=11).contains(&of_few), "{of_few} of {few}");
    }
}

/// While elders lack a place, half of the targets are elders, and a place that rotates goes to an elder first.
#[test]
fn a_place_that_rotates_goes_to_an_elder_while_elders_lack_one() {
    const ELDERS: u64 = 120;
    let mut bench = Bench::new(PeerLimits::default());
    let filter = bench.filter.clone();
    let record =
        |n| BookRecord { contact: contact(n, far(n)), source: Source::Discv4, first_seen: UnixTime::from_secs(n) };
    bench.now = bench.now + secs(1000);
    bench.peers.restore_book(bench.now, bench.unix(), &filter, (0..3 * ELDERS).map(record).collect());
    let full = end(Side::Them, Stage::Hello, EndReason::Disconnect(DisconnectReason::TooManyPeers));
    let is_elder = |contact: &Contact| (0..ELDERS).any(|n| id(n) == contact.id());
    while bench.peers.counts().outbound < 16 {
        let Some((conn, contact)) = bench.dial_next(NO_CANDIDATES) else {
            bench.now = bench.now + secs(1);
            continue;
        };
        if is_elder(&contact) {
            let _ = bench.end(conn, &full);
        } else {
            bench.join_dialled(conn);
        }
    }
    // The one that was due meanwhile is given up.
    while bench.peers.outbound().is_rotation_due(bench.now) {
        if let Some((conn, _)) = bench.dial_next(NO_CANDIDATES) {
            let _ = bench.end(conn, &full);
        }
        bench.now = bench.now + secs(1);
    }
    while !bench.peers.outbound().is_rotation_due(bench.now) {
        assert_eq!(bench.dial_next(NO_CANDIDATES), None, "no rotation is due");
        bench.now = bench.now + secs(1);
    }
    let due = bench.now;
    let [mut to_targets, mut to_any] = [Vec::new(), Vec::new()];
    while bench.now < due + (2 * ROTATION_WAIT - secs(2)) {
        if let Some((conn, contact)) = bench.dial_next(NO_CANDIDATES) {
            let _ = bench.end(conn, &full);
            let dials = if bench.now < due + (ROTATION_WAIT - secs(2)) { &mut to_targets } else { &mut to_any };
            dials.push(is_elder(&contact));
            let targets = bench.peers.outbound().targets().list();
            let elders = targets.iter().filter(|target| (0..ELDERS).any(|n| id(n) == target.id)).count();
            assert!(targets.is_empty() || 2 * elders >= targets.len(), "{elders} of {}", targets.len());
        }
        bench.now = bench.now + secs(1);
    }
    assert!(to_targets.len() >= 8 && to_targets.iter().all(|is_elder| *is_elder), "{to_targets:?}");
    assert!(to_any.iter().any(|is_elder| !is_elder), "then any may: {to_any:?}");
}
