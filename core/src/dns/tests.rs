//! The reader of node lists over a zone in memory: honest lists, lists that lie, and resolvers that fail.

use alloc::sync::Arc;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::contract::{Machine, Query};
use crate::crypto::{Crypto, PublicKey, Secp256k1, SecretKey};
use crate::testing::{Host, Net};
use crate::wire::dns::{Domain, Entry, EntryHash, Plan, Root};
use crate::wire::enr::RecordBuilder;

mod lies;
mod schedule;

const SIGNER: u64 = 99;

fn secret(n: u64) -> SecretKey {
    let mut bytes = [5; 32];
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_bytes(bytes).unwrap()
}

fn key(n: u64) -> PublicKey {
    Secp256k1::new().public_key(&secret(n))
}

fn record(n: u64) -> Record {
    let [.., a, b] = n.to_be_bytes();
    let mut builder = RecordBuilder::default();
    builder.endpoint(([9, a, b, 1], 30303).into(), 30303).sign(&Secp256k1::new(), &secret(n), 1).unwrap()
}

fn records(of: core::ops::Range<u64>) -> Vec<Record> {
    of.map(record).collect()
}

fn link(signer: u64, domain: &str) -> Link {
    Link { key: key(signer), domain: domain.parse().unwrap() }
}

fn list(domain: &str) -> Link {
    link(SIGNER, domain)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A network of one reader, and its zone.
struct World {
    net: Net<Reader>,
    host: Host,
}

impl World {
    fn new(lists: Vec<Link>) -> Self {
        Self::with(Config::new(lists))
    }

    fn with(config: Config) -> Self {
        Self::seeded(config, 1)
    }

    fn seeded(config: Config, seed: u64) -> Self {
        let mut net = Net::new(seed);
        // A zone that holds something answers.
        net.zone.set("elsewhere.example", &["v=spf1 -all"]);
        let host = net.add(([127, 0, 0, 1], 1).into(), |start| {
            Reader::new(config, start.seed, start.now, start.unix, Arc::new(Secp256k1::new()))
        });
        Self { net, host }
    }

    /// Publishes a signed tree.
    fn publish(&mut self, domain: &str, seq: u64, records: &[Record], links: &[Link]) {
        let tree = Plan::new(seq, records, links).unwrap().sign(&Secp256k1::new(), &secret(SIGNER));
        self.net.zone.publish(&tree, &domain.parse().unwrap());
    }

    /// Publishes a root over entries of any kind; the first of `nodes` is the top.
    fn publish_texts(&mut self, domain: &str, seq: u64, nodes: &[String], links: &[String]) {
        let empty = ["enrtree-branch:".to_string()];
        let of = |texts: &[String]| EntryHash::of(texts.first().unwrap_or(&empty[0]));
        let root = Root::sign(&Secp256k1::new(), &secret(SIGNER), of(nodes), of(links), seq);
        self.net.zone.set(domain, &[&root.to_string()]);
        let domain: Domain = domain.parse().unwrap();
        for text in nodes.iter().chain(links).chain(&empty) {
            self.net.zone.set(&domain.subdomain(&EntryHash::of(text)), &[text]);
        }
    }

    fn dns(&self) -> &Dns {
        self.net.machine(self.host).dns()
    }

    fn tree(&self, at: u32) -> &Tree {
        self.dns().tree(TreeId(at)).unwrap()
    }

    /// The trees' domains, sorted.
    fn domains(&self) -> Vec<String> {
        let mut domains: Vec<_> = self.dns().trees().map(|(_, tree)| tree.link().domain.to_string()).collect();
        domains.sort();
        domains
    }

    fn defects(&self, at: u32) -> BTreeMap<Defect, u64> {
        self.tree(at).defects().collect()
    }

    fn run(&mut self, duration: Duration) {
        self.net.run_for(duration);
    }

    /// Runs until every tree was walked.
    fn walk(&mut self) {
        let host = self.host;
        let is_walked = |net: &Net<Reader>| net.machine(host).dns().trees().all(|(_, tree)| tree.is_walked());
        assert!(self.net.run_until(secs(24 * 3600), is_walked), "{:?}", self.dns());
    }

    /// The keys of a tree's records.
    fn keys(&self, at: u32) -> BTreeSet<PublicKey> {
        self.tree(at).records().map(|record| *record.key()).collect()
    }

    fn asked(&self) -> Vec<(Instant, &str)> {
        self.net.zone.asked().iter().map(|(at, _, name)| (*at, &**name)).collect()
    }

    fn roots_asked(&self, domain: &str) -> Vec<Instant> {
        self.asked().into_iter().filter(|(_, name)| *name == domain).map(|(at, _)| at).collect()
    }
}

fn keys_of(records: &[Record]) -> BTreeSet<PublicKey> {
    records.iter().map(|record| *record.key()).collect()
}

fn branch(children: &[&str]) -> String {
    Entry::Branch(children.iter().map(|child| EntryHash::of(child)).collect()).to_string()
}

#[test]
fn a_list_is_read_whole_and_its_records_are_candidates() {
    let mut world = World::new([list("nodes.example.org")].into());
    let records = records(0..40);
    world.publish("nodes.example.org", 7, &records, &[]);
    world.walk();
    let tree = world.tree(0);
    assert_eq!((tree.root().map(|root| root.seq), tree.records_found()), (Some(7), 40));
    assert_eq!((tree.entries_left(), tree.entries_given_up(), tree.defects().count()), (0, 0, 0));
    assert_eq!(world.keys(0), keys_of(&records));
    let mut rng = crate::rng::Seed::new([3; 32]).fork("draw");
    let drawn = world.dns().candidates(&mut rng, 16);
    let keys: BTreeSet<PublicKey> = drawn.iter().map(|candidate| candidate.contact.key()).collect();
    assert_eq!((drawn.len(), keys.len()), (16, 16), "no node twice");
    assert!(drawn.iter().all(|candidate| candidate.contact.tcp() == 30303 && candidate.fork_id.is_none()));
    assert_eq!(world.dns().seeds(&mut rng, 3).len(), 3);
}

#[test]
fn the_public_snapshot_is_read_except_for_what_its_export_has_cut() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors/dnsdisc.json")).unwrap();
    let public = vectors["bootstrap_lists"]["urls"].as_array().unwrap();
    let url = public.iter().find(|url| url.as_str().unwrap().contains("all.holesky")).unwrap().as_str().unwrap();
    let mut world = World::new([url.parse().unwrap()].into());
    let tree = vectors["trees"].as_array().unwrap().iter().find(|tree| tree["name"] == "holesky_public_tree_snapshot");
    let tree = tree.unwrap();
    for (name, text) in tree["records"].as_object().unwrap() {
        let name = if name == "@" { "all.holesky.ethdisco.net" } else { name };
        world.net.zone.set(name, &["v=spf1 -all", text.as_str().unwrap()]);
    }
    world.run(secs(1200));
    let tree = world.tree(0);
    assert_eq!(tree.root().unwrap().seq, 932);
    assert!(tree.is_walked() && tree.records_found() > 0, "{tree:?}");
    assert!(world.defects(0)[&Defect::WrongHash] > 0, "branches of which only the first string was kept");
}

