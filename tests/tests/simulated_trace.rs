//! The trace of one node of a simulation replays alone.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerless::contract::{Action, CommandError, CommandId, ConnId, Input, Stage, Tap, Tapped};
use peerless::crypto::mac::Keccak;
use peerless::crypto::{
    Crypto, Digest, PublicKey, RecoverableSignature, Secp256k1, SecretKey, SharedSecret, Signature,
};
use peerless::node::{Config, Node};
use peerless::time::Instant;
use peerless_sim::crypto::{Mode, SimMac};
use peerless_sim::scenario::{Observer, Plan, Report, Scenario, Unmet, find};
use peerless_sim::{Birth, HostId, HostSpec, Settings, Watch, World, scenery};

/// A node with a recorder or another tap around it.
type TappedNode = Tapped<Node, Box<dyn Tap + Send>>;
use peerless_trace::format::{OwnedCommand, OwnedInput, Reader, SECP256K1};
use peerless_trace::inspect::{Findings, Keys, What, collect_secrets};
use peerless_trace::keylog::KeyLog;
use peerless_trace::record::{Options, Recorder, Subject};
use peerless_trace::replay::{Failure, Replay};
use peerless_trace::state::{Condition, State};

/// Bytes that a recorder writes.
#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Bytes {
    fn reader(&self) -> Reader {
        Reader::new(Cursor::new(self.0.lock().unwrap().clone()))
    }
}

/// The name of a mode's primitives, as the program gives it.
fn primitives(mode: Mode, seed: u64) -> String {
    if mode == Mode::SimMac { SimMac::name(seed) } else { SECP256K1.to_owned() }
}

fn simulated(name: &str) -> Option<Arc<dyn Crypto + Send + Sync>> {
    Some(Arc::new(SimMac::by_name(name, 100)?))
}

fn recorder(birth: &Birth<'_>, config: &Config, primitives: &str) -> (Recorder, Bytes) {
    let bytes = Bytes::default();
    // Not the birth's own, which may cost the host's time. Keys are the same with all.
    let crypto = &Secp256k1::new();
    let subject = Subject { primitives, ..Subject::new(config, &birth.seed, birth.now, birth.unix, crypto) };
    let on_failure = Box::new(|error| panic!("{error}"));
    (Recorder::to_writer(Box::new(bytes.clone()), &subject, Options::default(), on_failure), bytes)
}

/// Traces by host and incarnation.
type Traces = BTreeMap<(HostId, u32), Bytes>;

/// Runs a plan and records every life of the nodes of these hosts.
fn record(
    scenario: &Scenario,
    plan: &Plan,
    which: impl Fn(HostId) -> bool + Send + Sync + 'static,
) -> (Report, Traces) {
    let traces = Arc::new(Mutex::new(Traces::new()));
    let observer: Arc<Observer> = {
        let (traces, primitives) = (traces.clone(), primitives(plan.crypto, plan.seed));
        Arc::new(move |birth: &Birth<'_>, config: &Config| {
            let (recorder, bytes) = which(birth.host).then(|| recorder(birth, config, &primitives))?;
            traces.lock().unwrap().insert((birth.host, birth.incarnation), bytes);
            Some(Box::new(recorder) as Box<dyn Tap + Send>)
        })
    };
    let report = scenario.run_observed(plan, observer, |_| ()).unwrap();
    let traces = std::mem::take(&mut *traces.lock().unwrap());
    (report, traces)
}

fn replay(bytes: &Bytes) -> Replay {
    Replay::with_primitives(bytes.reader(), simulated).unwrap()
}

/// Replays a trace to its end, and counts the inputs by kind.
fn verify(bytes: &Bytes, kinds: &mut BTreeMap<&'static str, u64>) -> u64 {
    let mut replay = replay(bytes);
    let mut undrained = 0;
    while let Some(next) = replay.peek() {
        undrained += u32::from(!next.before.is_drained);
        let step = replay.step().unwrap_or_else(|failure| panic!("{failure}")).expect("an input");
        *kinds.entry(kind(&step.input)).or_default() += 1;
    }
    // The world drains after every input; at a birth there may be commands before.
    assert!(undrained <= 2, "{undrained} inputs came before all actions were taken");
    replay.inputs()
}

