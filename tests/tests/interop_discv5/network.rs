//! A network of all kinds: each node joins by one other of another kind, and finds all others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use peerless::contract::{Command, Event};
use peerless::crypto::NodeId;
use peerless::wire::enode::Contact;
use peerless::wire::enr::Record;
use peerless_mio::Waker;
use peerless_tests::peers::{Kind, Program};
use serde_json::json;

use crate::bench::{Bench, Theirs, driver, id_text};

/// Until every node is found by one of a kind.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two lookups: peers answer so many requests in a second.
const PAUSE: Duration = Duration::from_secs(1);
/// Nodes of each kind.
const EACH: usize = 4;

/// A node of ours in a thread of its own.
struct Background {
    record: Record,
    waker: Waker,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    fn start(key: u8, bootnode: &Record) -> Self {
        let bootnode = bootnode.contact().expect("a record with an address");
        let mut driver = driver(([127, 0, 0, 1], 0).into(), key, 1, |config| {
            config.discovery.set_bootnodes(&[bootnode]);
        });
        let (record, waker) = (driver.node().record().clone(), driver.waker());
        let is_over = Arc::new(AtomicBool::new(false));
        let told = is_over.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                driver.turn(None, |_| ()).unwrap();
            }
        });
        Self { record, waker, is_over, thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.waker.wake().unwrap();
        self.thread.take().map(JoinHandle::join);
    }
}

/// The nodes of the network.
struct Network {
    /// All records, in the order of their joining.
    records: Vec<Record>,
    sigp: Vec<Theirs>,
    ethrex: Vec<Theirs>,
    chainsafe: Vec<Theirs>,
}

impl Network {
    fn ids(&self) -> BTreeSet<NodeId> {
        self.records.iter().map(|record| record.contact().expect("a record with an address").id()).collect()
    }

    /// Those that answer every lookup. An ethrex node answers FindNode only of nodes that it has pinged: it pings one in a
    /// second, and one whose pong is lost again after half a minute.
    fn answering_ids(&self) -> BTreeSet<NodeId> {
        let ethrex: BTreeSet<NodeId> = self.ethrex.iter().map(Theirs::id).collect();
        self.ids().difference(&ethrex).copied().collect()
    }

    /// Lets others look up their own ids, as clients do now and then. (ethrex and our nodes do so by themselves. The library
    /// in JavaScript takes seconds of the processor for each.)
    fn refresh(&self, bench: &mut Bench, round: usize) {
        let mut nodes: Vec<&Theirs> = self.sigp.iter().collect();
        if round.is_multiple_of(3) {
            nodes.extend(self.chainsafe.iter().cycle().nth(round / 3));
        }
        for node in nodes {
            bench.tell(node, "lookup", None, json!({"target": id_text(&node.id())}));
        }
    }

    /// Looks up a target from the node `own` until all others are found.
    fn find_all(&self, bench: &mut Bench, what: &str, own: NodeId, lookup: impl Fn(&mut Bench) -> BTreeSet<NodeId>) {
        let (start, all) = (Instant::now(), self.ids());
        let mut wanted = self.answering_ids();
        wanted.remove(&own);
        for round in 0.. {
            let pause = Instant::now() + PAUSE;
            let found = lookup(bench);
            assert!(found.is_subset(&all) && !found.contains(&own), "{what} has found {found:?} among {all:?}");
            if found.is_superset(&wanted) {
                return;
            }
            let missing: Vec<_> = wanted.difference(&found).collect();
            assert!(start.elapsed() < LIMIT, "{what} has not found {missing:?}");
            self.refresh(bench, round);
            bench.turn_until(pause);
        }
    }
}

fn look_up(bench: &mut Bench, theirs: &Theirs, target: &NodeId) -> BTreeSet<NodeId> {
    let said = &bench.peers[theirs.peer].said;
    let (from, target) = (said.len(), id_text(target));
    let command = json!({"cmd": "lookup", "node": theirs.node, "target": target});
    bench.peers[theirs.peer].command(&command);
    let fields = json!({"node": theirs.node, "id": target});
    let found =
        bench.until("the end of their lookup", |bench| bench.peers[theirs.peer].find(from, "found", &fields).cloned());
    let nodes = found["nodes"].as_array().into_iter().flatten();
    nodes.map(|id| NodeId(const_hex::decode_to_array(id.as_str().unwrap()).unwrap())).collect()
}

/// Joins the network by one node, and looks up its own id there until any node answers, as clients do.
fn join(bench: &mut Bench, theirs: &Theirs, by: &Record) {
    bench.tell(theirs, "add", Some(by), json!({}));
    while look_up(bench, theirs, &theirs.id()).is_empty() {
        bench.turn_until(Instant::now() + PAUSE / 4);
    }
}

#[test]
fn each_kind_finds_all_nodes_of_a_mixed_network() {
    let programs = [Kind::Sigp, Kind::Ethrex, Kind::Chainsafe].map(Program::find);
    let [Some(sigp), Some(ethrex), Some(chainsafe)] = programs else { return };
    let mut bench = Bench::new(|_| ());
    bench.lifetime = 2 * LIMIT;
    let mut start = |program: &Program, first: u8| bench.start(program, &(first..).take(EACH).collect::<Vec<_>>());
    let (sigp, ethrex, chainsafe) = (start(&sigp, 0x20), start(&ethrex, 0x30), start(&chainsafe, 0x40));
    let mut network = Network { records: vec![bench.record().clone()], sigp, ethrex, chainsafe };

    // One of each kind after the other, and each joins by the one before.
    let mut ours = Vec::new();
    for i in 0..EACH {
        if i > 0 {
            let node = Background::start(0x10 + i as u8, network.records.last().unwrap());
            network.records.push(node.record.clone());
            ours.push(node);
        }
        for theirs in [&network.sigp[i], &network.ethrex[i], &network.chainsafe[i]] {
            join(&mut bench, theirs, network.records.last().unwrap());
            network.records.push(theirs.record.clone());
        }
    }
    assert_eq!(network.ids().len(), 4 * EACH);

    // One result less than a lookup has at most.
    let target = NodeId([0x5a; 32]);
    let own = bench.id();
    network.find_all(&mut bench, "our node", own, |bench| match bench.call(Command::LookupId { target }) {
        Event::Nodes { nodes, .. } => {
            assert!(nodes.is_sorted_by(|a, b| target.cmp_distance(&a.id(), &b.id()).is_lt()));
            nodes.iter().map(Contact::id).collect()
        }
        other => panic!("{other:?}"),
    });
    for theirs in [&network.sigp[EACH - 1], &network.ethrex[EACH - 1], &network.chainsafe[EACH - 1]] {
        let what = format!("a node of {:?}", bench.kind(theirs));
        network.find_all(&mut bench, &what, theirs.id(), |bench| look_up(bench, theirs, &target));
    }
    // Those that may not have answered are known, too.
    for ethrex in &network.ethrex {
        bench.until("an entry for ethrex", |bench| bench.entry(&ethrex.id()).map(|_| ()));
        for theirs in [&network.sigp[EACH - 1], &network.chainsafe[EACH - 1]] {
            bench.until_known(theirs, &ethrex.id(), ethrex.record.seq());
        }
    }
}
