//! The memory for frames that are not complete: one budget for all connections of a node.
//!
//! A budget has two pools, so that frames that were not requested never take the room of answers. When a pool is short,
//! connections are paused, which pushes back on their peers, and go on when there is room again; only those that are slower
//! than their rate end meanwhile (attack F1). No set of frames can block each other: the oldest of a pool is never
//! paused, and has room of its own for the rest of it.
//!
//! Knows no bytes: it decides from sizes, and its owner carries out its [`Orders`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::contract::ConnId;
use crate::limits::{
    FRAME_GROWTH_BYTES, LARGE_FRAME_BYTES, LARGE_FRAMES_BYTES_MAX, MESSAGE_BYTES_MAX, SMALL_FRAMES_BYTES_MAX,
};

/// A frame whose body has begun to arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    /// Where it begins in its stream: tells it apart from a later one of the same connection.
    pub(super) start: u64,
    /// Bytes of its body.
    pub(super) bytes: usize,
    /// Bytes of memory that it holds.
    pub(super) held: usize,
    /// Whether it is an answer that we have requested.
    pub(super) is_solicited: bool,
}

impl Frame {
    /// The memory that it may hold after the next chunk: see [`Opener`](crate::rlpx::Opener).
    fn held_next(&self) -> usize {
        let grown = self.held.saturating_add(FRAME_GROWTH_BYTES.max(self.held / 2));
        grown.min(self.bytes.next_multiple_of(16)).max(self.held)
    }

    fn is_large(&self) -> bool {
        self.is_solicited || self.bytes > LARGE_FRAME_BYTES
    }
}

/// What the owner of the connections must do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use]
pub(super) struct Orders {
    /// Connections that are not read until memory is free.
    pub(super) pause: Vec<ConnId>,
    /// Paused connections that are to be read again.
    pub(super) resume: Vec<ConnId>,
    /// Connections whose frames must arrive at their rate from now on (`true`), or need no longer.
    pub(super) hurry: Vec<(ConnId, bool)>,
}

/// The unfinished frames of all connections.
#[derive(Clone, Debug)]
pub(super) struct FrameMemory {
    small: Pool,
    large: Pool,
    /// The number of frames so far.
    begun: u64,
}

impl Default for FrameMemory {
    fn default() -> Self {
        let small = Pool::new(SMALL_FRAMES_BYTES_MAX, LARGE_FRAME_BYTES);
        let large = Pool::new(LARGE_FRAMES_BYTES_MAX, MESSAGE_BYTES_MAX.next_multiple_of(16));
        Self { small, large, begun: 0 }
    }
}

impl FrameMemory {
    /// A connection's frame has changed; `None` if it has none, or is over.
    pub(super) fn update(&mut self, conn: ConnId, frame: Option<Frame>) -> Orders {
        let mut orders = Orders::default();
        self.begun += 1;
        let (small, large) = match frame {
            Some(frame) if frame.is_large() => (None, Some(frame)),
            small => (small, None),
        };
        self.small.update(conn, small, self.begun, &mut orders);
        self.large.update(conn, large, self.begun, &mut orders);
        orders
    }

    /// The memory that all frames hold, and may hold after the next chunk of each.
    #[cfg(test)]
    fn reserved(&self) -> usize {
        self.small.reserved() + self.large.reserved()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    frame: Frame,
    /// The frame's number.
    begun: u64,
    is_paused: bool,
}

impl Entry {
    /// The memory that is set aside for the frame.
    fn reserved(&self) -> usize {
        if self.is_paused { self.frame.held } else { self.frame.held_next() }
    }
}

/// Frames that share their memory.
#[derive(Clone, Debug)]
struct Pool {
    /// Bytes for all frames but the oldest, which has room of its own.
    shared_max: usize,
    entries: BTreeMap<ConnId, Entry>,
    /// All frames, the oldest first.
    order: BTreeSet<(u64, ConnId)>,
    /// Those that are paused.
    paused: BTreeSet<(u64, ConnId)>,
    /// The sum of what is set aside.
    reserved: usize,
}

impl Pool {
    /// A pool of `bytes_max`, of which the oldest frame has `frame_bytes_max`.
    fn new(bytes_max: usize, frame_bytes_max: usize) -> Self {
        let shared_max = bytes_max.saturating_sub(frame_bytes_max);
        let (entries, order, paused) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { shared_max, entries, order, paused, reserved: 0 }
    }

