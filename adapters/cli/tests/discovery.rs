//! `discv4 ..`, `discv5 ..` and `bootnode` on loopback.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::{Node, last, objects, peerless, run, stderr};

const KEY: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";

#[test]
fn a_node_passes_the_cases_of_discv4() {
    let node = Node::start(&[]);
    let output = run(&[
        "--json",
        "discv4",
        "test",
        node.enode(),
        "--run",
        "^(Ping|ENRRequest|Amplification)",
        "--wait",
        "300ms",
    ]);
    let (lines, summary) = (objects(&output), last(&output));
    assert_eq!(output.status.code(), Some(0), "{summary} {}", stderr(&output));
    assert_eq!((&summary["failed"], &summary["skipped"]), (&0.into(), &0.into()), "{summary}");
    assert_eq!(summary["passed"].as_u64(), Some(lines.len() as u64 - 1));
    assert!(lines.len() > 20, "{}", lines.len());
    let basic = &lines[0];
    assert_eq!((&basic["case"], &basic["result"]), (&"Ping/Basic".into(), &"passed".into()));
    assert!(basic["specification"].as_str().is_some_and(|says| says.contains("replies with a pong")), "{basic}");
    let steps = basic["steps"].as_array().expect("a list");
    assert_eq!(
        steps.iter().map(|step| step["what"].as_str().expect("a word")).collect::<Vec<_>>()[..2],
        ["sent", "came"]
    );
}

