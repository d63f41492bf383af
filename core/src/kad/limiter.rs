//! Limits on what unproven sources may cost and on what unproven destinations receive (attacks D5, D6, D7, D10).
//!
//! Sources are told apart by their address alone, before anything costly is done for their datagrams, and pay from the
//! budget of their kind ([`Source`]): a flood from one kind of sources takes nothing from another kind. Memory is bounded
//! for any number of sources and destinations; a keyed hash places them, so that an attacker cannot aim at another one.
//! Packets are not looked into.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use super::budgets::{Budget, Budgets, Rate, fingerprint};
use super::destinations::Destinations;
use crate::contract::Prefetch;
use crate::limits;
use crate::netfilter::{Scope, Subnet, endpoint_bytes, scope};
use crate::rng::Rng;
use crate::time::Instant;

/// What is known of a source by its address alone, before a signature is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A node of the table has this endpoint.
    Entry,
    /// A node has proven this endpoint, or is being asked there.
    Bonded,
    /// Nothing.
    Stranger,
}

/// Whether a signature may be checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Allowance {
    /// It may.
    Allowed,
    /// The source or its subnet has used its budget.
    Excessive,
    /// A budget is used up that honest nodes pay from as well: the common one of its kind of sources, or that of a table
    /// entry, whose address may be forged.
    Exhausted,
}

/// The budgets of sources of which nothing is known: of their subnets, the networks around these, and of all together.
#[derive(Debug)]
struct Strangers {
    /// By IPv4 /24, IPv6 /56 or address of a carrier's NAT.
    subnets: Budgets,
    /// By IPv6 /48, which one customer of a provider has.
    sites: Budgets,
    /// By IPv4 /16 or IPv6 /32.
    networks: Budgets,
    all: Budget,
}

/// The keyed hashes of a stranger's groups. A local address has none.
#[derive(Clone, Copy, Default, Debug)]
struct Groups {
    subnet: Option<u64>,
    site: Option<u64>,
    network: Option<u64>,
}

impl Strangers {
    fn new() -> Self {
        let rate = Rate::per_second;
        Self {
            subnets: Budgets::new(
                rate(limits::SUBNET_DATAGRAMS_PER_SECOND, limits::SUBNET_DATAGRAMS_BURST),
                limits::BUDGET_ACCOUNTS_MAX,
            ),
            sites: Budgets::new(
                rate(limits::SITE_DATAGRAMS_PER_SECOND, limits::SITE_DATAGRAMS_BURST),
                limits::BUDGET_ACCOUNTS_MAX / 4,
            ),
            networks: Budgets::new(
                rate(limits::NETWORK_DATAGRAMS_PER_SECOND, limits::NETWORK_DATAGRAMS_BURST),
                limits::BUDGET_ACCOUNTS_MAX / 4,
            ),
            all: Budget::new(rate(limits::DATAGRAMS_PER_SECOND, limits::DATAGRAMS_BURST)),
        }
    }

    fn allows(&self, Groups { subnet, site, network }: Groups, now: Instant) -> bool {
        network.is_none_or(|key| self.networks.allows(key, now))
            && site.is_none_or(|key| self.sites.allows(key, now))
            && subnet.is_none_or(|key| self.subnets.allows(key, now))
    }

    fn take(&mut self, Groups { subnet, site, network }: Groups, now: Instant) {
        network.into_iter().for_each(|key| self.networks.take(key, now));
        site.into_iter().for_each(|key| self.sites.take(key, now));
        subnet.into_iter().for_each(|key| self.subnets.take(key, now));
        self.all.take(now);
    }
}

/// The limits that every discovery protocol has, and the keyed hash for those that it adds.
pub struct Limiter {
    hasher: SipHasher13,
    strangers: Strangers,
    /// Of endpoints that are bonded or in the table, each its own.
    endpoints: Budgets,
    /// Of all bonded endpoints that are not in the table.
    bonded: Budget,
    destinations: Destinations,
    /// Of all addresses that have proven nothing.
    unproven_pings: Budget,
    /// Of addresses that the operator named, while no node is known.
    named_pings: Budgets,
}

