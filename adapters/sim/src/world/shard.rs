//! Some of the hosts and what is to happen to them; several shards are driven in parallel, in windows in which none can
//! reach another.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use peerless::node::Node;
use peerless::time::{Duration, Instant};

use super::host::{Host, Parcel, Sink, Turn};
use super::machine::{Machine, Watch};
use super::shared::{Place, Shared};
use crate::HostId;
use crate::engine::{Key, Wheel};

/// See the module.
pub(crate) struct Shard<M, W> {
    pub hosts: Vec<Host<M, W>>,
    pub outlet: Outlet,
    /// Things delivered.
    pub events: u64,
    /// Whom something is just being delivered to, and when.
    pub delivering: Option<(Instant, HostId)>,
    /// Where the first invariant was broken.
    pub halted: Option<(Key, HostId)>,
}

/// How far ahead of a delivery each part of what it reads is prefetched, by depth (see [`Host::prefetch`]): memory takes
/// about as long as one delivery, at times as long as two.
const LOOK_AHEAD: [usize; 1 + Node::PREFETCH_DEPTHS] = [7, 5, 4, 3, 1];

/// What goes from one shard to another.
type Mail = Vec<(Key, Parcel)>;

/// Where what a shard's hosts do goes to: its own wheel, or the mail to other shards.
pub(crate) struct Outlet {
    pub number: u16,
    pub wheel: Wheel<Parcel>,
    pub mail: Vec<Mail>,
    /// Buffers of datagrams that were delivered, for those that are sent next: the latest are still near the processor.
    buffers: Vec<Vec<u8>>,
}

/// Buffers that are kept at most: 1.3 MB.
const BUFFERS_MAX: usize = 1024;

/// An outlet that knows where hosts live.
pub(crate) struct Routed<'a> {
    pub outlet: &'a mut Outlet,
    pub places: &'a [Place],
}

impl Sink for Routed<'_> {
    fn push(&mut self, key: Key, parcel: Parcel) {
        let shard = self.places[parcel.to as usize].shard;
        if shard == self.outlet.number {
            self.outlet.wheel.push(key, parcel);
        } else {
            self.outlet.mail[usize::from(shard)].push((key, parcel));
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.outlet.buffers.pop().unwrap_or_default()
    }

    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.outlet.buffers.len() < BUFFERS_MAX {
            buffer.clear();
            self.outlet.buffers.push(buffer);
        }
    }
}

impl<M: Machine, W: Watch<M>> Shard<M, W> {
    pub(crate) fn new(number: u16, shards: usize) -> Self {
        let mail = (0..shards).map(|_| Vec::new()).collect();
        Self {
            hosts: Vec::new(),
            outlet: Outlet { number, wheel: Wheel::new(), mail, buffers: Vec::new() },
            events: 0,
            delivering: None,
            halted: None,
        }
    }

    /// Delivers everything before `end`, in order.
    pub(crate) fn run_before(&mut self, shared: &Shared<M>, end: Instant) {
        while self.halted.is_none()
            && let Some((key, parcel)) = self.outlet.wheel.pop_before(end)
        {
            self.events += 1;
            self.look_ahead(shared);
            let local = shared.places[parcel.to as usize].local;
            let host = &mut self.hosts[local as usize];
            let mut sink = Routed { outlet: &mut self.outlet, places: &shared.places };
            self.delivering = Some((key.at, host.id));
            host.deliver(&mut Turn { now: key.at, shared, sink: &mut sink }, parcel.what);
            self.delivering = None;
            if host.violation.is_some() {
                self.halted = Some((key, host.id));
            }
        }
    }

    /// Prefetches what those who come next will read.
    fn look_ahead(&self, shared: &Shared<M>) {
        self.outlet.wheel.prefetch(LOOK_AHEAD[0] + 2);
        for (depth, ahead) in LOOK_AHEAD.into_iter().enumerate() {
            if let Some((at, parcel)) = self.outlet.wheel.ahead(ahead) {
                let local = shared.places[parcel.to as usize].local;
                self.hosts[local as usize].prefetch(at, &parcel.what, depth);
            }
        }
    }

