//! What [`Node::prefetch`] shows.

use super::*;
use crate::contract::SocketId;

/// Sums the sizes of what it is shown.
#[derive(Default)]
struct Shown(usize);

impl Prefetch for Shown {
    fn prefetch<T: ?Sized>(&mut self, value: &T) {
        self.0 += size_of_val(value);
    }
}

#[test]
fn prefetch_shows_at_each_depth_a_part_of_what_an_input_reads() {
    let node = Node::new(discv4_alone(), [1; 32], Instant::ZERO, UNIX).unwrap();
    let from = "8.8.8.8:30303".parse().unwrap();
    // Prefetch reads a datagram's size and type only.
    let mut ping = [0; 120];
    ping[97] = 1;
    let shown = |input: &Input<'_>, depth| {
        let mut shown = Shown::default();
        node.prefetch(input, depth, &mut shown);
        shown.0
    };
    for depth in 0..Node::PREFETCH_DEPTHS - 1 {
        let bytes = shown(&Input::Datagram { socket: SocketId::MAIN, from, bytes: &ping }, depth);
        assert!((1..2048).contains(&bytes), "{bytes} bytes at depth {depth}");
    }
    assert!((1..8192).contains(&shown(&Input::Timeout, 1)));
    assert_eq!(shown(&Input::Datagram { socket: SocketId::MAIN, from, bytes: &ping }, Node::PREFETCH_DEPTHS), 0);
    assert_eq!(shown(&Input::Datagram { socket: SocketId::MAIN, from, bytes: &[] }, 9) + shown(&Input::Timeout, 9), 0);
}
