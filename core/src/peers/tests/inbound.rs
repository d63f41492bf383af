//! Attacks on the inbound places, in virtual time and without bytes (C8, E7, P1, P10). Each prints what it measured.

use std::println;

use super::*;
use crate::contract::ConnId;

/// The time in which a caller tries to get in.
const PATIENCE: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);

/// A node that calls, and calls again.
#[derive(Clone, Copy)]
struct Caller {
    ip: IpAddr,
    is_hostile: bool,
    first_call: Instant,
    next_call: Option<Instant>,
    joined: Option<(ConnId, Instant)>,
}

/// One attack, or none.
#[derive(Clone)]
struct Attack {
    name: &'static str,
    /// The hostile addresses. Each calls again half a minute after it was displaced or refused, answers pings in a millisecond
    /// and requests without fault.
    hostile: Vec<IpAddr>,
    /// After how long a hostile connection leaves by itself and comes back, to look young.
    reconnects: Option<Duration>,
    /// Time between two new honest callers, each from its own /24.
    honest_every: Duration,
    /// After how long an honest peer leaves by itself, on average.
    honest_stays: Option<Duration>,
}

/// What an attack achieved.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    let_in_percent: usize,
    median_stay: Duration,
    honest: f64,
    hostile_max: usize,
    evictions_with_room: u32,
}

struct World {
    bench: Bench,
    dice: Rng,
    attack: Attack,
    /// The hostile ones first.
    callers: Vec<Caller>,
    /// Honest callers that are to call or to leave.
    active: Vec<usize>,
    by_conn: BTreeMap<ConnId, usize>,
    /// The honest callers that were displaced: how long each has stayed.
    stays: Vec<Duration>,
    evictions_with_room: u32,
}

impl World {
    fn new(attack: &Attack, seed: u8) -> Self {
        let mut bench = Bench::new(PeerLimits::default());
        let mut dice = Seed::new([seed; 32]).fork("inbound");
        let trusted = contact(7, trusted_ip());
        bench.peers.add_peer(bench.now, &bench.filter, trusted, PeerKind::Trusted).unwrap();
        let hostile = attack.hostile.iter().map(|ip| {
            let first_call = bench.now + dice.duration(secs(0), secs(60));
            Caller { ip: *ip, is_hostile: true, first_call, next_call: Some(first_call), joined: None }
        });
        let callers = hostile.collect();
        let (by_conn, stays, active) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { bench, dice, attack: attack.clone(), callers, active, by_conn, stays, evictions_with_room: 0 }
    }

    /// Lets a caller try to get in. A hostile one shows a fresh key each time.
    fn call(&mut self, index: usize) {
        let (now, caller) = (self.bench.now, self.callers[index]);
        let key = if caller.is_hostile { self.dice.u64() | 1 << 63 } else { 1000 + index as u64 };
        let has_room = self.bench.peers.counts().inbound < 34;
        let (conn, admission) = self.bench.join(key, caller.ip);
        let admission = conn.ok().zip(admission);
        if let Some((conn, Admission::Admitted { displaced, .. })) = admission {
            if let Some((other, _)) = displaced {
                self.evictions_with_room += u32::from(has_room);
                self.left(other, true);
            }
            let latency = if caller.is_hostile { 1 } else { 20 + self.dice.below(200) };
            let answers = if caller.is_hostile { 1_000_000 } else { self.dice.below(1000) as u32 };
            let view = View { latency: Some(Duration::from_millis(latency)), answers, ..self.bench.conns[&conn] };
            self.bench.set(conn, Some(view));
            self.by_conn.insert(conn, index);
            let stays = if caller.is_hostile { self.attack.reconnects } else { self.attack.honest_stays };
            let stays = stays.map(|mean| self.dice.duration(mean / 2, mean + mean / 2));
            let caller = &mut self.callers[index];
            caller.joined = Some((conn, now));
            caller.next_call = stays.map(|stays| now + stays);
        } else {
            let pause = if caller.is_hostile { secs(31) } else { self.dice.duration(secs(35), secs(70)) };
            let next = now + pause;
            let gives_up = !caller.is_hostile && next > caller.first_call + PATIENCE;
            self.callers[index].next_call = (!gives_up).then_some(next);
        }
    }

    /// A caller's connection is gone.
    fn left(&mut self, conn: ConnId, was_displaced: bool) {
        let Some(index) = self.by_conn.remove(&conn) else { return };
        let caller = &mut self.callers[index];
        let Some((_, since)) = caller.joined else { return };
        if caller.is_hostile {
            caller.joined = None;
            caller.next_call = Some(self.bench.now + secs(31));
        } else {
            caller.next_call = None;
            if was_displaced {
                self.stays.push(self.bench.now.since(since));
            }
        }
    }

