//! Measures the scheduler: events a second through the wheel and through a plain heap, with 100,000 waiting.
//!
//! Each event belongs to a node that only schedules the next one, at a time as in a network: mostly a
//! packet's latency, sometimes a timer's seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant as Clock};

use peerless::time::Instant;
use peerless_sim::engine::{Key, Wheel};
use peerless_sim::mix::Stream;

const PENDING: u32 = 100_000;
const EVENTS: u32 = 20_000_000;

trait Queue {
    fn push(&mut self, key: Key, item: u32);
    fn pop(&mut self) -> Option<(Key, u32)>;
}

impl Queue for Wheel<u32> {
    fn push(&mut self, key: Key, item: u32) {
        Self::push(self, key, item);
    }

    fn pop(&mut self) -> Option<(Key, u32)> {
        Self::pop(self)
    }
}

#[derive(Default)]
struct Heap(BinaryHeap<Reverse<(Key, u32)>>);

impl Queue for Heap {
    fn push(&mut self, key: Key, item: u32) {
        self.0.push(Reverse((key, item)));
    }

    fn pop(&mut self) -> Option<(Key, u32)> {
        self.0.pop().map(|Reverse(both)| both)
    }
}

fn pause(stream: &mut Stream) -> Duration {
    let micros = if stream.below(8) == 0 { stream.below(9_000_000) } else { 5_000 + stream.below(150_000) };
    Duration::from_micros(micros)
}

/// Returns events a second, and a number that depends on the order.
fn run(queue: &mut impl Queue) -> (f64, u64) {
    let mut stream = Stream::new(1, 0, 0);
    for node in 0..PENDING {
        queue.push(Key { at: Instant::ZERO + pause(&mut stream), sender: node, seq: 0 }, node);
    }
    let started = Clock::now();
    let mut order = 0u64;
    for seq in 1..=EVENTS {
        let Some((key, node)) = queue.pop() else { break };
        order = order.wrapping_mul(31).wrapping_add(u64::from(node));
        queue.push(Key { at: key.at + pause(&mut stream), sender: node, seq }, node);
    }
    (f64::from(EVENTS) / started.elapsed().as_secs_f64(), order)
}

fn main() {
    for _ in 0..3 {
        let (heap, expected) = run(&mut Heap::default());
        let (wheel, order) = run(&mut Wheel::new());
        assert_eq!(order, expected, "the wheel's order is the heap's");
        println!(
            "{PENDING} pending: wheel {:.1} M events/s, heap {:.1} M events/s, ratio {:.2}",
            wheel / 1e6,
            heap / 1e6,
            wheel / heap
        );
    }
}
