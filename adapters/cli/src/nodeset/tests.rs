use clap::Parser as _;

use super::filter::Filters;
use super::model::{Added, Kind, Node, NodeSet};
use super::time::Time;

const GETH: &str = include_str!("../../tests/data/nodes/nodes.json");
const TEXT: &str = include_str!("../../tests/data/nodes/nodes.txt");
const OLDER: &str = include_str!("../../tests/data/nodes/older.txt");
const RETH: &str = include_str!("../../tests/data/nodes/known-peers.json");

/// The node of the secret 1.
const MAIN: &str = "c0a6c424ac7157ae408398df7e5f4552091a69125d5dfcb7b8c2659029395bdf";

fn set(text: &str) -> NodeSet {
    super::read(text.as_bytes()).unwrap().set
}

fn main_of(set: &NodeSet) -> &Node {
    set.get(&MAIN.parse().unwrap()).unwrap()
}

fn join(older: &str, newer: &str) -> NodeSet {
    set(older).into_nodes().into_iter().chain(set(newer).into_nodes()).collect()
}

fn time(text: &str) -> Option<Time> {
    Some(text.parse().unwrap())
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    filters: Filters,
}

fn filtered(text: &str, arguments: &[&str]) -> Vec<String> {
    let line = Line::parse_from([&["filter"], arguments].concat());
    line.filters.apply(set(text)).unwrap().nodes().iter().map(|node| node.id().to_string()[..4].to_owned()).collect()
}

#[test]
fn the_newest_record_wins_in_any_order() {
    for (older, newer) in [(OLDER, GETH), (GETH, OLDER)] {
        let joined = join(older, newer);
        assert_eq!(joined.nodes().len(), 4);
        assert_eq!(main_of(&joined).record().unwrap().seq(), 7);
        assert_eq!(main_of(&joined).score, Some(40));
    }
}

#[test]
fn a_record_wins_over_an_enode_url_which_is_kept_if_it_differs() {
    let joined = join(RETH, GETH);
    let node = main_of(&joined);
    assert_eq!((node.record().map(|record| record.seq()), node.kind), (Some(7), Some(Kind::Trusted)));
    assert_eq!(node.alias, None, "the URL says what the record says");
    let moved = RETH.replace("192.0.2.1", "192.0.2.77");
    let joined = join(&moved, GETH);
    assert!(main_of(&joined).alias.as_ref().unwrap().to_string().contains("192.0.2.77"));
}

#[test]
fn scores_are_those_of_the_last_check_and_times_the_outermost() {
    let mut older = main_of(&set(GETH)).clone();
    let mut newer = older.clone();
    (newer.score, newer.last_check) = (Some(20), time("2026-09-10T00:00:00Z"));
    (newer.first_response, newer.last_response) = (time("2026-09-02T00:00:00Z"), time("2026-09-10T00:00:00Z"));
    for (mut a, b) in [(older.clone(), newer.clone()), (newer.clone(), older.clone())] {
        assert!(!a.merge(b));
        assert_eq!((a.score, a.last_check), (Some(20), newer.last_check));
        assert_eq!((a.first_response, a.last_response), (older.first_response, newer.last_response));
    }
    // Without a later check, the higher score is kept.
    older.last_check = newer.last_check;
    older.merge(newer);
    assert_eq!(older.score, Some(40));
}

#[test]
fn the_higher_kind_and_the_lower_reputation_are_kept() {
    let mut ours = main_of(&set(RETH)).clone();
    let mut theirs = ours.clone();
    (theirs.kind, theirs.reputation) = (Some(Kind::Basic), Some(0));
    ours.merge(theirs);
    assert_eq!((ours.kind, ours.reputation), (Some(Kind::Trusted), Some(-1024)));
}

