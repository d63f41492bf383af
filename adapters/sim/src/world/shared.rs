//! The state that all hosts of a world share, constant while it runs.

use std::net::Ipv4Addr;
use std::sync::Arc;

use peerless::crypto::Crypto;
use peerless::time::{Duration, Instant, UnixTime};

use super::machine::Maker;
use crate::HostId;
use crate::crypto::Costs;
use crate::network::link::{Extra, Site};
use crate::network::{Addresses, Conditions, Links, Region, Zone};

/// The position of a host: its shard, and its index among the shard's hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub shard: u16,
    pub local: u32,
}

/// Seed, network, primitives and positions of a world.
pub(crate) struct Shared<M> {
    pub seed: u64,
    pub start: UnixTime,
    pub links: Links,
    pub addresses: Addresses,
    pub conditions: Conditions,
    pub zone: Zone,
    pub crypto: Arc<dyn Crypto + Send + Sync>,
    pub cpu: Option<Costs>,
    pub maker: Box<Maker<M>>,
    pub regions: Vec<Region>,
    pub places: Vec<Place>,
}

impl<M> Shared<M> {
    /// The host at an address.
    pub(crate) fn host_at(&self, ip: Ipv4Addr) -> Option<HostId> {
        self.addresses.host(ip).filter(|host| (host.0 as usize) < self.regions.len())
    }

    /// A host's site; that of an unknown host is in the first region.
    pub(crate) fn site(&self, host: HostId) -> Site {
        let region = self.regions.get(host.0 as usize).copied().unwrap_or_default();
        Site { host: host.0, region }
    }

    /// What faults add to deliveries from one host to another.
    pub(crate) fn extra(&self, now: Instant, from: Site, to: Site) -> Extra {
        self.conditions.extra(now, (HostId(from.host), from.region), (HostId(to.host), to.region))
    }
}

/// The assignment of hosts to shards: by region, so that deliveries from one shard to another take long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Partition {
    shards: u16,
    /// The shard of each region; `None` if single regions are too large, and hosts are assigned in turn.
    by_region: Option<Vec<u16>>,
    /// The least duration of a delivery from one shard to another.
    pub lookahead: Duration,
}

/// The least useful lookahead: below it, threads wait for each other more than they work.
const LOOKAHEAD_MIN: Duration = Duration::from_micros(500);

impl Partition {
    pub(crate) fn new(links: &Links, threads: usize) -> Self {
        let threads = u16::try_from(threads.max(1)).unwrap_or(u16::MAX);
        let alone = Self { shards: 1, by_region: None, lookahead: Duration::MAX };
        if threads == 1 {
            return alone;
        }
        let regions: Vec<Region> = (0..links.regions.len()).filter_map(|i| u8::try_from(i).ok()).map(Region).collect();
        let share = |region: &Region| links.regions.shares.get(usize::from(region.0)).copied().unwrap_or(0);
        let mut largest_first = regions.clone();
        largest_first.sort_by_key(|region| std::cmp::Reverse(share(region)));
        let mut loads = vec![0u64; usize::from(threads)];
        let mut by_region = vec![0u16; regions.len()];
        for region in largest_first {
            let lightest = (0..threads).min_by_key(|shard| loads[usize::from(*shard)]).unwrap_or(0);
            loads[usize::from(lightest)] += share(&region);
            by_region[usize::from(region.0)] = lightest;
        }
        let (heaviest, total) = (loads.iter().max().copied().unwrap_or(0), loads.iter().sum::<u64>());
        // A third more than its part of the work is the most that a shard may have.
        let is_balanced = heaviest * u64::from(threads) * 3 <= total * 4;
        let apart = |a: &Region, b: &Region| !is_balanced || by_region[usize::from(a.0)] != by_region[usize::from(b.0)];
        let pairs = regions.iter().flat_map(|a| regions.iter().map(move |b| (a, b)));
        let lookahead = pairs.filter(|(a, b)| apart(a, b)).map(|(a, b)| links.floor(*a, *b)).min();
        match lookahead {
            Some(lookahead) if lookahead >= LOOKAHEAD_MIN => {
                Self { shards: threads, by_region: is_balanced.then_some(by_region), lookahead }
            }
            _ => alone,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        usize::from(self.shards)
    }

    pub(crate) fn shard(&self, host: HostId, region: Region) -> u16 {
        match &self.by_region {
            Some(shards) => shards.get(usize::from(region.0)).copied().unwrap_or(0),
            None => (host.0 % u32::from(self.shards)) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Regions;

    #[test]
    fn regions_are_kept_together_and_shards_far_apart() {
        let two = Partition::new(&Links::default(), 2);
        assert_eq!(two.shards(), 2);
        assert_eq!(two.lookahead, Duration::from_micros(62_000 * 3 / 4), "North America to Europe, at its shortest");
        let shard = |region| two.shard(HostId(0), region);
        assert_ne!(shard(Region::EU), shard(Region::NA));
        assert_eq!(shard(Region::JP), shard(Region::NA));

        let links = Links { regions: Regions::single(Duration::from_millis(20)), ..Links::default() };
        let split = Partition::new(&links, 2);
        assert_eq!((split.shards(), split.lookahead), (2, Duration::from_micros(7500)));
        let links = Links { regions: Regions::single(Duration::from_micros(50)), ..Links::default() };
        assert_eq!(Partition::new(&links, 2).shards(), 1, "hosts that near are driven by one thread");
    }
}
