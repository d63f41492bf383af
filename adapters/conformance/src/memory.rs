//! The wire in memory and virtual time, to a machine in a [`Net`] (feature `testing`).

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use peerless::contract::Machine;
use peerless::testing::{Host, Net};
use peerless::time::{Instant, UnixTime};

use crate::wire::{Address, Local, Received, Unavailable, Wire};

/// The first port of the tester.
const FIRST_PORT: u16 = 40_000;

/// A wire to one host of a network. Time passes while a trial waits, and not otherwise.
pub struct Memory<M: Machine> {
    net: Net<M>,
    host: Host,
    addresses: [Option<IpAddr>; 2],
    open: Vec<SocketAddr>,
    /// Came and not yet received.
    waiting: VecDeque<Received>,
    next_port: u16,
    start: Instant,
}

impl<M: Machine> Memory<M> {
    /// A wire to `host`, from one or two addresses where no host is.
    pub fn new(net: Net<M>, host: Host, first: IpAddr, second: Option<IpAddr>) -> Self {
        let start = net.now();
        let addresses = [Some(first), second];
        Self { net, host, addresses, open: Vec::new(), waiting: VecDeque::new(), next_port: FIRST_PORT, start }
    }

    /// The network.
    pub fn net(&self) -> &Net<M> {
        &self.net
    }

    fn take(&mut self) -> Option<Received> {
        for (i, addr) in self.open.iter().enumerate() {
            let taken = self.net.take_datagrams(*addr).into_iter();
            self.waiting.extend(taken.map(|(from, bytes)| Received { at: Local(i), from, bytes }));
        }
        self.waiting.pop_front()
    }
}

impl<M: Machine> Wire for Memory<M> {
    fn open(&mut self, address: Address) -> Result<Local, Unavailable> {
        let ip = self.addresses[address as usize];
        let ip = ip.ok_or_else(|| Unavailable("there is no second local address of this family".to_owned()))?;
        self.open.push(SocketAddr::new(ip, self.next_port));
        self.next_port += 1;
        Ok(Local(self.open.len() - 1))
    }

    fn addr(&self, local: Local) -> SocketAddr {
        self.open[local.0]
    }

    fn send(&mut self, from: Local, to: SocketAddr, bytes: &[u8]) {
        if to == self.net.addr(self.host) {
            self.net.datagram(self.host, self.open[from.0], bytes);
        }
    }

    fn receive(&mut self, within: Duration) -> Option<Received> {
        if let Some(received) = self.take() {
            return Some(received);
        }
        let open = &self.open;
        self.net.run_until(within, |net| open.iter().any(|addr| net.has_datagrams(*addr)));
        self.take()
    }

    fn close(&mut self) {
        self.open.clear();
        self.waiting.clear();
        self.net.forget();
    }

    fn elapsed(&self) -> Duration {
        self.net.now().since(self.start)
    }

    fn unix(&self) -> UnixTime {
        self.net.unix()
    }
}

/// Omits traffic.
impl<M: Machine> fmt::Debug for Memory<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, host, open, .. } = self;
        f.debug_struct("Memory").field("net", net).field("host", host).field("open", open).finish_non_exhaustive()
    }
}