#[test]
fn two_enode_urls_of_one_node_are_a_contradiction() {
    let mut all = set(TEXT);
    let added: Vec<Added> = set(OLDER).into_nodes().into_iter().map(|node| all.add(node)).collect();
    assert_eq!(added, [Added::Merged, Added::Contradicted, Added::New]);
}

#[test]
fn filters_keep_what_passes_all() {
    for (arguments, kept) in [
        (&[][..], &["c0a6", "e8e3", "eedf"][..]),
        (&["--limit", "1"], &["c0a6"]),
        (&["--limit", "2"], &["c0a6", "eedf"]),
        (&["--ip", "192.0.2.0/24"], &["c0a6"]),
        (&["--ip", "2001:db8::/32"], &["eedf"]),
        (&["--min-age", "1h"], &["c0a6"]),
        (&["--min-age", "30m"], &["c0a6", "eedf"]),
        (&["--eth-network", "mainnet"], &["c0a6"]),
        (&["--eth-network", "hoodi"], &["eedf"]),
        (&["--eth-network", "sepolia"], &[]),
        (&["--snap"], &["c0a6"]),
        (&["--client", "geth"], &["c0a6"]),
        (&["--score", "10"], &["c0a6"]),
        (&["--family", "4"], &["c0a6", "e8e3"]),
        (&["--family", "6"], &["eedf"]),
        (&["--key", "udp6"], &["eedf"]),
        (&["--key", "eth,snap"], &["c0a6"]),
        (&["--family", "4", "--score", "1", "--limit", "7"], &["c0a6"]),
    ] {
        assert_eq!(filtered(GETH, arguments), kept, "{arguments:?}");
    }
}

#[test]
fn a_genesis_file_filters_as_a_network_does() {
    let genesis = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/genesis.json");
    assert_eq!(filtered(GETH, &["--genesis", genesis]), Vec::<String>::new());
    // The same test network's fork id: see `genesis`.
    let line = RETH.replace('\n', "").replace("7,        201,        70,        46", "55,117,194,41");
    let ours = line.replacen("\"next\": 0", "\"next\": 4102444800", 1);
    assert_eq!(filtered(&ours, &["--genesis", genesis]), ["c0a6"]);
}

#[test]
fn a_diff_names_what_was_added_removed_and_changed() {
    let difference = super::diff::Difference::new(&set(OLDER), &set(TEXT));
    let text = difference.to_string();
    assert!(text.ends_with("2 added, 1 removed, 2 changed, 0 unchanged"), "{text}");
    for line in
        ["    seq: 6 -> 7", "    endpoint: 192.0.2.9:30303 -> 192.0.2.1:30303", "    eth: none -> c7c68407c9462e80"]
    {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(!difference.is_same());
    assert!(super::diff::Difference::new(&set(TEXT), &set(TEXT)).is_same());
}

#[test]
fn info_counts_what_a_list_holds() {
    let info = super::info::Info::new(&super::read(GETH.as_bytes()).unwrap());
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!((&json["nodes"], &json["records"], &json["no_tcp"]), (&3.into(), &2.into(), &0.into()));
    let count = |list: &str, name: &str| {
        let list = json[list].as_array().unwrap();
        list.iter().find(|count| count["name"].as_str().unwrap().contains(name)).map(|count| count["nodes"].clone())
    };
    assert_eq!(count("families", "IPv4"), Some(2.into()));
    assert_eq!(count("entries", "snap"), Some(1.into()));
    assert_eq!(count("forks", "mainnet, BPO2"), Some(1.into()));
    assert_eq!(count("forks", "none"), Some(1.into()));
    assert_eq!(count("clients", "Geth"), Some(1.into()));
    assert_eq!(count("ages", "unknown"), Some(1.into()));
    assert_eq!(json["scores"], serde_json::json!([9, 40, 40]));
    assert_eq!(count("largest_subnets", "192.0.2.0/24"), Some(1.into()));
    assert_eq!(count("largest_subnets", "2001:db8::/56"), Some(1.into()));
}
