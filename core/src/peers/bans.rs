//! Bans: which node ids, hosts and subnets are refused, and until when. The only place that refuses a peer for its conduct.
//!
//! Ids cost nothing, so a serious fault also bans the host it came from, and several such hosts ban their subnet (attack
//! P3): only after the session was authenticated, for a shorter time since other nodes may share the address, and never for
//! local addresses. The list is bounded (P5): when it is full, the least severe ban is dropped, of equal ones that which ends
//! first.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bounded::{Bounded, host};
use super::score::Severity;
use crate::contract::{BanTarget, PeerKind, ScoreReason};
use crate::crypto::NodeId;
use crate::limits::{BANS_MAX, HOST_BAN_MAX, STATIC_PEER_BAN, SUBNET_BAN_HOSTS};
use crate::netfilter::{Subnet, canonical, scope};
use crate::time::{Duration, Instant};

/// The target of a ban.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Banned {
    /// The holder of a key.
    Id(NodeId),
    /// An IPv4 address, or an IPv6 /64 by its first address.
    Host(IpAddr),
    /// A subnet.
    Subnet(Subnet),
}

/// One ban.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Ban {
    /// When it began.
    pub since: Instant,
    /// When it ends.
    pub until: Instant,
    /// The severity of the fault that led to it.
    pub severity: Severity,
    /// The reason for the charge that led to it, or `Embedder`.
    pub reason: ScoreReason,
}

impl From<BanTarget> for Banned {
    fn from(target: BanTarget) -> Self {
        match target {
            BanTarget::Id(id) => Self::Id(id),
            BanTarget::Address(ip) => Self::Host(host(canonical(SocketAddr::new(ip, 0)).ip())),
        }
    }
}

/// At most [`BANS_MAX`] bans.
#[derive(Clone, Debug)]
pub struct Bans(Bounded<Banned, (Severity, Instant), Ban>);

impl Default for Bans {
    fn default() -> Self {
        Self(Bounded::new(BANS_MAX))
    }
}

impl Bans {
    /// Bans a peer by its id and, if the fault was serious, by the address of its authenticated session. Static and trusted
    /// peers get a short pause, and their address none. Returns how long the id is banned.
    pub fn ban_peer(
        &mut self,
        now: Instant,
        id: NodeId,
        kind: Option<PeerKind>,
        authenticated_at: Option<IpAddr>,
        severity: Severity,
        reason: ScoreReason,
    ) -> Duration {
        if kind.is_some() {
            self.insert(now, Banned::Id(id), STATIC_PEER_BAN, severity, reason);
            return STATIC_PEER_BAN;
        }
        let duration = severity.ban_duration();
        self.insert(now, Banned::Id(id), duration, severity, reason);
        if let Some(ip) = authenticated_at
            && severity > Severity::Mild
            && !scope(ip).is_local()
        {
            let duration = duration.min(HOST_BAN_MAX);
            self.insert(now, Banned::Host(host(ip)), duration, severity, reason);
            if self.hosts_banned(now, ip) >= SUBNET_BAN_HOSTS {
                self.insert(now, Banned::Subnet(Subnet::of(ip)), duration, severity, reason);
            }
        }
        duration
    }

    /// Bans a target on the embedder's command. Such a ban has the highest severity, so it is dropped last.
    pub fn ban(&mut self, now: Instant, target: BanTarget, duration: Duration) {
        self.insert(now, Banned::from(target), duration, Severity::Fatal, ScoreReason::Embedder);
    }

    /// Lifts a ban of any reason; of an address, also the ban of its subnet. Returns `false` if there was none in force.
    pub fn unban(&mut self, now: Instant, target: BanTarget) -> bool {
        let subnet = match target {
            BanTarget::Id(_) => None,
            BanTarget::Address(ip) => Some(Banned::Subnet(Subnet::of(ip))),
        };
        let mut was_banned = false;
        for banned in [Banned::from(target)].into_iter().chain(subnet) {
            was_banned |= self.0.remove(&banned).is_some_and(|ban| ban.until > now);
        }
        was_banned
    }

    /// Until when the embedder has banned an address, if it has.
    pub fn ordered_until(&self, now: Instant, ip: IpAddr) -> Option<Instant> {
        let ban = self.0.get(&Banned::Host(host(ip)))?;
        (ban.until > now && ban.reason == ScoreReason::Embedder).then_some(ban.until)
    }

    /// Until when the holder of a key is banned, if it is.
    pub fn id_until(&self, now: Instant, id: &NodeId) -> Option<Instant> {
        self.until(now, &Banned::Id(*id))
    }

    /// Until when an address is banned, by itself or with its subnet. Only the embedder can ban a local one.
    pub fn addr_until(&self, now: Instant, ip: IpAddr) -> Option<Instant> {
        self.until(now, &Banned::Host(host(ip))).max(self.until(now, &Banned::Subnet(Subnet::of(ip))))
    }

