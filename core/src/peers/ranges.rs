//! Groups of addresses as numbers, in an order in which the subnets of a larger range are neighbours.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use super::view::View;
use crate::contract::ConnId;
use crate::crypto::NodeId;
use crate::netfilter::{Subnet, scope};

/// A subnet as a number: its family in the first byte, then its address.
pub(super) fn number(subnet: Subnet) -> u64 {
    u64::from_be_bytes(*subnet.as_bytes()).rotate_right(8)
}

/// The numbers of all subnets whose addresses share the first `bits` bits with that of `number`.
pub(super) fn range(number: u64, bits: u32) -> RangeInclusive<u64> {
    let others = u64::MAX.checked_shr(8 + bits).unwrap_or(0);
    number & !others..=number | others
}

/// The subnet of an address as a number; `None` for local addresses.
pub(super) fn global_number(ip: IpAddr) -> Option<u64> {
    (!scope(ip).is_local()).then(|| number(Subnet::of(ip)))
}

/// A host, an IPv4 address or an IPv6 /64, as a number. No two hosts of global addresses share one: an IPv6 address whose first 32
/// bits are 0 is not routed.
pub(super) fn host_number(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

/// A group of pending connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Crowd {
    /// Those from a subnet of global addresses, by its number.
    Subnet(u64),
    /// Those from one global host that a static or trusted peer has, by its number.
    Host(u64),
    /// One from a local address, each of which is a group of its own.
    Alone(ConnId),
}

impl Crowd {
    /// The group of a connection that is accepted from `ip`.
    pub(super) fn of(conn: ConnId, ip: IpAddr, is_named: bool) -> Self {
        match global_number(ip) {
            None => Self::Alone(conn),
            Some(_) if is_named => Self::Host(host_number(ip)),
            Some(subnet) => Self::Subnet(subnet),
        }
    }
}

/// A group of inbound peers that share their place-time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Group {
    /// Those from a subnet of global addresses, by its number.
    Subnet(u64),
    /// A peer at a local address: many nodes may share that.
    Peer(NodeId),
}

impl Group {
    /// The group of a peer at an address.
    pub(super) fn of(ip: IpAddr, id: NodeId) -> Self {
        global_number(ip).map_or(Self::Peer(id), Self::Subnet)
    }

    /// The group of a connection's peer, if it has a place.
    pub(super) fn of_view(view: &View) -> Option<Self> {
        Some(Self::of(view.addr.ip(), view.admitted_id()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subnets_of_a_range_are_neighbours_and_families_do_not_mix() {
        let of = |ip: &str| number(Subnet::of(ip.parse().unwrap()));
        for (one, other, bits) in [
            ("9.8.7.6", "9.8.7.200", 24),
            ("9.8.7.6", "9.8.200.6", 16),
            ("2a00:1:2:3300::1", "2a00:1:2:33ff::1", 56),
            ("2a00:1:2:3300::1", "2a00:1:2:ff00::1", 48),
            ("2a00:1:2:3300::1", "2a00:7:2:ff00::1", 29),
        ] {
            assert!(range(of(one), bits).contains(&of(other)), "{one} and {other} share {bits} bits");
        }
        for (one, other, bits) in [
            ("9.8.7.6", "9.8.6.6", 24),
            ("9.8.7.6", "9.9.7.6", 16),
            ("2a00:1:2:3300::1", "2a00:1:2:3400::1", 56),
            ("2a00:1:2:3300::1", "2a00:1:3:3300::1", 48),
            ("2a00:1:2:3300::1", "2a00:8:2:3300::1", 29),
            ("42.0.0.1", "2a00::1", 8),
        ] {
            assert!(!range(of(one), bits).contains(&of(other)), "{one} and {other} do not share {bits} bits");
        }
    }
}
