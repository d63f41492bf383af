//! The limits on the addresses of outbound places, so that each costs an attacker a subnet (attacks E1, E2).

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::book::Group;
use crate::limits::{OUTBOUND_PER_GROUP, OUTBOUND_PER_SLASH16};

/// The addresses of the outbound places that are taken, or that a dial may take.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caps {
    /// The most places of global IPv6 addresses.
    blocks_max: usize,
    taken: Vec<Group>,
}

impl Caps {
    /// The limits for so many places in all, some of which are taken by peers at these addresses. Three of four places may be
    /// of global IPv6 addresses: whole blocks of them are cheap.
    pub fn new(places: usize, taken: impl IntoIterator<Item = SocketAddr>) -> Self {
        let blocks_max = places - places / 4;
        Self { blocks_max, taken: taken.into_iter().map(Group::of).collect() }
    }

    /// Whether a peer at this address may have a place as well. Loopback and private addresses always may.
    pub fn admit(&self, addr: SocketAddr) -> bool {
        let group = Group::of(addr);
        let like = |is_like: &dyn Fn(&Group) -> bool| self.taken.iter().filter(|taken| is_like(taken)).count();
        let is_same = |taken: &Group| *taken == group;
        match group {
            Group::Local(_) => true,
            Group::Shared(_) => like(&is_same) < OUTBOUND_PER_GROUP,
            Group::Subnet([a, b, _]) => {
                let is_near = |taken: &Group| matches!(taken, Group::Subnet([x, y, _]) if (a, b) == (*x, *y));
                like(&is_same) < OUTBOUND_PER_GROUP && like(&is_near) < OUTBOUND_PER_SLASH16
            }
            Group::Block(_) => {
                let is_block = |taken: &Group| matches!(taken, Group::Block(_));
                like(&is_same) < OUTBOUND_PER_GROUP && like(&is_block) < self.blocks_max
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(places: usize, addresses: &[&str]) -> Vec<bool> {
        let mut taken: Vec<SocketAddr> = Vec::new();
        let mut admitted = Vec::new();
        for addr in addresses.iter().map(|addr| addr.parse().unwrap()) {
            let is_admitted = Caps::new(places, taken.iter().copied()).admit(addr);
            admitted.push(is_admitted);
            if is_admitted {
                taken.push(addr);
            }
        }
        admitted
    }

    #[test]
    fn a_slash24_has_one_place_and_a_slash16_two() {
        let addresses = ["1.2.3.4:1", "1.2.3.5:1", "1.2.4.4:1", "1.2.5.4:1", "1.3.3.4:1"];
        assert_eq!(admitted(16, &addresses), [true, false, true, false, true]);
    }

    #[test]
    fn an_ipv6_block_has_one_place_and_all_blocks_three_quarters() {
        assert_eq!(admitted(16, &["[2a00:8::1]:1", "[2a00:f::1]:1", "[2a00:10::1]:1"]), [true, false, true]);
        let blocks: Vec<alloc::string::String> = (0..20).map(|n| alloc::format!("[2a{n:02x}::1]:1")).collect();
        let blocks: Vec<&str> = blocks.iter().map(|addr| &**addr).collect();
        assert_eq!(admitted(16, &blocks).iter().filter(|is_admitted| **is_admitted).count(), 12);
        assert_eq!(admitted(1, &blocks).iter().filter(|is_admitted| **is_admitted).count(), 1, "a single place too");
    }

    #[test]
    fn local_addresses_are_exempt_and_shared_ones_count_by_address() {
        let addresses = ["127.0.0.1:1", "127.0.0.1:2", "10.0.0.1:1", "10.0.0.1:2", "[::1]:1", "[fd00::1]:2"];
        assert_eq!(admitted(2, &addresses), [true; 6]);
        let addresses =
            ["100.64.0.1:1", "100.64.0.1:2", "100.64.0.2:1", "100.127.0.1:1", "100.128.0.1:1", "100.128.0.2:1"];
        assert_eq!(admitted(16, &addresses), [true, false, true, true, true, false]);
    }
}
