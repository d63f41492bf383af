//! Budgets: one alone, and one for each of many keys in bounded memory.
//!
//! They are looked at without change, and taken from later, once the costlier conditions hold too.
//!
//! A budget that honest nodes and a flood pay from is drawn for once half of it is used: first come, first served would give
//! all of it to an evenly spaced flood, whose next datagram is always there before any other one (attack D6).

use alloc::vec;
use alloc::vec::Vec;

use crate::contract::Prefetch;
use crate::limits;
use crate::time::{Duration, Instant};

/// A burst, refilled at one per interval.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    interval_micros: u64,
    burst: u32,
}

impl Rate {
    /// `count` per second, at most `burst` at once. A `count` of 0 is taken as 1.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        Self { interval_micros: 1_000_000 / count as u64, burst }
    }

    /// One in each interval.
    pub const fn every(interval: Duration) -> Self {
        Self { interval_micros: interval.as_micros() as u64, burst: 1 }
    }
}

/// One budget.
#[derive(Debug)]
pub struct Budget {
    rate: Rate,
    /// When everything taken so far is refilled, in microseconds.
    used_until: u64,
}

impl Budget {
    /// A full budget.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, used_until: 0 }
    }

    /// Whether one more is allowed.
    pub const fn allows(&self, now: Instant) -> bool {
        self.left(now) >= self.rate.interval_micros
    }

    /// Whether one more is allowed, as a draw decides once less than half of the budget is left: with the probability of what is
    /// left of that half. The draw is any number, each as likely as another.
    pub fn allows_by_draw(&self, now: Instant, draw: impl FnOnce() -> u64) -> bool {
        let left = self.left(now);
        let half = self.rate.interval_micros * u64::from(self.rate.burst) / 2;
        left >= self.rate.interval_micros && (left >= half || draw() % half < left)
    }

    /// What is left, as the time in which it is refilled, in microseconds.
    const fn left(&self, now: Instant) -> u64 {
        let Rate { interval_micros, burst } = self.rate;
        (interval_micros * burst as u64).saturating_sub(self.used_until.saturating_sub(now.as_micros()))
    }

    /// Takes one.
    pub fn take(&mut self, now: Instant) {
        self.used_until = self.used_until.max(now.as_micros()) + self.rate.interval_micros;
    }
}

/// What one key has taken. Times are milliseconds modulo 2^32.
#[derive(Clone, Copy, Default, Debug)]
struct Account {
    fingerprint: u32,
    /// When everything taken so far is refilled.
    used_until: u32,
}

/// Accounts that may evict each other: one cache line.
#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct AccountSet([Account; limits::BUDGET_WAYS]);

/// A budget for each of many keys, which are keyed hashes.
///
/// Only keys whose budget is not full need an account. What is taken of all keys together is limited elsewhere, so there are
/// few of them at any time, and no two share a budget. Memory grows with them, and is released when all are refilled.
#[derive(Debug)]
pub struct Budgets {
    interval: u32,
    /// All that a key can have taken, as time.
    debt_max: u32,
    /// A power of two of them.
    sets: Vec<AccountSet>,
    sets_max: usize,
    /// When every budget is full again, in milliseconds.
    all_used_until: u64,
}

impl Budgets {
    /// Full budgets, with memory for at most `accounts_max` keys that have used theirs. Intervals are whole milliseconds.
    pub fn new(rate: Rate, accounts_max: usize) -> Self {
        let interval = u32::try_from((rate.interval_micros / 1000).max(1)).unwrap_or(u32::MAX);
        let debt_max = interval.saturating_mul(rate.burst);
        let sets_max = (accounts_max / limits::BUDGET_WAYS).max(1);
        Self { interval, debt_max, sets: Self::empty(sets_max), sets_max, all_used_until: 0 }
    }

    fn empty(sets_max: usize) -> Vec<AccountSet> {
        vec![AccountSet::default(); sets_max.min(limits::BUDGET_ACCOUNTS / limits::BUDGET_WAYS)]
    }

    /// Whether the key may take one more.
    pub fn allows(&self, key: u64, now: Instant) -> bool {
        let (account, fingerprint) = (self.account(key), fingerprint(key));
        let is_shared = account.fingerprint == fingerprint || self.sets.len() >= self.sets_max;
        !is_shared || self.debt(account, millis(now)) + self.interval <= self.debt_max
    }

