//! `crawl` over loopback: ten nodes, a kill, a resumption, and what is written.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Node, fresh_path, last, objects, peerless, run, stderr};
use serde_json::Value;

/// Time limit for one step; far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Five nodes with sessions and discv4 alone, five with both discovery protocols and without sessions, all of which know one.
fn devnet() -> Vec<Node> {
    let first = Node::start_as(&["bootnode", "--interval", "60s"]);
    let record = first.enr().to_owned();
    let mut nodes = vec![first];
    for n in 1..10 {
        let bootnodes = ["--bootnodes", &record];
        nodes.push(if n % 2 == 0 {
            Node::start_as(&[&["bootnode", "--interval", "60s"], &bootnodes[..]].concat())
        } else {
            Node::start(&[&["--discovery.v5=false"], &bootnodes[..]].concat())
        });
    }
    nodes
}

/// Crawls until the nodes have found each other.
fn crawl_all(arguments: &[&str], live: u64) -> std::process::Output {
    let begun = Instant::now();
    loop {
        let output = run(arguments);
        if last(&output)["live"] == live {
            return output;
        }
        assert!(begun.elapsed() < PATIENCE, "{} {}", last(&output), stderr(&output));
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn count(path: &Path, event: &str) -> usize {
    lines(path).iter().filter(|line| line["event"] == event).count()
}

#[test]
fn ten_nodes_are_found_killed_resumed_and_identified() {
    let nodes = devnet();
    let boot = nodes[0].enr();
    let ids: BTreeSet<&str> = nodes.iter().map(|node| node.started["node_id"].as_str().expect("an id")).collect();

    // Both protocols, without files: the nodes go to stdout.
    let output = crawl_all(&["--json", "crawl", "--bootnodes", boot, "--addr", "127.0.0.1"], 10);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = last(&output);
    assert_eq!((&summary["is_complete"], &summary["live_discv4"]), (&true.into(), &10.into()), "{summary}");
    assert_eq!(summary["live_discv5"], 5, "{summary}");
    let told: BTreeSet<String> =
        objects(&output).iter().filter_map(|object| object["id"].as_str().map(str::to_owned)).collect();
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), ids);

    // A slow crawl that is killed.
    let (list, table) = (fresh_path("nodes.json"), fresh_path("nodes.csv"));
    let (journal, graph) = (list.with_extension("json.journal"), fresh_path("graph.ndjson"));
    let _ = std::fs::remove_file(&journal);
    let paths = [&list, &table, &graph].map(|path| path.to_str().expect("text").to_owned());
    let common = ["--json", "discv4", "crawl", &paths[0], &paths[1], "--addr", "127.0.0.1", "--graph", &paths[2]];
    let slow = [&common[..], &["--bootnodes", boot, "--rate", "1", "--parallel", "1"]].concat();
    let mut child = peerless(&slow).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs");
    let begun = Instant::now();
    while count(&journal, "visited") < 2 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", lines(&journal));
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(!list.exists(), "nothing is written before the end");
    let visited = count(&journal, "visited");
    assert!(visited < 10, "it was killed too late");

    // Neither forgotten nor asked again.
    let refused = run(&slow);
    assert!(stderr(&refused).contains("--resume"), "{}", stderr(&refused));
    let kept = fresh_path("kept.journal");
    std::fs::copy(&journal, &kept).expect("a copy");
    let resume = [&common[..], &["--resume", "--identify", "--journal", kept.to_str().expect("text")]].concat();
    let output = run(&resume);
    let summary = last(&output);
    assert_eq!(output.status.code(), Some(0), "{summary} {}", stderr(&output));
    assert_eq!((&summary["live"], &summary["is_complete"]), (&10.into(), &true.into()), "{summary}");
    let numbers: Vec<u64> = lines(&kept)
        .iter()
        .filter(|line| line["event"] == "visited")
        .filter_map(|line| line["node"].as_u64())
        .collect();
    assert_eq!(numbers.len(), numbers.iter().collect::<BTreeSet<_>>().len(), "each is asked once: {numbers:?}");

    // Those with sessions have said who they are.
    assert_eq!((&summary["dialled"], &summary["hellos"], &summary["statuses"]), (&5.into(), &5.into(), &5.into()));
    let clients = summary["clients"].as_object().expect("a map");
    assert_eq!(clients.values().filter_map(Value::as_u64).sum::<u64>(), 5, "{summary}");

    // What is written can be read, and goes on.
    let info = last(&run(&["--json", "nodeset", "info", &paths[0]]));
    assert_eq!(info["nodes"], 10, "{info}");
    assert_eq!(std::fs::read_to_string(&table).expect("a table").lines().count(), 11);
    let adjacency = lines(&graph);
    assert_eq!(adjacency.len(), 10);
    assert!(adjacency.iter().all(|line| line["neighbours"].as_array().is_some_and(|all| !all.is_empty())));
    let _ = std::fs::remove_file(&journal);
    let again = run(&["--json", "discv4", "crawl", &paths[0], "--addr", "127.0.0.1"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let text = std::fs::read_to_string(&list).expect("a list");
    assert_eq!(text.matches("\"score\": 2").count(), 10, "{text}");
    assert!(!journal.exists(), "a crawl that is over has no journal");
}

#[test]
fn a_crawl_without_a_start_or_an_answer_says_so() {
    let output = run(&["crawl"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--bootnodes"), "{}", stderr(&output));
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let key = Node::start(&[]).enode()[8..136].to_owned();
    let enode = format!("enode://{key}@127.0.0.1:{}", deaf.local_addr().expect("bound").port());
    let output = run(&["--json", "discv4", "crawl", "--bootnodes", &enode, "--addr", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    let summary = last(&output);
    assert_eq!((&summary["live"], &summary["silent"]), (&0.into(), &1.into()), "{summary}");
    assert!(stderr(&output).contains("no node has answered"), "{}", stderr(&output));
}

#[test]
fn netrestrict_holds_for_a_crawl() {
    let node = Node::start(&[]);
    let mut command = peerless(&["--json", "crawl", "--bootnodes", node.enode(), "--addr", "127.0.0.1"]);
    let output = command.env("PEERLESS_NETRESTRICT", "10.0.0.0/8").output().expect("the program runs");
    let summary = last(&output);
    assert_eq!((output.status.code(), &summary["datagrams_out"]), (Some(1), &0.into()), "{summary}");
}
