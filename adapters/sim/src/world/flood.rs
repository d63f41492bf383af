//! Floods: forged datagrams at one host, evenly spread in time.
//!
//! No host sends them: a source address is whatever the flood says. They reach the host's socket as all others do, and
//! their work costs its processor time. The n-th datagram is a function of the flood, its seed and n. It is made when it
//! is handled, so one that waits for the processor takes no memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use peerless::contract::Machine;
use peerless::crypto::{Crypto, NodeId, SecretKey};
use peerless::time::{Duration, Instant, UnixTime};
use peerless::wire::discv4::{DATAGRAM_BYTES_MIN, Endpoint, NEIGHBORS_PER_PACKET, Neighbor, Packet};
use peerless::wire::discv5::{Route, write_random};

use super::host::{Delivery, Host, Sink, Turn};
use super::machine::Watch;
use super::trace::Fingerprint;
use crate::mix::Stream;
use crate::network::Addr;

/// The sources of a flood's datagrams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sources {
    /// Random IPv4 addresses and ports.
    Random,
    /// Random addresses and ports of one IPv6 /48.
    Prefix48,
    /// These endpoints, drawn at random; none if there are none.
    These(Vec<SocketAddr>),
}

/// The kind of a flood's datagrams. Those of discv4 but garbage are well-formed, with a correct hash and a fresh expiration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Forgery {
    /// Pings.
    Ping,
    /// FindNodes.
    FindNode,
    /// Pongs with an unknown hash.
    Pong,
    /// Neighbors with twelve nodes.
    Neighbors,
    /// Random bytes of a ping's type and size, whose hash is false.
    Garbage,
    /// discv5's first packets of a session, each from another node id: each asks for a challenge.
    Discv5,
    /// All of them, drawn at random.
    Mixed,
}

impl Forgery {
    /// The kinds that [`Self::Mixed`] draws from.
    pub const EACH: [Self; 6] = [Self::Ping, Self::FindNode, Self::Pong, Self::Neighbors, Self::Garbage, Self::Discv5];
}

/// A flood; see the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flood {
    /// Datagrams a second; none with 0.
    pub rate: u32,
    /// Their sources.
    pub sources: Sources,
    /// Their kind.
    pub kind: Forgery,
    /// The flooded node, whose id masks the packets of discv5.
    pub to: NodeId,
    /// Whether they are signed, by a few keys in turn, so that they pass for datagrams of unknown nodes. Otherwise their
    /// signatures are false: each costs a check and no more.
    pub is_signed: bool,
    /// The end; `None` is never.
    pub until: Option<Instant>,
}

/// The wire length of hash and signature, before the type.
const TYPE_AT: usize = DATAGRAM_BYTES_MIN - 1;
/// The bytes after a packet.
const TAIL_BYTES: usize = 8;
/// Where nonce and sender are in a packet of discv5. A stream cipher masks them, so random bytes in their place are a random nonce
/// and sender.
const NONCE_AT: usize = 25;
const SENDER_AT: usize = 39;
/// The number of keys that sign a flood.
const KEYS: u64 = 64;
/// The time for which one template's expiration serves: well below an expiration's twenty seconds.
const FRESH: Duration = Duration::from_secs(8);
/// The time from the making of a template to its expiration.
const EXPIRES_IN: u64 = 20;
/// The network of [`Sources::Prefix48`]: a block of documentation would not pass for global.
const PREFIX: u128 = 0x2a0c_0de0_0048 << 80;

/// A flood at work.
pub(crate) struct Torrent {
    flood: Flood,
    /// Distinguishes its events from those of the host's earlier floods.
    pub generation: u32,
    seed: u64,
    since: Instant,
    /// The number of the next datagram.
    next: u64,
    /// The age of the templates, and one for each kind.
    templates: Option<(u64, [Vec<u8>; Forgery::EACH.len()])>,
    /// The keys that sign.
    secrets: Vec<SecretKey>,
    /// The datagram that was made last.
    bytes: Vec<u8>,
}

/// What a flood needs to know of the world.
pub(super) struct Scene<'a> {
    pub crypto: &'a dyn Crypto,
    /// The true wall time at the world's start.
    pub start: UnixTime,
    /// The flooded address.
    pub to: Addr,
}

impl Torrent {
    fn new(flood: Flood, generation: u32, seed: u64, since: Instant) -> Self {
        let mut stream = Stream::new(seed, 0, 0x6b65_7973);
        let secrets = (0..KEYS).map(|_| {
            let mut secret = stream.bytes_32();
            secret[0] = 1;
            SecretKey::from_bytes(secret).expect("in range")
        });
        let secrets = secrets.collect();
        Self { flood, generation, seed, since, next: 0, templates: None, secrets, bytes: Vec::new() }
    }

