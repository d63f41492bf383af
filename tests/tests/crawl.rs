//! A crawl of a simulated network of 20,000 nodes of which 60 % never answer: 98 % of the live ones within two virtual minutes,
//! by each protocol.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use peerless::contract::Via;
use peerless::crypto::SecretKey;
use peerless_crawl::testing::{Graph, Host, Member};
use peerless_crawl::{Config, Crawler, Progress};
use peerless_sim::crypto::Mode;
use peerless_sim::network::address::PORT;
use peerless_sim::{Addresses, Birth, HostId, HostSpec, Settings, World};

const NODES: u32 = 20_000;
const SILENT_PERCENT: u32 = 60;
/// The crawler's host.
const CRAWLER: HostId = HostId(NODES);
const LIMIT: Duration = Duration::from_secs(120);

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
