//! A shard: some of the hosts, and their future deliveries.

use peerless::node::Node;
use peerless::time::Instant;

use super::host::{Delivery, Host, Parcel, Sink, Turn};
use peerless::contract::Machine;

use super::machine::Watch;
use super::shared::{Place, Shared};
use super::trace::Fingerprint;
use crate::HostId;
use crate::engine::{Key, Wheel};

/// The hosts that one thread drives.
pub(crate) struct Shard<M, W> {
    pub hosts: Vec<Host<M, W>>,
    pub outlet: Outlet,
    /// The number of deliveries.
    pub events: u64,
    /// The time and the host of the present delivery.
    pub delivering: Option<(Instant, HostId)>,
    /// Where the first invariant was violated.
    pub halted: Option<(Key, HostId)>,
}

/// How many deliveries ahead the memory of one is prefetched, by depth (see [`Host::prefetch`]): memory takes about as long
/// as one delivery, sometimes as long as two.
const LOOK_AHEAD: [usize; 1 + Node::PREFETCH_DEPTHS] = [7, 5, 4, 3, 1];

/// Deliveries from one shard to another.
pub(super) type Mail = Vec<(Key, Parcel)>;

/// The destination of a shard's new deliveries: its own wheel, or the mail to other shards.
pub(crate) struct Outlet {
    pub number: u16,
    pub wheel: Wheel<Parcel>,
    pub mail: Vec<Mail>,
    /// Buffers of delivered datagrams, for the next ones: the latest are still in the caches.
    buffers: Vec<Vec<u8>>,
}

/// The most buffers that are kept: 1.3 MB.
const BUFFERS_MAX: usize = 1024;

/// An outlet that routes deliveries to the shards of their hosts.
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

impl<M, W> Shard<M, W> {
    /// Its index among the shards.
    pub(super) fn number(&self) -> usize {
        usize::from(self.outlet.number)
    }

    /// When the next delivery is due.
    pub(super) fn next(&mut self) -> Option<Instant> {
        self.outlet.wheel.peek().map(|key| key.at)
    }
}

impl<M: Machine<Language: Fingerprint> + Send, W: Watch<M>> Shard<M, W> {
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
            if let Delivery::Flood(generation) = parcel.what {
                self.run_flood(shared, end, local, (key, generation));
                continue;
            }
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

    /// Delivers a flood's datagrams from the first one on, as long as nothing else is due: without a detour over the wheel
    /// they cost half.
    fn run_flood(&mut self, shared: &Shared<M>, end: Instant, local: u32, (mut key, generation): (Key, u32)) {
        let host = &mut self.hosts[local as usize];
        loop {
            let mut sink = Routed { outlet: &mut self.outlet, places: &shared.places };
            let mut turn = Turn { now: key.at, shared, sink: &mut sink };
            self.delivering = Some((key.at, host.id));
            host.deliver(&mut turn, Delivery::Flood(generation));
            self.delivering = None;
            if host.violation.is_some() {
                self.halted = Some((key, host.id));
                return;
            }
            let Some(at) = host.flood_next(generation) else { return };
            if at >= end || turn.sink.outlet.wheel.peek().is_some_and(|next| next.at <= at) {
                return host.flood_later(&mut turn);
            }
            key.at = at;
            self.events += 1;
        }
    }

    /// Prefetches the memory of the next deliveries.
    fn look_ahead(&self, shared: &Shared<M>) {
        self.outlet.wheel.prefetch(LOOK_AHEAD[0] + 2);
        for (depth, ahead) in LOOK_AHEAD.into_iter().enumerate() {
            if let Some((at, parcel)) = self.outlet.wheel.ahead(ahead) {
                let local = shared.places[parcel.to as usize].local;
                self.hosts[local as usize].prefetch(at, &parcel.what, depth);
            }
        }
    }

    /// Changes one host now.
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