    /// When the n-th datagram arrives.
    fn at(&self, n: u64) -> Instant {
        self.since + Duration::from_micros((u128::from(n) * 1_000_000 / u128::from(self.flood.rate.max(1))) as u64)
    }

    /// The time of the next datagram, if there is one.
    fn next_at(&self) -> Option<Instant> {
        let is_empty = self.flood.rate == 0 || matches!(&self.flood.sources, Sources::These(these) if these.is_empty());
        let at = self.at(self.next);
        (!is_empty && self.flood.until.is_none_or(|until| at < until)).then_some(at)
    }

    fn stream(&self, n: u64) -> Stream {
        Stream::new(self.seed, n, 0x666c_6f6f_6400)
    }

    /// Makes the n-th datagram, and returns its source.
    fn make(&mut self, scene: &Scene<'_>, n: u64) -> SocketAddr {
        let mut stream = self.stream(n);
        let template = self.template(scene, n, &mut stream);
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.extend_from_slice(&self.templates.as_ref().expect("just made").1[template]);
        match Forgery::EACH[template] {
            Forgery::Garbage => bytes[..32].copy_from_slice(&stream.bytes_32()),
            Forgery::Discv5 => {
                bytes[NONCE_AT..][..8].copy_from_slice(&stream.u64().to_be_bytes());
                bytes[SENDER_AT..][..32].copy_from_slice(&stream.bytes_32());
            }
            _ => self.seal(scene.crypto, &mut stream, &mut bytes),
        }
        self.bytes = bytes;
        self.source(&mut stream)
    }

    /// Makes a template of discv4 a datagram of its own, with a signature.
    fn seal(&self, crypto: &dyn Crypto, stream: &mut Stream, bytes: &mut [u8]) {
        let end = bytes.len() - TAIL_BYTES;
        bytes[end..].copy_from_slice(&stream.u64().to_be_bytes());
        if self.flood.is_signed {
            let secret = &self.secrets[stream.below(KEYS) as usize];
            let signature = crypto.sign(secret, &crypto.signed_hash(&bytes[TYPE_AT..]));
            bytes[32..TYPE_AT].copy_from_slice(&signature.0);
        } else {
            // r and v are those of a true signature, and s is beyond the group's order.
            bytes[64..80].fill(0xff);
        }
        let hash = crypto.datagram_hash(&bytes[32..]);
        bytes[..32].copy_from_slice(&hash);
    }

    /// The length of the n-th datagram.
    fn length(&mut self, scene: &Scene<'_>, n: u64) -> usize {
        let mut stream = self.stream(n);
        let template = self.template(scene, n, &mut stream);
        self.templates.as_ref().map_or(0, |(_, templates)| templates[template].len())
    }

    /// The index of the n-th datagram's template, which is fresh.
    fn template(&mut self, scene: &Scene<'_>, n: u64, stream: &mut Stream) -> usize {
        let age = (self.at(n).as_micros() / FRESH.as_micros() as u64).max(1);
        if self.templates.as_ref().is_none_or(|(made, _)| *made != age) {
            let made_at = scene.start.as_secs() + age * FRESH.as_secs();
            let expiration = UnixTime::from_secs(made_at + EXPIRES_IN);
            let templates = Forgery::EACH.map(|kind| match kind {
                Forgery::Discv5 => first_packet(&self.flood.to, self.seed),
                kind => template(scene, kind, expiration, self.seed, &self.secrets[0]),
            });
            self.templates = Some((age, templates));
        }
        match self.flood.kind {
            Forgery::Mixed => stream.below(Forgery::EACH.len() as u64) as usize,
            kind => Forgery::EACH.iter().position(|each| *each == kind).unwrap_or(0),
        }
    }

    fn source(&self, stream: &mut Stream) -> SocketAddr {
        let port = 1025 + stream.below(64_000) as u16;
        match &self.flood.sources {
            // From 11.0.0.0 on, and before 100.64.0.0: global addresses.
            Sources::Random => {
                let ip = (11 << 24) + stream.below(89 << 24) as u32;
                SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port)
            }
            Sources::Prefix48 => {
                let low = (u128::from(stream.u64()) << 64 | u128::from(stream.u64())) & ((1 << 80) - 1);
                SocketAddr::new(IpAddr::V6(Ipv6Addr::from(PREFIX | low)), port)
            }
            Sources::These(these) => these[stream.below(these.len() as u64) as usize],
        }
    }
}

