//! The announcement of our block range (`eth.md`, "BlockRangeUpdate (0x11)"): to every session that speaks eth/69 or later,
//! when the head has moved far enough.
//!
//! A machine across connections. It keeps no list of peers: the broadcast reaches those that there are, and a later peer
//! gets the newest range with our Status.

use alloc::vec::Vec;

use crate::contract::{Behaviour, PeerEvent, Wish};
use crate::limits;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::eth::{BlockRange, id};
use crate::wire::p2p::Capability;

/// The first version that has the message (EIP-7642).
const SINCE: Capability = Capability::eth(69);

/// Announces our block range: [`limits::RANGE_UPDATE_BLOCKS`] after the last announcement, or at once when the chain has
/// moved back.
#[derive(Debug)]
pub struct BlockRangeAnnouncer {
    /// The last block that peers have been told of.
    announced: u64,
    /// The message to send.
    due: Option<BlockRange>,
    /// The message that was lent last.
    payload: Vec<u8>,
}

impl BlockRangeAnnouncer {
    /// An announcer for a chain whose Statuses so far have `head` as the last block.
    pub const fn new(head: u64) -> Self {
        Self { announced: head, due: None, payload: Vec::new() }
    }
}

impl Behaviour for BlockRangeAnnouncer {
    fn handle(&mut self, _now: Instant, _rng: &mut Rng, event: PeerEvent<'_>) {
        let PeerEvent::Head { head, earliest } = event else { return };
        let latest = head.number;
        if latest < self.announced || latest - self.announced >= limits::RANGE_UPDATE_BLOCKS {
            self.announced = latest;
            self.due = Some(BlockRange { earliest, latest, latest_hash: head.hash });
        }
    }

    fn poll_wish(&mut self) -> Option<Wish<'_>> {
        self.payload = self.due.take()?.encode();
        Some(Wish::Broadcast { since: SINCE, id: id::BLOCK_RANGE_UPDATE, payload: &self.payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::wire::forkid::Head;

    /// The range that is announced for a head, if one is.
    fn announced(announcer: &mut BlockRangeAnnouncer, number: u64) -> Option<BlockRange> {
        let head = Head { number, time: 5, hash: [number as u8; 32] };
        let mut rng = Seed::new([1; 32]).fork("announce");
        announcer.handle(Instant::ZERO, &mut rng, PeerEvent::Head { head, earliest: number - 10 });
        let range = announcer.poll_wish().map(|wish| match wish {
            Wish::Broadcast { since, id: id::BLOCK_RANGE_UPDATE, payload } if since == Capability::eth(69) => {
                BlockRange::decode(payload).unwrap()
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(announcer.poll_wish(), None, "a range is announced once");
        range
    }

    #[test]
    fn a_range_is_announced_every_32_blocks_and_when_the_chain_moves_back() {
        const START: u64 = 1_000;
        let mut announcer = BlockRangeAnnouncer::new(START);
        let mut all = Vec::new();
        for number in (1..=100).chain([90, 91, 122]).map(|n| START + n) {
            if let Some(range) = announced(&mut announcer, number) {
                assert_eq!((range.earliest, range.latest_hash), (number - 10, [number as u8; 32]));
                all.push(range.latest - START);
            }
        }
        assert_eq!(limits::RANGE_UPDATE_BLOCKS, 32);
        assert_eq!(all, [32, 64, 96, 90, 122]);
    }

    #[test]
    fn of_two_heads_before_a_poll_the_later_one_is_announced() {
        let mut announcer = BlockRangeAnnouncer::new(0);
        let mut rng = Seed::new([1; 32]).fork("announce");
        for number in [40, 80] {
            let head = Head { number, ..Head::default() };
            announcer.handle(Instant::ZERO, &mut rng, PeerEvent::Head { head, earliest: 0 });
        }
        let Some(Wish::Broadcast { payload, .. }) = announcer.poll_wish() else { panic!("nothing is announced") };
        assert_eq!(BlockRange::decode(payload).unwrap().latest, 80);
        assert_eq!(announcer.poll_wish(), None);
    }
}