impl Limiter {
    /// Full budgets, with a secret key from `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        let rate = Rate::per_second;
        Self {
            hasher: SipHasher13::new_with_key(&rng.bytes()),
            strangers: Strangers::new(),
            endpoints: Budgets::new(
                rate(limits::ENDPOINT_DATAGRAMS_PER_SECOND, limits::ENDPOINT_DATAGRAMS_BURST),
                limits::BUDGET_ACCOUNTS_MAX,
            ),
            bonded: Budget::new(rate(limits::BONDED_DATAGRAMS_PER_SECOND, limits::BONDED_DATAGRAMS_BURST)),
            destinations: Destinations::default(),
            unproven_pings: Budget::new(rate(limits::UNPROVEN_PINGS_PER_SECOND, limits::UNPROVEN_PINGS_BURST)),
            named_pings: Budgets::new(Rate::every(limits::NAMED_PING_INTERVAL), limits::BUDGET_ACCOUNTS_MAX / 4),
        }
    }

    /// Whether the signature of a datagram that was not asked for may be checked (attack D6). Takes nothing: a datagram
    /// whose hash is wrong costs no budget.
    pub fn allows(&self, source: Source, from: SocketAddr, now: Instant) -> Allowance {
        let common = match source {
            Source::Stranger => &self.strangers.all,
            Source::Bonded => &self.bonded,
            Source::Entry => {
                let is_allowed = self.endpoints.allows(self.endpoint(from), now);
                return if is_allowed { Allowance::Allowed } else { Allowance::Exhausted };
            }
        };
        // In a flood, this is all that is looked at.
        if !common.allows_by_draw(now, || self.draw(from, now)) {
            return Allowance::Exhausted;
        }
        let is_allowed = match source {
            Source::Stranger => self.strangers.allows(self.groups(from.ip()), now),
            _ => self.endpoints.allows(self.endpoint(from), now),
        };
        if is_allowed { Allowance::Allowed } else { Allowance::Excessive }
    }

    /// Takes the check of one datagram from all budgets that [`Limiter::allows`] looks at.
    pub fn take(&mut self, source: Source, from: SocketAddr, now: Instant) {
        match source {
            Source::Stranger => self.strangers.take(self.groups(from.ip()), now),
            Source::Bonded => {
                self.endpoints.take(self.endpoint(from), now);
                self.bonded.take(now);
            }
            Source::Entry => self.endpoints.take(self.endpoint(from), now),
        }
    }

    /// Whether a ping of so many bytes may be sent to an address that has proven nothing (attack D10). If so, takes it from
    /// the budgets of the address and of all such addresses.
    #[must_use]
    pub fn admit_unproven_ping(&mut self, to: IpAddr, bytes: usize, now: Instant) -> bool {
        let Some(destination) = self.destination(to) else { return true };
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        let is_admitted = self.unproven_pings.allows(now) && self.destinations.take(destination, bytes, now);
        if is_admitted {
            self.unproven_pings.take(now);
        }
        is_admitted
    }

    /// Whether a node may be pinged that the operator named, while no node is known.
    #[must_use]
    pub fn admit_named_ping(&mut self, to: SocketAddr, now: Instant) -> bool {
        let key = self.endpoint(to);
        let is_admitted = scope(to.ip()).is_local() || self.named_pings.allows(key, now);
        if is_admitted {
            self.named_pings.take(key, now);
        }
        is_admitted
    }

    /// An address has answered a ping: what was sent to it before counts no more.
    pub fn proven(&mut self, at: IpAddr, now: Instant) {
        if let Some(destination) = self.destination(at) {
            self.destinations.forget(destination, now);
        }
    }

    /// The keyed hash of an address; `None` for a local one.
    fn destination(&self, to: IpAddr) -> Option<u32> {
        (!scope(to).is_local()).then(|| match to {
            IpAddr::V4(ip) => fingerprint(self.hasher.hash(&ip.octets())),
            IpAddr::V6(ip) => fingerprint(self.hasher.hash(&ip.octets())),
        })
    }

    /// The hash of the subnet that a source belongs to; `None` on this machine or network, where many nodes may live.
    pub fn subnet(&self, ip: IpAddr) -> Option<u64> {
        self.groups(ip).subnet
    }

    /// The keyed hash of any bytes.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash(bytes)
    }

    /// A number that a sender cannot foresee, and another one at its next try.
    fn draw(&self, from: SocketAddr, now: Instant) -> u64 {
        let mut key = [0; 27];
        key[..19].copy_from_slice(&endpoint_bytes(from));
        key[19..].copy_from_slice(&now.as_micros().to_be_bytes());
        self.hasher.hash(&key)
    }

    fn endpoint(&self, at: SocketAddr) -> u64 {
        self.hasher.hash(&endpoint_bytes(at))
    }

    fn groups(&self, ip: IpAddr) -> Groups {
        let (subnet, hash) = (Subnet::of(ip), |subnet: Subnet| Some(self.hasher.hash(subnet.as_bytes())));
        match (scope(ip), ip) {
            (scope, _) if scope.is_local() => Groups::default(),
            // Of a carrier's NAT only the part is seen that one test network has.
            (Scope::Shared, _) => Groups { subnet: hash(subnet), ..Groups::default() },
            (_, IpAddr::V4(_)) => Groups { subnet: hash(subnet), site: None, network: hash(subnet.truncated(2)) },
            (_, IpAddr::V6(_)) => {
                Groups { subnet: hash(subnet), site: hash(subnet.truncated(6)), network: hash(subnet.truncated(4)) }
            }
        }
    }

    /// Shows what [`Limiter::allows`] will read for a stranger.
    pub fn prefetch(&self, from: IpAddr, memory: &mut impl Prefetch) {
        if let Some(subnet) = self.subnet(from) {
            self.strangers.subnets.prefetch(subnet, memory);
        }
    }

    /// Memory for the budgets of sources, in bytes.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        let Self { strangers: Strangers { subnets, sites, networks, .. }, endpoints, .. } = self;
        [subnets, sites, networks, endpoints].map(Budgets::memory_bytes).iter().sum()
    }
}