/// A datagram of discv4 of a kind with a true signature, and a tail that tells one from another, which every node ignores (EIP-8).
fn template(scene: &Scene<'_>, kind: Forgery, expiration: UnixTime, seed: u64, secret: &SecretKey) -> Vec<u8> {
    let mut stream = Stream::new(seed, kind as u64, 0x7465_6d70);
    let to = Endpoint::from(SocketAddr::from(scene.to));
    let from = Endpoint { ip: None, udp: scene.to.port, tcp: scene.to.port };
    let mut random_64 = || {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&stream.bytes_32());
        bytes[32..].copy_from_slice(&stream.bytes_32());
        bytes
    };
    let packet = match kind {
        Forgery::Ping | Forgery::Garbage | Forgery::Discv5 | Forgery::Mixed => {
            Packet::Ping { version: 4, from, to, expiration, enr_seq: Some(1) }
        }
        Forgery::FindNode => Packet::FindNode { target: random_64(), expiration },
        Forgery::Pong => {
            let ping_hash = *random_64().first_chunk().expect("64 bytes hold 32");
            Packet::Pong { to, ping_hash, expiration, enr_seq: Some(1) }
        }
        Forgery::Neighbors => {
            let nodes = (0..NEIGHBORS_PER_PACKET).map(|i| {
                let ip = Ipv4Addr::new(12, i as u8, 1, 1).into();
                Neighbor { ip, udp: 30303, tcp: 30303, key: random_64() }
            });
            Packet::Neighbors { nodes: nodes.collect(), expiration }
        }
    };
    let mut bytes = Vec::new();
    packet.seal(scene.crypto, secret, &mut bytes);
    bytes.extend([0; TAIL_BYTES]);
    bytes
}

/// The first packet of a session of discv5, of the size that clients send.
fn first_packet(to: &NodeId, seed: u64) -> Vec<u8> {
    let mut stream = Stream::new(seed, Forgery::Discv5 as u64, 0x7465_6d70);
    let from = NodeId(stream.bytes_32());
    let iv = stream.bytes_32().first_chunk().copied().expect("32 bytes hold 16");
    let mut bytes = Vec::new();
    write_random(&mut bytes, Route { from: &from, to }, iv, &[0; 12], &stream.bytes_32());
    bytes
}

impl<M: Machine<Language: Fingerprint>, W: Watch<M>> Host<M, W> {
    /// Begins a flood of this host in place of the one that it has, or ends that one.
    pub(super) fn set_flood<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, flood: Option<Flood>) {
        self.floods += 1;
        let seed = Stream::new(turn.shared.seed, u64::from(self.id.0), u64::from(self.floods) + 0x666c_6f6f_6400).u64();
        self.flood = flood.map(|flood| Box::new(Torrent::new(flood, self.floods, seed, turn.now)));
        self.flood_later(turn);
    }

    /// When the flood's next datagram arrives, if the flood is this one.
    pub(super) fn flood_next(&self, generation: u32) -> Option<Instant> {
        self.flood.as_ref().filter(|flood| flood.generation == generation)?.next_at()
    }

    /// Schedules the flood's next datagram.
    pub(super) fn flood_later<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        if let Some(flood) = &self.flood
            && let (generation, Some(at)) = (flood.generation, flood.next_at())
        {
            self.schedule(turn, at.max(turn.now), self.id.0, Delivery::Flood(generation));
        }
    }

    /// The flood's next datagram arrives.
    pub(super) fn flood_arrives<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, generation: u32) {
        let Some(flood) = self.flood.as_mut().filter(|flood| flood.generation == generation) else { return };
        let number = flood.next;
        flood.next += 1;
        self.deliver(turn, Delivery::Forged(generation, number));
    }

    /// The length of a datagram of the flood; 0 if that is over.
    pub(super) fn forged_length(&mut self, turn: &Turn<'_, M, impl Sink>, generation: u32, number: u64) -> usize {
        let scene = self.scene(turn);
        let flood = self.flood.as_mut().filter(|flood| flood.generation == generation);
        flood.map_or(0, |flood| flood.length(&scene, number))
    }

    /// Hands the machine a datagram of the flood.
    pub(super) fn forged<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, generation: u32, number: u64) {
        let scene = self.scene(turn);
        let Some(mut flood) = self.flood.take_if(|flood| flood.generation == generation) else { return };
        let from = flood.make(&scene, number);
        self.datagram(turn, from, scene.to.port, &flood.bytes);
        self.flood = Some(flood);
    }

    fn scene<'a>(&self, turn: &Turn<'a, M, impl Sink>) -> Scene<'a> {
        let to = Addr { ip: turn.shared.addresses.ip(self.id), port: crate::network::address::PORT };
        Scene { crypto: &*turn.shared.crypto, start: turn.shared.start, to }
    }
}

#[cfg(test)]
mod tests {
    use peerless::crypto::Secp256k1;
    use peerless::wire::discv4::Datagram;
    use peerless::wire::discv5;

    use super::*;

    const TO: NodeId = NodeId([5; 32]);

