//! Network address translation: a device in front of one host, of one of four kinds.
//!
//! A NAT belongs to one host, has the host's public address, and maps the host's one port. Outbound streams pass every
//! kind; inbound streams pass an open one, or a full cone with a live mapping.

use std::collections::BTreeMap;

use peerless::time::{Duration, Instant};

use super::address::{Addr, PORT};
use crate::mix::Mix;

/// Idle time after which a mapping expires (RFC 4787 recommends two minutes).
pub const MAPPING_LIFETIME: Duration = Duration::from_secs(120);
/// Mappings kept: more than the endpoints that a node uses within their lifetime.
const MAPPINGS_MAX: usize = 4096;

/// The kind of NAT in front of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Nat {
    /// None: the host is reachable by all.
    #[default]
    None,
    /// One port for all endpoints, open to all as long as the host itself sends now and then.
    FullCone,
    /// One port for all endpoints, open to addresses that the host has sent to.
    Restricted,
    /// A port for each endpoint that the host sends to, open to that endpoint alone.
    Symmetric,
}

/// A NAT and its mappings.
#[derive(Clone, Debug, Default)]
pub(crate) struct NatBox {
    kind: Nat,
    /// The expiry of a full cone's one mapping.
    open_until: Instant,
    /// The expiry by external port and remote (a restricted cone's remote has port 0).
    mappings: BTreeMap<(u16, Addr), Instant>,
}

impl NatBox {
    pub(crate) fn new(kind: Nat) -> Self {
        Self { kind, ..Self::default() }
    }

    pub(crate) fn kind(&self) -> Nat {
        self.kind
    }

    /// Maps a packet from the host to `to`; returns the external port.
    pub(crate) fn outgoing(&mut self, now: Instant, to: Addr) -> u16 {
        let until = now + MAPPING_LIFETIME;
        let (port, remote) = match self.kind {
            Nat::None => return PORT,
            Nat::FullCone => {
                self.open_until = until;
                return PORT;
            }
            Nat::Restricted => (PORT, Addr { port: 0, ..to }),
            Nat::Symmetric => (symmetric_port(to), to),
        };
        self.mappings.insert((port, remote), until);
        if self.mappings.len() > MAPPINGS_MAX {
            self.mappings.retain(|_, until| *until > now);
            while self.mappings.len() > MAPPINGS_MAX {
                self.mappings.pop_first();
            }
        }
        port
    }

    /// Whether a datagram from `from` to the external `port` reaches the host.
    pub(crate) fn admits(&self, now: Instant, from: Addr, port: u16) -> bool {
        let key = match self.kind {
            Nat::None => return port == PORT,
            Nat::FullCone => return port == PORT && now < self.open_until,
            Nat::Restricted => (port, Addr { port: 0, ..from }),
            Nat::Symmetric => (port, from),
        };
        self.mappings.get(&key).is_some_and(|until| now < *until)
    }

    /// Whether a stream from outside to the external `port` reaches the host.
    pub(crate) fn admits_stream(&self, now: Instant, port: u16) -> bool {
        match self.kind {
            Nat::None => port == PORT,
            Nat::FullCone => port == PORT && now < self.open_until,
            Nat::Restricted | Nat::Symmetric => false,
        }
    }
}

/// The external port that a symmetric NAT assigns to an endpoint.
fn symmetric_port(to: Addr) -> u16 {
    let hash = Mix::new(0x6e61_7400).word(to.word()).finish();
    20_000 + (hash % 40_000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8, port: u16) -> Addr {
        Addr { ip: [11, 0, 0, last].into(), port }
    }

    #[test]
    fn each_kind_admits_its_senders_only() {
        let (now, later) = (Instant::from_micros(1), Instant::from_micros(1) + MAPPING_LIFETIME);
        let (peer, its_other_port, stranger) = (addr(1, PORT), addr(1, 9), addr(2, PORT));
        // For each kind: whether the peer, the peer's other port and a stranger pass, before and after a packet to the
        // peer.
        let cases = [
            (Nat::None, [true, true, true], [true, true, true]),
            (Nat::FullCone, [false, false, false], [true, true, true]),
            (Nat::Restricted, [false, false, false], [true, true, false]),
            (Nat::Symmetric, [false, false, false], [true, false, false]),
        ];
        for (kind, before, after) in cases {
            let mut nat = NatBox::new(kind);
            let sources = [peer, its_other_port, stranger];
            assert_eq!(sources.map(|from| nat.admits(now, from, PORT)), before, "{kind:?}");
            let port = nat.outgoing(now, peer);
            assert_eq!(sources.map(|from| nat.admits(now, from, port)), after, "{kind:?}");
            assert_eq!(nat.admits(later, peer, port), kind == Nat::None, "{kind:?}: mappings lapse");
            assert_eq!(port == PORT, kind != Nat::Symmetric);
        }
        let mut nat = NatBox::new(Nat::Symmetric);
        assert_ne!(nat.outgoing(now, peer), nat.outgoing(now, stranger), "a port for each endpoint");
    }

    #[test]
    fn memory_is_bounded() {
        let mut nat = NatBox::new(Nat::Symmetric);
        for i in 0..10_000u16 {
            nat.outgoing(Instant::from_micros(1), addr((i % 200) as u8, i));
        }
        assert!(nat.mappings.len() <= MAPPINGS_MAX);
    }
}
