//! Whether honest nodes have room for the real one.

use peerless::time::Instant;

use super::{Plan, RoomDrawn};
use crate::mix::Stream;

const PURPOSE: u64 = 21;
/// A node's room is drawn again each minute with one chance in so many.
const REDRAWN_IN_MINUTES: u64 = 60;

/// One node's room, drawn as it is asked for; a function of the seed, the node and the minute.
struct Room {
    stream: Stream,
    minute: u64,
    has_room: bool,
}

/// The room of honest nodes; see the module.
pub(super) struct Rooms {
    percent: u64,
    drawn: RoomDrawn,
    rooms: Vec<Room>,
}

impl Rooms {
    pub(super) fn new(plan: &Plan, nodes: usize) -> Self {
        let percent = u64::from(plan.room_percent);
        let room = |node| {
            let mut stream = Stream::new(plan.seed, node, PURPOSE);
            let has_room = stream.below(100) < percent;
            Room { stream, minute: 0, has_room }
        };
        Self { percent, drawn: plan.room_drawn, rooms: (0..nodes as u64).map(room).collect() }
    }

    /// Whether an honest node has room for a dial now.
    pub(super) fn has_room(&mut self, now: Instant, node: u32, draws: &mut Stream) -> bool {
        let Self { percent, drawn, rooms } = self;
        if *drawn == RoomDrawn::Dial {
            return draws.below(100) < *percent;
        }
        let room = &mut rooms[node as usize];
        let minute = now.as_micros() / 60_000_000;
        while room.minute < minute {
            room.minute += 1;
            if room.stream.below(REDRAWN_IN_MINUTES) == 0 {
                room.has_room = room.stream.below(100) < *percent;
            }
        }
        room.has_room
    }
}

#[cfg(test)]
mod tests {
    use peerless::time::Duration;

    use super::*;

    fn share(drawn: RoomDrawn, percent: u32) -> u64 {
        let mut rooms = Rooms::new(&Plan { room_percent: percent, room_drawn: drawn, ..Plan::default() }, 500);
        let mut draws = Stream::new(1, 2, 3);
        let mut count = 0;
        for hour in 0..24 {
            let now = Instant::ZERO + Duration::from_secs(hour * 3600);
            count += (0..500).filter(|node| rooms.has_room(now, *node, &mut draws)).count() as u64;
        }
        count * 100 / (24 * 500)
    }

    #[test]
    fn as_many_nodes_have_room_as_the_plan_says() {
        for drawn in [RoomDrawn::Dial, RoomDrawn::Node] {
            assert_eq!((share(drawn, 0), share(drawn, 100)), (0, 100));
            assert!(share(drawn, 10).abs_diff(10) <= 1 && share(drawn, 50).abs_diff(50) <= 2);
        }
    }

    #[test]
    fn a_nodes_room_lasts_for_an_hour_on_average() {
        let plan = Plan { room_drawn: RoomDrawn::Node, ..Plan::default() };
        let mut rooms = Rooms::new(&plan, 500);
        let mut draws = Stream::new(1, 2, 3);
        let mut at = |secs| {
            let now = Instant::ZERO + Duration::from_secs(secs);
            (0..500).map(|node| rooms.has_room(now, node, &mut draws)).collect::<Vec<_>>()
        };
        let [first, soon, late] = [0, 60, 40_000].map(&mut at);
        let changed = |other: &[bool]| first.iter().zip(other).filter(|(a, b)| a != b).count();
        assert!(changed(&soon) < 15, "{}", changed(&soon));
        assert!((210..290).contains(&changed(&late)), "{}", changed(&late));
    }
}
