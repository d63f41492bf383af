//! The table: which nodes come in, when they are checked, which leave.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proptest::{prelude::ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::crypto::PublicKey;
use crate::netfilter::{Subnet, scope};
use crate::rng::Seed;

const FAST: Duration = Duration::from_secs(3);
const SLOW: Duration = Duration::from_secs(9);

fn schedule() -> Schedule {
    Schedule { fast_check_interval_max: FAST, slow_check_interval_max: SLOW, ..Schedule::default() }
}

struct Fixture {
    table: Table,
    rng: Rng,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let mut rng = Seed::new([5; 32]).fork("table");
        let own = NodeId(rng.bytes());
        Self { table: Table::new(own, &schedule()), rng, now: Instant::ZERO }
    }

    /// A contact of the given bucket, in a subnet of its own unless an address is given.
    fn contact(&mut self, bucket: usize, ip: Option<[u8; 4]>) -> Contact {
        loop {
            let ip = ip.unwrap_or_else(|| {
                let [a, b, c]: [u8; 3] = self.rng.bytes();
                [20 + a % 100, b, c, 1]
            });
            let contact = Contact::new(PublicKey::from_xy_unchecked(self.rng.bytes()), ip.into(), 30303, 30303);
            if self.table.index(&contact.id()) == bucket {
                return contact;
            }
        }
    }

    /// An id of the given bucket that need not be any key's.
    fn id(&mut self, bucket: usize) -> NodeId {
        let (own, random) = (u128::from_be_bytes(*self.table.own.0.first_chunk().unwrap()), self.rng.bytes());
        let first = 1 << (usize::from(NEAR_DISTANCE) + bucket - 1 - 128);
        let near = own ^ first ^ u128::from_be_bytes(random) & (first - 1);
        let mut id = NodeId(self.rng.bytes());
        id.0[..16].copy_from_slice(&near.to_be_bytes());
        assert_eq!(self.table.index(&id), bucket);
        id
    }

    fn insert(&mut self, contact: Contact) -> Option<Change> {
        self.table.insert(contact, self.now, &mut self.rng)
    }

    fn fill(&mut self, bucket: usize, count: usize) -> Vec<Contact> {
        (0..count)
            .map(|_| {
                let contact = self.contact(bucket, None);
                assert_eq!(self.insert(contact), Some(Change::Added(contact)));
                contact
            })
            .collect()
    }

    fn fail(&mut self, contact: &Contact) -> Vec<Change> {
        self.table.check_failed(&contact.id(), contact.udp_addr(), self.now, &mut self.rng)
    }

    fn pass(&mut self, contact: &Contact) {
        self.table.check_passed(&contact.id(), contact.udp_addr(), self.now, &mut self.rng);
    }

    fn confirm_connectivity(&mut self, from: &Contact) -> Vec<Change> {
        self.table.confirm_connectivity(&from.id(), self.now, &mut self.rng)
    }
}

#[test]
fn each_distance_belongs_to_a_bucket() {
    let f = Fixture::new();
    let at = |distance: u32| {
        let mut id = f.table.own;
        if distance > 0 {
            let bit = distance - 1;
            id.0[31 - bit as usize / 8] ^= 1 << (bit % 8);
        }
        f.table.index(&id)
    };
    assert_eq!((at(0), at(1), at(240), at(241), at(255), at(256)), (0, 0, 0, 1, 15, 16));
}