    /// Lets one host do something now.
    pub(crate) fn touch<R>(
        &mut self,
        shared: &Shared<M>,
        now: Instant,
        local: u32,
        work: impl FnOnce(&mut Host<M, W>, &mut Turn<'_, M, Routed<'_>>) -> R,
    ) -> R {
        let host = &mut self.hosts[local as usize];
        let mut sink = Routed { outlet: &mut self.outlet, places: &shared.places };
        self.delivering = Some((now, host.id));
        let result = work(host, &mut Turn { now, shared, sink: &mut sink });
        self.delivering = None;
        if host.violation.is_some() && self.halted.is_none() {
            self.halted = Some((Key { at: now, sender: host.id.0, seq: 0 }, host.id));
        }
        result
    }
}

/// Delivers everything before `end` in all shards, each in a thread of its own.
pub(crate) fn run_all<M: Machine + Send, W: Watch<M>>(
    shards: &mut [Shard<M, W>],
    shared: &Shared<M>,
    lookahead: Duration,
    end: Instant,
) {
    if let [shard] = shards {
        shard.run_before(shared, end);
        return;
    }
    let meeting = &Meeting::new(shards.len());
    std::thread::scope(|scope| {
        for shard in shards {
            scope.spawn(move || {
                let _guard = Guard(meeting);
                drive(shard, shared, lookahead, end, meeting);
            });
        }
    });
}

/// One thread's part: windows from the earliest thing that waits anywhere, as long as nobody reaches anybody else.
fn drive<M: Machine, W: Watch<M>>(
    shard: &mut Shard<M, W>,
    shared: &Shared<M>,
    lookahead: Duration,
    end: Instant,
    meeting: &Meeting,
) {
    let me = usize::from(shard.outlet.number);
    // Two sides of every board: whoever is a window ahead writes on the other one.
    for side in [0, 1].into_iter().cycle() {
        let board = &meeting.boards[side];
        let mut next = shard.outlet.wheel.peek().map_or(u64::MAX, |key| key.at.as_micros());
        for (to, mail) in shard.outlet.mail.iter_mut().enumerate().filter(|(_, mail)| !mail.is_empty()) {
            next = mail.iter().map(|(key, _)| key.at.as_micros()).fold(next, u64::min);
            let mut slot = board.mail[me][to].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::swap(&mut *slot, mail);
        }
        board.next[me].store(next, Ordering::Release);
        if shard.halted.is_some() {
            board.halted.store(true, Ordering::Release);
        }
        meeting.wait();
        for from in &board.mail {
            let mut slot = from[me].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (key, parcel) in slot.drain(..) {
                shard.outlet.wheel.push(key, parcel);
            }
        }
        let first = board.next.iter().map(|next| next.load(Ordering::Acquire)).min().unwrap_or(u64::MAX);
        if first >= end.as_micros() || board.halted.load(Ordering::Acquire) {
            return;
        }
        shard.run_before(shared, (Instant::from_micros(first) + lookahead).min(end));
    }
}

/// Where threads meet between windows.
struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    /// A thread panicked: nobody must wait for it.
    is_off: AtomicBool,
    boards: [Board; 2],
}

/// What threads tell each other.
struct Board {
    next: Vec<AtomicU64>,
    halted: AtomicBool,
    /// By sender and receiver.
    mail: Vec<Vec<Mutex<Mail>>>,
}

impl Meeting {
    fn new(threads: usize) -> Self {
        let board = || Board {
            next: (0..threads).map(|_| AtomicU64::new(u64::MAX)).collect(),
            halted: AtomicBool::new(false),
            mail: (0..threads).map(|_| (0..threads).map(|_| Mutex::default()).collect()).collect(),
        };
        Self {
            threads,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            is_off: AtomicBool::new(false),
            boards: [board(), board()],
        }
    }

    /// Returns when all threads are here. They come within microseconds of each other, so it spins a while.
    fn wait(&self) {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round + 1, Ordering::Release);
            return;
        }
        let mut spins = 0u32;
        while self.round.load(Ordering::Acquire) == round {
            assert!(!self.is_off.load(Ordering::Relaxed), "another thread of this world has panicked");
            spins += 1;
            match spins {
                0..2000 => std::hint::spin_loop(),
                2000..2100 => std::thread::yield_now(),
                // Somebody else has the processor: leave it to the thread that is waited for.
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    }
}

struct Guard<'a>(&'a Meeting);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.is_off.store(true, Ordering::Relaxed);
        }
    }
}