#[test]
fn tap_is_what_hive_reads() {
    let node = Node::start(&[]);
    let key = &node.enode()[8..136];
    let output = run(&["discv4", "test", "--tap", "--run", "Ping/Basic|ENRRequest$", "--remote", node.enr()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "1..2\nok 1 Ping/Basic\nok 2 ENRRequest\n", "{}", stderr(&output));
    // A socket that is never read.
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let enode = format!("enode://{key}@127.0.0.1:{}", deaf.local_addr().expect("bound").port());
    let output = run(&["discv4", "test", "--tap", "--run", "Ping/Basic", "--wait", "50ms", &enode]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("1..1\nnot ok 1 Ping/Basic\n# specification: discv4.md, Ping Packet (0x01)"), "{text}");
    assert!(text.ends_with("# failed: no pong and ping within 50 ms\n"), "{text}");
}

#[test]
fn on_ipv6_cases_that_need_a_second_address_are_skipped() {
    if !peerless_tests::skip::has_ipv6() {
        return;
    }
    let node = Node::start(&["--addr", "::1"]);
    let output = run(&["--json", "discv4", "test", node.enode(), "--run", "Basic|WrongIP", "--wait", "300ms"]);
    let summary = last(&output);
    assert_eq!(output.status.code(), Some(0), "{summary} {}", stderr(&output));
    assert_eq!((&summary["passed"], &summary["skipped"]), (&2.into(), &1.into()), "{summary}");
}

#[test]
fn one_ping_is_one_datagram() {
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let key = &Node::start(&["--nodekeyhex", KEY]).enode()[8..136].to_owned();
    let enode = format!("enode://{key}@127.0.0.1:{}", deaf.local_addr().expect("bound").port());
    for command in [&["ping"][..], &["discv4", "ping"]] {
        let output = run(&[command, &[&enode, "-c", "1"]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        deaf.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 1500];
        let count = std::iter::from_fn(|| deaf.recv_from(&mut buffer).ok()).count();
        assert_eq!(count, 1);
    }
}

#[test]
fn a_record_is_requested_and_resolved() {
    let node = Node::start(&["--nodekeyhex", KEY]);
    for command in ["requestenr", "resolve"] {
        let output = run(&["--json", "discv4", command, node.enode()]);
        let found = last(&output);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!((&found["enr"], &found["node_id"]), (&node.started["enr"], &node.started["node_id"]));
    }
    // Without its address, by way of another node that knows it.
    let other = Node::start(&["--bootnodes", node.enode()]);
    let key = &node.enode()[8..136];
    let mut found = None;
    for _ in 0..20 {
        let output = run(&["--json", "discv4", "resolve", &format!("enode://{key}"), "--bootnodes", other.enode()]);
        if output.status.code() == Some(0) {
            found = Some(last(&output));
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(found.expect("found by its key")["enr"], node.started["enr"]);
    let output = run(&["discv4", "resolve", &format!("enode://{key}")]);
    assert!(stderr(&output).contains("--bootnodes"), "{}", stderr(&output));
}

#[test]
fn a_bootnode_introduces_nodes_and_tells_numbers() {
    let mut boot = Node::start_as(&["bootnode", "--nodekeyhex", KEY, "--interval", "500ms"]);
    let record = boot.enr().to_owned();
    let mut first = Node::start(&["--bootnodes", &record]);
    let second = Node::start(&["--bootnodes", &record]);
    assert_eq!(first.await_event("established")["node_id"], second.started["node_id"]);
    let numbers = boot.await_event("stats");
    assert!(numbers["datagrams_in"].as_u64().is_some() && numbers["dropped"].is_object(), "{numbers}");
    assert_eq!(boot.interrupt(), Some(0));
}

#[test]
fn a_listener_prints_what_comes() {
    let mut listener = Node::start_as(&["discv4", "listen"]);
    let output = run(&["discv4", "ping", listener.enode(), "-c", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let came = listener.await_event("datagram");
    assert_eq!((&came["protocol"], &came["kind"]), (&"discv4".into(), &"Ping".into()), "{came}");
}

#[test]
fn netrestrict_holds_for_every_command() {
    let node = Node::start(&[]);
    for command in ["ping", "requestenr", "resolve", "test"] {
        let mut command = peerless(&["discv4", command, node.enode()]);
        let output = command.env("PEERLESS_NETRESTRICT", "10.0.0.0/8").output().expect("the program runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("--netrestrict"), "{}", stderr(&output));
    }
}

#[test]
fn a_node_passes_the_cases_of_discv5() {
    let node = Node::start_as(&["bootnode"]);
    let pattern = "^(Ping|HandshakeResend|TalkRequest|Findnode|Session|Whoareyou/Form)";
    let output = run(&["--json", "discv5", "test", node.enr(), "--run", pattern, "--wait", "300ms"]);
    let (lines, summary) = (objects(&output), last(&output));
    assert_eq!(output.status.code(), Some(0), "{:?} {}", lines, stderr(&output));
    assert_eq!((&summary["failed"], &summary["skipped"]), (&0.into(), &0.into()), "{summary}");
    assert!(lines.iter().any(|line| line["case"] == "FindnodeResults"));
}

#[test]
fn the_document_lists_all_cases() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md"));
    let document = document.expect("a document");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let cases = peerless_conformance::discv4::CASES.iter().chain(peerless_conformance::discv5::CASES);
    let expected: Vec<_> = cases.map(|case| format!("| `{}` | {} | {} |", case.name, case.basis, case.says)).collect();
    let listed: Vec<_> = rows.into_iter().filter(|row| !row.starts_with("| `--")).collect();
    assert_eq!(listed, expected);
}

#[test]
fn discv5_asks_as_discv4_does() {
    let node = Node::start_as(&["bootnode"]);
    let output = run(&["--json", "discv5", "ping", node.enr(), "-c", "2", "--interval", "50ms"]);
    assert_eq!((output.status.code(), &last(&output)["received"]), (Some(0), &2.into()), "{}", stderr(&output));
    for command in ["requestenr", "resolve"] {
        let output = run(&["--json", "discv5", command, node.enr()]);
        assert_eq!(
            (output.status.code(), &last(&output)["enr"]),
            (Some(0), &node.started["enr"]),
            "{}",
            stderr(&output)
        );
    }
}
