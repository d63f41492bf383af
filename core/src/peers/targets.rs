//! The committed targets: entries of the book that were drawn before a place is free, and that are dialled again and again
//! until they accept or their time is up.
//!
//! A hostile node always has room, an honest one often has none. If each dial drew anew, the one that accepts first would be
//! hostile more often than its share of the book. A target without room stays and is asked again, so that the targets that
//! accept are about as often hostile as those that were drawn.

use alloc::vec::Vec;

use crate::crypto::NodeId;
use crate::limits::{REDIAL_INTERVAL, TARGET_TIME, TARGETS_MAX};
use crate::rng::Rng;
use crate::time::Instant;

/// A node that we are committed to dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its id.
    pub id: NodeId,
    /// When the commitment ends.
    pub until: Instant,
    /// When it may be dialled next.
    pub retry: Instant,
}

/// At most [`TARGETS_MAX`] targets, each node once.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    list: Vec<Target>,
}

impl Targets {
    /// All targets, the oldest first.
    pub fn list(&self) -> &[Target] {
        &self.list
    }

    /// Whether a node is a target.
    pub fn contains(&self, id: &NodeId) -> bool {
        self.list.iter().any(|target| target.id == *id)
    }

    /// Whether there are as many as there may be.
    pub const fn is_full(&self) -> bool {
        self.list.len() >= TARGETS_MAX
    }

    /// Drops the targets whose time is up.
    pub fn expire(&mut self, now: Instant) {
        self.list.retain(|target| now < target.until);
    }

    /// Drops the targets that are not to be kept.
    pub fn keep(&mut self, is_kept: impl Fn(&NodeId) -> bool) {
        self.list.retain(|target| is_kept(&target.id));
    }

    /// Commits to a node, which may be dialled at once. Does nothing if it is a target, or there are too many.
    pub fn commit(&mut self, now: Instant, id: NodeId) {
        if !self.is_full() && !self.contains(&id) {
            self.list.push(Target { id, until: now + TARGET_TIME, retry: now });
        }
    }

    /// Ends a commitment.
    pub fn remove(&mut self, id: &NodeId) {
        self.list.retain(|target| target.id != *id);
    }

    /// Of the targets that are due and have a rank, the one of the lowest; of equal ones that which is due for longest.
    pub fn next_due(&self, now: Instant, rank: impl Fn(&NodeId) -> Option<u8>) -> Option<NodeId> {
        let due = self.list.iter().filter(|target| target.retry <= now);
        let ranked = due.filter_map(|target| Some((rank(&target.id)?, target.retry, target.id)));
        ranked.min().map(|(.., id)| id)
    }

    /// Notes that a node is dialled: a target is due again after 35 to 70 s.
    pub fn dialled(&mut self, now: Instant, rng: &mut Rng, id: &NodeId) {
        if let Some(target) = self.list.iter_mut().find(|target| target.id == *id) {
            target.retry = now + rng.duration(REDIAL_INTERVAL, 2 * REDIAL_INTERVAL);
        }
    }

    /// When the first target is due.
    pub fn next_retry(&self) -> Option<Instant> {
        self.list.iter().map(|target| target.retry).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::time::Duration;

    const fn id(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    #[test]
    fn a_target_is_due_again_after_each_dial_until_its_time_is_up() {
        let (mut targets, mut rng) = (Targets::default(), Seed::new([1; 32]).fork("targets"));
        let mut now = Instant::ZERO;
        targets.commit(now, id(1));
        let (mut dials, mut last) = (0, None);
        while now < Instant::ZERO + 2 * TARGET_TIME {
            targets.expire(now);
            if let Some(due) = targets.next_due(now, |_| Some(0)) {
                if let Some(last) = last.replace(now) {
                    assert!(now.since(last) >= REDIAL_INTERVAL && now.since(last) <= 2 * REDIAL_INTERVAL);
                }
                targets.dialled(now, &mut rng, &due);
                dials += 1;
            }
            now = now + Duration::from_secs(1);
        }
        let longest = TARGET_TIME.as_secs() / 70;
        assert!((longest..=2 * longest + 1).contains(&dials), "{dials} dials");
        assert!(targets.list().is_empty());
    }

    #[test]
    fn the_lowest_rank_that_is_due_goes_first() {
        let mut targets = Targets::default();
        for n in 0..TARGETS_MAX as u8 + 5 {
            targets.commit(Instant::from_micros(n.into()), id(n));
            targets.commit(Instant::ZERO, id(0));
        }
        assert_eq!(targets.list().len(), TARGETS_MAX);
        let now = Instant::from_micros(5);
        assert_eq!(targets.next_due(now, |_| Some(1)), Some(id(0)), "the one that is due for longest");
        assert_eq!(targets.next_due(now, |of| Some(u8::from(*of != id(4)))), Some(id(4)));
        assert_eq!(targets.next_due(now, |of| Some(u8::from(*of != id(6)))), Some(id(0)), "6 is not due");
        assert_eq!(targets.next_due(now, |_| None), None);
    }
}