    fn torrent(sources: Sources, kind: Forgery) -> Torrent {
        let until = Some(Instant::from_micros(61_000_000));
        let flood = Flood { rate: 3, sources, kind, to: TO, is_signed: false, until };
        Torrent::new(flood, 1, 7, Instant::from_micros(60_000_000))
    }

    #[test]
    fn datagrams_are_evenly_spread_and_end() {
        let mut torrent = torrent(Sources::Random, Forgery::Ping);
        let mut times = Vec::new();
        while let Some(at) = torrent.next_at() {
            times.push(at.as_micros());
            torrent.next += 1;
        }
        assert_eq!(times, [60_000_000, 60_333_333, 60_666_666]);
    }

    #[test]
    fn each_kind_is_well_formed_with_a_false_signature() {
        let crypto = Secp256k1::new();
        let start = UnixTime::from_secs(1_750_000_000);
        let scene = Scene { crypto: &crypto, start, to: Addr { ip: [11, 0, 0, 1].into(), port: 30303 } };
        let mut lengths = std::collections::BTreeSet::new();
        for kind in Forgery::EACH.into_iter().filter(|kind| *kind != Forgery::Discv5) {
            let mut torrent = torrent(Sources::Prefix48, kind);
            for n in 0..40 {
                let length = torrent.length(&scene, n);
                let from = torrent.make(&scene, n);
                assert_eq!(torrent.bytes.len(), length);
                assert_eq!(from.ip().to_string().split(':').take(3).collect::<Vec<_>>(), ["2a0c", "de0", "48"]);
                let datagram = Datagram::split(&torrent.bytes).unwrap();
                assert_eq!(datagram.check_hash(&crypto).is_ok(), kind != Forgery::Garbage, "{kind:?}");
                let expiration = datagram.decode().unwrap().expiration().unwrap().as_secs();
                let ahead = expiration - start.as_secs() - torrent.at(n).as_micros() / 1_000_000;
                assert!((12..=20).contains(&ahead), "{kind:?}: {ahead}");
                assert!(kind == Forgery::Garbage || datagram.signer(&crypto).is_err(), "{kind:?}");
                torrent.flood.is_signed = true;
                torrent.make(&scene, n);
                let signed = Datagram::split(&torrent.bytes).unwrap();
                assert!(kind == Forgery::Garbage || signed.signer(&crypto).is_ok(), "{kind:?}");
                torrent.flood.is_signed = false;
                torrent.make(&scene, n);
                lengths.insert(length);
                // The same again: a datagram that waited is made when it is handled.
                let bytes = torrent.bytes.clone();
                torrent.make(&scene, n + 1);
                assert_ne!(torrent.bytes, bytes);
                assert_eq!((torrent.make(&scene, n), &torrent.bytes), (from, &bytes));
            }
        }
        assert_eq!(lengths.len(), 4, "{lengths:?}");
    }

    #[test]
    fn each_packet_of_discv5_is_of_another_node() {
        let crypto = Secp256k1::new();
        let start = UnixTime::from_secs(1_750_000_000);
        let scene = Scene { crypto: &crypto, start, to: Addr { ip: [11, 0, 0, 1].into(), port: 30303 } };
        let mut torrent = torrent(Sources::Random, Forgery::Discv5);
        let packets = (0..40).map(|n| {
            torrent.make(&scene, n);
            assert_eq!(torrent.bytes.len(), torrent.length(&scene, n));
            let packet = discv5::Packet::unmask(&TO, &torrent.bytes).unwrap().expect("it is masked for this node");
            let discv5::Header::Ordinary { from } = packet.header() else { panic!("no first packet") };
            (*packet.nonce(), from)
        });
        let packets: std::collections::BTreeSet<_> = packets.collect();
        assert_eq!(packets.len(), 40);
    }

    #[test]
    fn sources_are_global_or_the_given_ones() {
        use peerless::netfilter::{Scope, scope};
        for sources in [Sources::Random, Sources::Prefix48] {
            let torrent = torrent(sources, Forgery::Ping);
            let ips: Vec<IpAddr> = (0..1000).map(|n| torrent.source(&mut torrent.stream(n)).ip()).collect();
            assert!(ips.iter().all(|ip| scope(*ip) == Scope::Global));
            assert!(ips.iter().collect::<std::collections::BTreeSet<_>>().len() > 990);
        }
        let these: Vec<SocketAddr> = vec!["11.0.0.1:30303".parse().unwrap(), "11.0.1.1:30303".parse().unwrap()];
        let torrent = torrent(Sources::These(these.clone()), Forgery::Mixed);
        let drawn: std::collections::BTreeSet<_> = (0..50).map(|n| torrent.source(&mut torrent.stream(n))).collect();
        assert_eq!(drawn, these.into_iter().collect());
    }
}
