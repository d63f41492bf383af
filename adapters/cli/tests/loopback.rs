//! `node`, `ping` and `identify` against each other on loopback.

mod common;

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use common::{Node, last, objects, peerless, run, stderr};

const GENESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/genesis.json");
const GENESIS_HASH: &str = "0232996ca4c0155bc7dff7562825641f8ecdf31ff51f86e72bde646688aed2dd";
const KEY: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";

#[test]
fn a_node_answers_pings() {
    let node = Node::start(&["--nodekeyhex", KEY]);
    for target in [node.enode(), node.enr()] {
        let output = run(&["--json", "ping", target, "-c", "3", "--interval", "50ms"]);
        let summary = last(&output);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(
            (&summary["sent"], &summary["received"], &summary["loss_percent"]),
            (&3.into(), &3.into(), &0.0.into())
        );
        assert_eq!(summary["node_id"], node.started["node_id"]);
        let rtt = |name: &str| summary["rtt_ms"][name].as_f64().expect("a number");
        assert!(0.0 < rtt("min") && rtt("min") <= rtt("p50") && rtt("p50") <= rtt("max") && rtt("max") < 500.0);
        let pongs: Vec<_> = objects(&output).into_iter().filter(|object| object["event"] == "pong").collect();
        assert_eq!(pongs.len(), 3);
        assert!(pongs.iter().all(|pong| pong["enr_seq"].is_u64()), "{pongs:?}");
        assert!(pongs[0]["seen_as"].as_str().is_some_and(|addr| addr.starts_with("127.0.0.1:")), "{pongs:?}");
    }
    assert_eq!(node.interrupt(), Some(0));
}

#[test]
fn unanswered_pings_are_lost() {
    // A socket that is never read.
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = deaf.local_addr().expect("bound").port();
    let key = &Node::start(&["--nodekeyhex", KEY]).enode()[8..136].to_owned();
    let output = run(&["--json", "ping", &format!("enode://{key}@127.0.0.1:{port}"), "-c", "2", "--interval", "10ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(last(&output)["loss_percent"], 100.0);
}

#[test]
fn identify_shows_hello_and_status_of_a_private_network() {
    let mut node = Node::start(&["--genesis", GENESIS]);
    assert_eq!(node.started["genesis"], GENESIS_HASH);
    let output = run(&["--json", "identify", node.enode()]);
    let report = last(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report["hello"]["client"].as_str().is_some_and(|name| name.starts_with("Peerless/v")), "{report}");
    assert_eq!(report["status"]["network_id"], 1337);
    assert_eq!(report["status"]["genesis"], GENESIS_HASH);
    assert_eq!(report["status"]["fork_id"]["hash"], "3775c229");
    assert_eq!(report["status"]["eth_version"], 69);
    assert!(report["timing"]["status_ms"].as_f64() >= report["timing"]["dial_ms"].as_f64());
    assert!(report["refused"].is_null());
    // Mirrored, so the node saw a peer of its own network.
    assert_eq!(node.await_event("established")["network_id"], 1337);
    let ended = node.await_event("ended");
    assert_eq!(ended["stage"], "established", "{ended}");
    assert_eq!(node.interrupt(), Some(0));
}

#[test]
fn a_public_networks_node_presents_the_forks_of_today() {
    // Without discovery the node contacts no other, and only loopback is permitted.
    let node = Node::start(&["--network", "mainnet", "--nodiscover"]);
    let output = run(&["identify", node.enode()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("(mainnet, ") && text.contains("network 1"), "{text}");
    assert!(!text.contains("Frontier") && !text.contains("before its first fork"), "{text}");
}

#[test]
fn a_refusal_has_stage_side_and_reason() {
    // A node without peer slots closes the stream unread.
    let node = Node::start(&["--maxpeers", "0"]);
    let key = node.enode()[8..136].to_owned();
    let output = run(&["--json", "identify", node.enode()]);
    assert_eq!(output.status.code(), Some(1));
    let refused = &last(&output)["refused"];
    assert_eq!(refused["stage"], "handshake", "{refused}");
    // A stream that is closed unread is an end or a reset, by whether our auth was there already.
    let ends = [("them", "closed without a Disconnect"), ("network", "connection reset")];
    assert!(ends.iter().any(|(side, reason)| refused["side"] == *side && refused["reason"] == *reason), "{refused}");

    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    let output = run(&["--json", "identify", &format!("enode://{key}@127.0.0.1:{closed}")]);
    assert_eq!(output.status.code(), Some(1));
    let refused = &last(&output)["refused"];
    assert_eq!((&refused["stage"], &refused["side"]), (&"dial".into(), &"network".into()), "{refused}");

    // A listener that accepts and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let output = run(&["--json", "identify", &format!("enode://{key}@127.0.0.1:{port}"), "--timeout", "1s"]);
    let refused = &last(&output)["refused"];
    assert_eq!(
        (&refused["stage"], &refused["reason"]),
        (&"handshake".into(), &"no answer in time".into()),
        "{refused}"
    );
}

#[test]
fn what_netrestrict_excludes_is_not_contacted() {
    let node = Node::start(&[]);
    for command in ["ping", "identify"] {
        let mut command = peerless(&[command, node.enode()]);
        let output = command.env("PEERLESS_NETRESTRICT", "10.0.0.0/8").output().expect("the program runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("--netrestrict"), "{}", stderr(&output));
    }
}

#[test]
fn two_nodes_connect_by_discovery_and_disconnect_on_shutdown() {
    let mut first = Node::start(&[]);
    let begun = Instant::now();
    let mut second = Node::start(&["--bootnodes", first.enr()]);
    assert_eq!(first.await_event("established")["node_id"], second.started["node_id"]);
    assert_eq!(second.await_event("established")["node_id"], first.started["node_id"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(second.interrupt(), Some(0));
    // If both dialled at once, one of the two connections has ended before.
    while first.await_event("ended")["reason"] != "disconnect: client quitting" {}
}
