//! Two nodes that begin a session with each other at the same time, in every order of events: a small model check.

use super::*;
use crate::contract::{Action, Machine};
use crate::testing::Start;

/// Datagrams under way: to which of the two, and their bytes. Their order does not matter: any may arrive next.
type UnderWay = Vec<(usize, Vec<u8>)>;

/// Two machines, started and with a ping of each to the other. What happens is chosen by a list of numbers.
struct Pair {
    machines: [Lone; 2],
    addrs: [SocketAddr; 2],
    now: Instant,
    under_way: UnderWay,
    /// Pings begun and answered, by machine.
    ponged: [u32; 2],
    failed: [u32; 2],
}

impl Pair {
    fn new() -> Self {
        let addrs = [addr("100.0.0.1:30303"), addr("101.0.0.1:30303")];
        let mut net = empty();
        for at in ["100.0.0.1:30303", "101.0.0.1:30303"] {
            net.add_with(at, quiet(), NetFilter::default());
        }
        let contacts = [net.contact(0), net.contact(1)];
        let now = net.now();
        let start = Start { now, unix: net.unix(), seed: [0; 32] };
        let machines = [0, 1].map(|i| new_lone(i, addrs[i], quiet(), NetFilter::default(), CRYPTO.clone(), start));
        let mut pair = Self { machines, addrs, now, under_way: vec![], ponged: [0; 2], failed: [0; 2] };
        for i in [0, 1] {
            let contact = contacts[1 - i];
            pair.machines[i].call(now, |machine, cx| machine.ping(cx, CommandId(1), contact)).unwrap();
            pair.drain(i);
        }
        pair
    }

    fn drain(&mut self, i: usize) {
        while let Some(action) = self.machines[i].poll_action() {
            match action {
                Action::Send { bytes, .. } => self.under_way.push((1 - i, bytes.to_vec())),
                Action::Emit(Event::Pong { .. }) => self.ponged[i] += 1,
                Action::Emit(Event::CallFailed { .. }) => self.failed[i] += 1,
                _ => {}
            }
        }
    }

    fn arrive(&mut self, index: usize) {
        let (to, bytes) = self.under_way.remove(index);
        self.now = self.now + millis(1);
        let from = self.addrs[1 - to];
        let input = Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes };
        self.machines[to].handle(self.now, input);
        self.drain(to);
    }

    /// Lets all that is under way arrive, then lets calls time out.
    fn settle(&mut self) {
        for _ in 0..3 {
            while !self.under_way.is_empty() {
                self.arrive(0);
            }
            self.now = self.now + millis(1100);
            for i in [0, 1] {
                self.machines[i].handle(self.now, Input::Timeout);
                self.drain(i);
            }
        }
    }

    /// Whether a new ping of each side is answered without a handshake.
    fn both_have_sessions(&mut self) -> bool {
        [0, 1].into_iter().all(|i| {
            let (contact, before) = (self.contact(1 - i), self.ponged[i]);
            let now = self.now;
            self.machines[i].call(now, |machine, cx| machine.ping(cx, CommandId(2), contact)).unwrap();
            self.drain(i);
            self.arrive(0);
            let Some((to, _)) = self.under_way.first() else { return false };
            assert_eq!(*to, i);
            self.arrive(0);
            self.ponged[i] > before
        })
    }

    fn contact(&self, i: usize) -> Contact {
        let at = self.addrs[i];
        Contact::new(*self.machines[i].protocol.local().key(), at.ip(), at.port(), at.port())
    }
}

/// Runs one order of events: each number chooses the next datagram to arrive, or to be lost. Returns the number of choices at
/// each step.
fn run(choices: &[usize], can_lose: bool) -> (Pair, Vec<usize>) {
    let (mut pair, mut counts, mut lost) = (Pair::new(), vec![], 0);
    for step in 0.. {
        let waiting = pair.under_way.len();
        if waiting == 0 || step >= 24 {
            break;
        }
        let count = waiting * if can_lose && lost == 0 { 2 } else { 1 };
        let choice = choices.get(step).copied().unwrap_or(0);
        counts.push(count);
        if choice < waiting {
            pair.arrive(choice);
        } else {
            lost += 1;
            pair.under_way.remove(choice - waiting);
        }
    }
    (pair, counts)
}

/// Every order: the last choice that has an alternative is changed until none is left.
fn for_every_order(can_lose: bool, mut check: impl FnMut(Pair, &[usize])) -> usize {
    let (mut choices, mut orders) = (vec![], 0);
    loop {
        let (pair, counts) = run(&choices, can_lose);
        choices.resize(counts.len(), 0);
        check(pair, &choices);
        orders += 1;
        while let Some(last) = choices.pop() {
            if last + 1 < counts[choices.len()] {
                choices.push(last + 1);
                break;
            }
        }
        if choices.is_empty() {
            return orders;
        }
    }
}

#[test]
fn crossing_handshakes_lose_no_ping_in_any_order() {
    let orders = for_every_order(false, |mut pair, choices| {
        pair.settle();
        assert_eq!((pair.ponged, pair.failed), ([1, 1], [0, 0]), "{choices:?}");
        assert!(pair.both_have_sessions(), "{choices:?}");
    });
    assert!(orders > 50, "{orders}");
}

/// One datagram is lost: at most the ping that it belongs to fails, and the next one finds or makes a session.
#[test]
fn crossing_handshakes_recover_from_any_lost_datagram() {
    let orders = for_every_order(true, |mut pair, choices| {
        pair.settle();
        let ended = [0, 1].map(|i| pair.ponged[i] + pair.failed[i]);
        assert_eq!(ended, [1, 1], "each ends once: {choices:?}");
        assert!(pair.failed.iter().sum::<u32>() <= 1, "{:?} failed: {choices:?}", pair.failed);
        let now = pair.now;
        for i in [0, 1] {
            let contact = pair.contact(1 - i);
            pair.machines[i].call(now, |machine, cx| machine.ping(cx, CommandId(2), contact)).unwrap();
            pair.drain(i);
            while !pair.under_way.is_empty() {
                pair.arrive(0);
            }
            assert_eq!(pair.ponged[i] + pair.failed[i], 2, "{i}: {choices:?}");
        }
        assert!(pair.failed.iter().sum::<u32>() <= 1, "{:?} failed: {choices:?}", pair.failed);
    });
    assert!(orders > 200, "{orders}");
}