#[test]
fn nodes_wait_as_replacements_while_their_bucket_is_full() {
    let mut f = Fixture::new();
    let entries = f.fill(16, limits::BUCKET_SIZE);
    let waiting: Vec<_> = (0..limits::REPLACEMENTS + 3).map(|_| f.contact(16, None)).collect();
    for contact in &waiting {
        assert_eq!(f.insert(*contact), None);
    }
    let replacements: Vec<_> = f.table.buckets()[16].replacements().collect();
    assert_eq!(replacements.len(), limits::REPLACEMENTS);
    assert_eq!(replacements[0], waiting[limits::REPLACEMENTS + 2], "newest first");
    assert!(!f.table.has_room_for(&waiting[0]));

    // One of them replaces a dead entry, and is not relayed before it is checked.
    assert_eq!(f.fail(&entries[3]), []);
    let changes = f.confirm_connectivity(&entries[0]);
    let [Change::Removed(gone), Change::Added(came)] = changes[..] else { panic!("{changes:?}") };
    assert_eq!(gone, entries[3]);
    assert!(replacements.contains(&came) && f.table.buckets()[16].replacements().all(|waiting| waiting != came));
    assert!(f.table.nearest(&came.id(), 16, |_| true).iter().all(|contact| contact.id() != came.id()));
    f.pass(&came);
    assert_eq!(f.table.nearest(&came.id(), 1, |_| true), [&came]);
}

#[test]
fn subnets_have_a_limited_share() {
    let mut f = Fixture::new();
    let mut added = 0;
    for bucket in (10..17).rev() {
        for _ in 0..5 {
            let contact = f.contact(bucket, Some([8, 8, 8, 8]));
            added += usize::from(f.insert(contact).is_some());
        }
        assert!(f.table.buckets()[bucket].entries().len() <= limits::SUBNET_PER_BUCKET);
        assert!(f.table.buckets()[bucket].replacements().len() <= limits::SUBNET_PER_BUCKET);
    }
    assert_eq!(added, limits::SUBNET_PER_TABLE);
    for _ in 0..limits::BUCKET_SIZE {
        let local = f.contact(15, Some([127, 0, 0, 1]));
        _ = f.insert(local);
    }
    assert_eq!(f.table.buckets()[15].entries().len(), limits::BUCKET_SIZE, "local addresses are exempt");
}

/// D11, D12: however many nodes a subnet has, and wherever it places their ids.
#[test]
fn d11_hostile_subnets_have_ten_entries_each_wherever_their_ids_lie() {
    for subnets in [1, 8, 28, 100] {
        let mut f = Fixture::new();
        for n in 0..40 * limits::BUCKETS as u32 * subnets.min(10) {
            let (id, bytes) = (f.id(n as usize % limits::BUCKETS), f.rng.bytes::<64>());
            let ip = [150, (f.rng.below(subnets.into())) as u8, 1, f.rng.u64() as u8];
            let contact = Contact::with_id(PublicKey::from_xy_unchecked(bytes), id, ip.into(), 30303, 30303);
            _ = f.insert(contact);
        }
        let share = (limits::SUBNET_PER_TABLE * subnets as usize).min(limits::BUCKETS * limits::BUCKET_SIZE);
        assert!(f.table.len() <= share && f.table.len() * 10 >= share * 9, "{} of {share}", f.table.len());
        let share = (limits::SUBNET_PER_BUCKET * subnets as usize).min(limits::BUCKET_SIZE);
        assert!(f.table.buckets().iter().all(|bucket| bucket.entries().len() <= share));
    }
}

#[test]
fn liveness_grows_by_one_and_is_divided_by_three() {
    let mut f = Fixture::new();
    let nodes = f.fill(16, 5);
    for _ in 0..30 {
        f.pass(&nodes[0]);
    }
    let is_fast = |f: &Fixture| f.table.is_on_fast_schedule(&nodes[0].id());
    let liveness = |f: &Fixture| f.table.entry(&nodes[0].id()).map(|entry| (entry.liveness(), is_fast(f)));
    assert_eq!(liveness(&f), Some((31, false)));
    for left in [Some((10, true)), Some((3, true)), Some((1, true)), None] {
        _ = f.fail(&nodes[0]);
        _ = f.confirm_connectivity(&nodes[1]);
        assert_eq!(liveness(&f), left);
    }
}

#[test]
fn failures_do_not_count_while_no_node_answers() {
    let mut f = Fixture::new();
    let nodes = f.fill(16, 8);
    for node in nodes.iter().cycle().take(100) {
        assert_eq!(f.fail(node), []);
        assert_eq!(f.table.find_result(&node.id(), false, f.now, &mut f.rng).len(), 0);
    }
    assert_eq!(f.table.len(), 8, "our own connection may be down");
    let removed = f.confirm_connectivity(&nodes[0]);
    assert!(removed.len() <= limits::SUSPECTS_MAX, "{removed:?}");
    assert!(f.confirm_connectivity(&nodes[0]).is_empty(), "judged once");
}

