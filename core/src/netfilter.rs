//! Canonical addresses, their scope and subnet, and the embedder's restriction of addresses.
//!
//! Every address is made canonical before it is used, and [`NetFilter`] is checked at every send, dial, accept and
//! table insertion. Pure functions over addresses, without state about peers.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::str::FromStr;

/// Returns the canonical form of an address: IPv4-mapped IPv6 becomes IPv4, flow label and scope id are dropped.
pub const fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, v6.port())),
            None => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0)),
        },
    }
}

/// An endpoint as bytes, different for any two endpoints.
pub(crate) fn endpoint_bytes(at: SocketAddr) -> [u8; 19] {
    let mut bytes = [0; 19];
    match at.ip() {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => {
            bytes[..16].copy_from_slice(&ip.octets());
            bytes[18] = 6;
        }
    }
    bytes[16..18].copy_from_slice(&at.port().to_be_bytes());
    bytes
}

/// The reach of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Scope {
    /// 127.0.0.0/8, `::1`.
    Loopback,
    /// Private and link-local ranges (RFC 1918, RFC 4193, RFC 3927).
    Lan,
    /// 100.64.0.0/10, the range of carriers' NATs (RFC 6598): other networks cannot reach it.
    Shared,
    /// Unspecified, multicast, broadcast, documentation and other ranges without peers.
    Special,
    /// All other addresses.
    Global,
}

impl Scope {
    /// Whether the address is loopback or LAN. Such addresses are exempt from subnet limits, connection throttles and
    /// address bans, so that many nodes can run on one machine or behind one router.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Loopback | Self::Lan)
    }
}

/// Returns the scope of an address.
pub fn scope(ip: IpAddr) -> Scope {
    match canonical(SocketAddr::new(ip, 0)).ip() {
        IpAddr::V4(ip) => scope_v4(ip),
        IpAddr::V6(ip) => scope_v6(ip),
    }
}

fn scope_v4(ip: Ipv4Addr) -> Scope {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (127, ..) => Scope::Loopback,
        (10, ..) | (192, 168, _) | (169, 254, _) => Scope::Lan,
        (172, 16..=31, _) => Scope::Lan,
        (100, 64..=127, _) => Scope::Shared,
        // This network, IETF protocol assignments, documentation, 6to4 relays, benchmarking, multicast, reserved.
        (0 | 224..=255, ..) | (192, 0, 0 | 2) | (192, 31, 196) | (192, 52, 193) | (192, 88, 99) => Scope::Special,
        (192, 175, 48) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => Scope::Special,
        _ => Scope::Global,
    }
}

fn scope_v6(ip: Ipv6Addr) -> Scope {
    let s = ip.segments();
    match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => Scope::Loopback,
        _ if s[0] & 0xfe00 == 0xfc00 || s[0] & 0xffc0 == 0xfe80 => Scope::Lan,
        // Unspecified and IPv4-compatible, discard-only, IETF assignments, documentation, 6to4, multicast.
        [0, 0, 0, 0, 0, 0, ..] | [0x100, 0, 0, 0, ..] | [0x2001, 0x0db8, ..] | [0x2002, ..] => Scope::Special,
        [0x2001, b, ..] if b < 0x200 => Scope::Special,
        _ if s[0] & 0xff00 == 0xff00 => Scope::Special,
        _ => Scope::Global,
    }
}

/// Whether an address that `sender` relays in a Neighbors packet may be used: no special address, loopback only from
/// loopback, LAN only from LAN or loopback, an address of a carrier's NAT only from another one, LAN or loopback.
pub fn relay_allowed(sender: IpAddr, relayed: IpAddr) -> bool {
    match scope(relayed) {
        Scope::Special => false,
        Scope::Loopback => scope(sender) == Scope::Loopback,
        Scope::Lan => scope(sender).is_local(),
        Scope::Shared => scope(sender).is_local() || scope(sender) == Scope::Shared,
        Scope::Global => true,
    }
}

/// A group of addresses that one party is likely to control: an IPv4 /24 or an IPv6 /56. In 100.64.0.0/10, which carriers and
/// overlay networks share among their customers, each address is a group of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subnet([u8; 8]);

