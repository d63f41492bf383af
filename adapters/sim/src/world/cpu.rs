//! A model of a host's processor: each input takes time, during which later ones wait.
//!
//! Datagrams wait in the buffer of a socket, whose size is limited; segments and timers wait without a limit. A datagram of
//! the machine leaves when its computation is done. Without the model, no work takes time.

use std::collections::VecDeque;
use std::sync::Arc;

use peerless::crypto::Crypto;
use peerless::time::Instant;

use super::Totals;
use super::host::{Delivery, Host, Power, Sink, Turn};
use peerless::contract::Machine;

use super::machine::Watch;
use super::trace::Fingerprint;
use crate::crypto::{Costs, Meter};

/// The most bytes of datagrams that wait for a machine: the default of operating systems for a socket.
pub const SOCKET_BYTES: usize = 212_992;

/// A delivery that waits.
struct Waiting {
    /// The time of its arrival.
    since: Instant,
    /// The bytes that it takes of the socket's buffer.
    bytes: usize,
    what: Delivery,
}

/// The processor of one host.
pub(crate) struct Processor {
    meter: Arc<Meter>,
    /// When all work so far is done, in nanoseconds.
    free_at: u64,
    queue: VecDeque<Waiting>,
    /// Bytes of the datagrams among them.
    socket_bytes: usize,
    /// When the queue is resumed, if it is not empty.
    resumes_at: Option<Instant>,
}

impl Processor {
    pub(crate) fn new(crypto: Arc<dyn Crypto + Send + Sync>, costs: Costs) -> Self {
        let meter = Arc::new(Meter::new(crypto, costs));
        Self { meter, free_at: 0, queue: VecDeque::new(), socket_bytes: 0, resumes_at: None }
    }

    /// The primitives for its host's machine.
    pub(crate) fn crypto(&self) -> Arc<dyn Crypto + Send + Sync> {
        self.meter.clone()
    }

    /// Adds the machine's work of `now`, and returns when it is done.
    pub(crate) fn work(&mut self, now: Instant, totals: &mut Totals) -> Instant {
        let cost = self.meter.costs().input + self.meter.take();
        totals.busy_ns += cost;
        self.free_at = self.free_at.max(now.as_micros() * 1000) + cost;
        Instant::from_micros(self.free_at.div_ceil(1000))
    }

    /// When it takes the next input; fractions of a microsecond are kept.
    fn free(&self) -> Instant {
        Instant::from_micros(self.free_at / 1000)
    }
}

impl<M: Machine<Language: Fingerprint>, W: Watch<M>> Host<M, W> {
    /// Handles a delivery, or queues it while the machine works.
    pub(crate) fn deliver<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, what: Delivery) {
        let Some(cpu) = self.cpu.as_mut().filter(|_| self.power == Power::On) else {
            return self.carry_out(turn, what);
        };
        let what = match what {
            // What arrives waits, not the arrival.
            Delivery::Flood(_) => return self.carry_out(turn, what),
            Delivery::Resume => return self.resume_queue(turn),
            // These take no work of the machine.
            Delivery::Start | Delivery::Stop { .. } | Delivery::Credit(_) => return self.carry_out(turn, what),
            what if cpu.queue.is_empty() && cpu.free() <= turn.now => return self.carry_out(turn, what),
            // The deadline stays armed until the timeout is handled.
            Delivery::Wake if self.armed == Some(turn.now) => Delivery::Due,
            Delivery::Wake => return,
            what => what,
        };
        let bytes = self.socket_bytes(turn, &what);
        let Some(cpu) = &mut self.cpu else { return };
        if bytes > 0 && cpu.socket_bytes + bytes > SOCKET_BYTES {
            self.uplink.totals.datagrams_overrun += 1;
            return;
        }
        cpu.socket_bytes += bytes;
        cpu.queue.push_back(Waiting { since: turn.now, bytes, what });
        self.resume_later(turn);
    }

    /// The bytes that a delivery takes of the socket's buffer while it waits.
    fn socket_bytes<S: Sink>(&mut self, turn: &Turn<'_, M, S>, what: &Delivery) -> usize {
        match what {
            Delivery::Datagram { bytes, .. } => bytes.len(),
            Delivery::Forged(generation, number) => self.forged_length(turn, *generation, *number),
            _ => 0,
        }
    }

    /// Resumes the queue when the machine's work is done.
    fn resume_queue<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        loop {
            let Some(cpu) = self.cpu.as_mut().filter(|cpu| cpu.resumes_at == Some(turn.now)) else { return };
            if cpu.free() > turn.now || cpu.queue.is_empty() || self.violation.is_some() {
                cpu.resumes_at = None;
                return self.resume_later(turn);
            }
            let Some(Waiting { since, bytes, what }) = cpu.queue.pop_front() else { return };
            cpu.socket_bytes -= bytes;
            self.uplink.totals.inputs_waited += 1;
            self.uplink.totals.waited_us += turn.now.since(since).as_micros() as u64;
            self.carry_out(turn, what);
        }
    }

    fn resume_later<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        let Some(cpu) = self.cpu.as_mut().filter(|cpu| cpu.resumes_at.is_none() && !cpu.queue.is_empty()) else {
            return;
        };
        let at = cpu.free().max(turn.now);
        cpu.resumes_at = Some(at);
        self.schedule(turn, at, self.id.0, Delivery::Resume);
    }

    /// Delivers what waited after the machine is gone or asleep.
    pub(super) fn abandon_queue<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        let Some(cpu) = &mut self.cpu else { return };
        (cpu.resumes_at, cpu.socket_bytes) = (None, 0);
        for Waiting { what, .. } in std::mem::take(&mut cpu.queue) {
            self.carry_out(turn, what);
        }
    }
}