    /// The bans in force.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (&Banned, &Ban)> {
        self.0.iter().filter(move |(_, ban)| ban.until > now)
    }

    /// The number of bans in the list, expired ones that are not removed yet included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn until(&self, now: Instant, banned: &Banned) -> Option<Instant> {
        self.0.get(banned).map(|ban| ban.until).filter(|until| *until > now)
    }

    /// Enters a ban. One in force is made longer or more severe, never less.
    fn insert(&mut self, now: Instant, banned: Banned, duration: Duration, severity: Severity, reason: ScoreReason) {
        let mut ban = Ban { since: now, until: now + duration, severity, reason };
        if let Some(old) = self.0.get(&banned).filter(|old| old.until > now) {
            // A ban of the embedder keeps its reason.
            let reason = if old.reason == ScoreReason::Embedder { old.reason } else { reason };
            let (until, severity) = (ban.until.max(old.until), severity.max(old.severity));
            ban = Ban { since: old.since, until, severity, reason };
        } else if self.0.is_full() {
            self.sweep(now);
        }
        self.0.insert(banned, (ban.severity, ban.until), ban);
    }

    /// Removes one expired ban of each severity, so that a ban in force is not dropped while an expired one is kept.
    fn sweep(&mut self, now: Instant) {
        let least = Banned::Id(NodeId([0; 32]));
        for severity in Severity::ALL {
            match self.0.lowest_from(((severity, Instant::ZERO), least)) {
                Some(((found, until), banned)) if found == severity && until <= now => drop(self.0.remove(&banned)),
                _ => {}
            }
        }
    }

    /// How many hosts in the subnet of `ip` are banned.
    fn hosts_banned(&self, now: Instant, ip: IpAddr) -> usize {
        let (first, last) = match ip {
            IpAddr::V4(ip) => {
                let bits = ip.to_bits();
                (Ipv4Addr::from_bits(bits & !0xff).into(), Ipv4Addr::from_bits(bits | 0xff).into())
            }
            IpAddr::V6(ip) => {
                let (bits, hosts) = (ip.to_bits(), (1u128 << 72) - 1);
                (IpAddr::V6(Ipv6Addr::from_bits(bits & !hosts)), IpAddr::V6(Ipv6Addr::from_bits(bits | hosts)))
            }
        };
        self.0.range(Banned::Host(first)..=Banned::Host(last)).filter(|(_, ban)| ban.until > now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Fault;
    use crate::rng::Seed;

    const WHY: ScoreReason = ScoreReason::Fault(Fault::PingFlood);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn ban(bans: &mut Bans, now: Instant, id: u8, ip: Option<IpAddr>, severity: Severity) -> Duration {
        bans.ban_peer(now, NodeId([id; 32]), None, ip, severity, WHY)
    }

    #[test]
    fn bans_end() {
        let mut bans = Bans::default();
        let duration = ban(&mut bans, at(1), 1, Some(ip("8.8.8.8")), Severity::Fatal);
        assert_eq!(duration, Duration::from_secs(12 * 3600));
        assert_eq!(bans.id_until(at(1), &NodeId([1; 32])), Some(at(1) + duration));
        assert_eq!(bans.id_until(at(1) + duration, &NodeId([1; 32])), None);
        assert_eq!(
            bans.addr_until(at(1), ip("8.8.8.8")),
            Some(at(1) + HOST_BAN_MAX),
            "the ban of an address is shorter"
        );
        assert_eq!(bans.addr_until(at(1), ip("8.8.8.9")), None);
    }

    #[test]
    fn bans_of_several_hosts_ban_their_subnet() {
        for (base, sibling, stranger, [below, above]) in [
            ("8.8.8.", "8.8.8.77", "8.8.9.1", ["8.8.7.255", "8.8.9.0"]),
            ("2a00:1:2:33", "2a00:1:2:33ff::1", "2a00:1:2:34ff::1", ["2a00:1:2:32ff::9", "2a00:1:2:3400::9"]),
        ] {
            let mut bans = Bans::default();
            // Those of other subnets are not counted.
            for neighbour in [below, above] {
                ban(&mut bans, at(0), 200, Some(ip(neighbour)), Severity::Serious);
            }
            for i in 0..SUBNET_BAN_HOSTS as u8 {
                assert_eq!(bans.addr_until(at(0), ip(sibling)), None, "{i} hosts");
                // From both ends of the subnet.
                let high = 0xf0 * (i % 2) + i;
                let tail =
                    if base.contains(':') { std::format!("{base}{high:02x}::1") } else { std::format!("{base}{high}") };
                ban(&mut bans, at(0), i, Some(ip(&tail)), Severity::Serious);
            }
            assert!(bans.addr_until(at(0), ip(sibling)).is_some());
            assert_eq!(bans.addr_until(at(0), ip(stranger)), None);
        }
    }

    #[test]
    fn no_address_is_banned_for_local_peers_mild_reasons_or_declared_peers() {
        let mut bans = Bans::default();
        for local in ["127.0.0.1", "10.0.0.1", "192.168.7.7", "fd00::1", "::1"] {
            ban(&mut bans, at(0), 1, Some(ip(local)), Severity::Fatal);
            assert_eq!(bans.addr_until(at(0), ip(local)), None);
        }
        ban(&mut bans, at(0), 2, Some(ip("8.8.8.8")), Severity::Mild);
        for kind in [PeerKind::Static, PeerKind::Trusted] {
            let id = NodeId([3; 32]);
            assert_eq!(
                bans.ban_peer(at(0), id, Some(kind), Some(ip("8.8.8.8")), Severity::Fatal, WHY),
                STATIC_PEER_BAN
            );
            assert!(bans.id_until(at(14), &id).is_some() && bans.id_until(at(15), &id).is_none());
        }
        assert_eq!(bans.addr_until(at(0), ip("8.8.8.8")), None);
    }

    #[test]
    fn memory_is_bounded_and_the_severest_are_kept() {
        let mut bans = Bans::default();
        let mut rng = Seed::new([2; 32]).fork("bans");
        let worst = NodeId([0xff; 32]);
        bans.ban_peer(at(0), worst, None, None, Severity::Fatal, WHY);
        for i in 0..100_000u32 {
            let ip = IpAddr::from((0x0100_0000 + i * 7).to_be_bytes());
            bans.ban_peer(at(1), NodeId(rng.bytes()), None, Some(ip), Severity::Serious, WHY);
            assert!(bans.len() <= BANS_MAX);
        }
        assert!(bans.id_until(at(2), &worst).is_some());
    }

    #[test]
    fn expired_bans_are_dropped_before_those_in_force() {
        let mut bans = Bans::default();
        for i in 0..BANS_MAX as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&i.to_be_bytes());
            bans.ban_peer(at(0), NodeId(id), None, None, Severity::Fatal, WHY);
        }
        let later = at(13 * 3600);
        assert_eq!(bans.iter(later).count(), 0);
        for id in 0..100 {
            ban(&mut bans, later, 100 + id, None, Severity::Mild);
        }
        assert_eq!(bans.iter(later).count(), 100);
    }

    #[test]
    fn a_ban_in_force_only_grows() {
        let mut bans = Bans::default();
        ban(&mut bans, at(0), 1, None, Severity::Fatal);
        ban(&mut bans, at(9), 1, None, Severity::Mild);
        let (_, kept) = bans.iter(at(9)).next().unwrap();
        assert_eq!((kept.severity, kept.until, kept.since), (Severity::Fatal, at(12 * 3600), at(0)));
    }

    #[test]
    fn a_ban_of_the_embedder_applies_to_its_target_until_it_ends_or_is_lifted() {
        let (id, hour) = (NodeId([1; 32]), Duration::from_secs(3600));
        for (address, same, other) in [
            ("8.8.8.8", "8.8.8.8", "8.8.8.9"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::ffff:8.8.8.8", "8.8.8.8", "8.8.8.9"),
            ("2a00::1", "2a00::ff", "2a00:0:0:1::1"),
        ] {
            let mut bans = Bans::default();
            let target = BanTarget::Address(ip(address));
            bans.ban(at(0), target, hour);
            assert_eq!(bans.addr_until(at(1), ip(same)), Some(at(3600)), "{address}");
            assert_eq!(bans.ordered_until(at(1), ip(same)), Some(at(3600)), "{address}");
            assert_eq!(bans.addr_until(at(1), ip(other)), None, "{address}");
            assert_eq!(bans.addr_until(at(3600), ip(same)), None, "{address}: it ends");
            assert!(bans.unban(at(1), target) && !bans.unban(at(1), target), "{address}");
            assert_eq!(bans.addr_until(at(1), ip(same)), None, "{address}");
        }
        let mut bans = Bans::default();
        bans.ban(at(0), BanTarget::Id(id), hour);
        assert_eq!(bans.id_until(at(1), &id), Some(at(3600)));
        assert!(bans.unban(at(1), BanTarget::Id(id)) && bans.id_until(at(1), &id).is_none());
        assert!(!bans.unban(at(1), BanTarget::Id(id)));
    }

    #[test]
    fn lifting_a_ban_frees_an_address_that_is_banned_with_its_subnet() {
        let mut bans = Bans::default();
        for host in 0..SUBNET_BAN_HOSTS as u8 {
            ban(&mut bans, at(0), host, Some([8, 8, 8, host].into()), Severity::Serious);
        }
        assert!(bans.addr_until(at(0), ip("8.8.8.77")).is_some());
        assert!(bans.ordered_until(at(0), ip("8.8.8.1")).is_none(), "not by the embedder");
        assert!(bans.unban(at(0), BanTarget::Address(ip("8.8.8.77"))));
        assert_eq!(bans.addr_until(at(0), ip("8.8.8.77")), None);
    }
}