fn kind(input: &OwnedInput) -> &'static str {
    match input {
        OwnedInput::Datagram { .. } => "datagram",
        OwnedInput::Incoming { .. } => "incoming",
        OwnedInput::Connected { .. } => "connected",
        OwnedInput::Bytes { .. } => "bytes",
        OwnedInput::Wrote { .. } => "wrote",
        OwnedInput::Eof { .. } => "eof",
        OwnedInput::Broken { .. } => "broken",
        OwnedInput::WallClock { .. } => "wall clock",
        OwnedInput::Answer { .. } => "answer",
        OwnedInput::Timeout => "timeout",
        OwnedInput::Command(OwnedCommand::AddPeer { .. }) => "add peer",
        OwnedInput::Command(OwnedCommand::Lookup { .. }) => "lookup",
        OwnedInput::Command(_) => "command",
    }
}

#[test]
fn every_life_of_every_node_replays_alone() {
    let mut kinds = BTreeMap::new();
    let (mut lives, mut reborn) = (0, 0);
    for (name, seed, crypto) in [
        ("storm", 2, Mode::SimMac),
        ("churn", 3, Mode::SimMac),
        ("nat", 4, Mode::SimMac),
        ("hostile", 5, Mode::SimMac),
        ("mesh", 6, Mode::Memo),
    ] {
        let scenario = find(name).unwrap();
        let cpu = (seed % 2 == 1).then_some(10);
        let plan = Plan { crypto, cpu, time: Duration::from_secs(240), ..scenario.small_plan(seed) };
        let (report, traces) = record(&scenario, &plan, |_| true);
        let mut alone = scenario.run(&plan).unwrap();
        alone.wall_s = report.wall_s;
        assert_eq!(alone, report, "{name}: a run is the same when it is recorded");
        for ((host, incarnation), bytes) in &traces {
            let inputs = verify(bytes, &mut kinds);
            assert!(inputs > 0, "{name}, host {}, incarnation {incarnation}", host.0);
            lives += 1;
            reborn += u32::from(*incarnation > 0);
        }
    }
    assert!(lives > 70 && reborn > 10, "{lives} lives, {reborn} of them not the first");
    for kind in
        ["incoming", "connected", "bytes", "wrote", "eof", "broken", "wall clock", "timeout", "add peer", "lookup"]
    {
        assert!(kinds.get(kind).is_some_and(|count| *count > 0), "no {kind} in {kinds:?}");
    }
}

#[test]
fn a_trace_says_with_which_primitives_it_was_made() {
    let scenario = find("mesh").unwrap();
    let plan = Plan { time: Duration::from_secs(180), ..scenario.small_plan(9) };
    let (_, traces) = record(&scenario, &plan, |host| host == HostId(4));
    let bytes = traces.values().next().unwrap();
    let refused = Replay::new(bytes.reader()).map(drop);
    assert!(matches!(&refused, Err(Failure::Primitives(name)) if name == "simmac 9"), "{refused:?}");
    // Those of another run are others.
    let other = Replay::with_primitives(bytes.reader(), |_| Some(Arc::new(SimMac::new(10, 100))));
    let outcome = other.and_then(|mut replay| replay.run());
    assert!(matches!(outcome, Err(Failure::Differs { .. })), "{outcome:?}");
    // With its own, its sessions can be read too.
    let file = bytes.0.lock().unwrap().clone();
    let mut log = KeyLog::default();
    collect_secrets(&file[..], &mut log).unwrap();
    let keys = Keys::with_crypto(log, Vec::new(), simulated("simmac 9").unwrap());
    let mut findings = Findings::new(&file[..], keys, Vec::new());
    let (mut messages, mut packets) = (0, 0);
    while let Some(finding) = findings.next_finding().unwrap() {
        messages += u64::from(matches!(finding.what, What::Message(_)));
        packets += u64::from(matches!(finding.what, What::Discv4(_)));
    }
    assert_eq!(findings.inspector().totals().broken, 0);
    assert!(messages > 50 && packets > 400, "{messages} messages, {packets} packets");
}

