//! The index over the node's connections: sets of connection ids by the keys that decisions look up.
//!
//! It holds ids only. [`Index::update`] is the only function that changes it: it is called with the views of a connection
//! before and after a change. Each set follows from the [`View`]s alone, so that a count is the size of a set and cannot
//! drift (attacks C9, P2).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::ranges::{Crowd, global_number, range};
use super::view::View;
use crate::contract::{ConnId, ConnSet, Direction};
use crate::crypto::NodeId;

/// The number of connections of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Accepted, without a place: not identified yet, or ended and not yet forgotten.
    pub pending_inbound: usize,
    /// Dialled, without a place.
    pub pending_outbound: usize,
    /// With a place of the inbound share.
    pub inbound: usize,
    /// With a place of the dialled share.
    pub outbound: usize,
    /// With a place that counts for neither share.
    pub exempt: usize,
    /// In session, of any share.
    pub established: usize,
}

impl Counts {
    /// All connections.
    pub const fn total(&self) -> usize {
        self.pending_inbound + self.pending_outbound + self.inbound + self.outbound + self.exempt
    }

    /// Peers that count for the limit on their number.
    pub const fn limited(&self) -> usize {
        self.inbound + self.outbound
    }
}

/// The kind that a connection is counted as. The kinds are disjoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Group {
    PendingInbound,
    PendingOutbound,
    Inbound,
    Outbound,
    Exempt,
}

impl Group {
    const COUNT: usize = 5;

    fn of(view: &View) -> Self {
        match (view.place, view.direction()) {
            (None, Direction::Inbound) => Self::PendingInbound,
            (None, Direction::Outbound) => Self::PendingOutbound,
            (Some(place), _) if place.exempt => Self::Exempt,
            (Some(place), _) if place.share == Direction::Inbound => Self::Inbound,
            (Some(_), _) => Self::Outbound,
        }
    }
}

/// The keys of one connection in the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Keys {
    group: Group,
    is_established: bool,
    id: Option<NodeId>,
    /// Its group and whether its address is named, if it was accepted, has no place and goes on.
    crowd: Option<(bool, Crowd)>,
    is_ordinary_inbound: bool,
    /// The number of its subnet, if it is ordinary, inbound and of a global address.
    ordinary_subnet: Option<u64>,
}

impl Keys {
    fn of(view: &View) -> Self {
        let group = Group::of(view);
        let ordinary = view.place.is_some_and(|place| place.is_ordinary_inbound());
        let is_pending = group == Group::PendingInbound && !view.is_ending;
        let crowd = || (view.is_named(), Crowd::of(view.conn, view.addr.ip(), view.is_named()));
        Self {
            group,
            is_established: view.is_established(),
            id: view.target_id(),
            crowd: is_pending.then(crowd),
            is_ordinary_inbound: ordinary,
            ordinary_subnet: ordinary.then(|| global_number(view.addr.ip())).flatten(),
        }
    }
}

/// Sets of connection ids by kind, peer and subnet.
#[derive(Clone, Debug, Default)]
pub struct Index {
    groups: [ConnSet; Group::COUNT],
    established: ConnSet,
    by_id: BTreeSet<(NodeId, ConnId)>,
    /// By whether the address is named.
    pending_by_crowd: [BTreeSet<(Crowd, ConnId)>; 2],
    ordinary_inbound: BTreeSet<ConnId>,
    ordinary_by_subnet: BTreeSet<(u64, ConnId)>,
}

impl Index {
    /// Updates the sets after a change of a connection from `before` to `after`; `None` if it did not exist, or no longer does.
    pub fn update(&mut self, before: Option<&View>, after: Option<&View>) {
        let (old, new) =
            (before.map(|view| (view.conn, Keys::of(view))), after.map(|view| (view.conn, Keys::of(view))));
        if old == new {
            return;
        }
        if let Some((conn, keys)) = old {
            self.set(conn, &keys, false);
        }
        if let Some((conn, keys)) = new {
            self.set(conn, &keys, true);
        }
    }