#[test]
fn a_nearly_empty_table_can_become_empty() {
    let mut f = Fixture::new();
    let nodes = f.fill(16, 1);
    assert_eq!(f.fail(&nodes[0]), [Change::Removed(nodes[0])]);
    assert!(f.table.is_empty());
}

#[test]
fn five_failed_find_nodes_in_a_row_remove_a_node() {
    let mut f = Fixture::new();
    let nodes = f.fill(16, 4);
    let mut find = |answered| f.table.find_result(&nodes[0].id(), answered, f.now, &mut f.rng);
    assert!((0..4).all(|_| find(false).is_empty()));
    assert!(find(true).is_empty());
    assert!((0..4).all(|_| find(false).is_empty()), "only failures in a row count");
    assert_eq!(find(false), [Change::Removed(nodes[0])]);
    let mut find = |answered| f.table.find_result(&nodes[1].id(), answered, f.now, &mut f.rng);
    assert!((0..20).all(|_| find(false).is_empty()), "a nearly empty bucket keeps its nodes");
}

#[test]
fn a_node_that_proves_another_endpoint_is_checked_soon_and_does_not_move() {
    let mut f = Fixture::new();
    let node = f.fill(16, 1)[0];
    (0..9).for_each(|_| f.pass(&node));
    assert!(!f.table.is_on_fast_schedule(&node.id()));
    assert_eq!(f.insert(Contact::new(node.key(), [77, 7, 7, 7].into(), 4444, 5555)), None);
    let entry = f.table.entry(&node.id()).unwrap();
    assert_eq!((entry.contact(), entry.liveness()), (&node, 10));
    assert!(f.table.is_on_fast_schedule(&node.id()));
}

#[test]
fn a_node_that_moves_loses_its_liveness() {
    let mut f = Fixture::new();
    let node = f.fill(16, 1)[0];
    (0..9).for_each(|_| f.pass(&node));
    let moved = Contact::new(node.key(), [77, 7, 7, 7].into(), 4444, 5555);
    assert!(!f.table.is_at_record(&node.id()));
    f.table.relocate(moved, f.now, &mut f.rng);
    assert!(f.table.is_at_record(&node.id()));
    let entry = f.table.entry(&node.id()).unwrap();
    assert_eq!((entry.contact(), entry.liveness()), (&moved, 1));
    assert!(f.table.is_on_fast_schedule(&node.id()));
    // Results of checks at the old endpoint no longer matter.
    f.pass(&node);
    assert_eq!(f.fail(&node), []);
    assert_eq!(f.table.entry(&node.id()).unwrap().liveness(), 1);
}

#[test]
fn failures_of_an_old_endpoint_do_not_count_at_the_new_one() {
    let mut f = Fixture::new();
    let node = f.fill(16, 4)[0];
    let fail = |f: &mut Fixture| f.table.find_result(&node.id(), false, f.now, &mut f.rng);
    assert!((1..limits::FIND_FAILURES_MAX).all(|_| fail(&mut f).is_empty()));
    let moved = Contact::new(node.key(), [77, 7, 7, 7].into(), 4444, 5555);
    f.table.relocate(moved, f.now, &mut f.rng);
    assert!((1..limits::FIND_FAILURES_MAX).all(|_| fail(&mut f).is_empty()));
    assert_eq!(fail(&mut f), [Change::Removed(moved)]);
}

#[test]
fn checks_of_new_nodes_are_more_frequent_than_those_of_proven_ones() {
    let mut f = Fixture::new();
    assert_eq!(f.table.check_due(), None);
    let nodes = f.fill(16, 10);
    nodes[..5].iter().for_each(|node| f.pass(node));
    let mut counts = [0u32; 2];
    for _ in 0..2000 {
        f.now = f.table.check_due().unwrap();
        for contact in f.table.pop_checks(f.now, &mut f.rng).into_iter().flatten() {
            counts[usize::from(nodes[..5].contains(&contact))] += 1;
        }
        assert!(f.table.check_due().unwrap() > f.now);
    }
    let [fast, slow] = counts;
    assert!((2 * slow..4 * slow).contains(&fast), "three to one: {fast} to {slow}");
}