impl Subnet {
    /// The subnet of an address.
    pub fn of(ip: IpAddr) -> Self {
        let mut key = [0; 8];
        match canonical(SocketAddr::new(ip, 0)).ip() {
            // The last byte distinguishes the families: a /56 does not reach it.
            IpAddr::V4(ip) => {
                let bytes = if scope_v4(ip) == Scope::Shared { 4 } else { 3 };
                key[..bytes].copy_from_slice(&ip.octets()[..bytes]);
                key[7] = 4;
            }
            IpAddr::V6(ip) => key[..7].copy_from_slice(&ip.octets()[..7]),
        }
        Self(key)
    }

    /// The wider group of the subnets that agree in their first bytes. Groups of different width may compare equal.
    #[must_use]
    pub fn truncated(mut self, bytes: usize) -> Self {
        let end = self.0.len() - 1;
        self.0[bytes.min(end)..end].fill(0);
        self
    }

    /// The subnet as bytes, for hashing.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// An address range in CIDR notation, such as `127.0.0.0/8` or `fd00::/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    base: IpAddr,
    prefix_bits: u8,
}

impl Cidr {
    /// Whether the range contains `ip`.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, canonical(SocketAddr::new(ip, 0)).ip()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
                (u32::from(base) ^ u32::from(ip)) & mask == 0
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0);
                (u128::from(base) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }
}

/// The error of a text that is not an address range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidCidr(String);

impl fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an address range such as 127.0.0.0/8 or ::1/128", self.0)
    }
}

impl core::error::Error for InvalidCidr {}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_string());
        let (base, prefix) = text.trim().split_once('/').ok_or_else(invalid)?;
        let base: IpAddr = base.parse().map_err(|_| invalid())?;
        let prefix_bits: u8 = prefix.parse().map_err(|_| invalid())?;
        let bits_max = if base.is_ipv4() { 32 } else { 128 };
        if prefix_bits > bits_max {
            return Err(invalid());
        }
        Ok(Self { base, prefix_bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_bits)
    }
}

/// How far a host gets with one address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extent {
    /// It has no socket of the family.
    None,
    /// It reaches loopback and private addresses only: it has no route to others.
    Local,
    /// It reaches all addresses.
    #[default]
    Global,
}

/// The addresses that a host can reach. By default all: a driver that knows better says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    /// With IPv4.
    pub ip4: Extent,
    /// With IPv6.
    pub ip6: Extent,
}

impl Reach {
    /// Whether the host can reach this address.
    pub fn permits(self, ip: IpAddr) -> bool {
        if self == Self::default() {
            return true;
        }
        let ip = canonical(SocketAddr::new(ip, 0)).ip();
        match if ip.is_ipv4() { self.ip4 } else { self.ip6 } {
            Extent::None => false,
            Extent::Local => scope(ip).is_local(),
            Extent::Global => true,
        }
    }
}

/// The embedder's restriction of addresses (`--netrestrict`): an empty list permits every address. Within it, only addresses
/// that the host can reach are permitted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NetFilter {
    allowed: Vec<Cidr>,
    reach: Reach,
}

impl NetFilter {
    /// Makes a filter that permits only the given ranges; every address if there are none.
    pub fn only(allowed: Vec<Cidr>) -> Self {
        Self { allowed, reach: Reach::default() }
    }

    /// The same ranges, for a host with this reach.
    #[must_use]
    pub fn with_reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The addresses that the host can reach.
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// The permitted ranges; none if every address is permitted.
    pub fn ranges(&self) -> &[Cidr] {
        &self.allowed
    }

    /// Whether the node may send to, dial, accept or keep this address.
    pub fn permits(&self, ip: IpAddr) -> bool {
        self.reach.permits(ip) && (self.allowed.is_empty() || self.allowed.iter().any(|range| range.contains(ip)))
    }
}

