//! A crawl of a simulated network of 20,000 nodes of which 60 % never answer: 98 % of the live ones within two virtual minutes,
//! by each protocol.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use peerless::contract::{Action, CommandId, ConnId, Input, Language, Machine, SocketId, Via};
use peerless::crypto::SecretKey;
use peerless::time::Instant;
use peerless_crawl::testing::{Graph, Host};
use peerless_crawl::{Config, Crawl, CrawlCommand, CrawlEvent, CrawlRefused, Crawler, Progress};
use peerless_sim::crypto::Mode;
use peerless_sim::network::address::PORT;
use peerless_sim::{Addresses, Birth, Fingerprint, HostId, HostSpec, Settings, World};

const NODES: u32 = 20_000;
const SILENT_PERCENT: u32 = 60;
/// The crawler's host.
const CRAWLER: HostId = HostId(NODES);
const LIMIT: Duration = Duration::from_secs(120);

/// The language of a crawl, for the simulator.
#[derive(Debug)]
enum SimulatedCrawl {}

impl Language for SimulatedCrawl {
    type Event<'a> = CrawlEvent<'a>;
    type Command<'a> = CrawlCommand;
    type Refused = CrawlRefused;

    fn lend<'a>(event: CrawlEvent<'static>, bytes: &'a [u8]) -> CrawlEvent<'a> {
        Crawl::lend(event, bytes)
    }

    fn into_owned(event: CrawlEvent<'_>) -> CrawlEvent<'static> {
        Crawl::into_owned(event)
    }

    fn is_droppable(event: &CrawlEvent<'_>) -> bool {
        Crawl::is_droppable(event)
    }
}

impl Fingerprint for SimulatedCrawl {}

/// The crawler, or a node of the graph.
#[derive(Debug)]
enum Member {
    Crawler(Box<Crawler>),
    Host(Box<Host>),
}

macro_rules! each {
    ($self:expr, $machine:ident => $call:expr) => {
        match $self {
            Member::Crawler($machine) => $call,
            Member::Host($machine) => $call,
        }
    };
}

impl Machine for Member {
    type Language = SimulatedCrawl;

    fn handle(&mut self, now: Instant, input: Input<'_, CrawlCommand>) {
        each!(self, machine => machine.handle(now, input));
    }

    fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        each!(self, machine => machine.accept(now, socket, from))
    }

    fn command(&mut self, now: Instant, command: CrawlCommand) -> Result<CommandId, CrawlRefused> {
        each!(self, machine => machine.command(now, command))
    }

    fn poll_action(&mut self) -> Option<Action<'_, CrawlEvent<'_>>> {
        each!(self, machine => machine.poll_action())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        each!(self, machine => Machine::poll_timeout(&**machine))
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        each!(self, machine => machine.outbound(conn))
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        each!(self, machine => machine.wants_read(conn))
    }
}

/// The graph of all nodes, made with the primitives of the first machine's run.
type Shared = Arc<OnceLock<Arc<Graph>>>;

fn graph(birth: &Birth<'_>, shared: &Shared) -> Arc<Graph> {
    let addresses = birth.addresses;
    let addr = |n| (addresses.ip(HostId(n)), PORT).into();
    shared.get_or_init(|| Arc::new(Graph::new(&**birth.crypto, 5, NODES, SILENT_PERCENT, addr))).clone()
}

fn crawler(birth: &Birth<'_>, graph: &Graph, via: Via) -> Crawler {
    let mut config = Config::new(SecretKey::from_bytes([9; 32]).expect("in range"));
    config.addresses.set_ip(birth.addr.ip.into());
    config.addresses.udp = birth.addr.port;
    (config.discv4, config.discv5) = (via == Via::Discv4, via == Via::Discv5);
    config.bootnodes = graph.bootnode().into_iter().collect();
    Crawler::with_crypto(config, birth.seed, birth.now, birth.unix, birth.crypto.clone()).expect("a small record")
}

/// Crawls, and returns the progress at the end and the hosts that live.
fn crawl(via: Via) -> (Progress, bool, usize) {
    let shared = Shared::default();
    let of_machines = shared.clone();
    let settings = Settings {
        seed: 11,
        crypto: Mode::SimMac,
        hosts_expected: NODES as usize,
        addresses: Addresses::default(),
        ..Settings::default()
    };
    let mut world: World<Member> = World::new(settings, move |birth| {
        let graph = graph(birth, &of_machines);
        match birth.host {
            CRAWLER => Member::Crawler(Box::new(crawler(birth, &graph, via))),
            HostId(n) => {
                let clocks = (birth.now, birth.unix);
                Member::Host(Box::new(Host::new(graph, n, clocks, birth.crypto.clone())))
            }
        }
    });
    for n in 0..=NODES {
        // One that never answers has no machine.
        let is_live = n == NODES || n % 100 >= SILENT_PERCENT;
        world.add_host(HostSpec { starts_in: is_live.then_some(Duration::ZERO), ..HostSpec::default() });
    }
    world.run_for(LIMIT).expect("no invariant is broken");
    let live = shared.get().expect("made").live();
    let Some(Member::Crawler(crawler)) = world.machine(CRAWLER) else { panic!("the crawler runs") };
    (crawler.progress(), crawler.is_done(), live)
}

#[test]
fn a_crawl_of_20000_nodes_finds_98_percent_of_the_live_ones_within_two_minutes() {
    for via in [Via::Discv4, Via::Discv5] {
        let (progress, is_done, live) = crawl(via);
        let answered = progress.of(via).answered as usize;
        println!("{via}: {answered} of {live} live nodes, done: {is_done}, {progress:?}");
        assert_eq!(live, 8000);
        assert!(answered * 100 >= live * 98, "{via}: {answered} of {live}");
        assert!(answered <= live);
    }
}
