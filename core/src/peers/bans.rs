//! Bans: which node ids and hosts are refused, and until when. The only place that refuses a peer for its conduct.
//!
//! A ban for a fault is of the key that has committed it. Keys cost nothing, so an address with many serious faults is banned
//! too ([`offences`](super::offences), attack P3), for an hour and for inbound connections only; its neighbours are not. The
//! list is bounded, and so is the share of a subnet in it (P5): a ban is dropped for one that is as severe or more, and never
//! for a lighter one. Those that the embedder has ordered are dropped last.

use alloc::collections::BTreeSet;
use core::net::{IpAddr, SocketAddr};

use super::bounded::{Bounded, host};
use super::ranges::{global_number, range};
use super::score::Severity;
use crate::contract::{BanTarget, PeerKind, ScoreReason};
use crate::crypto::NodeId;
use crate::limits::{BANS_MAX, BANS_PER_RANGE, BANS_PER_SUBNET, HOST_BAN, STATIC_PEER_BAN};
use crate::netfilter::canonical;
use crate::time::{Duration, Instant};

/// The target of a ban.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Banned {
    /// The holder of a key.
    Id(NodeId),
    /// An IPv4 address, or an IPv6 /64 by its first address.
    Host(IpAddr),
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
    /// The address of the session in which the fault was; `None` for a ban of the embedder.
    pub from: Option<IpAddr>,
}

impl From<BanTarget> for Banned {
    fn from(target: BanTarget) -> Self {
        match target {
            BanTarget::Id(id) => Self::Id(id),
            BanTarget::Address(ip) => Self::Host(host(canonical(SocketAddr::new(ip, 0)).ip())),
        }
    }
}

/// The rank of a ban in the list, the first to be dropped lowest: whether the embedder has ordered it, its severity, its end.
type Rank = (bool, Severity, Instant);

impl Ban {
    fn is_ordered(&self) -> bool {
        self.reason == ScoreReason::Embedder
    }

    fn rank(&self) -> Rank {
        (self.is_ordered(), self.severity, self.until)
    }

    /// The number of the subnet whose share of the list it takes.
    fn subnet(&self) -> Option<u64> {
        self.from.filter(|_| !self.is_ordered()).and_then(global_number)
    }
}

/// At most [`BANS_MAX`] bans.
#[derive(Clone, Debug)]
pub struct Bans {
    list: Bounded<Banned, Rank, Ban>,
    /// Those for faults of global addresses, by subnet: follows from the list.
    by_subnet: BTreeSet<(u64, Banned)>,
}

impl Default for Bans {
    fn default() -> Self {
        Self { list: Bounded::new(BANS_MAX), by_subnet: BTreeSet::new() }
    }
}

impl Bans {
    /// Bans a peer by its id for a fault in an authenticated session from `from`. Static and trusted peers get a short pause.
    /// Returns how long it is banned; `None` if the list has room for heavier bans only.
    pub fn ban_peer(
        &mut self,
        now: Instant,
        id: NodeId,
        kind: Option<PeerKind>,
        from: Option<IpAddr>,
        severity: Severity,
        reason: ScoreReason,
    ) -> Option<Duration> {
        let duration = if kind.is_some() { STATIC_PEER_BAN } else { severity.ban_duration() };
        let ban = Ban { since: now, until: now + duration, severity, reason, from };
        self.insert(now, Banned::Id(id), ban).then_some(duration)
    }

    /// Bans an address for the last of several faults. Returns whether it is banned.
    pub fn ban_host(&mut self, now: Instant, ip: IpAddr, reason: ScoreReason) -> bool {
        let ban = Ban { since: now, until: now + HOST_BAN, severity: Severity::Serious, reason, from: Some(ip) };
        self.insert(now, Banned::Host(host(ip)), ban)
    }

    /// Bans a target on the embedder's command.
    pub fn ban(&mut self, now: Instant, target: BanTarget, duration: Duration) {
        let reason = ScoreReason::Embedder;
        let ban = Ban { since: now, until: now + duration, severity: Severity::Fatal, reason, from: None };
        self.insert(now, Banned::from(target), ban);
    }

    /// Lifts a ban of any reason. Returns `false` if there was none in force.
    pub fn unban(&mut self, now: Instant, target: BanTarget) -> bool {
        self.remove(&Banned::from(target)).is_some_and(|ban| ban.until > now)
    }

