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
    /// The UDP port of discovery; 0 if there is none.
    pub udp: u16,
    /// The TCP port of sessions; 0 if the node does not listen.
    pub tcp: u16,
    /// The UDP port at the IPv6 address, if it is not `udp`.
    pub udp6: Option<u16>,
    /// The TCP port at the IPv6 address, if it is not `tcp`.
    pub tcp6: Option<u16>,
}

impl Addresses {
    /// The first known address: IPv4 before IPv6.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip4.map(IpAddr::V4).or(self.ip6.map(IpAddr::V6))
    }

    /// The UDP and the TCP port at the IPv4 or the IPv6 address.
    pub fn ports(&self, is_ipv6: bool) -> (u16, u16) {
        if is_ipv6 { (self.udp6.unwrap_or(self.udp), self.tcp6.unwrap_or(self.tcp)) } else { (self.udp, self.tcp) }
    }

    /// Sets the address of the family of `ip`.
    pub fn set_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.ip4 = Some(ip),
            IpAddr::V6(ip) => self.ip6 = Some(ip),
        }
    }
}
