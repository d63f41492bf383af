//! Sharing a processor among connections: deficit round robin over units of [`Work`].
//!
//! What a driver serves next and how much it reads is decided here, from units alone: drivers and models of them use the
//! same code. Each round gives every connection [`WORK_PER_ROUND`]; one that took more, since a message cannot be
//! interrupted, is in debt and is not read until later rounds have paid for it. A round that takes long is spread over turns of
//! the driver: between them it hears of new datagrams and of connections that were idle, which are served first, and the
//! application gives its commands (attack E6).
//!
//! ```
//! use peerless::contract::{ConnId, Shares};
//!
//! let mut shares = Shares::default();
//! shares.begin([ConnId(1), ConnId(2)]);
//! let Some((ConnId(1), bytes_max)) = shares.next_conn() else { panic!() };
//! // Read at most `bytes_max` bytes, hand them in, and ask `take_work` what that took; again while `charge` leaves any.
//! assert_eq!(shares.charge(ConnId(1), 3_000_000), 0);
//! assert_eq!(shares.next_conn(), None, "the turn is over");
//! // Look for new datagrams and edges.
//! shares.begin([ConnId(2), ConnId(3)]);
//! assert!(matches!(shares.next_conn(), Some((ConnId(3), _))));
//! assert!(matches!(shares.next_conn(), Some((ConnId(2), _))));
//! assert_eq!(shares.next_conn(), None, "the round is over");
//! # assert!(bytes_max > 0);
//! ```

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::ids::ConnId;
use super::work::Work;
use crate::limits::{READ_BYTES_MAX, WORK_BETWEEN_POLLS, WORK_PER_ROUND};

/// Decides which connection is served next. See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// The credit of each connection that has less than [`WORK_PER_ROUND`]; all others have that much.
    credits: BTreeMap<ConnId, i64>,
    /// The connections that wait to be served in this round, the next one last.
    waiting: Vec<ConnId>,
    /// Those of them that were not served in this round yet. The round is over once there are none, so that every round ends.
    unserved: BTreeSet<ConnId>,
    /// The connections of this round.
    round: BTreeSet<ConnId>,
    /// Those that told the application something when they were served last, without much work: a message of theirs is no part
    /// of a large one.
    light: BTreeSet<ConnId>,
    /// Those that had nothing left to read when they were served last.
    drained: BTreeSet<ConnId>,
    /// The connections that wait, or were served in this round and are not served in it again unless [`Shares::join`] releases them.
    placed: BTreeSet<ConnId>,
    /// The units of this turn.
    spent: u64,
    /// Whether the application was told something in this turn.
    has_told: bool,
}

impl Shares {
    /// Begins a turn with the connections that are ready: the next one of a round, or the first one of the next round, in which
    /// those with the most credit come first. To be called when the driver has just looked for datagrams and edges.
    pub fn begin(&mut self, ready: impl IntoIterator<Item = ConnId>) {
        if self.unserved.is_empty() {
            self.credits.values_mut().for_each(|credit| *credit += WORK_PER_ROUND);
            self.credits.retain(|_, credit| *credit < WORK_PER_ROUND);
            self.waiting.clear();
            self.round.clear();
            self.drained.clear();
            self.placed.clear();
            self.spent = 0;
        }
        self.join(ready);
    }

    /// Adds connections that have become ready in the course of the round. They come before those that wait. One that was
    /// served in this round already is served again if it was drained and has more than half of a share: those without debts
    /// have gained theirs of the work done meanwhile, since a round is long where messages are expensive.
    fn join(&mut self, ready: impl IntoIterator<Item = ConnId>) {
        let gained = i64::try_from(self.spent / self.placed.len().max(1) as u64).unwrap_or(i64::MAX);
        let without_debt = self.credits.values_mut().filter(|credit| **credit >= 0);
        without_debt.for_each(|credit| *credit = credit.saturating_add(gained));
        self.credits.retain(|_, credit| *credit < WORK_PER_ROUND);
        let waiting: BTreeSet<ConnId> = self.waiting.iter().copied().collect();
        let Self { credits, placed, drained, .. } = self;
        let credit = |conn: &ConnId| credits.get(conn).copied().unwrap_or(WORK_PER_ROUND);
        placed.retain(|conn| waiting.contains(conn) || !drained.contains(conn) || credit(conn) <= WORK_PER_ROUND / 2);
        (self.spent, self.has_told) = (0, false);
        let mut new: Vec<ConnId> = ready.into_iter().filter(|conn| self.placed.insert(*conn)).collect();
        new.sort_unstable_by_key(|conn| (self.credit(*conn), Reverse(*conn)));
        self.unserved.extend(new.iter().copied().filter(|conn| self.round.insert(*conn)));
        self.waiting.append(&mut new);
    }