/// An invariant that is violated on purpose: the node of one host knows fewer than that many others.
const FEW: usize = 6;
const CULPRIT: HostId = HostId(5);

#[derive(Default)]
struct Planted;

impl Tap for Planted {}

impl Watch<TappedNode> for Planted {
    fn stepped(&mut self, _: Instant, host: HostId, machine: &TappedNode) -> Result<(), String> {
        let known = machine.machine().discovery().discv4().map_or(0, |discovery| discovery.table().len());
        if host == CULPRIT && known >= FEW { Err(format!("it knows {known}")) } else { Ok(()) }
    }
}

#[test]
fn a_broken_invariant_is_where_the_trace_ends() {
    for threads in [1, 2] {
        let (seed, crypto) = (11, Mode::SimMac);
        let trace = Arc::new(Mutex::new(None));
        let maker = {
            let trace = trace.clone();
            move |birth: &Birth<'_>| {
                let mut config = scenery::config(birth, scenery::chain(1337));
                scenery::set_bootnodes(birth, &mut config, 0..2);
                let tap: Box<dyn Tap + Send> = if birth.host == CULPRIT {
                    let (recorder, bytes) = recorder(birth, &config, &primitives(crypto, seed));
                    *trace.lock().unwrap() = Some(bytes);
                    Box::new(recorder)
                } else {
                    Box::new(())
                };
                Tapped::new(scenery::node(birth, config), tap, birth.now)
            }
        };
        let mut world = World::new(Settings { seed, crypto, threads, ..Settings::default() }, maker);
        for host in 0..20 {
            let starts_in = Some(Duration::from_millis(host * 100));
            world.add_host(HostSpec { starts_in, watch: Planted, ..HostSpec::default() });
        }
        let violation = world.run_for(Duration::from_secs(300)).unwrap_err();
        assert_eq!(violation.host, CULPRIT);
        drop(world);
        let bytes = trace.lock().unwrap().take().unwrap();

        let mut alone = replay(&bytes);
        let few: Condition = format!("table >= {FEW}").parse().unwrap();
        while alone.step().unwrap().is_some() {
            let is_last = alone.peek().is_none();
            assert_eq!(few.holds(alone.machine(), alone.now()), is_last, "{:?}", alone.last());
        }
        assert_eq!(alone.now(), violation.at, "the last input is the one that broke it");
        let state = State::of(alone.machine(), alone.now());
        assert_eq!((state.table.len(), state.now_us), (FEW, violation.at.as_micros()));
    }
}

#[test]
fn a_failed_demand_names_its_host_and_the_trace_has_its_state() {
    let scenario = find("mesh").unwrap().always("no node has more than three peers", |run| {
        let many = run.honest().find(|(_, node)| run.peers(node).count() > 3);
        many.map_or(Ok(()), |(host, node)| Err(Unmet::of(host, format!("it has {}", run.peers(node).count()))))
    });
    let plan = scenario.small_plan(21);
    let failure = scenario.run(&plan).unwrap().failure.unwrap();
    let host = HostId(failure.host.unwrap());
    let (report, traces) = record(&scenario, &plan, move |of| of == host);
    assert_eq!(report.failure, Some(failure));
    let ((_, _), bytes) = traces.into_iter().next_back().unwrap();
    let mut alone = replay(&bytes);
    alone.run().unwrap();
    assert!(sessions(alone.machine()) > 3);
}

fn sessions(node: &Node) -> usize {
    let established =
        |session: &peerless::node::SessionView<'_>| session.stage == Stage::Established && !session.is_ending;
    node.sessions().filter(established).count()
}

