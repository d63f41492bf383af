//! When a protocol looks up nodes and checks them: the settings, and the time of the next round of lookups.
//!
//! At the start and while the table is empty, a round is a lookup of our own id from the bootnodes, repeated every 15 seconds.
//! While the table is small (under 16 nodes), one lookup every 5 to 10 seconds, alternately of our own id and of a random
//! target: that finds all of a devnet within seconds. While it is young (its first quarter of an hour), the same with pauses
//! as long as it is old: nine lookups, which fill the table of a node in a large network and find nodes that start later.
//! From then on every 15 to 30 minutes, one lookup of our own id and three of random targets.

use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// The settings, with geth's values as defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Schedule {
    /// The pause between two rounds of lookups, drawn from this range each time.
    pub refresh_interval: (Duration, Duration),
    /// The pause between two lookups while the table is small, and the shortest one while it is young.
    pub young_interval: (Duration, Duration),
    /// The age up to which the table is young. The pauses between lookups are then as long as its age.
    pub young_age: Duration,
    /// The number of nodes below which the table is small.
    pub young_nodes: usize,
    /// The first pause before the bootnodes are asked again while the table is empty. It doubles each time.
    pub reseed_interval: Duration,
    /// The longest such pause. By default as long as the first: a bootnode that is flooded handles one ping of many.
    pub reseed_interval_max: Duration,
    /// The longest pause between checks of nodes that are new or failed a check.
    pub fast_check_interval_max: Duration,
    /// The longest pause between checks of nodes that passed one.
    pub slow_check_interval_max: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            refresh_interval: (secs(15 * 60), secs(30 * 60)),
            young_interval: (secs(5), secs(10)),
            young_age: secs(15 * 60),
            young_nodes: 16,
            reseed_interval: secs(15),
            reseed_interval_max: secs(15),
            fast_check_interval_max: secs(3),
            slow_check_interval_max: secs(9),
        }
    }
}

/// The lookups of one round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round {
    /// Of our own id.
    pub own: usize,
    /// Of random targets.
    pub random: usize,
}

/// When the next round of lookups is due.
#[derive(Debug)]
pub struct Refresh {
    started: Instant,
    due: Option<Instant>,
    /// Rounds in a row in which the table was empty.
    reseeds: u32,
}

impl Refresh {
    /// The first round is due at once.
    pub fn new(now: Instant) -> Self {
        Self { started: now, due: Some(now), reseeds: 0 }
    }

    /// When the next round is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes the round that is due now, and sets the time of the next one. `nodes` is the size of the table, `lookups` the
    /// number of lookups so far.
    #[must_use]
    pub fn pop_round(
        &mut self,
        schedule: &Schedule,
        nodes: usize,
        lookups: u64,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Round> {
        self.due.filter(|due| *due <= now)?;
        let age = now.since(self.started);
        let (is_young, is_small) = (age < schedule.young_age, nodes < schedule.young_nodes);
        let (own, random, pause) = if nodes == 0 {
            let pause = schedule.reseed_interval * 2u32.saturating_pow(self.reseeds.min(16));
            self.reseeds += 1;
            (1, 0, pause.min(schedule.reseed_interval_max))
        } else if is_young || is_small {
            let own = usize::from(lookups.is_multiple_of(2));
            let (min, max) = schedule.young_interval;
            let pause = rng.duration(min, max);
            (own, 1 - own, if is_small { pause } else { pause.max(age) })
        } else {
            let (min, max) = schedule.refresh_interval;
            (1, 3, rng.duration(min, max))
        };
        self.due = Some(now + pause.max(Duration::from_micros(1)));
        Some(Round { own, random })
    }

    /// A first node entered the table: the next round need not wait.
    pub fn on_first_node(&mut self, schedule: &Schedule, now: Instant, rng: &mut Rng) {
        self.reseeds = 0;
        let (soon, _) = schedule.young_interval;
        let soon = now + rng.duration(soon / 10, soon / 5);
        self.due = self.due.map(|due| due.min(soon));
    }

    /// The last node left the table: the bootnodes are all that is left.
    pub fn on_last_node_left(&mut self, schedule: &Schedule, now: Instant) {
        let due = now + schedule.reseed_interval;
        self.due = self.due.map(|at| at.min(due));
    }

    /// No round is due any more, until [`Refresh::restart`].
    pub fn stop(&mut self) {
        self.due = None;
    }

    /// There are new nodes to start from: a round is due at `now`, and the pauses begin anew.
    pub fn restart(&mut self, now: Instant) {
        self.reseeds = 0;
        self.due = Some(now);
    }
}