    /// The connection to serve next, which is then [`charged`](Shares::charge), and how many bytes to read from it at most before
    /// that: 0 if it is in debt. `None` once the turn is over: because it has taken enough work, because the application has been
    /// told something and the next connection may have a message that takes long, or because the round is over.
    #[must_use]
    pub fn next_conn(&mut self) -> Option<(ConnId, usize)> {
        let keeps_waiting = self.has_told && !self.light.contains(self.waiting.last()?);
        if self.unserved.is_empty() || self.spent >= WORK_BETWEEN_POLLS || keeps_waiting {
            return None;
        }
        let conn = self.waiting.pop()?;
        self.light.remove(&conn);
        self.unserved.remove(&conn);
        self.drained.remove(&conn);
        Some((conn, bytes_max(self.credit(conn))))
    }

    /// Notes the units of work that serving a connection took. Returns how many more bytes may be read from it at most before
    /// it is charged again: none once its share is used up.
    pub fn charge(&mut self, conn: ConnId, units: u64) -> usize {
        self.spent = self.spent.saturating_add(units);
        let credit = self.credit(conn).saturating_sub_unsigned(units);
        if units > 0 {
            self.credits.insert(conn, credit);
        }
        bytes_max(credit)
    }

    /// Notes that serving a connection, which is charged for it, has told the application something: it has its turn soon.
    pub fn told(&mut self, conn: ConnId) {
        self.has_told = true;
        if self.credit(conn).saturating_add_unsigned(WORK_BETWEEN_POLLS) > 0 {
            self.light.insert(conn);
        }
    }

    /// Notes that there was nothing left to read from a connection when it was served.
    pub fn drained(&mut self, conn: ConnId) {
        self.drained.insert(conn);
    }

    /// Forgets a connection that is closed.
    pub fn remove(&mut self, conn: ConnId) {
        self.credits.remove(&conn);
        self.light.remove(&conn);
        self.unserved.remove(&conn);
    }

    fn credit(&self, conn: ConnId) -> i64 {
        self.credits.get(&conn).copied().unwrap_or(WORK_PER_ROUND)
    }
}

