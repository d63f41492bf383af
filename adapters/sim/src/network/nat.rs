//! Network address translation: a box between one host and the world, of one of four kinds.
//!
//! It belongs to one host, has the host's public address, and maps the host's one port. Streams can be dialled through any
//! kind; into a host they come through an open one, or a full cone whose mapping lives.

use std::collections::BTreeMap;

use peerless::time::{Duration, Instant};

use super::address::{Addr, PORT};
use crate::mix::Mix;

/// Idle time after which a mapping is forgotten (RFC 4787 asks for two minutes).
pub const MAPPING_LIFETIME: Duration = Duration::from_secs(120);
/// Mappings kept: more than a node talks to within their lifetime.
const MAPPINGS_MAX: usize = 4096;

/// What stands between a host and the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Nat {
    /// Nothing: everybody reaches it.
    #[default]
    None,
    /// One port for all, open to everybody as long as the host itself sends now and then.
    FullCone,
    /// One port for all, open to addresses that the host has sent to.
    Restricted,
    /// A port for each endpoint that the host sends to, open to that one alone.
    Symmetric,
}

/// A NAT and what it remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct NatBox {
    kind: Nat,
    /// Until when a full cone's one mapping lives.
    open_until: Instant,
    /// By external port and remote (a restricted cone's has port 0): until when packets from there pass.
    mappings: BTreeMap<(u16, Addr), Instant>,
}

impl NatBox {
    pub(crate) fn new(kind: Nat) -> Self {
        Self { kind, ..Self::default() }
    }

    pub(crate) fn kind(&self) -> Nat {
        self.kind
    }

    /// The host sends to `to`: from which port that is seen.
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

    /// Whether a stream can be dialled to the external `port`.
    pub(crate) fn admits_stream(&self, now: Instant, port: u16) -> bool {
        match self.kind {
            Nat::None => port == PORT,
            Nat::FullCone => port == PORT && now < self.open_until,
            Nat::Restricted | Nat::Symmetric => false,
        }
    }
}

/// The external port that a symmetric NAT gives to an endpoint.
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
    fn each_kind_admits_whom_it_should() {
        let (now, later) = (Instant::from_micros(1), Instant::from_micros(1) + MAPPING_LIFETIME);
        let (peer, its_other_port, stranger) = (addr(1, PORT), addr(1, 9), addr(2, PORT));
        // For each kind: whether the peer, the peer's other port and a stranger pass, before and after a packet to the peer.
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