#[test]
fn nearest_agrees_with_a_sort_of_all_nodes() {
    let mut f = Fixture::new();
    let mut all: Vec<_> = (12..17).flat_map(|bucket| f.fill(bucket, 12)).collect();
    for _ in 0..50 {
        let target = NodeId(f.rng.bytes());
        all.sort_by(|a, b| target.cmp_distance(&a.id(), &b.id()));
        assert!(f.table.nearest(&target, 16, |_| true).into_iter().eq(&all[..16]));
    }
    // Nearer to us, other buckets come first, and more of them are asked.
    for bucket in 0..limits::BUCKETS {
        for count in [1, 16, 40, 100] {
            let target = f.id(bucket);
            all.sort_by(|a, b| target.cmp_distance(&a.id(), &b.id()));
            assert!(f.table.nearest(&target, count, |_| true).into_iter().eq(&all[..count.min(all.len())]));
        }
    }
    assert_eq!(f.table.nearest(&f.table.own, 100, |_| true).len(), all.len());
    assert!(f.table.nearest(&f.table.own, 100, |_| false).is_empty());
}

#[test]
fn candidates_are_drawn_across_buckets() {
    let mut f = Fixture::new();
    (12..17).for_each(|bucket| _ = f.fill(bucket, 10));
    let mut no_tcp = f.contact(11, None);
    no_tcp = no_tcp.with_tcp(0);
    assert!(f.insert(no_tcp).is_some());
    let mut rng = Seed::new([6; 32]).fork("candidates");
    for _ in 0..20 {
        let drawn = f.table.candidates(&mut rng, 5);
        let mut buckets: Vec<_> = drawn.iter().map(|drawn| f.table.index(&drawn.contact.id())).collect();
        buckets.sort_unstable();
        assert_eq!(buckets, [12, 13, 14, 15, 16], "one of each before a second of any");
    }
    assert_eq!(f.table.candidates(&mut rng, 1000).len(), 50);
}

#[test]
fn older_records_are_refused() {
    let mut f = Fixture::new();
    let node = f.fill(16, 1)[0];
    let fork_id = Some(ForkId { hash: [1; 4], next: 0 });
    assert!(f.table.update_record(&node.id(), 5, fork_id));
    assert!(!f.table.update_record(&node.id(), 4, None));
    let entry = f.table.entry(&node.id()).unwrap();
    assert_eq!((entry.record_seq(), f.table.fork_id(&node.id())), (5, fork_id));
}

/// When an entry is removed, the positions of later entries of its bucket change.
#[test]
fn an_entry_keeps_its_schedule_when_its_position_changes() {
    let mut f = Fixture::new();
    let nodes = f.fill(16, 8);
    [1, 4, 6].into_iter().for_each(|i| f.pass(&nodes[i]));
    [0, 5, 7].into_iter().for_each(|i| f.table.set_at_record(&nodes[i].id(), true));
    (0..limits::FIND_FAILURES_MAX).for_each(|_| _ = f.table.find_result(&nodes[2].id(), false, f.now, &mut f.rng));
    assert!(f.table.entry(&nodes[2].id()).is_none());
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| *i != 2) {
        assert_eq!(f.table.is_on_fast_schedule(&node.id()), ![1, 4, 6].contains(&i), "{i}");
        assert_eq!(f.table.is_at_record(&node.id()), [0, 5, 7].contains(&i), "{i}");
    }
}