    fn set(&mut self, conn: ConnId, keys: &Keys, is_member: bool) {
        fn put_conn(set: &mut ConnSet, conn: ConnId, is_member: bool) {
            if is_member {
                set.insert(conn, ());
            } else {
                set.remove(conn);
            }
        }
        fn put<T: Ord>(set: &mut BTreeSet<T>, item: T, is_member: bool) {
            if is_member {
                set.insert(item);
            } else {
                set.remove(&item);
            }
        }
        put_conn(&mut self.groups[keys.group as usize], conn, is_member);
        if keys.is_established {
            put_conn(&mut self.established, conn, is_member);
        }
        if let Some(id) = keys.id {
            put(&mut self.by_id, (id, conn), is_member);
        }
        if let Some((is_named, crowd)) = keys.crowd {
            put(&mut self.pending_by_crowd[usize::from(is_named)], (crowd, conn), is_member);
        }
        if keys.is_ordinary_inbound {
            put(&mut self.ordinary_inbound, conn, is_member);
        }
        if let Some(subnet) = keys.ordinary_subnet {
            put(&mut self.ordinary_by_subnet, (subnet, conn), is_member);
        }
    }

    /// The sizes of the sets.
    pub fn counts(&self) -> Counts {
        let size = |group: Group| self.groups[group as usize].len();
        Counts {
            pending_inbound: size(Group::PendingInbound),
            pending_outbound: size(Group::PendingOutbound),
            inbound: size(Group::Inbound),
            outbound: size(Group::Outbound),
            exempt: size(Group::Exempt),
            established: self.established.len(),
        }
    }

    /// The connections with a peer, pending dials included.
    pub fn of_id(&self, id: &NodeId) -> impl Iterator<Item = ConnId> {
        self.by_id.range((*id, ConnId(0))..=(*id, ConnId(u64::MAX))).map(|(_, conn)| *conn)
    }

    /// Whether there is any connection with that peer, pending dials included.
    pub fn contains(&self, id: &NodeId) -> bool {
        self.of_id(id).next().is_some()
    }

    /// The accepted connections without a place that go on, from addresses that are named or that are not: those of a group
    /// follow each other, oldest first.
    pub fn pending(&self, is_named: bool) -> impl Iterator<Item = (Crowd, ConnId)> {
        self.pending_by_crowd[usize::from(is_named)].iter().copied()
    }

    /// Whether at least `n` ordinary inbound peers share the first `bits` bits of a global address. An IPv4 subnet has 24 bits,
    /// an IPv6 subnet 56.
    pub fn has_ordinary_within(&self, ip: IpAddr, bits: u32, n: usize) -> bool {
        let Some(subnet) = global_number(ip) else { return n == 0 };
        let subnets = range(subnet, bits);
        let members = (*subnets.start(), ConnId(0))..=(*subnets.end(), ConnId(u64::MAX));
        n == 0 || self.ordinary_by_subnet.range(members).nth(n - 1).is_some()
    }

    /// Dials without a place, peers of the dialled share, and those that count for no share, oldest connection first.
    pub fn dialled(&self) -> Vec<ConnId> {
        let groups = [Group::PendingOutbound, Group::Outbound, Group::Exempt];
        let conns = groups.iter().flat_map(|group| self.groups[*group as usize].iter());
        let mut conns: Vec<ConnId> = conns.map(|(conn, ())| conn).collect();
        conns.sort_unstable();
        conns
    }