    fn tick(&mut self) {
        self.bench.now = self.bench.now + secs(1);
        let active = core::mem::take(&mut self.active);
        for index in (0..self.attack.hostile.len()).chain(active.iter().copied()) {
            let Caller { next_call, joined, is_hostile, .. } = self.callers[index];
            if next_call.is_none_or(|at| at > self.bench.now) {
                continue;
            }
            match joined {
                Some((conn, _)) => {
                    let _ = self.bench.end(conn, &BYE);
                    self.left(conn, false);
                    self.callers[index].next_call = is_hostile.then_some(self.bench.now + secs(31));
                }
                None => self.call(index),
            }
        }
        self.active = active;
        self.active.retain(|index| self.callers[*index].next_call.is_some());
    }

    fn hostile_in_place(&self) -> usize {
        self.by_conn.values().filter(|index| self.callers[**index].is_hostile).count()
    }

    /// Calls from a trusted peer's address: it is let in.
    fn call_from_trusted(&mut self) {
        let (conn, admission) = self.bench.join(7, trusted_ip());
        assert_eq!(displaced(admission), Ok(None), "{}: the trusted peer", self.attack.name);
        let _ = self.bench.end(conn.unwrap(), &BYE);
    }

    /// Runs for some hours, of which the first is not measured.
    fn run(mut self, hours: u64) -> Outcome {
        let (mut honest, mut samples, mut hostile_max) = (0, 0, 0);
        let honest_every = self.attack.honest_every.as_secs();
        for second in 1..=hours * 3600 {
            if second % honest_every == 0 {
                // A /24 of its own, in one of many /16s.
                let n = 0x10_0000 + self.dice.below(1 << 18) * 256;
                let first_call = self.bench.now;
                let next_call = Some(first_call);
                self.active.push(self.callers.len());
                self.callers.push(Caller { ip: ip(n), is_hostile: false, first_call, next_call, joined: None });
            }
            self.tick();
            if second % 60 == 0 && second > 3600 {
                let hostile = self.hostile_in_place();
                honest += self.by_conn.len() - hostile;
                hostile_max = hostile_max.max(hostile);
                samples += 1;
            }
            if second % 1800 == 0 {
                self.call_from_trusted();
            }
        }
        let (from, to) = (Instant::ZERO + HOUR, Instant::ZERO + HOUR * hours as u32);
        let is_measured =
            |caller: &&Caller| !caller.is_hostile && caller.first_call > from && caller.first_call + PATIENCE < to;
        let measured: Vec<_> = self.callers.iter().filter(is_measured).collect();
        let let_in = measured.iter().filter(|caller| caller.joined.is_some()).count();
        self.stays.sort_unstable();
        Outcome {
            let_in_percent: let_in * 100 / measured.len(),
            median_stay: self.stays.get(self.stays.len() / 2).copied().unwrap_or(Duration::MAX),
            honest: f64::from(honest as u32) / f64::from(samples),
            hostile_max,
            evictions_with_room: self.evictions_with_room,
        }
    }
}

fn trusted_ip() -> IpAddr {
    [91, 7, 7, 7].into()
}

/// Two addresses of each of `count` /24s in distinct /16s.
fn hostile_subnets(count: u8) -> Vec<IpAddr> {
    (0..count).flat_map(|n| [1, 2].map(|host| IpAddr::from([80, n, 9, host]))).collect()
}

fn measure(attack: &Attack, hours: u64) -> Vec<Outcome> {
    let outcomes: Vec<Outcome> = (1..=2).map(|seed| World::new(attack, seed).run(hours)).collect();
    for Outcome { let_in_percent, median_stay, honest, hostile_max, .. } in &outcomes {
        let stay = match *median_stay {
            Duration::MAX => "none displaced".into(),
            stay => std::format!("median stay {:.1} min", stay.as_secs_f64() / 60.0),
        };
        let name = attack.name;
        println!(
            "{name}: let in {let_in_percent} %, {stay}, honest in place {honest:.1}, hostile at most {hostile_max}"
        );
    }
    outcomes
}

const QUIET: Attack = Attack {
    name: "no attack, a caller every 30 s",
    hostile: Vec::new(),
    reconnects: None,
    honest_every: Duration::from_secs(30),
    honest_stays: None,
};