    fn update(&mut self, conn: ConnId, frame: Option<Frame>, number: u64, orders: &mut Orders) {
        let before = self.remove(conn);
        let was_short = self.is_short() || before.is_some_and(|entry| entry.is_paused);
        match (before, frame) {
            (None, None) => return,
            (Some(before), None) => {
                // A frame that is over, or has moved to the other pool, needs no order of this one.
                if before.is_paused {
                    orders.resume.push(conn);
                }
                if was_short {
                    orders.hurry.push((conn, false));
                }
            }
            (before, Some(frame)) => {
                let same = before.filter(|entry| entry.frame.start == frame.start);
                let begun = same.map_or(number, |entry| entry.begun);
                self.insert(conn, Entry { frame, begun, is_paused: false });
                let was_paused = before.is_some_and(|entry| entry.is_paused);
                let is_paused = !self.fits(conn);
                self.set_paused(conn, is_paused);
                match (was_paused, is_paused) {
                    (false, true) => orders.pause.push(conn),
                    (true, false) => orders.resume.push(conn),
                    _ => {}
                }
            }
        }
        self.resume(orders);
        self.hurry(was_short, conn, orders);
    }

    /// Lets paused frames go on, the oldest first, as long as there is room.
    fn resume(&mut self, orders: &mut Orders) {
        while let Some((_, conn)) = self.paused.first().copied() {
            self.set_paused(conn, false);
            if !self.fits(conn) {
                self.set_paused(conn, true);
                return;
            }
            orders.resume.push(conn);
        }
    }

    /// Tells all frames when the pool becomes short, or is no longer; and the one that is new in a short pool.
    fn hurry(&self, was_short: bool, new: ConnId, orders: &mut Orders) {
        let is_short = self.is_short();
        if is_short != was_short {
            orders.hurry.extend(self.entries.keys().map(|conn| (*conn, is_short)));
        } else if is_short && self.entries.contains_key(&new) {
            orders.hurry.push((new, true));
        }
    }