#[test]
fn the_nodes_at_a_distance_are_the_live_ones_at_exactly_that_distance() {
    let mut f = Fixture::new();
    let at_distance = |f: &mut Fixture, distance| {
        let known: Vec<NodeId> = f.table.entries().map(|entry| entry.contact().id()).collect();
        known.iter().for_each(|id| _ = f.table.update_record(id, 1, Some(ForkId { hash: [1; 4], next: 0 })));
        f.table.records_at_distance(distance).map(|(entry, _)| entry.contact().id()).collect::<Vec<_>>()
    };
    let far = f.fill(16, 3);
    let near = [f.contact(0, None), f.contact(0, None)];
    // Two distances that share the first bucket.
    for (contact, (byte, distance)) in near.into_iter().zip([(31, 1), (2, 240)]) {
        let mut id = f.table.own;
        id.0[byte] ^= if distance == 1 { 1 } else { 0x80 };
        let contact = Contact::with_id(contact.key(), id, contact.ip(), contact.udp(), contact.tcp());
        assert!(f.insert(contact).is_some());
        assert_eq!(at_distance(&mut f, distance), [contact.id()]);
    }
    assert_eq!(at_distance(&mut f, 256), far.iter().map(|contact| contact.id()).collect::<Vec<_>>());
    for none in [0, 2, 239, 241, 255, 257, u16::MAX] {
        assert!(at_distance(&mut f, none).is_empty(), "{none}");
    }
    // A replacement that moved up is not relayed before it is checked.
    f.fill(16, limits::BUCKET_SIZE - far.len());
    let replacement = f.contact(16, None);
    assert_eq!(f.insert(replacement), None);
    assert_eq!(f.fail(&far[0]), []);
    assert_eq!(f.confirm_connectivity(&far[1]).len(), 2);
    assert_eq!(at_distance(&mut f, 256).len(), limits::BUCKET_SIZE - 1);
    // Nor one whose record is not known.
    assert!(f.table.update_record(&far[1].id(), 2, None));
    assert_eq!(f.table.records_at_distance(256).count(), limits::BUCKET_SIZE - 2);
}

/// Keeps a text for each node, as a protocol keeps whole records.
#[derive(Default)]
struct Texts(BTreeMap<(usize, usize), &'static str>);

impl Kept for Texts {
    type Value = &'static str;

    fn get(&self, Position { bucket, index }: Position) -> Option<&&'static str> {
        self.0.get(&(bucket, index))
    }

    fn set(&mut self, Position { bucket, index }: Position, value: Option<&'static str>) {
        self.0.remove(&(bucket, index));
        self.0.extend(value.map(|value| ((bucket, index), value)));
    }

    fn remove(&mut self, Position { bucket, index }: Position) {
        self.set(Position { bucket, index }, None);
        for later in index + 1..limits::BUCKET_SIZE {
            let moved = self.0.remove(&(bucket, later));
            self.set(Position { bucket, index: later - 1 }, moved);
        }
    }

    fn fork_id(value: &&'static str) -> Option<ForkId> {
        Some(ForkId { hash: [value.len() as u8; 4], next: 0 })
    }
}

#[test]
fn a_table_keeps_what_its_protocol_wants_of_records() {
    let mut f = Fixture::new();
    let mut table: Table<Texts> = Table::new(f.table.own, &schedule());
    let nodes: Vec<Contact> = (0..6).map(|_| f.contact(16, None)).collect();
    for node in &nodes {
        assert!(table.insert(*node, f.now, &mut f.rng).is_some());
    }
    assert!(
        table.update_record(&nodes[3].id(), 7, Some("three")) && table.update_record(&nodes[5].id(), 1, Some("five"))
    );
    assert!(!table.update_record(&nodes[3].id(), 6, None), "older than the known one");
    (0..limits::FIND_FAILURES_MAX).for_each(|_| _ = table.find_result(&nodes[1].id(), false, f.now, &mut f.rng));
    assert!(table.entry(&nodes[1].id()).is_none());
    let kept: Vec<_> = nodes.iter().map(|node| table.kept(&node.id()).copied()).collect();
    assert_eq!(kept, [None, None, None, Some("three"), None, Some("five")]);
    let fork_ids = table.candidates(&mut f.rng, 16).into_iter().filter_map(|candidate| candidate.fork_id);
    assert_eq!(fork_ids.map(|fork_id| fork_id.hash[0]).collect::<BTreeSet<_>>(), BTreeSet::from([4, 5]));
}