    /// Takes one from the key's budget. A key that is new to a full set shares the account that has used least.
    pub fn take(&mut self, key: u64, now: Instant) {
        let (fingerprint, now, whole_millis) = (fingerprint(key), millis(now), now.as_micros() / 1000);
        if self.all_used_until <= whole_millis && self.sets.len() * limits::BUDGET_WAYS > limits::BUDGET_ACCOUNTS {
            self.sets = Self::empty(self.sets_max);
        }
        let mut account = *self.account(key);
        while account.fingerprint != fingerprint && self.debt(&account, now) > 0 && self.grow() {
            account = *self.account(key);
        }
        let debt = self.debt(&account, now).saturating_add(self.interval);
        let (set, way) = self.place(fingerprint);
        self.sets[set].0[way] = Account { fingerprint, used_until: now.wrapping_add(debt) };
        self.all_used_until = self.all_used_until.max(whole_millis + u64::from(debt));
    }

    /// Time until the account's budget is full. A time that has passed is any that lies further ahead than a burst.
    fn debt(&self, account: &Account, now: u32) -> u32 {
        let ahead = account.used_until.wrapping_sub(now);
        if ahead > self.debt_max { 0 } else { ahead }
    }

    /// The key's account, or the one that it would take over.
    fn account(&self, key: u64) -> &Account {
        let (set, way) = self.place(fingerprint(key));
        &self.sets[set].0[way]
    }

    /// The set and way of the account with this fingerprint, or of the one that has used least of those it may evict.
    fn place(&self, fingerprint: u32) -> (usize, usize) {
        let set = fingerprint as usize % self.sets.len();
        let accounts = &self.sets[set].0;
        let known = accounts.iter().position(|account| account.fingerprint == fingerprint);
        // Relative to the last time at which any account is refilled, times are ordered.
        let end = self.all_used_until as u32;
        let age = |way: &usize| end.wrapping_sub(accounts[*way].used_until);
        (set, known.unwrap_or_else(|| (0..accounts.len()).max_by_key(age).unwrap_or(0)))
    }

    /// Doubles the memory up to its bound; false at the bound. Every key keeps its account: a set becomes two.
    fn grow(&mut self) -> bool {
        let sets = self.sets.len();
        if sets >= self.sets_max {
            return false;
        }
        self.sets.extend_from_within(..);
        for (i, set) in self.sets.iter_mut().enumerate() {
            let stays = |account: &Account| account.fingerprint as usize % (2 * sets) == i;
            set.0.iter_mut().filter(|account| !stays(account)).for_each(|account| *account = Account::default());
        }
        true
    }

    /// Shows what [`Budgets::allows`] will read.
    pub(super) fn prefetch(&self, key: u64, memory: &mut impl Prefetch) {
        memory.prefetch(&self.sets[fingerprint(key) as usize % self.sets.len()]);
    }

    /// Memory for accounts, in bytes.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.sets.len() * size_of::<AccountSet>()
    }
}

const _: () = assert!(size_of::<AccountSet>() == 64);

/// The upper half: the lower one may have chosen something else.
pub(super) const fn fingerprint(key: u64) -> u32 {
    (key >> 32) as u32
}

/// Milliseconds modulo 2^32.
const fn millis(now: Instant) -> u32 {
    (now.as_micros() / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    /// One newcomer that tries now and then beside a flood of twenty times the budget, evenly spaced: it passes as often as its
    /// share of all that comes.
    #[test]
    fn a_flood_with_even_spacing_leaves_others_their_share() {
        let mut rng = Seed::new([1; 32]).fork("draws");
        let mut budget = Budget::new(Rate::per_second(5000, 500));
        let mut admit = |now| {
            let is_allowed = budget.allows_by_draw(now, || rng.u64());
            if is_allowed {
                budget.take(now);
            }
            is_allowed
        };
        assert_eq!((0..250).filter(|_| admit(at(0))).count(), 250, "of the first half everyone has what it wants");
        let (mut passed, mut flooded) = (0, 0);
        for n in 0..1_000_000 {
            flooded += u32::from(admit(at(n * 10)));
            if n % 1000 == 7 {
                passed += u32::from(admit(at(n * 10)));
            }
        }
        assert!((49_000..51_000).contains(&flooded), "{flooded}");
        assert!((30..80).contains(&passed), "{passed} of 1000");
    }

    /// Times are kept modulo 2^32 milliseconds, 49 days.
    #[test]
    fn budgets_hold_at_any_age() {
        let mut budgets = Budgets::new(Rate::per_second(4, 16), 64);
        for day in [0, 24, 25, 49, 50, 99, 300_000] {
            let start = day * 86_400_000_000 + 295_000_000;
            let mut take = |now| {
                (0..100)
                    .filter(|_| {
                        budgets.allows(7, now) && {
                            budgets.take(7, now);
                            true
                        }
                    })
                    .count()
            };
            assert_eq!((take(at(start)), take(at(start + 1_000_000))), (16, 4), "day {day}");
        }
    }
}
