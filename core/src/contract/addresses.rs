//! The addresses of a node, IPv4 and IPv6.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses at which other nodes reach a node. Records and pings omit those that are not known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub struct Addresses {
    /// The IPv4 address, if it is known.
    pub ip4: Option<Ipv4Addr>,
    /// The IPv6 address, if it is known.
    pub ip6: Option<Ipv6Addr>,
    /// The UDP port of discovery, for both families; 0 if there is none.
    pub udp: u16,
    /// The TCP port of sessions, for both families; 0 if the node does not listen.
    pub tcp: u16,
}

impl Addresses {
    /// The first known address: IPv4 before IPv6.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip4.map(IpAddr::V4).or(self.ip6.map(IpAddr::V6))
    }

    /// Sets the address of the family of `ip`.
    pub fn set_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.ip4 = Some(ip),
            IpAddr::V6(ip) => self.ip6 = Some(ip),
        }
    }
}