/// E7, P1, P10: 34 hostile /24s, each of which comes back as soon as it may, leave honest callers their places.
#[test]
fn hostile_subnets_do_not_keep_the_inbound_places() {
    for reconnects in [None, Some(secs(3000))] {
        let name =
            if reconnects.is_some() { "34 hostile /24s, back every 50 min" } else { "34 hostile /24s that stay" };
        let attack = Attack { name, hostile: hostile_subnets(34), reconnects, ..QUIET };
        for outcome in measure(&attack, 12) {
            assert!(outcome.let_in_percent >= 60, "{outcome:?}");
            assert!(outcome.median_stay >= secs(1200), "{outcome:?}");
            assert!(outcome.honest >= 17.0, "{outcome:?}");
        }
    }
    let slow = Attack { name: "34 hostile /24s, a caller every 180 s", honest_every: secs(180), ..QUIET };
    for outcome in measure(&Attack { hostile: hostile_subnets(34), ..slow.clone() }, 8) {
        assert!(outcome.let_in_percent >= 95 && outcome.honest >= 17.0, "{outcome:?}");
    }
    let many = Attack { name: "100 hostile /24s, a caller every 60 s", honest_every: secs(60), ..QUIET };
    for outcome in measure(&Attack { hostile: hostile_subnets(100), ..many.clone() }, 8) {
        assert!(outcome.let_in_percent >= 60 && outcome.honest >= 17.0, "{outcome:?}");
    }
}

/// P1: one IPv6 /48 holds at most eight of 34 places, from however many of its /56s.
#[test]
fn one_ipv6_prefix_holds_at_most_eight_places() {
    let hostile =
        (0..34).flat_map(|n| [1, 2].map(|host| IpAddr::from([0x2a00, 1, 2, n << 8, 0, 0, 0, host]))).collect();
    let attack = Attack { name: "68 hosts in 34 /56s of one /48", hostile, ..QUIET };
    for outcome in measure(&attack, 8) {
        assert!(outcome.hostile_max <= 8, "{outcome:?}");
        assert!(outcome.let_in_percent >= 60 && outcome.honest >= 26.0, "{outcome:?}");
    }
}

/// Without an attack, callers are let in as places allow; where places are free, none is ever taken from a peer.
#[test]
fn without_an_attack_free_places_are_used_and_none_is_evicted() {
    for outcome in measure(&QUIET, 8) {
        assert!(outcome.let_in_percent >= 60 && outcome.median_stay >= secs(1200), "{outcome:?}");
    }
    let roomy = Attack { name: "no attack, places are free", honest_stays: Some(secs(600)), ..QUIET };
    for outcome in measure(&roomy, 8) {
        assert_eq!(outcome.let_in_percent, 100, "{outcome:?}");
        assert_eq!((outcome.median_stay, outcome.evictions_with_room), (Duration::MAX, 0), "none is displaced");
    }
}

/// Lets silent connections flood the pending places, and counts the honest handshakes that complete.
fn honest_handshakes_percent(subnets: u64, per_second: u64) -> usize {
    let mut bench = Bench::new(PeerLimits::default());
    let mut dice = Seed::new([5; 32]).fork("silent");
    let (mut silent, mut honest) = (Vec::new(), Vec::new());
    let (mut calls, mut let_in) = (0, 0);
    let step = 1_000_000 / per_second;
    for n in 0..per_second * 120 {
        bench.now = bench.now + Duration::from_micros(step);
        let from =
            IpAddr::from([100 + (n % subnets / 250) as u8, 200, (n % subnets % 250) as u8, dice.below(256) as u8]);
        if let Ok(conn) = bench.accept(from) {
            silent.push((bench.now + HANDSHAKE_TIMEOUT, conn));
        }
        if n.is_multiple_of(per_second / 2) {
            calls += 1;
            let takes = dice.duration(Duration::from_millis(150), Duration::from_millis(900));
            if let Ok(conn) = bench.accept(ip(0x10_0000 + calls as u64 * 256)) {
                honest.push((bench.now + takes, conn));
            }
        }
        honest.retain(|(done, conn)| {
            if *done > bench.now {
                return true;
            }
            if bench.conns.contains_key(conn) {
                let_in += 1;
                let _ = bench.end(*conn, &BYE);
            }
            false
        });
        let timeout = end(Side::Us, Stage::Handshake, EndReason::Timeout(ConnTimer::Handshake));
        silent.retain(|(until, conn)| {
            if *until <= bench.now && bench.conns.contains_key(conn) {
                let _ = bench.end(*conn, &timeout);
            }
            *until > bench.now
        });
        assert!(bench.conns.len() <= PENDING_MAX);
    }
    let percent = let_in * 100 / calls;
    println!("{subnets} silent subnets, {per_second} connections/s: {percent} % of honest handshakes complete");
    percent
}

/// C8: silent connections from 26 subnets at a hundred a second do not keep honest callers out.
#[test]
fn silent_connections_do_not_keep_honest_callers_out() {
    assert!(honest_handshakes_percent(26, 100) >= 95);
    assert!(honest_handshakes_percent(13, 100) >= 95);
    assert!(honest_handshakes_percent(26, 1000) >= 95);
    assert!(honest_handshakes_percent(400, 100) >= 95);
}
