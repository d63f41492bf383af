//! discv4 alone as a machine of the network in memory, and strangers whose packets the test composes.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::sync::LazyLock;

use super::super::*;
use crate::contract::{Context, Input};
use crate::crypto::{Digest, Secp256k1};
use crate::kad::testing::{self, Protocol};
pub(super) use crate::kad::testing::{Account, addr, millis, secs};
use crate::kad::{Received, Verdict};
use crate::limits;
use crate::netfilter::NetFilter;
use crate::rng::Seed;
use crate::testing::Host;
use crate::time::UnixTime;
use crate::wire::discv4::{Datagram, Kind};

pub(super) static CRYPTO: LazyLock<Arc<Secp256k1>> = LazyLock::new(|| Arc::new(Secp256k1::new()));

/// The delay of every datagram, unless a test sets another.
const DELAY: Duration = Duration::from_millis(20);

/// One [`Discv4`] with its context, as a machine.
pub(super) type Lone = testing::Lone<Discv4>;

impl Protocol for Discv4 {
    fn handle_datagram(&mut self, cx: &mut Cx<'_>, from: SocketAddr, bytes: &[u8]) -> Verdict {
        self.handle_datagram(cx, from, bytes)
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Growth {
        self.handle_timeout(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout().map(|(due, _)| due)
    }

    fn is_proof(&self, _: SocketAddr, bytes: &[u8]) -> bool {
        Datagram::split(bytes).and_then(|datagram| datagram.kind()) == Ok(Kind::Pong)
    }

    fn check_bounds(&self) {
        assert!(self.calls.len() <= limits::CALLS_MAX);
    }
}

/// A node that the test plays: a key and an address.
pub(super) struct Stranger {
    pub(super) secret: SecretKey,
    pub(super) key: PublicKey,
    pub(super) addr: SocketAddr,
}

impl Stranger {
    pub(super) fn new(n: u8, at: &str) -> Self {
        let secret = SecretKey::from_bytes([n; 32]).unwrap();
        Self { key: CRYPTO.public_key(&secret), secret, addr: addr(at) }
    }

    pub(super) fn contact(&self) -> Contact {
        contact(&self.key, self.addr)
    }

    pub(super) fn at(&self, at: &str) -> Self {
        Self { secret: self.secret.clone(), key: self.key, addr: addr(at) }
    }
}

/// Machines are referred to by their numbers, in the order in which they were added.
pub(super) type Net = crate::testing::Net<Lone>;

fn contact(key: &PublicKey, at: SocketAddr) -> Contact {
    Contact::new(*key, at.ip(), at.port(), at.port())
}

/// The key of machine number `i`, and its generator.
pub(super) fn identity(i: usize) -> (SecretKey, Rng) {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(i as u64 + 1).to_be_bytes());
    let mut rng = Seed::new(seed).fork("discv4");
    (SecretKey::generate(&mut rng), rng)
}

/// The contact of machine number `i`, which need not be there yet.
pub(super) fn contact_of(i: usize, at: &str) -> Contact {
    contact(&CRYPTO.public_key(&identity(i).0), addr(at))
}

/// A network without machines.
pub(super) fn empty() -> Net {
    let mut net = Net::new(1);
    net.link.delay = (DELAY, DELAY);
    net.log_datagrams();
    net
}

/// One machine without bootnodes, after its first timeout.
pub(super) fn victim() -> Net {
    let mut net = empty();
    net.add_at("100.0.0.1:30303", &[]);
    net.run_for(millis(1));
    net
}

/// A network on loopback in which the first machine is the bootnode of all others.
pub(super) fn devnet(count: usize) -> Net {
    let mut net = empty();
    net.add_at("127.0.0.1:30300", &[]);
    for i in 1..count {
        net.add_at(&alloc::format!("127.0.0.1:{}", 30300 + i), &[0]);
    }
    net
}

impl Net {
    /// Adds a machine, with other ones as its bootnodes.
    pub(super) fn add_at(&mut self, at: &str, bootnodes: &[usize]) {
        let bootnodes = bootnodes.iter().map(|i| self.contact(*i)).collect();
        self.add_with(at, bootnodes, NetFilter::default());
    }

    pub(super) fn add_with(&mut self, at: &str, bootnodes: Vec<Contact>, filter: NetFilter) {
        self.add_machine(addr(at), Config { bootnodes, ..Config::default() }, filter, CRYPTO.clone());
    }

    pub(super) fn add_machine(
        &mut self,
        at: SocketAddr,
        config: Config,
        filter: NetFilter,
        crypto: Arc<dyn Crypto + Send + Sync>,
    ) {
        let (secret, rng) = identity(self.hosts().count());
        self.add_local(at, (secret, rng), config, filter, crypto);
    }

    /// Adds a machine with a given key and generator.
    pub(super) fn add_local(
        &mut self,
        at: SocketAddr,
        (secret, mut rng): (SecretKey, Rng),
        config: Config,
        filter: NetFilter,
        crypto: Arc<dyn Crypto + Send + Sync>,
    ) {
        let local = Local::new(&*crypto, secret, Endpoint { tcp: at.port(), ..Endpoint::from(at) }, None);
        self.add(at, |start| {
            let mut context = Context::new(start.now, start.unix, filter, crypto);
            let addrs = config.bootnodes.iter().map(Contact::udp_addr).collect();
            let discv4 = Discv4::new(&mut context.cx(&mut rng), config, local);
            Lone::new(discv4, context, rng, addrs)
        });
    }

