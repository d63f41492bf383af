//! Shards in parallel, each in its own thread. No shard waits for a common step: it runs ahead as far as nothing that the
//! others can still send may reach it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use peerless::time::{Duration, Instant};

use peerless::contract::Machine;

use super::machine::Watch;
use super::shard::{Mail, Shard};
use super::shared::Shared;
use super::trace::Fingerprint;

/// How many times a shard publishes its progress within one lookahead.
const STEPS: u32 = 4;

/// Delivers everything before `end` in all shards. A delivery from one shard to another takes at least `lookahead`.
pub(super) fn run_all<M: Machine<Language: Fingerprint> + Send, W: Watch<M>>(
    shards: &mut [Shard<M, W>],
    shared: &Shared<M>,
    lookahead: Duration,
    end: Instant,
) {
    if let [shard] = shards {
        shard.run_before(shared, end);
        return;
    }
    let start = shards.iter_mut().filter_map(Shard::next).min().unwrap_or(end);
    let fronts = &Fronts::new(shards.len(), start.min(end));
    std::thread::scope(|scope| {
        for shard in shards.iter_mut() {
            scope.spawn(move || {
                let _guard = Guard(fronts);
                drive(shard, shared, lookahead, end, fronts);
            });
        }
    });
    for shard in shards {
        fronts.collect(shard);
    }
}

/// Drives one shard in its thread.
fn drive<M: Machine<Language: Fingerprint> + Send, W: Watch<M>>(
    shard: &mut Shard<M, W>,
    shared: &Shared<M>,
    lookahead: Duration,
    end: Instant,
    fronts: &Fronts,
) {
    let step = (lookahead / STEPS).max(Duration::from_micros(1));
    let mut wait = Wait::default();
    loop {
        let end = end.min(fronts.end());
        let reached = fronts.reached(shard.number());
        if reached >= end {
            return;
        }
        let horizon = (fronts.others(shard.number()) + lookahead).min(end);
        if horizon <= reached {
            wait.backoff(fronts);
            continue;
        }
        wait = Wait::default();
        fronts.collect(shard);
        let next = shard.next().map_or(horizon, |next| next.max(reached));
        shard.run_before(shared, (next + step).min(horizon));
        fronts.post(shard);
        match shard.halted {
            Some((key, _)) => fronts.halt(shard.number(), key.at),
            None => fronts.reach(shard.number(), shard.next().map_or(horizon, |next| next.min(horizon))),
        }
    }
}

/// The progress of all shards, and the mail between them.
struct Fronts {
    shards: Vec<Front>,
    /// An invariant was violated before this time: no shard runs beyond it, but each runs up to it, because an earlier
    /// violation counts.
    end: AtomicU64,
    /// Whether a thread has panicked: the others must not wait for it.
    is_off: AtomicBool,
}

/// The progress of one shard, on cache lines of its own because all other shards read it often.
#[repr(align(128))]
struct Front {
    /// The time in microseconds before which the shard delivers nothing more, and has posted all its mail.
    reached: AtomicU64,
    /// The mail for it, by sender.
    inbox: Vec<Mutex<Mail>>,
}

impl Fronts {
    fn new(shards: usize, start: Instant) -> Self {
        let front = || Front {
            reached: AtomicU64::new(start.as_micros()),
            inbox: (0..shards).map(|_| Mutex::default()).collect(),
        };
        Self {
            shards: (0..shards).map(|_| front()).collect(),
            end: AtomicU64::new(u64::MAX),
            is_off: AtomicBool::new(false),
        }
    }

    fn end(&self) -> Instant {
        Instant::from_micros(self.end.load(Ordering::Acquire))
    }

    fn reached(&self, shard: usize) -> Instant {
        Instant::from_micros(self.shards[shard].reached.load(Ordering::Acquire))
    }

    /// The least progress of all others.
    fn others(&self, shard: usize) -> Instant {
        let others = (0..self.shards.len()).filter(|other| *other != shard);
        others.map(|other| self.reached(other)).min().unwrap_or(Instant::from_micros(u64::MAX))
    }

    fn reach(&self, shard: usize, reached: Instant) {
        self.shards[shard].reached.store(reached.as_micros(), Ordering::Release);
    }

    /// Stops a shard at a violation.
    fn halt(&self, shard: usize, at: Instant) {
        self.end.fetch_min(at.as_micros() + 1, Ordering::AcqRel);
        self.reach(shard, Instant::from_micros(u64::MAX));
    }

    /// Posts a shard's mail for the others.
    fn post<M, W>(&self, shard: &mut Shard<M, W>) {
        let from = shard.number();
        for (to, mail) in self.shards.iter().zip(&mut shard.outlet.mail).filter(|(_, mail)| !mail.is_empty()) {
            to.inbox[from].lock().unwrap_or_else(PoisonError::into_inner).append(mail);
        }
    }

    /// Gives a shard its mail.
    fn collect<M, W>(&self, shard: &mut Shard<M, W>) {
        for inbox in &self.shards[shard.number()].inbox {
            for (key, parcel) in inbox.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                shard.outlet.wheel.push(key, parcel);
            }
        }
    }
}

/// Waits for another shard. Spins first, because that shard is mostly microseconds behind.
#[derive(Default)]
struct Wait(u32);

impl Wait {
    fn backoff(&mut self, fronts: &Fronts) {
        assert!(!fronts.is_off.load(Ordering::Relaxed), "another thread of this world has panicked");
        self.0 += 1;
        match self.0 {
            0..2000 => std::hint::spin_loop(),
            2000..2100 => std::thread::yield_now(),
            // Another process has the processor: leave it to the other thread.
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

struct Guard<'a>(&'a Fronts);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.is_off.store(true, Ordering::Relaxed);
        }
    }
}