/// Without the key of its hash.
impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::rng::Seed;

    fn limiter() -> Limiter {
        Limiter::new(&mut Seed::new([1; 32]).fork("limiter"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of these sources get their next datagram checked.
    fn admitted(
        limiter: &mut Limiter,
        source: Source,
        from: impl IntoIterator<Item = SocketAddr>,
        now: Instant,
    ) -> usize {
        let mut admit = |from: &SocketAddr| {
            let is_allowed = limiter.allows(source, *from, now) == Allowance::Allowed;
            if is_allowed {
                limiter.take(source, *from, now);
            }
            is_allowed
        };
        from.into_iter().filter(|from| admit(from)).count()
    }

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    /// The n-th address of some range of IPv4 addresses that begins at 8.0.0.0, `step` addresses apart.
    fn v4(n: u32, step: u32) -> SocketAddr {
        SocketAddr::from(((0x0800_0000 + n * step).to_be_bytes(), 30303))
    }

    fn v6(groups: [u16; 8]) -> SocketAddr {
        SocketAddr::from((groups, 30303))
    }

    #[test]
    fn a_subnet_has_its_burst_and_then_its_rate() {
        let mut limiter = limiter();
        let mut admitted = |micros| admitted(&mut limiter, Source::Stranger, (0..256).map(|n| v4(n, 1)), at(micros));
        assert_eq!(admitted(0), limits::SUBNET_DATAGRAMS_BURST as usize);
        assert_eq!(admitted(0), 0);
        assert_eq!(admitted(1_000_000), limits::SUBNET_DATAGRAMS_PER_SECOND as usize);
        assert_eq!(admitted(3_600_000_000), limits::SUBNET_DATAGRAMS_BURST as usize);
    }

    #[test]
    fn wider_networks_have_a_budget_too() {
        let subnets = |n: u16| v6([0x2a00, 1, 2, n << 8, 0, 0, 0, 1]);
        let sites = |n: u16| v6([0x2a00, 1, n, 0, 0, 0, 0, 1]);
        let (site_burst, site_rate) = (limits::SITE_DATAGRAMS_BURST, limits::SITE_DATAGRAMS_PER_SECOND);
        let (net_burst, net_rate) = (limits::NETWORK_DATAGRAMS_BURST, limits::NETWORK_DATAGRAMS_PER_SECOND);
        // Spread in time, so that the burst of all sources together is not in the way.
        let counts = |from: &dyn Fn(u32) -> SocketAddr| {
            let mut limiter = limiter();
            let mut admitted =
                |n: u32, since| admitted(&mut limiter, Source::Stranger, [from(n)], at(since + u64::from(n) * 500));
            [0, 10_000_000].map(|since| (0..2000).map(|n| admitted(n, since)).sum::<usize>())
        };
        let expected = |burst: u32, rate: u32| (burst + rate) as usize;
        let near = |counts: [usize; 2], expected: usize| {
            assert!(counts.iter().all(|count| count.abs_diff(expected) <= 1), "{counts:?}, {expected} expected");
        };
        near(counts(&|n| subnets(n as u16 % 256)), expected(site_burst, site_rate));
        near(counts(&|n| sites(n as u16)), expected(net_burst, net_rate));
        near(counts(&|n| v4(n % 256, 256)), expected(net_burst, net_rate));
    }

    #[test]
    fn addresses_of_a_carrier_are_alone_in_their_groups() {
        let mut limiter = limiter();
        let carrier = |n: u32| SocketAddr::from(((0x6440_0000 + n).to_be_bytes(), 30303));
        assert_eq!(admitted(&mut limiter, Source::Stranger, (0..240).map(carrier), at(0)), 240);
        let one = core::iter::repeat_n(carrier(7), 100);
        assert_eq!(admitted(&mut limiter, Source::Stranger, one, at(0)), limits::SUBNET_DATAGRAMS_BURST as usize - 1);
    }

    #[test]
    fn all_sources_together_have_a_budget() {
        let mut limiter = limiter();
        let mut admitted =
            |micros| admitted(&mut limiter, Source::Stranger, (0..100_000).map(|n| v4(n, 257)), at(micros));
        assert_eq!(admitted(0), limits::DATAGRAMS_BURST as usize);
        assert_eq!(admitted(50_000), limits::DATAGRAMS_PER_SECOND as usize / 20);
        assert!(matches!(limiter.allows(Source::Stranger, v4(7, 7), at(50_000)), Allowance::Exhausted));
    }

    #[test]
    fn local_sources_have_no_budget_of_their_own() {
        let mut limiter = limiter();
        let local = (1..=10_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let admitted = admitted(&mut limiter, Source::Stranger, local, Instant::ZERO);
        assert_eq!(admitted, limits::DATAGRAMS_BURST as usize, "only that of all sources together");
    }

    #[test]
    fn kinds_of_sources_do_not_pay_for_each_other() {
        let mut limiter = limiter();
        let strangers = admitted(&mut limiter, Source::Stranger, (0..10_000).map(|n| v4(n, 257)), at(0));
        assert_eq!(strangers, limits::DATAGRAMS_BURST as usize);
        // Of ten thousand endpoints, two have sent much.
        for n in [3, 4] {
            let many = core::iter::repeat_n(v4(n, 99), 100);
            assert_eq!(admitted(&mut limiter, Source::Entry, many, at(0)), limits::ENDPOINT_DATAGRAMS_BURST as usize);
        }
        let bonded = admitted(&mut limiter, Source::Bonded, (0..10_000).map(|n| v4(n, 99)), at(0));
        assert_eq!(bonded, limits::BONDED_DATAGRAMS_BURST as usize);
        let entries = admitted(&mut limiter, Source::Entry, (0..1000).map(|n| v4(n, 99)), at(0));
        assert_eq!(entries, 998, "each its own");
        assert_eq!(admitted(&mut limiter, Source::Entry, core::iter::repeat_n(v4(3, 99), 9), at(1_000_000)), 4);
    }

    /// Memory holds only budgets that are not full, which the common budgets keep few.
    #[test]
    fn memory_is_bounded_and_released_and_no_two_sources_share_a_budget() {
        let mut limiter = limiter();
        let at_rest = limiter.memory_bytes();
        assert!(at_rest <= 4 << 10, "{at_rest}");
        let mut rng = Seed::new([2; 32]).fork("sources");
        let mut alone = 0;
        // 20,000 a second for ten seconds, and meanwhile one source that is alone in its network.
        for i in 0..200_000u64 {
            let now = at(i * 50);
            let from = SocketAddr::new(IpAddr::from(rng.bytes::<4>()), 30303);
            _ = admitted(&mut limiter, Source::Stranger, [from], now);
            _ = admitted(&mut limiter, Source::Bonded, [v4(rng.below(12_000) as u32, 977)], now);
            if i % 2000 == 0 {
                let groups = limiter.groups(ip("222.1.1.1"));
                alone += usize::from(limiter.strangers.allows(groups, now));
                limiter.strangers.subnets.take(groups.subnet.unwrap(), now);
            }
        }
        assert_eq!(alone, 100, "ten a second are allowed, whatever others send");
        assert!(limiter.memory_bytes() <= 24 << 10, "{}", limiter.memory_bytes());
        let later = at(60_000_000);
        let _ = admitted(&mut limiter, Source::Stranger, [v4(1, 1)], later);
        let _ = admitted(&mut limiter, Source::Bonded, [v4(1, 1)], later);
        assert_eq!(limiter.memory_bytes(), at_rest);
    }

    #[test]
    fn all_unproven_addresses_together_have_a_budget() {
        let mut limiter = limiter();
        let mut admitted = |second: u64| {
            let now = at(second * 1_000_000);
            (0..5000).filter(|n| limiter.admit_unproven_ping(v4(second as u32 * 5000 + n, 1).ip(), 140, now)).count()
        };
        assert_eq!(admitted(0), limits::UNPROVEN_PINGS_BURST as usize);
        assert_eq!((1..11).map(&mut admitted).sum::<usize>(), 10 * limits::UNPROVEN_PINGS_PER_SECOND as usize);
        assert!((0..1000).all(|_| limiter.admit_unproven_ping(ip("192.168.0.7"), 140, at(0))), "not the local ones");
    }

    #[test]
    fn an_operators_address_is_pinged_every_fifteen_seconds() {
        let mut limiter = limiter();
        let sent: Vec<u64> =
            (0..3600).filter(|second| limiter.admit_named_ping(v4(1, 1), at(second * 1_000_000))).collect();
        assert!(sent.len() == 240 && sent.windows(2).all(|pair| pair[1] - pair[0] == 15), "{sent:?}");
        assert!(limiter.admit_named_ping(v4(2, 1), at(0)), "each its own");
    }
}