    pub(super) fn discv4(&self, i: usize) -> &Discv4 {
        &self.machine(Host(i)).protocol
    }

    pub(super) fn contact(&self, i: usize) -> Contact {
        contact(self.discv4(i).local().key(), self.addr(Host(i)))
    }

    /// The contacts of all machines.
    pub(super) fn contacts(&self) -> Vec<Contact> {
        self.hosts().map(|host| self.contact(host.0)).collect()
    }

    /// Calls a machine's methods.
    pub(super) fn call<R>(&mut self, i: usize, call: impl FnOnce(&mut Discv4, &mut Cx<'_>) -> R) -> R {
        self.with(Host(i), |lone, now| lone.call(now, call))
    }

    /// Replaces a machine by a new one of the same key, without bootnodes.
    pub(super) fn restart(&mut self, i: usize, bootnodes: Vec<Contact>) {
        let config = Config { bootnodes, ..Config::default() };
        self.call(i, |discv4, cx| *discv4 = Discv4::new(cx, config, discv4.local.clone()));
    }

    /// Hands a machine a datagram, and returns its outcome.
    pub(super) fn deliver(&mut self, i: usize, from: SocketAddr, bytes: &[u8]) -> Received {
        self.datagram(Host(i), from, bytes);
        self.machine(Host(i)).received
    }

    /// Hands a machine a timeout, due or not.
    pub(super) fn timeout(&mut self, i: usize) -> Growth {
        self.input(Host(i), Input::Timeout);
        self.machine(Host(i)).growth
    }

    /// The number of datagrams that all machines have sent.
    pub(super) fn sent(&self) -> usize {
        self.datagrams().iter().filter(|datagram| datagram.is_sent).count()
    }

    /// The number of datagrams to addresses that satisfy a condition.
    pub(super) fn sent_to(&self, is_it: impl Fn(SocketAddr) -> bool) -> usize {
        self.datagrams().iter().filter(|datagram| datagram.is_sent && is_it(datagram.remote)).count()
    }

    /// The number of a machine's events of a kind.
    pub(super) fn count(&self, i: usize, is_it: impl Fn(&Event<'_>) -> bool) -> usize {
        self.events(Host(i)).iter().filter(|(_, event)| is_it(event)).count()
    }

    pub(super) fn soon(&self) -> UnixTime {
        self.unix().plus_secs(20)
    }

    /// Sends a packet from the stranger to the first machine. Returns its hash and what became of it.
    pub(super) fn send_from(&mut self, stranger: &Stranger, packet: &Packet) -> (Digest, Received) {
        let mut bytes = vec![];
        let hash = packet.seal(&**CRYPTO, &stranger.secret, &mut bytes);
        (hash, self.deliver(0, stranger.addr, &bytes))
    }

    pub(super) fn ping(&self) -> Packet {
        let (from, to) = (Endpoint::from(addr("1.1.1.1:1")), Endpoint::from(self.addr(Host(0))));
        let from = Endpoint { tcp: 30303, ..from };
        Packet::Ping { version: 4, from, to, expiration: self.soon(), enr_seq: None }
    }

    pub(super) fn pong(&self, ping_hash: Digest) -> Packet {
        let to = Endpoint::from(self.addr(Host(0)));
        Packet::Pong { to, ping_hash, expiration: self.soon(), enr_seq: None }
    }

    pub(super) fn find_node(&self, target: [u8; 64]) -> Packet {
        Packet::FindNode { target, expiration: self.soon() }
    }

    /// Takes what the machines sent to a stranger's address, in order, with the datagrams' hashes.
    pub(super) fn take(&mut self, at: SocketAddr) -> Vec<(Packet, Digest)> {
        self.run_for(self.link.delay.1);
        let open = |(_, bytes): (SocketAddr, Vec<u8>)| {
            let datagram = Datagram::split(&bytes).unwrap();
            datagram.check_hash(&**CRYPTO).unwrap();
            datagram.signer(&**CRYPTO).unwrap();
            (datagram.decode().unwrap(), *datagram.hash)
        };
        self.take_datagrams(at).into_iter().map(open).collect()
    }

    /// The stranger pings, and answers the ping back.
    pub(super) fn bond(&mut self, stranger: &Stranger) {
        assert!(self.bond_if_pinged(stranger), "no ping back");
    }

    /// The stranger pings, and answers the ping back if there is one.
    pub(super) fn bond_if_pinged(&mut self, stranger: &Stranger) -> bool {
        let ping = self.ping();
        assert_eq!(self.send_from(stranger, &ping).1, Received::Handled);
        let answers = self.take(stranger.addr);
        let ping_back = answers.into_iter().find(|(packet, _)| packet.kind() == Kind::Ping);
        ping_back.is_some_and(|(_, hash)| {
            let pong = self.pong(hash);
            self.send_from(stranger, &pong).1 == Received::Handled
        })
    }

    /// Whether the first machine has the stranger in its table.
    pub(super) fn knows_stranger(&self, stranger: &Stranger) -> bool {
        self.discv4(0).table().entry(&stranger.key.node_id()).is_some()
    }

    /// Whether one machine has another one in its table.
    pub(super) fn knows(&self, i: usize, other: usize) -> bool {
        self.discv4(i).table().entry(self.discv4(other).local().id()).is_some()
    }
}