    /// Until when the embedder has banned an address, if it has.
    pub fn ordered_until(&self, now: Instant, ip: IpAddr) -> Option<Instant> {
        let ban = self.list.get(&Banned::Host(host(ip)))?;
        (ban.until > now && ban.is_ordered()).then_some(ban.until)
    }

    /// Until when the holder of a key is banned, if it is.
    pub fn id_until(&self, now: Instant, id: &NodeId) -> Option<Instant> {
        self.until(now, &Banned::Id(*id))
    }

    /// Until when connections from an address are refused. Only the embedder can ban a local one.
    pub fn addr_until(&self, now: Instant, ip: IpAddr) -> Option<Instant> {
        self.until(now, &Banned::Host(host(ip)))
    }

    /// The bans in force.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (&Banned, &Ban)> {
        self.list.iter().filter(move |(_, ban)| ban.until > now)
    }

    /// The number of bans in the list, expired ones that are not removed yet included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn until(&self, now: Instant, banned: &Banned) -> Option<Instant> {
        self.list.get(banned).map(|ban| ban.until).filter(|until| *until > now)
    }

    /// Enters a ban. One in force is made longer or more severe, never less. Returns whether it is in the list.
    fn insert(&mut self, now: Instant, banned: Banned, mut ban: Ban) -> bool {
        if let Some(old) = self.remove(&banned).filter(|old| old.until > now) {
            // A ban of the embedder keeps its reason. A subnet that had room for the old one has room for the new one.
            let reason = if old.is_ordered() { old.reason } else { ban.reason };
            let (until, severity) = (ban.until.max(old.until), ban.severity.max(old.severity));
            ban = Ban { since: old.since, until, severity, reason, from: old.from };
        } else if !self.make_room(now, &ban) {
            return false;
        }
        if let Some(subnet) = ban.subnet() {
            self.by_subnet.insert((subnet, banned));
        }
        self.list.insert(banned, ban.rank(), ban);
        true
    }

    fn remove(&mut self, banned: &Banned) -> Option<Ban> {
        let ban = self.list.remove(banned)?;
        if let Some(subnet) = ban.subnet() {
            self.by_subnet.remove(&(subnet, *banned));
        }
        Some(ban)
    }

    /// Drops bans until there is room for another one, in its subnet's share and in the list. Returns `false` if it would have to
    /// drop a heavier one.
    fn make_room(&mut self, now: Instant, ban: &Ban) -> bool {
        let bits = if matches!(ban.from, Some(IpAddr::V4(_))) { [24, 16] } else { [48, 32] };
        for (bits, max) in bits.into_iter().zip([BANS_PER_SUBNET, BANS_PER_RANGE]) {
            let Some(subnet) = ban.subnet() else { break };
            while let Some(lightest) = self.lightest_beyond(now, subnet, bits, max) {
                if !self.drop_for(now, lightest, ban) {
                    return false;
                }
            }
        }
        if self.list.is_full() {
            self.sweep(now);
        }
        while self.list.is_full() {
            let Some((_, lowest)) = self.list.lowest() else { break };
            if !self.drop_for(now, lowest, ban) {
                return false;
            }
        }
        true
    }

    /// Drops a ban for another one, unless it is in force and heavier.
    fn drop_for(&mut self, now: Instant, banned: Banned, ban: &Ban) -> bool {
        let is_heavier = |old: &Ban| old.until > now && old.rank() > ban.rank();
        // The embedder's orders are carried out in any case.
        if !ban.is_ordered() && self.list.get(&banned).is_some_and(is_heavier) {
            return false;
        }
        self.remove(&banned);
        true
    }

    /// The lightest ban for a fault within the first `bits` bits of a subnet, expired ones first, if there are `max` already.
    fn lightest_beyond(&self, now: Instant, subnet: u64, bits: u32, max: usize) -> Option<Banned> {
        let subnets = range(subnet, bits);
        let least = Banned::Id(NodeId([0; 32]));
        let members =
            self.by_subnet.range((*subnets.start(), least)..).take_while(|(subnet, _)| subnets.contains(subnet));
        let rank = |banned: &Banned| self.list.get(banned).map(|ban| (ban.until > now, ban.rank()));
        let mut count = 0;
        let members = members.inspect(|_| count += 1).map(|(_, banned)| (rank(banned), *banned));
        let lightest = members.min();
        (count >= max).then_some(lightest?.1)
    }

    /// Removes one expired ban of each kind, so that a ban in force is not dropped while an expired one is kept.
    fn sweep(&mut self, now: Instant) {
        let least = Banned::Id(NodeId([0; 32]));
        for is_ordered in [false, true] {
            for severity in Severity::ALL {
                match self.list.lowest_from(((is_ordered, severity, Instant::ZERO), least)) {
                    Some(((ordered, found, until), banned))
                        if ordered == is_ordered && found == severity && until <= now =>
                    {
                        self.remove(&banned);
                    }
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::offences::Offences;
    use super::*;
    use crate::contract::Fault;
    use crate::rng::Seed;

    const WHY: ScoreReason = ScoreReason::Fault(Fault::ForbiddenMessage);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn ban(bans: &mut Bans, now: Instant, id: u8, ip: Option<IpAddr>, severity: Severity) -> Option<Duration> {
        bans.ban_peer(now, NodeId([id; 32]), None, ip, severity, WHY)
    }

    fn key(n: u64) -> NodeId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    #[test]
    fn bans_end() {
        let mut bans = Bans::default();
        let duration = ban(&mut bans, at(1), 1, Some(ip("8.8.8.8")), Severity::Fatal).unwrap();
        assert_eq!(duration, Duration::from_secs(12 * 3600));
        assert_eq!(bans.id_until(at(1), &NodeId([1; 32])), Some(at(1) + duration));
        assert_eq!(bans.id_until(at(1) + duration, &NodeId([1; 32])), None);
        assert_eq!(bans.addr_until(at(1), ip("8.8.8.8")), None, "a key's fault is not its address's");
        assert!(bans.ban_host(at(1), ip("8.8.8.8"), WHY));
        assert_eq!(bans.addr_until(at(1), ip("8.8.8.8")), Some(at(1) + HOST_BAN));
        assert_eq!(bans.ordered_until(at(1), ip("8.8.8.8")), None, "not for our own dials");
        assert_eq!(bans.addr_until(at(1) + HOST_BAN, ip("8.8.8.8")), None);
    }

    /// P3: the faults of all 255 neighbours of a host, each banned, do not make it refused.
    #[test]
    fn no_host_is_refused_because_of_a_neighbour() {
        for (base, honest) in [("8.8.8.", "8.8.8.77"), ("2a00:1:2:33", "2a00:1:2:334d::1")] {
            let (mut bans, mut offences) = (Bans::default(), Offences::default());
            for n in (0..=255u32).filter(|n| *n != 77) {
                let tail =
                    if base.contains(':') { std::format!("{base}{n:02x}::1") } else { std::format!("{base}{n}") };
                for fault in 0..100u64 {
                    let _ = bans.ban_peer(
                        at(0),
                        key(u64::from(n) << 8 | fault),
                        None,
                        Some(ip(&tail)),
                        Severity::Fatal,
                        WHY,
                    );
                    if offences.note(at(0), ip(&tail)) {
                        bans.ban_host(at(0), ip(&tail), WHY);
                    }
                }
                assert_eq!(bans.addr_until(at(0), ip(honest)), None);
            }
        }
    }

    /// P5: the keys of one subnet, and of one range, have a bounded share of the list.
    #[test]
    fn a_subnet_has_a_share_of_the_list() {
        for (near, far) in [("8.8.8.", "8.8."), ("2a00:1:2:", "2a00:1:")] {
            let mut bans = Bans::default();
            let count = |bans: &Bans| bans.iter(at(0)).count();
            for n in 0..1000u64 {
                let from =
                    if near.contains(':') { std::format!("{near}{n:x}::1") } else { std::format!("{near}{}", n % 256) };
                assert_eq!(
                    bans.ban_peer(at(0), key(n), None, Some(ip(&from)), Severity::Serious, WHY).is_some(),
                    count(&bans) <= BANS_PER_SUBNET
                );
            }
            assert_eq!(count(&bans), BANS_PER_SUBNET, "{near}");
            for n in 0..20_000u64 {
                let net = n % 250;
                let from =
                    if far.contains(':') { std::format!("{far}{net:x}::1") } else { std::format!("{far}{net}.1") };
                let _ = bans.ban_peer(at(0), key(1 << 32 | n), None, Some(ip(&from)), Severity::Serious, WHY);
            }
            assert_eq!(count(&bans), BANS_PER_RANGE, "{far}");
            assert!(ban(&mut bans, at(0), 0xfe, Some(ip("9.9.9.9")), Severity::Mild).is_some(), "others have room");
            assert_eq!(bans.by_subnet.len(), count(&bans));
            bans.ban(at(0), BanTarget::Address(ip("8.8.8.8")), Duration::from_secs(9));
            assert!(bans.ordered_until(at(0), ip("8.8.8.8")).is_some(), "the embedder's have no share");
        }
    }

    /// P5: a ban is dropped for a heavier one, and never for a lighter one.
    #[test]
    fn a_ban_is_never_displaced_by_a_lighter_one() {
        let subnet = Some(ip("8.8.8.8"));
        let mut bans = Bans::default();
        for n in 0..BANS_PER_SUBNET as u64 {
            assert!(bans.ban_peer(at(0), key(n), None, subnet, Severity::Serious, WHY).is_some());
        }
        assert_eq!(ban(&mut bans, at(1), 0xfe, subnet, Severity::Mild), None);
        assert!(ban(&mut bans, at(1), 0xfd, subnet, Severity::Fatal).is_some());
        assert_eq!(bans.iter(at(1)).filter(|(_, ban)| ban.severity == Severity::Serious).count(), BANS_PER_SUBNET - 1);
        assert!(ban(&mut bans, at(3600), 0xfe, subnet, Severity::Mild).is_some(), "for an expired one it is");

        let mut bans = Bans::default();
        for n in 0..BANS_MAX as u64 {
            assert!(bans.ban_peer(at(0), key(n), None, None, Severity::Serious, WHY).is_some());
        }
        assert_eq!(ban(&mut bans, at(1), 0xfe, None, Severity::Mild), None);
        assert!(ban(&mut bans, at(1), 0xfd, None, Severity::Fatal).is_some());
        bans.ban(at(1), BanTarget::Id(NodeId([0xfc; 32])), Duration::from_secs(5));
        assert_eq!(
            (bans.len(), bans.id_until(at(2), &NodeId([0xfc; 32]))),
            (BANS_MAX, Some(at(6))),
            "an order is carried out"
        );
        for n in 0..2 * BANS_MAX as u64 {
            let _ = bans.ban_peer(at(1), key(1 << 32 | n), None, None, Severity::Fatal, WHY);
        }
        assert!(bans.id_until(at(2), &NodeId([0xfc; 32])).is_some(), "and stays");
    }

    #[test]
    fn static_and_trusted_peers_pause_shortly() {
        let mut bans = Bans::default();
        for kind in [PeerKind::Static, PeerKind::Trusted] {
            let id = NodeId([3; 32]);
            let pause = bans.ban_peer(at(0), id, Some(kind), Some(ip("8.8.8.8")), Severity::Fatal, WHY);
            assert_eq!(pause, Some(STATIC_PEER_BAN));
            assert!(bans.id_until(at(14), &id).is_some() && bans.id_until(at(15), &id).is_none());
        }
    }

    #[test]
    fn memory_is_bounded_and_the_severest_are_kept() {
        let mut bans = Bans::default();
        let mut rng = Seed::new([2; 32]).fork("bans");
        let worst = NodeId([0xff; 32]);
        let _ = bans.ban_peer(at(0), worst, None, None, Severity::Fatal, WHY);
        for i in 0..20_000u32 {
            let ip = IpAddr::from((0x0100_0000 + i * 4099).to_be_bytes());
            let _ = bans.ban_peer(at(1), NodeId(rng.bytes()), None, Some(ip), Severity::Serious, WHY);
            assert!(bans.len() <= BANS_MAX);
        }
        assert!(bans.id_until(at(2), &worst).is_some());
    }

    #[test]
    fn expired_bans_are_dropped_before_those_in_force() {
        let mut bans = Bans::default();
        for i in 0..BANS_MAX as u64 {
            let _ = bans.ban_peer(at(0), key(i), None, None, Severity::Fatal, WHY);
        }
        let later = at(13 * 3600);
        assert_eq!(bans.iter(later).count(), 0);
        for id in 0..100 {
            let _ = ban(&mut bans, later, 100 + id, None, Severity::Mild);
        }
        assert_eq!(bans.iter(later).count(), 100);
    }

    #[test]
    fn a_ban_in_force_only_grows() {
        let mut bans = Bans::default();
        let _ = ban(&mut bans, at(0), 1, None, Severity::Fatal);
        let _ = ban(&mut bans, at(9), 1, None, Severity::Mild);
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
}