#[test]
fn records_without_an_address_are_kept_and_are_no_candidates() {
    let mut world = World::new([list("l")].into());
    let crypto = Secp256k1::new();
    let bare = RecordBuilder::default().sign(&crypto, &secret(1), 1).unwrap();
    let udp = RecordBuilder::default().endpoint(([9, 9, 9, 9], 30303).into(), 0).sign(&crypto, &secret(2), 1).unwrap();
    let tcp = RecordBuilder::default().endpoint(([9, 9, 9, 8], 0).into(), 30303).sign(&crypto, &secret(3), 1).unwrap();
    world.publish("l", 1, &[bare, udp, tcp], &[]);
    world.walk();
    assert_eq!(world.tree(0).records_kept(), 3);
    let mut rng = crate::rng::Seed::new([3; 32]).fork("draw");
    let candidates: Vec<PublicKey> =
        world.dns().candidates(&mut rng, 9).iter().map(|found| found.contact.key()).collect();
    let seeds: Vec<PublicKey> = world.dns().seeds(&mut rng, 9).iter().map(|record| *record.key()).collect();
    assert_eq!((candidates, seeds), ([key(3)].into(), [key(2)].into()));
}

#[test]
fn a_new_root_brings_new_records_and_drops_old_ones() {
    let mut world = World::new([list("l")].into());
    world.publish("l", 1, &records(0..20), &[]);
    world.walk();
    world.publish("l", 2, &records(10..30), &[]);
    world.run(secs(29 * 60));
    assert_eq!(world.tree(0).root().unwrap().seq, 1, "the root is looked at each half hour");
    world.run(secs(300));
    assert_eq!(world.keys(0), keys_of(&records(10..30)));
    assert_eq!(world.roots_asked("l").len(), 2);
}

