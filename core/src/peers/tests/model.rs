//! Long random runs over slots, pending places and bans against a naive model.

use super::*;
use crate::netfilter::Subnet;

/// Peers and addresses.
const PEERS: u64 = 200;
const ADDRESSES: u64 = 40;
const CONFIG: fn() -> PeerLimits =
    || PeerLimits { max_peers: 6, dial_ratio: 4, max_pending: 6, ..PeerLimits::default() };

/// What the model knows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Pending,
    Admitted,
    Established,
}

/// An address by number: every eighth is local, some share a subnet, some a larger range, some are IPv6.
fn address(n: u64) -> IpAddr {
    match n % 8 {
        0 => [127, 0, 0, 1].into(),
        1 => [0x2a00, 1, 2, (n / 8 % 3) as u16 * 0x100, 0, 0, 0, 1 + n as u16 % 2].into(),
        _ => ip(n % 12 * 256 + n),
    }
}

/// The host that bans and throttles count, as the specification defines it.
fn host_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
    }
}

struct Model {
    bench: Bench,
    dice: Rng,
    states: BTreeMap<ConnId, State>,
    /// Since when a host cannot be accepted again.
    throttled: BTreeMap<IpAddr, Instant>,
    /// The serious faults of each host, and the last.
    faults: BTreeMap<IpAddr, (u32, Instant)>,
    /// Until when a host is banned for its faults.
    banned_hosts: BTreeMap<IpAddr, Instant>,
    /// For how long connections from each host have held inbound places, ever.
    held: BTreeMap<IpAddr, Duration>,
    reached: BTreeMap<&'static str, u32>,
}