#[test]
fn a_tcp_port_is_taken_only_from_the_endpoint_of_the_entry() {
    let mut f = Fixture::new();
    let node = f.fill(16, 1)[0];
    let tcp = |f: &Fixture| f.table.entry(&node.id()).unwrap().contact().tcp();
    for elsewhere in [SocketAddr::new(node.ip(), node.udp() + 1), SocketAddr::new([77, 7, 7, 7].into(), node.udp())] {
        f.table.update_tcp(&node.id(), elsewhere, 4444);
        assert_eq!(tcp(&f), node.tcp());
    }
    f.table.update_tcp(&node.id(), node.udp_addr(), 0);
    assert_eq!(tcp(&f), node.tcp(), "0 says nothing");
    f.table.update_tcp(&node.id(), node.udp_addr(), 4444);
    assert_eq!(tcp(&f), 4444);
}

/// Keys of four buckets, 24 of each: first those whose ids end alike, then others.
fn keys_of_equal_ends(f: &mut Fixture) -> Vec<PublicKey> {
    let mut by_end = BTreeMap::<(usize, [u8; 2]), Vec<PublicKey>>::new();
    for _ in 0..16_384 {
        let key = PublicKey::from_xy_unchecked(f.rng.bytes());
        let id = key.node_id();
        by_end.entry((f.table.index(&id), [id.0[30], id.0[31]])).or_default().push(key);
    }
    let mut keys = Vec::new();
    for bucket in 13..=16 {
        let mut groups: Vec<_> = by_end.iter().filter(|((of, _), _)| *of == bucket).map(|(_, group)| group).collect();
        groups.sort_by_key(|group| Reverse(group.len()));
        assert!(groups[..3].iter().all(|group| group.len() > 1), "some end alike");
        keys.extend(groups.into_iter().flatten().take(24));
    }
    keys
}

/// Contacts made so that keys collide: many share the end of their ids, and two subnets their key. One in four is of a
/// local network.
fn contacts_of_equal_keys() -> Vec<Contact> {
    let key = |ip: [u8; 4]| entries::subnet_key(Subnet::of(ip.into()));
    let mut subnets: Vec<[u8; 4]> = (0..9).map(|i| [20 + i, 1, 1, 0]).collect();
    let twin =
        (0u32..).map(|i| [60 + (i >> 16) as u8, (i >> 8) as u8, i as u8, 0]).find(|ip| key(*ip) == key(subnets[0]));
    subnets.push(twin.unwrap());
    let keys = keys_of_equal_ends(&mut Fixture::new());
    let ip = |i: usize| if i.is_multiple_of(4) { [10, 0, 0, i as u8] } else { subnets[i % subnets.len()] };
    keys.into_iter().enumerate().map(|(i, key)| Contact::new(key, ip(i).into(), 30303, 30303)).collect()
}

/// The number of other nodes of the subnet, computed without keys.
fn plain_count(entries: &[Entry], contact: &Contact) -> usize {
    let others = entries.iter().map(Entry::contact).filter(|other| other.id() != contact.id());
    let alike = others.filter(|other| Subnet::of(other.ip()) == Subnet::of(contact.ip()));
    if scope(contact.ip()).is_local() { 0 } else { alike.count() }
}