    /// The ordinary inbound peers, oldest connection first.
    pub fn ordinary_inbound(&self) -> impl Iterator<Item = ConnId> {
        self.ordinary_inbound.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use core::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;
    use crate::contract::{PeerKind, Stage};
    use crate::peers::view::{Origin, Place};
    use crate::time::Instant;

    fn view(conn: u64) -> impl Strategy<Value = View> {
        let origin = prop_oneof![
            any::<bool>().prop_map(|named| Origin::Accepted { named }),
            any::<bool>().prop_map(|commanded| Origin::Dialled { commanded }),
        ];
        let kind = prop_oneof![Just(None), Just(Some(PeerKind::Static)), Just(Some(PeerKind::Trusted))];
        let place = (kind, any::<bool>(), any::<bool>()).prop_map(|(kind, inbound, exempt)| Place {
            kind,
            share: if inbound { Direction::Inbound } else { Direction::Outbound },
            exempt,
            takes_over: false,
            since: Instant::ZERO,
        });
        let stage = prop_oneof![Just(Stage::Handshake), Just(Stage::Status), Just(Stage::Established)];
        let ip = (0..3usize, 0..3u8).prop_map(|(net, host)| {
            IpAddr::from(
                [[8, 8, 8], [8, 8, 9], [10, 0, 0]][net]
                    .iter()
                    .copied()
                    .chain([host])
                    .collect::<Vec<_>>()
                    .try_into()
                    .map(|bytes: [u8; 4]| bytes)
                    .unwrap_or_default(),
            )
        });
        (origin, ip, proptest::option::of(0..4u8), stage, proptest::option::of(place), any::<bool>()).prop_map(
            move |(origin, ip, id, stage, place, is_ending)| View {
                stage,
                place: place.filter(|_| !is_ending && id.is_some()),
                is_ending,
                ..View::new(ConnId(conn), SocketAddr::new(ip, 1), origin, id.map(|id| NodeId([id; 32])))
            },
        )
    }

    fn recount(table: &BTreeMap<ConnId, View>) -> Counts {
        let mut counts = Counts::default();
        for view in table.values() {
            match view.place {
                None if view.direction() == Direction::Inbound => counts.pending_inbound += 1,
                None => counts.pending_outbound += 1,
                Some(Place { exempt: true, .. }) => counts.exempt += 1,
                Some(Place { share: Direction::Inbound, .. }) => counts.inbound += 1,
                Some(Place { share: Direction::Outbound, .. }) => counts.outbound += 1,
            }
            counts.established += usize::from(view.place.is_some() && view.stage == Stage::Established);
        }
        counts
    }

    proptest! {
        /// Every set is what a count over the table says, after any changes in any order.
        #[test]
        fn sets_equal_a_recount_of_the_table(
            steps in proptest::collection::vec((0..12u64).prop_flat_map(|conn| (Just(conn), proptest::option::weighted(0.8, view(conn)))), 1..60),
        ) {
            let (mut index, mut table) = (Index::default(), BTreeMap::new());
            for (conn, after) in steps {
                let before = match after {
                    Some(view) => table.insert(ConnId(conn), view),
                    None => table.remove(&ConnId(conn)),
                };
                index.update(before.as_ref(), after.as_ref());

                prop_assert_eq!(index.counts(), recount(&table));
                prop_assert_eq!(index.counts().total(), table.len());
                for id in (0..4).map(|id| NodeId([id; 32])) {
                    let known: Vec<_> = table.values().filter(|view| view.target_id() == Some(id)).map(|view| view.conn).collect();
                    prop_assert_eq!(index.contains(&id), !known.is_empty());
                    prop_assert_eq!(index.of_id(&id).collect::<Vec<_>>(), known);
                }
                let dialled = |view: &&View| {
                    let share = view.place.map_or(view.direction(), |place| place.share);
                    share == Direction::Outbound || view.place.is_some_and(|place| place.exempt)
                };
                prop_assert!(index.dialled().into_iter().eq(table.values().filter(dialled).map(|view| view.conn)));
                let ordinary = |view: &&View| view.place.is_some_and(|place| place.is_ordinary_inbound());
                prop_assert!(index.ordinary_inbound().eq(table.values().filter(ordinary).map(|view| view.conn)));
                for (ip, bits) in [([8, 8, 8, 0], 24), ([8, 8, 9, 0], 24), ([8, 8, 0, 0], 16), ([10, 0, 0, 0], 24)] {
                    let bytes = bits as usize / 8;
                    let near = |view: &&View| matches!(view.addr.ip(), IpAddr::V4(at) if at.octets()[..bytes] == ip[..bytes]);
                    let is_local = ip[0] == 10;
                    let ordinary = table.values().filter(ordinary).filter(near).filter(|_| !is_local).count();
                    for n in 0..12 {
                        prop_assert_eq!(index.has_ordinary_within(ip.into(), bits, n), ordinary >= n);
                    }
                }
                for is_named in [false, true] {
                    let goes_on = |view: &&View| {
                        view.place.is_none() && !view.is_ending && view.origin == Origin::Accepted { named: is_named }
                    };
                    let mut pending: Vec<_> = table
                        .values()
                        .filter(goes_on)
                        .map(|view| (Crowd::of(view.conn, view.addr.ip(), is_named), view.conn))
                        .collect();
                    pending.sort_unstable();
                    prop_assert_eq!(index.pending(is_named).collect::<Vec<_>>(), pending);
                }
            }
            for view in table.into_values() {
                index.update(Some(&view), None);
            }
            prop_assert_eq!(index.counts(), Counts::default());
            let is_empty = index.by_id.is_empty() && index.pending_by_crowd.iter().all(BTreeSet::is_empty)
                && index.ordinary_inbound.is_empty() && index.ordinary_by_subnet.is_empty();
            prop_assert!(is_empty, "nothing is left when all are gone");
        }
    }
}
