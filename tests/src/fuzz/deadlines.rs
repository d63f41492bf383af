//! Deadlines against a plain map that is searched.

use std::collections::BTreeMap;

use peerless::time::{Deadlines, Instant};

use super::{Choices, Memory, Reached, Target};

/// Sets, moves, clears and pops.
pub const DEADLINES: Target = Target {
    name: "deadlines",
    body: deadlines,
    memory: Memory { fixed: 64 << 10, per_byte: 64 },
    landmarks: &["set", "moved", "cleared", "popped", "not due"],
    generated: (5_000, 200),
};

fn deadlines(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut system = Deadlines::default();
    let mut model: BTreeMap<u8, Instant> = BTreeMap::new();
    while !choices.is_empty() {
        let key = choices.byte() % 24;
        match choices.below(3) {
            0 => {
                let at = Instant::from_micros(choices.number() % 64);
                system.set(key, at);
                reached.note(if model.insert(key, at).is_some() { "moved" } else { "set" });
            }
            1 => {
                system.set(key, None);
                if model.remove(&key).is_some() {
                    reached.note("cleared");
                }
            }
            _ => {
                let now = Instant::from_micros(choices.number() % 64);
                let due = model.iter().map(|(key, at)| (*at, *key)).min().filter(|(at, _)| *at <= now);
                assert_eq!(system.pop_due(now), due);
                reached.note(if due.is_some() { "popped" } else { "not due" });
                due.map(|(_, key)| model.remove(&key));
            }
        }
        assert_eq!(system.next(), model.iter().map(|(key, at)| (*at, *key)).min());
        assert_eq!((system.len(), system.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(system.get(key), model.get(&key).copied());
    }
}
