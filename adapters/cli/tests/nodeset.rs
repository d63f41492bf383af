//! `nodeset`: lists of all dialects through files, stdin and stdout; and lists where the program takes nodes.

mod common;

use std::path::Path;

use common::{Node, fresh_path, last, objects, peerless, run, run_with_input, stderr};

const NODES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nodes");

fn sample(name: &str) -> String {
    format!("{NODES}/{name}")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn info_is_text_and_json() {
    let output = run(&["nodeset", "info", &sample("nodes.json")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(lines.starts_with("format       geth (3 nodes, 2 with a record)"), "{lines}");
    assert!(lines.contains("07c9462e (mainnet, BPO2)"), "{lines}");
    let report = last(&run(&["--json", "nodeset", "info", &sample("nodes.json")]));
    assert_eq!((&report["format"], &report["nodes"]), (&"geth".into(), &3.into()));
}

#[test]
fn geths_command_line_filters_as_it_is() {
    let list = sample("nodes.json");
    let output =
        run(&["nodeset", "filter", &list, "-eth-network", "mainnet", "-snap", "-limit", "5", "-min-age", "1h"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let map: serde_json::Value = serde_json::from_slice(&output.stdout).expect("geth's format, as the input");
    let map = map.as_object().expect("a map");
    assert_eq!(map.len(), 1);
    assert_eq!(map.values().next().expect("an entry")["score"], 40);
}

#[test]
fn stdin_and_stdout_are_lists() {
    let list = std::fs::read_to_string(sample("nodes.json")).expect("the sample");
    let output = run_with_input(&["nodeset", "convert", "-", "--to", "text"], &list);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(lines.lines().count(), 3);
    assert!(stderr(&output).contains("no place for: scores (2), times (3)"), "{}", stderr(&output));
    let again = run_with_input(&["nodeset", "diff", "-", &sample("nodes.json")], &lines);
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
}

#[test]
fn with_json_stdout_holds_lines_of_json() {
    let list = sample("nodes.yaml");
    let output = run(&["--json", "nodeset", "convert", &list]);
    assert_eq!(objects(&output).len(), 3, "{}", stderr(&output));
    let other = run(&["--json", "nodeset", "convert", &list, "--to", "csv"]);
    assert_eq!((other.status.code(), last(&other)["error"].is_string()), (Some(1), true));
    let path = fresh_path("nodes.csv");
    let report = last(&run(&["--json", "nodeset", "convert", &list, "--out", text(&path)]));
    assert_eq!((&report["format"], &report["nodes"]), (&"csv".into(), &3.into()));
    std::fs::remove_file(path).expect("the file was written");
}

#[test]
fn a_list_is_never_written_over_by_accident() {
    let path = fresh_path("kept.txt");
    std::fs::copy(sample("nodes.txt"), &path).expect("the folder can be written");
    let before = std::fs::read(&path).expect("the file is there");
    let itself = run(&["nodeset", "convert", text(&path), "--out", text(&path), "--force"]);
    assert!(stderr(&itself).contains("read by this command"), "{}", stderr(&itself));
    let other = run(&["nodeset", "convert", &sample("nodes.json"), "--out", text(&path)]);
    assert!(stderr(&other).contains("--force"), "{}", stderr(&other));
    assert_eq!((itself.status.code(), other.status.code()), (Some(1), Some(1)));
    assert_eq!(std::fs::read(&path).expect("the file is there"), before);
    std::fs::remove_file(path).expect("the file is there");
}

#[test]
fn invalid_items_fail_unless_they_are_to_be_skipped() {
    let list = sample("broken.txt");
    let strict = run(&["nodeset", "convert", &list, "--to", "list"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(strict.stdout.is_empty());
    let error = stderr(&strict);
    assert!(error.contains("line 2") && error.contains("1 more") && error.contains("--lenient"), "{error}");
    let lenient = run(&["nodeset", "convert", &list, "--to", "list", "--lenient"]);
    assert_eq!(lenient.status.code(), Some(0));
    let error = stderr(&lenient);
    assert_eq!(error.lines().filter(|line| line.contains("skipped")).count(), 2, "{error}");
    assert!(error.contains("line 3: not a node record"), "{error}");
    let list: Vec<String> = serde_json::from_slice(&lenient.stdout).expect("a list");
    assert_eq!(list.len(), 2);
}

#[test]
fn merged_lists_have_the_newest_of_each_node() {
    let output = run(&[
        "nodeset",
        "merge",
        &sample("older.txt"),
        &sample("nodes.json"),
        &sample("known-peers.json"),
        "--to",
        "ndjson",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 nodes have two enode URLs"), "{}", stderr(&output));
    let nodes = objects(&output);
    assert_eq!(nodes.len(), 5);
    let main = nodes.iter().find(|node| node["kind"] == "trusted").expect("the node of all lists");
    assert_eq!((&main["seq"], &main["score"], &main["reputation"]), (&7.into(), &40.into(), &(-1024).into()));
    let twice = run(&["nodeset", "merge", "-", "-"]);
    assert_eq!(twice.status.code(), Some(1));
}

#[test]
fn a_diff_is_an_exit_code() {
    let output = run(&["--json", "nodeset", "diff", &sample("older.txt"), &sample("nodes.txt")]);
    assert_eq!(output.status.code(), Some(1));
    let report = last(&output);
    assert_eq!(report["changed"][0]["seq"], serde_json::json!([6, 7]));
    assert_eq!(run(&["nodeset", "diff", &sample("nodes.txt"), &sample("nodes.txt")]).status.code(), Some(0));
}

/// Two nodes know a third by a URL without a TCP port, as the public networks' bootnodes are named, and find each other.
#[test]
fn a_bootnode_of_discovery_alone_in_a_file_is_enough() {
    let bootnode = Node::start(&["--nodekeyhex", &"11".repeat(32), "--maxpeers", "0"]);
    let (url, port) = bootnode.enode().rsplit_once(':').expect("a port");
    for (name, list) in [
        ("boot.txt", format!("# a bootnode\n{url}:0?discport={port} # discovery alone\n")),
        ("boot.json", format!("[\"{url}:0?discport={port}\"]")),
        ("boot.yaml", format!("- {url}:0?discport={port}\n")),
    ] {
        let path = fresh_path(name);
        std::fs::write(&path, list).expect("the folder can be written");
        let first = Node::start(&["--bootnodes", text(&path)]);
        let mut second = Node::start(&["--bootnodes", text(&path)]);
        while second.await_event("established")["node_id"] != first.started["node_id"] {}
        assert_eq!((first.interrupt(), second.interrupt()), (Some(0), Some(0)), "{name}");
        std::fs::remove_file(path).expect("the file is there");
    }
}

#[test]
fn empty_lists_of_nodes_are_none() {
    let start = |arguments: &[&str], variable: &str| {
        let mut command = peerless(&["--json", "node", "--addr", "127.0.0.1", "--port", "0"]);
        let mut child = command
            .args(arguments)
            .env("PEERLESS_BOOTNODES", variable)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("stdout is text");
        let _ = child.kill();
        let _ = child.wait();
        assert!(line.contains("started"), "{arguments:?} {variable:?}: {line}");
    };
    start(&["--bootnodes", ""], "");
    start(&["--bootnodes", ",", "--static-peers", ""], "");
    start(&[], "");
    start(&[], ",");
}