    fn is_short(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Whether there is room for the next chunk of a frame, which is set aside already.
    fn fits(&self, conn: ConnId) -> bool {
        let oldest = self.order.first().map(|(_, conn)| *conn);
        oldest == Some(conn) || {
            let of_oldest = oldest.and_then(|oldest| self.entries.get(&oldest)).map_or(0, Entry::reserved);
            self.reserved - of_oldest <= self.shared_max
        }
    }

    fn insert(&mut self, conn: ConnId, entry: Entry) {
        self.reserved += entry.reserved();
        self.order.insert((entry.begun, conn));
        if entry.is_paused {
            self.paused.insert((entry.begun, conn));
        }
        self.entries.insert(conn, entry);
    }

    fn remove(&mut self, conn: ConnId) -> Option<Entry> {
        let entry = self.entries.remove(&conn)?;
        self.reserved -= entry.reserved();
        self.order.remove(&(entry.begun, conn));
        self.paused.remove(&(entry.begun, conn));
        Some(entry)
    }

    fn set_paused(&mut self, conn: ConnId, is_paused: bool) {
        if let Some(entry) = self.remove(conn) {
            self.insert(conn, Entry { is_paused, ..entry });
        }
    }

    #[cfg(test)]
    fn reserved(&self) -> usize {
        self.reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FRAMES_BYTES_MAX;
    use crate::rng::Seed;

    const MIB: usize = 1 << 20;

    fn frame(bytes: usize, held: usize, is_solicited: bool) -> Frame {
        Frame { start: 0, bytes, held, is_solicited }
    }

    #[test]
    fn frames_beyond_the_pool_are_paused_and_go_on_in_order() {
        let mut memory = FrameMemory::default();
        let whole = 12 * MIB;
        // The first has room of its own; two more fit, and a part of another.
        for n in 0..3 {
            assert_eq!(memory.update(ConnId(n), Some(frame(whole, whole - 1, true))), Orders::default(), "{n}");
        }
        let orders = memory.update(ConnId(3), Some(frame(whole, 6 * MIB, true)));
        assert_eq!(orders.pause, [ConnId(3)]);
        assert_eq!(orders.hurry, [0, 1, 2, 3].map(|n| (ConnId(n), true)), "the pool is short");
        let orders = memory.update(ConnId(4), Some(frame(whole, 0, true)));
        assert_eq!(
            orders,
            Orders { hurry: alloc::vec![(ConnId(4), true)], ..Orders::default() },
            "there is room for a little"
        );
        let orders = memory.update(ConnId(5), Some(frame(whole, 2 * MIB, true)));
        assert_eq!((orders.pause, orders.resume), (alloc::vec![ConnId(5)], alloc::vec![]));
        // Frames of the other pool do not care.
        assert_eq!(memory.update(ConnId(6), Some(frame(MIB, MIB, false))), Orders::default());
        let orders = memory.update(ConnId(1), None);
        assert_eq!(orders.resume, [ConnId(3), ConnId(5)]);
        assert!(orders.hurry.contains(&(ConnId(4), false)) && orders.hurry.contains(&(ConnId(1), false)));
    }

    #[test]
    fn the_oldest_is_never_paused() {
        let mut memory = FrameMemory::default();
        let whole = MESSAGE_BYTES_MAX;
        for n in 0..40 {
            let _ = memory.update(ConnId(n), Some(frame(whole, 0, true)));
        }
        // Each in turn grows to its whole size, and ends; nothing is left in the end.
        for n in 0..40 {
            let paused = || memory.large.paused.iter().map(|(_, conn)| conn.0).collect::<Vec<_>>();
            assert!(!paused().contains(&n), "{n}");
            let orders = memory.update(ConnId(n), Some(frame(whole, whole, true)));
            assert_eq!(orders.pause, []);
            let _ = memory.update(ConnId(n), None);
        }
        assert!(memory.large.entries.is_empty() && memory.large.reserved == 0);
    }

    /// A model: peers of all kinds in any order. What is held never exceeds the budget, pausing is told once and undone once,
    /// and an unpaused frame can always take its next chunk.
    #[test]
    fn no_order_of_frames_exceeds_the_budget() {
        let mut rng = Seed::new([4; 32]).fork("frames");
        let mut memory = FrameMemory::default();
        let mut frames: BTreeMap<ConnId, (Frame, bool)> = BTreeMap::new();
        for step in 0..200_000 {
            let conn = ConnId(rng.below(60));
            let next = match frames.get(&conn) {
                Some((_, true)) if rng.below(100) > 0 => continue,
                Some((frame, false)) if rng.below(8) > 0 && frame.held < frame.bytes.next_multiple_of(16) => {
                    let room = (frame.held_next() - frame.held) as u64;
                    Some(Frame { held: frame.held + rng.below(room + 1) as usize, ..*frame })
                }
                Some(_) => None,
                None => {
                    let is_solicited = rng.below(2) == 0;
                    let bytes_max = if is_solicited { 12 * MIB } else { 2 * MIB };
                    Some(frame(rng.below(bytes_max as u64) as usize, 0, is_solicited))
                }
            };
            match next {
                Some(next) => drop(frames.insert(conn, (next, false))),
                None => drop(frames.remove(&conn)),
            }
            let Orders { pause, resume, .. } = memory.update(conn, next);
            for paused in pause {
                let (_, is_paused) = frames.get_mut(&paused).expect("it has a frame");
                assert!(!*is_paused, "{step}");
                *is_paused = true;
            }
            for resumed in resume {
                if let Some((_, is_paused)) = frames.get_mut(&resumed) {
                    *is_paused = false;
                }
            }
            let held: usize = frames.values().map(|(frame, _)| frame.held).sum();
            assert!(held <= memory.reserved() && memory.reserved() <= FRAMES_BYTES_MAX, "{step}: {held}");
            let reading = frames.values().filter(|(_, is_paused)| !is_paused).count();
            assert!(reading > 0 || frames.is_empty(), "{step}: all are paused");
        }
    }
}