/// Panics as a node with a bug would, so that the tap is dropped in the same way.
struct Fragile {
    tap: Recorder,
    datagrams: u32,
}

impl Tap for Fragile {
    fn input(&mut self, now: Instant, input: &Input<'_>) {
        self.tap.input(now, input);
        self.datagrams += u32::from(matches!(input, Input::Datagram { .. }));
        assert!(self.datagrams < 50, "planted");
    }

    fn accepted(&mut self, now: Instant, conn: Option<ConnId>) {
        self.tap.accepted(now, conn);
    }

    fn commanded(&mut self, now: Instant, answer: Result<CommandId, CommandError>) {
        self.tap.commanded(now, answer);
    }

    fn wrote(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.tap.wrote(now, conn, bytes);
    }

    fn action(&mut self, now: Instant, action: &Action<'_>) {
        self.tap.action(now, action);
    }

    fn drained(&mut self, now: Instant) {
        self.tap.drained(now);
    }
}

#[test]
fn a_panic_names_its_host_and_leaves_a_whole_trace() {
    let scenario = find("mesh").unwrap();
    let plan = scenario.small_plan(5);
    let trace = Arc::new(Mutex::new(None));
    let observer: Arc<Observer> = {
        let (trace, primitives) = (trace.clone(), primitives(plan.crypto, plan.seed));
        Arc::new(move |birth: &Birth<'_>, config: &Config| {
            let (tap, bytes) = (birth.host == CULPRIT).then(|| recorder(birth, config, &primitives))?;
            *trace.lock().unwrap() = Some(bytes);
            Some(Box::new(Fragile { tap, datagrams: 0 }) as Box<dyn Tap + Send>)
        })
    };
    let failure = scenario.run_observed(&plan, observer, |_| ()).unwrap().failure.unwrap();
    assert_eq!((&*failure.kind, failure.host, &*failure.what), ("panic", Some(CULPRIT.0), "planted"));
    let bytes = trace.lock().unwrap().take().unwrap();
    let mut alone = replay(&bytes);
    alone.run().unwrap();
    assert_eq!(kind(&alone.last().unwrap().input), "datagram");
    assert_eq!(alone.machine().stats().datagrams_in.count, 50);
    assert_eq!(alone.now().as_micros(), failure.at_us);
}

/// Primitives with a bug: they panic when so many signatures have been recovered.
struct Buggy(SimMac, AtomicU32);

impl Crypto for Buggy {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        self.0.derive_xy(secret)
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        self.0.sign(secret, digest)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.0.verify(key, digest, signature)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        assert!(self.1.fetch_add(1, Ordering::Relaxed) < 30, "the thirtieth");
        self.0.recover_xy(digest, signature)
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        self.0.is_on_curve(xy)
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        self.0.decompress_xy(compressed)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.0.ecdh(secret, key)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        self.0.datagram_hash(bytes)
    }

    fn signed_hash(&self, bytes: &[u8]) -> Digest {
        self.0.signed_hash(bytes)
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        self.0.mac_update(mac, bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        self.0.mac_digest(mac)
    }
}

#[test]
fn a_replay_says_at_which_input_the_node_panics() {
    let scenario = find("mesh").unwrap();
    let (_, traces) = record(&scenario, &scenario.small_plan(5), |host| host == CULPRIT);
    let bytes = traces.values().next().unwrap();
    let buggy = |_: &str| Some(Arc::new(Buggy(SimMac::new(5, 100), AtomicU32::new(0))) as Arc<_>);
    let mut alone = Replay::with_primitives(bytes.reader(), buggy).unwrap();
    match alone.run() {
        Err(Failure::Panics { step, what }) => {
            assert_eq!((kind(&step.input), &*what), ("datagram", "the thirtieth"));
            assert_eq!(alone.last(), Some(&*step));
        }
        outcome => panic!("{outcome:?}"),
    }
}
