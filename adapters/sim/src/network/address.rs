//! Addresses: each host has a global IPv4 address that is a function of its number.
//!
//! Hosts fill subnets (a /24) one after the other, [`Addresses::per_subnet`] each, and the subnets are spread over the
//! address space, so limits on subnets work as on the Internet. The inverse is arithmetic too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::HostId;

/// First octet of the lowest subnet; the 2^22 subnets from here up to 74.255.255 are all global.
const FIRST_OCTET: u32 = 11;
/// Number of subnets, as a power of two.
const SUBNET_BITS: u32 = 22;
const SUBNET_MASK: u32 = (1 << SUBNET_BITS) - 1;
/// An odd factor that spreads the subnets, and its inverse.
const STREW: u32 = 2_654_435_761;
const GATHER: u32 = inverse(STREW);

/// The port that every host listens on, for datagrams and streams.
pub const PORT: u16 = 30303;

/// The inverse of an odd number modulo 2^32.
const fn inverse(odd: u32) -> u32 {
    // Each round of Newton's iteration doubles the number of correct bits; an odd number is its own inverse modulo 8.
    let mut inverse = odd;
    let mut round = 0;
    while round < 4 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

/// An IPv4 endpoint in six bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Addr {
    /// The address.
    pub ip: Ipv4Addr,
    /// The port.
    pub port: u16,
}

impl From<Addr> for SocketAddr {
    fn from(addr: Addr) -> Self {
        Self::new(IpAddr::V4(addr.ip), addr.port)
    }
}

impl Addr {
    /// Returns the endpoint, if it is IPv4.
    pub fn of(addr: SocketAddr) -> Option<Self> {
        match addr.ip() {
            IpAddr::V4(ip) => Some(Self { ip, port: addr.port() }),
            IpAddr::V6(_) => None,
        }
    }

    pub(crate) fn word(self) -> u64 {
        (u64::from(u32::from(self.ip)) << 16) | u64::from(self.port)
    }
}

/// The addresses of hosts; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// Hosts in one /24: 1 to 254.
    pub per_subnet: u32,
}

impl Default for Addresses {
    /// Gives each host its own subnet.
    fn default() -> Self {
        Self { per_subnet: 1 }
    }
}

impl Addresses {
    /// Returns the address of a host.
    ///
    /// # Panics
    /// If the host's number is beyond 4 million subnets.
    pub fn ip(&self, host: HostId) -> Ipv4Addr {
        let per_subnet = self.per_subnet.clamp(1, 254);
        let subnet = host.0 / per_subnet;
        assert!(subnet <= SUBNET_MASK, "more hosts than addresses");
        let strewn = subnet.wrapping_mul(STREW) & SUBNET_MASK;
        Ipv4Addr::from((FIRST_OCTET << 24) + (strewn << 8) + 1 + host.0 % per_subnet)
    }

    /// Returns the number of the host with this address, whether or not it exists.
    pub fn host(&self, ip: Ipv4Addr) -> Option<HostId> {
        let per_subnet = self.per_subnet.clamp(1, 254);
        let offset = u32::from(ip).checked_sub(FIRST_OCTET << 24)?;
        let (strewn, last) = (offset >> 8, offset & 0xff);
        if strewn > SUBNET_MASK || last == 0 || last > per_subnet {
            return None;
        }
        let subnet = strewn.wrapping_mul(GATHER) & SUBNET_MASK;
        Some(HostId(subnet.checked_mul(per_subnet)? + last - 1))
    }
}

#[cfg(test)]
mod tests {
    use peerless::netfilter::{Scope, scope};

    use super::*;

    #[test]
    fn addresses_are_global_and_invertible() {
        for per_subnet in [1, 2, 10, 254] {
            let addresses = Addresses { per_subnet };
            let mut subnets = std::collections::BTreeMap::<_, u32>::new();
            for number in (0..3000).chain([100_000, 999_999, SUBNET_MASK * per_subnet]) {
                let ip = addresses.ip(HostId(number));
                assert_eq!(addresses.host(ip), Some(HostId(number)), "{ip}");
                assert_eq!(scope(ip.into()), Scope::Global, "{ip}");
                *subnets.entry(ip.octets()[..3].to_vec()).or_default() += 1;
            }
            assert_eq!(subnets.values().max(), Some(&per_subnet));
        }
        let addresses = Addresses::default();
        for ip in ["11.0.0.0", "11.0.0.2", "10.0.0.1", "127.0.0.1", "75.0.0.1"] {
            assert_eq!(addresses.host(ip.parse().unwrap()), None, "{ip}");
        }
    }
}