/// Keys agree with their entries, and every node has one position at most.
fn check_keys<'a>(table: &Table, contacts: impl Iterator<Item = &'a Contact>) {
    for (i, bucket) in table.buckets().iter().enumerate() {
        let ids: Vec<NodeId> = bucket.entries().iter().map(|entry| entry.contact().id()).collect();
        for (index, id) in ids.iter().enumerate() {
            assert_eq!((table.index(id), table.position(id)), (i, Some(Position { bucket: i, index })));
            assert!(!ids[..index].contains(id) && bucket.replacements().all(|waiting| waiting.id() != *id));
        }
        let positions = [true, false].into_iter().flat_map(|fast| table.entries.positions(fast));
        assert_eq!(positions.filter(|position| position.bucket == i).count(), ids.len());
    }
    let all: Vec<Entry> = table.entries().copied().collect();
    assert_eq!(table.len(), all.len());
    for contact in contacts {
        let known = all.iter().find(|entry| entry.contact().id() == contact.id()).map(Entry::contact);
        assert_eq!(table.entry(&contact.id()).map(Entry::contact), known);
        let subnet = SubnetFilter::of(contact);
        for (i, bucket) in table.buckets().iter().enumerate() {
            let counted = subnet.map_or(0, |subnet| table.entries.count(i, &subnet));
            assert_eq!(counted, plain_count(bucket.entries(), contact));
        }
        let bucket = table.bucket(&contact.id()).entries();
        let is_admitted = plain_count(bucket, contact) < limits::SUBNET_PER_BUCKET
            && plain_count(&all, contact) < limits::SUBNET_PER_TABLE;
        let has_room = known.is_none() && bucket.len() < limits::BUCKET_SIZE && is_admitted;
        assert_eq!(table.has_room_for(contact), has_room);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn keys_agree_with_their_entries(
        known in 0usize..=96,
        steps in proptest::collection::vec((0u8..15, 0usize..96), 0..200),
    ) {
        static CONTACTS: OnceLock<Vec<Contact>> = OnceLock::new();
        let contacts = CONTACTS.get_or_init(contacts_of_equal_keys);
        let mut f = Fixture::new();
        contacts[..known].iter().for_each(|contact| _ = f.insert(*contact));
        let mut fork_ids = BTreeMap::new();
        for (step, who) in steps {
            let before: Vec<_> = f.table.entries().map(|entry| entry.contact().id()).collect();
            let before: Vec<_> = before.into_iter().map(|id| (id, f.table.is_on_fast_schedule(&id))).collect();
            let mut touched = f.table.suspects.clone();
            let (contact, other) = (contacts[who], contacts[(who * 7 + 1) % 96]);
            let at = f.table.entry(&contact.id()).map_or(contact.udp_addr(), |entry| entry.contact().udp_addr());
            match step {
                0..5 => _ = f.insert(contact),
                5 => _ = f.insert(contact.with_ip(other.ip())),
                6 => f.table.check_passed(&contact.id(), at, f.now, &mut f.rng),
                7 => _ = f.table.check_failed(&contact.id(), at, f.now, &mut f.rng),
                8 => _ = f.confirm_connectivity(&contact),
                9 => _ = f.table.find_result(&contact.id(), true, f.now, &mut f.rng),
                10 => (0..4).for_each(|_| _ = f.table.find_result(&contact.id(), false, f.now, &mut f.rng)),
                11 => f.table.update_tcp(&contact.id(), at, who as u16),
                12 => f.table.relocate(contact.with_ip(other.ip()), f.now, &mut f.rng),
                _ => {
                    let fork_id = (who % 5 > 0).then_some(ForkId { hash: [step; 4], next: who as u64 % 5 });
                    prop_assert!(f.table.update_record(&contact.id(), 1, fork_id));
                    fork_ids.insert(contact.id(), fork_id);
                }
            }
            fork_ids.retain(|id, _| f.table.entry(id).is_some());
            for id in f.table.entries().map(|entry| entry.contact().id()) {
                prop_assert_eq!(f.table.fork_id(&id), fork_ids.get(&id).copied().flatten());
            }
            touched.push(contact.id());
            check_keys(&f.table, contacts.iter().skip(who % 7).step_by(7));
            for (id, was_fast) in before.iter().filter(|(id, _)| !touched.contains(id) && f.table.entry(id).is_some()) {
                prop_assert_eq!(f.table.is_on_fast_schedule(id), *was_fast);
            }
            let mut near: Vec<_> = f.table.entries().filter(|entry| entry.liveness() > 0).map(Entry::contact).collect();
            near.sort_by(|a, b| contact.id().cmp_distance(&a.id(), &b.id()));
            near.truncate(limits::BUCKET_SIZE);
            prop_assert_eq!(f.table.nearest(&contact.id(), limits::BUCKET_SIZE, |_| true), near);
        }
    }
}