impl Model {
    fn new() -> Self {
        let mut bench = Bench::new(CONFIG());
        for trusted in 0..3 {
            let contact = contact(trusted, address(trusted));
            bench.peers.add_peer(bench.now, &bench.filter, contact, PeerKind::Trusted).unwrap();
        }
        Self {
            bench,
            dice: Seed::new([3; 32]).fork("model"),
            states: BTreeMap::new(),
            throttled: BTreeMap::new(),
            faults: BTreeMap::new(),
            banned_hosts: BTreeMap::new(),
            held: BTreeMap::new(),
            reached: BTreeMap::new(),
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    fn is_named(ip: IpAddr) -> bool {
        (0..3).any(|n| host_of(address(n)) == host_of(ip))
    }

    fn step(&mut self) {
        self.bench.now = self.bench.now + Duration::from_micros(self.dice.below(20_000_000));
        let any = self.states.keys().nth(self.dice.below(self.states.len() as u64) as usize).copied();
        match self.dice.below(16) {
            0..=4 => self.accept(),
            5 => {
                let candidates: Vec<_> =
                    (0..8).map(|_| self.dice.below(ADDRESSES)).map(|n| contact(n, address(n))).collect();
                if let Some((conn, _)) = self.bench.dial_next(candidates) {
                    self.states.insert(conn, State::Pending);
                }
            }
            6 => {
                let n = self.dice.below(ADDRESSES);
                if let Ok(conn) = self.bench.dial(&contact(n, address(n))) {
                    self.states.insert(conn, State::Pending);
                }
            }
            7..=10 => any.into_iter().for_each(|conn| self.identify(conn)),
            11 => {
                let Some(conn) = any else { return };
                self.bench.establish(conn);
                // A peer that takes an outbound place over displaces another, or leaves itself.
                let Self { bench, states, .. } = self;
                states.retain(|conn, _| bench.conns.contains_key(conn));
                if let Some(state) = states.get_mut(&conn).filter(|state| **state == State::Admitted) {
                    *state = State::Established;
                }
            }
            12 => any.into_iter().for_each(|conn| self.charge(conn)),
            13 if self.dice.below(8) == 0 => self.embedder(),
            13 => {}
            _ => any.into_iter().for_each(|conn| self.end_some(conn)),
        }
    }

    /// Accepts from some address, and compares with what the rules say.
    fn accept(&mut self) {
        let ip = address(self.dice.below(ADDRESSES));
        let (now, is_named, is_local) = (self.bench.now, Self::is_named(ip), scope(ip).is_local());
        let is_throttled = self.throttled.get(&host_of(ip)).is_some_and(|until| *until > now);
        let expected = match () {
            () if self.bench.peers.bans().addr_until(now, ip).is_some() => Err(Refusal::Banned),
            () if !is_named && !is_local && is_throttled => Err(Refusal::Throttled),
            () => Ok(self.expected_room(ip, is_named, is_local)),
        };
        let accepted = self.bench.accept_displacing(ip);
        assert_eq!(accepted.map(|(_, displaced)| displaced), expected, "from {ip}");
        let Ok((conn, displaced)) = accepted else { return self.note("not accepted") };
        self.states.insert(conn, State::Pending);
        if let Some((other, _)) = displaced {
            assert_eq!(self.states.remove(&other), Some(State::Pending));
            self.note("pending displaced");
        }
        if !is_named && !is_local {
            self.throttled.insert(host_of(ip), now + INBOUND_THROTTLE);
        }
    }

    /// The pending connection that has to go, found by comparing all groups.
    fn expected_room(&self, ip: IpAddr, is_named: bool, is_local: bool) -> Option<(ConnId, Refusal)> {
        let is_rival = |view: &&View| view.place.is_none() && view.origin == Origin::Accepted { named: is_named };
        let rivals: Vec<&View> = self.bench.conns.values().filter(is_rival).collect();
        let group = |of: IpAddr| match () {
            () if is_named => (host_of(of), None),
            () => (IpAddr::from([0; 4]), Some(Subnet::of(of))),
        };
        let members = |of: &View| -> Vec<ConnId> {
            let is_alone = scope(of.addr.ip()).is_local();
            let is_same = |other: &&&View| match is_alone {
                true => other.conn == of.conn,
                false => !scope(other.addr.ip()).is_local() && group(other.addr.ip()) == group(of.addr.ip()),
            };
            rivals.iter().filter(is_same).map(|view| view.conn).collect()
        };
        let own = rivals.iter().find(|view| !is_local && group(view.addr.ip()) == group(ip));
        let own = own.filter(|view| !scope(view.addr.ip()).is_local()).map(|view| members(view)).unwrap_or_default();
        let (own_max, max) =
            if is_named { (PENDING_NAMED_MAX, PENDING_NAMED_MAX) } else { (PENDING_PER_SUBNET, CONFIG().max_pending) };
        if own.len() >= own_max {
            return Some((own[0], Refusal::TooManyFromSubnet));
        }
        if rivals.len() < max {
            return None;
        }
        let largest =
            rivals.iter().map(|view| members(view)).max_by_key(|group| (group.len(), core::cmp::Reverse(group[0])));
        Some((largest?[0], Refusal::TooManyPending))
    }

    fn identify(&mut self, conn: ConnId) {
        if self.states[&conn] != State::Pending {
            return;
        }
        let peer = self.bench.conns[&conn].id.unwrap_or(id(self.dice.below(PEERS)));
        let was_banned = self.bench.peers.is_banned(self.bench.now, &peer);
        match self.bench.identify(conn, peer) {
            Admission::Refused(_) => {
                let refused = end(Side::Us, Stage::Hello, EndReason::Refused(Refusal::TooManyPeers));
                self.end(conn, &refused);
            }
            Admission::Admitted { displaced, .. } => {
                assert!(!was_banned, "a banned peer was admitted");
                self.states.insert(conn, State::Admitted);
                let Some((other, refusal)) = displaced else { return };
                let gone = self.bench.conns[&other];
                let is_twin = gone.id == Some(peer);
                assert_eq!(is_twin, refusal == Refusal::AlreadyConnected);
                self.note(if is_twin { "replaced" } else { "evicted" });
                if !is_twin {
                    let place = gone.place.unwrap();
                    assert!(place.is_ordinary_inbound());
                    let score = self.bench.peers.ledgers().score(self.bench.now, &gone.id.unwrap());
                    let past: Duration = self.held_around(gone.addr.ip());
                    let is_due = score <= eviction::EVICTION_SCORE || past > INBOUND_TENURE;
                    assert!(is_due, "a peer of a subnet that has held places for {past:?} was evicted");
                }
                self.end(other, &end(Side::Us, Stage::Established, EndReason::Refused(refusal)));
            }
        }
    }

    /// For how long the subnet of an address has held places, ever.
    fn held_around(&self, ip: IpAddr) -> Duration {
        let is_near = |other: &IpAddr| Subnet::of(*other) == Subnet::of(ip);
        let past: Duration = self.held.iter().filter(|(ip, _)| is_near(ip)).map(|(_, held)| *held).sum();
        let present = self.bench.placed().filter(|(view, _)| is_near(&view.addr.ip()));
        past + present.map(|(_, place)| self.bench.now.since(place.since)).sum::<Duration>()
    }

    fn charge(&mut self, conn: ConnId) {
        let reasons = [ScoreReason::Unanswered, ScoreReason::Served, ScoreReason::Fault(Fault::UnsolicitedResponse)];
        let reason = reasons[self.dice.below(3) as usize];
        if matches!(reason, ScoreReason::Fault(_)) && self.states[&conn] != State::Pending {
            self.expect_offence(conn);
        }
        let Some(charge) = self.bench.charge(conn, reason) else { return };
        assert!(self.states[&conn] != State::Pending, "charged without proof");
        self.carry_out(&charge);
    }

    /// A connection's peer commits a serious fault that is proven.
    fn expect_offence(&mut self, conn: ConnId) {
        let (now, view) = (self.bench.now, self.bench.conns[&conn]);
        let is_trusted = view.id.is_some_and(|peer| (0..3).any(|n| id(n) == peer));
        if is_trusted || scope(view.addr.ip()).is_local() {
            return;
        }
        let host = host_of(view.addr.ip());
        let (count, last) = self.faults.get(&host).copied().unwrap_or((0, now));
        let count = if now.since(last) < HOST_FAULTS_LIFETIME { count + 1 } else { 1 };
        if count < HOST_FAULTS_MAX {
            self.faults.insert(host, (count, now));
        } else {
            self.faults.remove(&host);
            let until = self.banned_hosts.entry(host).or_insert(now);
            *until = (*until).max(now + HOST_BAN);
            self.note("host banned");
        }
    }

    fn embedder(&mut self) {
        let (now, n) = (self.bench.now, self.dice.below(ADDRESSES));
        let target = if n % 2 == 0 { BanTarget::Id(id(n)) } else { BanTarget::Address(address(n)) };
        if self.dice.below(2) == 0 {
            let was = self.bench.peers.unban(now, target);
            assert!(!self.bench.peers.unban(now, target));
            if let BanTarget::Address(ip) = target {
                self.banned_hosts.remove(&host_of(ip));
            }
            return if was {
                self.note("unbanned")
            };
        }
        self.bench.peers.ban(now, target, secs(600));
        let is_meant = |view: &View| match target {
            BanTarget::Id(id) => view.admitted_id() == Some(id),
            BanTarget::Address(_) => self.bench.peers.is_refused(now, &self.bench.filter, view.addr).is_some(),
        };
        if let BanTarget::Address(ip) = target {
            let until = self.banned_hosts.entry(host_of(ip)).or_insert(now);
            *until = (*until).max(now + secs(600));
        }
        let meant: Vec<ConnId> =
            self.bench.conns.values().filter(|view| is_meant(view)).map(|view| view.conn).collect();
        for conn in meant {
            self.end(conn, &end(Side::Us, Stage::Established, EndReason::Refused(Refusal::Banned)));
        }
    }

    fn end_some(&mut self, conn: ConnId) {
        let is_established = self.states[&conn] == State::Established;
        // Sessions last longer than other connections.
        if is_established && self.dice.below(8) != 0 {
            return;
        }
        let reasons = [
            EndReason::Disconnect(DisconnectReason::TooManyPeers),
            EndReason::Fault(Fault::ForbiddenMessage),
            EndReason::Fault(Fault::Useless),
            EndReason::Fault(Fault::FrameMac),
            EndReason::Status(StatusRefusal::Genesis),
            EndReason::Timeout(ConnTimer::Idle),
            EndReason::Io(IoFault::Reset),
            EndReason::Eof,
        ];
        let stage = if is_established { Stage::Established } else { Stage::Handshake };
        let why = reasons[self.dice.below(8) as usize];
        if why == EndReason::Fault(Fault::ForbiddenMessage) && self.states[&conn] != State::Pending {
            self.expect_offence(conn);
        }
        self.end(conn, &end(Side::Us, stage, why));
    }

    fn end(&mut self, conn: ConnId, end: &End) {
        self.states.remove(&conn);
        let view = self.bench.conns[&conn];
        if let Some(place) = view.place {
            *self.held.entry(view.addr.ip()).or_default() += self.bench.now.since(place.since);
        }
        if let Some(charge) = self.bench.end(conn, end) {
            assert!(view.place.is_some(), "charged without proof");
            assert!(matches!(end.why, EndReason::Fault(_) | EndReason::Status(_)), "charged for {end}");
            self.carry_out(&charge);
        }
    }

    /// Acts on a charge: ends every connection with a banned peer. The ban is in the list already.
    fn carry_out(&mut self, charge: &Charge) {
        assert_eq!(charge.score <= score::BAN_SCORE, charge.ban.is_some(), "the list is not full");
        if charge.ban.is_none() {
            return;
        }
        self.note("banned");
        assert!(self.bench.peers.is_banned(self.bench.now, &charge.id));
        let is_placed = |conn: &ConnId| self.states[conn] != State::Pending;
        let theirs: Vec<ConnId> = self.bench.peers.conns(&charge.id).filter(is_placed).collect();
        theirs.into_iter().for_each(|conn| self.end(conn, &BYE));
    }

    fn check_counts(&self) {
        let (bench, config, counts) = (&self.bench, CONFIG(), self.bench.peers.counts());
        let pending = |wanted| {
            let is_it =
                |(conn, state): (&ConnId, &State)| *state == State::Pending && bench.conns[conn].direction() == wanted;
            self.states.iter().filter(|entry| is_it(*entry)).count()
        };
        let placed = self.states.values().filter(|state| **state != State::Pending).count();
        let established = self.states.values().filter(|state| **state == State::Established).count();
        assert_eq!(counts.pending_inbound, pending(Direction::Inbound));
        assert_eq!(counts.pending_outbound, pending(Direction::Outbound));
        assert_eq!(counts.limited() + counts.exempt, placed);
        assert_eq!(counts.established, established);
        assert_eq!(counts.total(), self.states.len());
        assert!(counts.pending_inbound <= config.max_pending + PENDING_NAMED_MAX, "{counts:?}");
        assert!(counts.pending_outbound <= config.max_pending, "{counts:?}");
        assert!(counts.limited() <= config.max_peers && counts.inbound <= config.max_inbound(), "{counts:?}");
    }

    fn check_peers(&self) {
        let bench = &self.bench;
        let placed: Vec<_> = bench.placed().collect();
        let ids: BTreeSet<_> = placed.iter().filter_map(|(view, _)| view.id).collect();
        assert_eq!(ids.len(), placed.len(), "one place for each peer");
        assert!(!ids.iter().any(|id| bench.peers.is_banned(bench.now, id)), "no place for a banned one");
        for n in 0..ADDRESSES {
            let host = host_of(address(n));
            let (count, last) = self.faults.get(&host).copied().unwrap_or((0, bench.now));
            let count = if bench.now.since(last) < HOST_FAULTS_LIFETIME { count } else { 0 };
            assert_eq!(bench.peers.offences().count(bench.now, address(n)), count, "faults of {host}");
            let until = self.banned_hosts.get(&host).copied().filter(|until| *until > bench.now);
            assert_eq!(bench.peers.bans().addr_until(bench.now, address(n)), until, "ban of {host}");
        }
        let mut subnets: BTreeMap<Subnet, usize> = BTreeMap::new();
        for (view, _) in placed.iter().filter(|(_, place)| place.is_ordinary_inbound()) {
            // A connection that took a dialled twin's place passed the limit of subnets, as the dial that it replaces would.
            if !scope(view.addr.ip()).is_local() && view.direction() == Direction::Inbound {
                *subnets.entry(Subnet::of(view.addr.ip())).or_default() += 1;
            }
        }
        assert!(subnets.values().all(|n| *n <= INBOUND_PER_SUBNET_ROOMY), "{subnets:?}");
    }
}

/// Random steps never break a bound, and counts, pending places, faults and bans equal those of a naive model (C9, P2).
fn run(steps: u32) {
    let mut model = Model::new();
    for step in 0..steps {
        model.step();
        model.check_counts();
        if step % 8 == 0 {
            model.check_peers();
        }
    }
    std::println!("{steps} steps: {:?}", model.reached);
    for what in ["not accepted", "pending displaced", "replaced", "evicted", "banned", "host banned", "unbanned"] {
        assert!(model.reached.get(what).is_some_and(|count| *count > steps / 100_000), "{what}: {:?}", model.reached);
    }

    // No refusal is permanent: when all have left and time has passed, every peer is admitted again.
    let left: Vec<ConnId> = model.states.keys().copied().collect();
    left.into_iter().for_each(|conn| model.end(conn, &BYE));
    let mut bench = model.bench;
    assert_eq!(bench.peers.counts(), Counts::default());
    bench.now = bench.now + secs(2 * 86_400);
    for n in 0..CONFIG().max_inbound() as u64 {
        assert_eq!(displaced(bench.join(10 + n, ip(n * 65536)).1), Ok(None), "peer {n}");
    }
}

#[test]
fn a_million_random_steps_keep_every_limit_and_equal_a_model() {
    run(1_000_000);
}

/// `docs/attacks.md`, "Long runs".
#[test]
#[ignore = "a long run"]
fn ten_million_random_steps_keep_every_limit_and_equal_a_model() {
    run(10_000_000);
}