/// The bytes that may be read at once with so much credit. A few bytes can stand for much work, which cannot be interrupted.
fn bytes_max(credit: i64) -> usize {
    let credit = u64::try_from(credit).unwrap_or(0);
    usize::try_from(credit / Work::WIRE_BYTE).unwrap_or(usize::MAX).min(READ_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Serves until the round is over; the order, with the bytes.
    fn round(shares: &mut Shares, ready: &[u64], units: impl Fn(u64) -> u64) -> Vec<(u64, usize)> {
        let mut served = Vec::new();
        turns(shares, &mut |_| ready.to_vec(), &mut |shares, conn, bytes_max| {
            served.push((conn.0, bytes_max));
            shares.charge(conn, if bytes_max > 0 { units(conn.0) } else { 0 });
        });
        served
    }

    /// Turns until the round is over. `ready` is told the number of the turn.
    fn turns(
        shares: &mut Shares,
        ready: &mut dyn FnMut(u64) -> Vec<u64>,
        serve: &mut dyn FnMut(&mut Shares, ConnId, usize),
    ) {
        for turn in 0..500 {
            shares.begin(ready(turn).into_iter().map(ConnId));
            while let Some((conn, bytes_max)) = shares.next_conn() {
                serve(shares, conn, bytes_max);
            }
            if shares.unserved.is_empty() {
                return;
            }
        }
        panic!("the round does not end");
    }

    #[test]
    fn every_connection_is_served_once_in_a_round_and_debts_are_paid_off() {
        let mut shares = Shares::default();
        let all = READ_BYTES_MAX;
        let units = |conn| if conn == 2 { 500_000 } else { 150_000 };
        assert_eq!(round(&mut shares, &[1, 2, 3], units), [(1, all), (2, all), (3, all)]);
        // Two is 300,000 in debt, and 100,000 are still missing after this round's share.
        assert_eq!(round(&mut shares, &[1, 2, 3], units), [(1, all), (3, all), (2, 0)]);
        assert_eq!(round(&mut shares, &[2, 4], units), [(4, all), (2, all)]);
        assert_eq!(shares.charge(ConnId(4), 49_000), 1000 / 3, "what is left of a share");
        assert_eq!(shares.charge(ConnId(4), 1_000), 0);
        assert_eq!(shares.credits.len(), 2, "those that are full again are forgotten");
    }

    #[test]
    fn long_work_is_interrupted_and_what_was_idle_comes_first() {
        let mut shares = Shares::default();
        let mut served = Vec::new();
        // One that has used up its share waits for more, one that waits keeps its turn.
        let mut ready = |turn| if turn == 0 { (0..9).collect() } else { vec![0, 8, 100 + turn] };
        turns(&mut shares, &mut ready, &mut |shares, conn, _| {
            served.push(conn.0);
            shares.charge(conn, 250_000);
        });
        assert_eq!(served[..9], [0, 1, 2, 3, 101, 4, 5, 6, 102]);
        assert!((0..9).all(|conn| served.contains(&conn)), "{served:?}");
    }

    /// What was told is not kept waiting for a connection that is in the middle of a message, or whose messages take long.
    #[test]
    fn a_turn_that_has_told_something_ends_before_what_may_take_long() {
        const LIGHT: u64 = 1;
        const LARGE: u64 = 2;
        const LONG: u64 = 3;
        let mut shares = Shares::default();
        let mut turn = |conns: &[u64]| {
            shares.begin(conns.iter().copied().map(ConnId));
            let mut served = Vec::new();
            while let Some((conn, bytes_max)) = shares.next_conn() {
                served.push(conn.0);
                let units = match conn.0 {
                    LARGE => 100_000,
                    LONG => 3_000_000,
                    _ => 100,
                };
                shares.charge(conn, if bytes_max > 0 { units } else { 0 });
                if conn.0 != LARGE && bytes_max > 0 {
                    shares.told(conn);
                }
            }
            served
        };
        assert_eq!(turn(&[LIGHT, LARGE, LONG]), [LIGHT], "nothing is known of the others");
        assert_eq!(turn(&[LARGE, LONG]), [LARGE, LONG], "nothing was told before the last");
        for _ in 0..12 {
            assert_eq!(turn(&[LIGHT, LARGE, LONG])[..1], [LIGHT]);
            let rest = turn(&[LIGHT, LARGE, LONG]);
            assert!(!rest.contains(&LIGHT) && rest.contains(&LARGE), "{rest:?}");
        }
        assert_eq!(turn(&[LIGHT, 7]), [LIGHT]);
        assert_eq!(turn(&[LIGHT, 7]), [7]);
        assert_eq!(turn(&[LIGHT, 7]), [LIGHT, 7], "both are light");
    }

    #[test]
    fn one_that_needs_little_is_served_as_often_as_it_is_ready() {
        let mut shares = Shares::default();
        let mut served = Vec::new();
        turns(&mut shares, &mut |_| vec![1, 2, 3, 4], &mut |shares, conn, _| {
            served.push(conn.0);
            shares.charge(conn, if conn == ConnId(1) { 30_000 } else { 1_000_000 });
            if conn == ConnId(1) {
                shares.drained(conn);
            }
        });
        assert_eq!(served, [1, 2, 1, 3, 1, 4]);
    }

    /// Whatever messages cost, a round ends, so that debts are paid.
    #[test]
    fn every_round_ends_under_constant_load() {
        for units in [20_000, 200_000, 2_300_000] {
            let mut shares = Shares::default();
            for _ in 0..100 {
                turns(&mut shares, &mut |_| (0..34).collect(), &mut |shares, conn, bytes_max| {
                    while bytes_max > 0 && shares.charge(conn, units) > 0 {}
                });
            }
        }
    }

    #[test]
    fn a_closed_connection_leaves_nothing() {
        let mut shares = Shares::default();
        shares.charge(ConnId(1), u64::MAX);
        shares.remove(ConnId(1));
        assert!(shares.credits.is_empty());
        shares.begin([ConnId(1)]);
        assert!(matches!(shares.next_conn(), Some((_, bytes_max)) if bytes_max > 0));
    }

    /// Over time, connections that always have something to read get similar shares, whatever a message of theirs costs.
    #[test]
    fn shares_are_similar_whatever_a_message_costs() {
        let mut shares = Shares::default();
        let cost = [10_000, 190_000, 200_000, 2_300_000, 11_000_000];
        let mut spent = [0u64; 5];
        for _ in 0..2_000 {
            turns(&mut shares, &mut |_| (0..5).collect(), &mut |shares, conn, bytes_max| {
                if bytes_max == 0 {
                    return;
                }
                let mut units = 0;
                // Small messages are read until the share is used.
                while units < WORK_PER_ROUND as u64 {
                    units += cost[conn.0 as usize];
                }
                spent[conn.0 as usize] += units;
                shares.charge(conn, units);
            });
        }
        let (least, most) = (spent.iter().min().unwrap(), spent.iter().max().unwrap());
        assert!(*most <= least * 3 / 2, "{spent:?}");
    }
}