/// A comma-separated list of ranges.
impl FromStr for NetFilter {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let ranges = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self::only(ranges.map(str::parse).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn mapped_addresses_become_v4() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:30303".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.1:30303".parse().unwrap());
        let labelled = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 7, 9));
        assert_eq!(canonical(labelled), "[::1]:1".parse().unwrap());
    }

    #[test]
    fn relayed_addresses_follow_their_sender() {
        for (sender, relayed, allowed) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "192.168.1.1", true),
            ("192.168.1.1", "127.0.0.1", false),
            ("192.168.1.1", "10.0.0.1", true),
            ("8.8.8.8", "10.0.0.1", false),
            ("8.8.8.8", "127.0.0.1", false),
            ("8.8.8.8", "1.1.1.1", true),
            ("8.8.8.8", "0.0.0.0", false),
            ("8.8.8.8", "224.0.0.1", false),
            ("8.8.8.8", "255.255.255.255", false),
            ("127.0.0.1", "::", false),
            ("::1", "ff02::1", false),
            ("::1", "2001:db8::1", false),
            ("8.8.8.8", "::ffff:127.0.0.1", false),
            ("8.8.8.8", "100.64.0.1", false),
            ("8.8.8.8", "100.127.255.254", false),
            ("8.8.8.8", "100.63.255.254", true),
            ("8.8.8.8", "100.128.0.1", true),
            ("100.64.0.1", "100.127.0.1", true),
            ("10.0.0.1", "100.64.0.1", true),
            ("127.0.0.1", "100.64.0.1", true),
            ("100.64.0.1", "10.0.0.1", false),
            ("100.64.0.1", "8.8.8.8", true),
        ] {
            assert_eq!(relay_allowed(ip(sender), ip(relayed)), allowed, "{sender} relays {relayed}");
        }
    }

    #[test]
    fn subnets_group_by_24_and_56() {
        assert_eq!(Subnet::of(ip("1.2.3.4")), Subnet::of(ip("::ffff:1.2.3.200")));
        assert_ne!(Subnet::of(ip("1.2.3.4")), Subnet::of(ip("1.2.4.4")));
        for (one, other, is_same) in [
            ("100.64.0.1", "100.64.0.2", false),
            ("100.127.255.1", "100.127.255.2", false),
            ("100.64.0.1", "100.64.0.1", true),
            ("100.63.0.1", "100.63.0.2", true),
            ("100.128.0.1", "100.128.0.2", true),
        ] {
            assert_eq!(Subnet::of(ip(one)) == Subnet::of(ip(other)), is_same, "{one} and {other}");
        }
        assert_eq!(Subnet::of(ip("2a00:1:2:3300::1")), Subnet::of(ip("2a00:1:2:33ff::9")));
        assert_ne!(Subnet::of(ip("2a00:1:2:3300::1")), Subnet::of(ip("2a00:1:2:3400::1")));
        let wide = |text, bytes| Subnet::of(ip(text)).truncated(bytes);
        assert_eq!(wide("1.2.3.4", 2), wide("1.2.200.4", 2));
        assert_ne!(wide("1.2.3.4", 2), wide("1.3.3.4", 2));
        assert_eq!(wide("2a00:1:2:3300::1", 6), wide("2a00:1:2:4400::1", 6));
        assert_ne!(wide("2a00:1:2:3300::1", 6), wide("2a00:1:3:3300::1", 6));
        assert_ne!(wide("1.2.3.4", 0), wide("2a00:1:2:3300::1", 0), "the families stay apart");
    }

    #[test]
    fn what_the_host_cannot_reach_is_not_permitted() {
        let only6 = NetFilter::default().with_reach(Reach { ip4: Extent::None, ip6: Extent::Global });
        assert!(only6.permits(ip("2a00::1")) && !only6.permits(ip("8.8.8.8")) && !only6.permits(ip("::ffff:8.8.8.8")));
        let local6 = NetFilter::default().with_reach(Reach { ip6: Extent::Local, ..Reach::default() });
        for (text, is_permitted) in [("8.8.8.8", true), ("::1", true), ("fd00::1", true), ("2a00::1", false)] {
            assert_eq!(local6.permits(ip(text)), is_permitted, "{text}");
        }
        let both = "127.0.0.0/8,::1/128".parse::<NetFilter>().unwrap().with_reach(only6.reach());
        assert!(both.permits(ip("::1")) && !both.permits(ip("127.0.0.1")));
    }

    #[test]
    fn filter_permits_its_ranges_only() {
        let filter: NetFilter = "127.0.0.0/8, ::1/128".parse().unwrap();
        assert!(filter.permits(ip("127.9.9.9")) && filter.permits(ip("::1")));
        assert!(!filter.permits(ip("128.0.0.1")) && !filter.permits(ip("::2")));
        assert!(NetFilter::default().permits(ip("8.8.8.8")));
        assert!("0.0.0.0/0".parse::<NetFilter>().unwrap().permits(ip("8.8.8.8")));
        for bad in ["127.0.0.1", "127.0.0.0/33", "::1/129", "x/8", "/", "1.2.3.4/-1"] {
            assert!(bad.parse::<NetFilter>().is_err(), "{bad}");
        }
    }
}