#[test]
fn the_records_of_before_stay_until_the_new_ones_are_there() {
    let mut world = World::new([list("l")].into());
    world.publish("l", 1, &records(0..20), &[]);
    world.walk();
    world.publish_texts("l", 2, &[branch(&["enr:missing"])], &[]);
    world.run(secs(30 * 60 + 1));
    assert!(!world.tree(0).is_walked());
    assert_eq!(world.keys(0), keys_of(&records(0..20)));
}

#[test]
fn a_sample_is_uniform_and_bounded() {
    let mut config = Config::new([list("l")].into());
    (config.records_kept, config.queries_per_second) = (20, 1000);
    let (mut counts, rounds) = ([0; 60], 60);
    for seed in 0..rounds {
        let mut world = World::seeded(config.clone(), seed);
        world.publish("l", 1, &records(0..60), &[]);
        world.walk();
        assert_eq!((world.tree(0).records_kept(), world.tree(0).records_found()), (20, 60));
        for record in world.tree(0).records() {
            let at = (0..60).position(|n| key(n) == *record.key()).unwrap();
            counts[at] += 1;
        }
    }
    assert!(counts.iter().all(|count| (5..40).contains(count)), "20 expected of each: {counts:?}");
}

#[test]
fn links_are_followed_and_dropped_with_their_root() {
    let mut world = World::new([list("a")].into());
    world.publish("a", 1, &records(0..3), &[list("b"), link(7, "c")]);
    world.publish("b", 1, &records(3..6), &[list("d")]);
    world.publish("d", 1, &records(6..9), &[]);
    world.run(secs(120));
    assert_eq!(world.domains(), ["a", "b", "c", "d"]);
    let is_foreign = |tree: &Tree| tree.link().domain.as_str() == "c";
    assert!(world.dns().trees().all(|(_, tree)| tree.records_kept() == if is_foreign(tree) { 0 } else { 3 }));
    assert!(world.dns().trees().all(|(_, tree)| tree.list() == 0));
    world.publish("a", 2, &records(0..3), &[list("e")]);
    world.publish("e", 1, &[], &[]);
    world.run(secs(1900));
    assert_eq!(world.domains(), ["a", "e"]);
}

#[test]
fn the_same_seed_reads_in_the_same_order_and_another_one_does_not() {
    let order = |seed| {
        let mut world = World::seeded(Config::new([list("l")].into()), seed);
        world.publish("l", 1, &records(0..60), &[]);
        world.walk();
        (world.net.digest(), world.asked().iter().map(|(_, name)| name.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1).1, order(2).1);
}

#[test]
fn a_shut_down_reader_asks_nothing_and_ignores_answers() {
    let mut context: crate::contract::Context = crate::contract::Context::new(
        Instant::ZERO,
        crate::time::UnixTime::from_secs(0),
        Default::default(),
        Arc::new(Secp256k1::new()),
    );
    let mut rng = crate::rng::Seed::new([1; 32]).fork("dns");
    let mut dns = Dns::new(&context.cx(&mut rng), Config::new([list("l")].into()));
    let _ = dns.handle_timeout(&mut context.cx(&mut rng));
    let Some(crate::contract::Action::Query { id, what: Query::Txt("l") }) = context.out.pop() else { panic!() };
    dns.shutdown();
    assert_eq!((dns.poll_timeout(), dns.open_queries()), (None, 0));
    assert_eq!(dns.handle_answer(&mut context.cx(&mut rng), id, Err(QueryFault::NotFound)), Growth::None);
    let _ = dns.handle_timeout(&mut context.cx(&mut rng));
    assert!(context.out.pop().is_none());
}
