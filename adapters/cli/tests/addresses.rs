//! How a running node learns its own address, and which addresses of other nodes it uses.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::{Node, run, stderr};

#[test]
fn nodes_without_a_flag_learn_their_address_and_are_dialled() {
    let first = Node::start_anywhere(&[]);
    let mut nodes: Vec<Node> = (0..4).map(|_| Node::start_anywhere(&["--bootnodes", first.enode()])).collect();
    for node in &mut nodes {
        let address = node.await_event("address");
        assert_eq!(address["ip4"], "127.0.0.1", "{address}");
        let enode = node.started["enode"].as_str().expect("an enode URL");
        assert!(enode.ends_with(&format!("@127.0.0.1:{}", address["udp"])), "{enode} {address}");
    }
    let mut is_dialled = |node: &mut Node| (0..4).any(|_| node.await_event("hello")["direction"] == "inbound");
    assert!(nodes.iter_mut().any(&mut is_dialled));
}

/// A STUN server that tells every client the address 5.6.7.8.
fn stun_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    std::thread::spawn(move || {
        let mut request = [0; 64];
        while let Ok((20, from)) = socket.recv_from(&mut request) {
            let mapped = [0, 1, 0, 8, 0, 1, 0, 0, 5, 6, 7, 8];
            let answer = [&[1, 1, 0, 12][..], &request[4..20], &mapped].concat();
            socket.send_to(&answer, from).expect("loopback");
        }
    });
    port
}

#[test]
fn the_address_of_a_stun_server_is_in_the_record() {
    let mut node = Node::start(&["--nat", &format!("stun:127.0.0.1:{}", stun_server())]);
    assert_eq!(node.await_event("address")["ip4"], "5.6.7.8");
    assert_eq!(node.interrupt(), Some(0));
}

#[test]
fn a_gateway_that_netrestrict_excludes_is_not_asked_and_the_node_runs() {
    let node = Node::start(&["--nat", "pmp:10.0.0.1"]);
    assert_eq!(node.interrupt(), Some(0));
}

#[test]
fn values_of_nat_that_contradict_are_refused() {
    for value in ["upnp,pmp", "extip:1.2.3.4,extip:1.2.3.5", "any,extip:1.2.3.4", "somewhere"] {
        let output = run(&["node", "--nat", value, "--port", "0"]);
        assert_ne!(output.status.code(), Some(0), "{value}");
        assert!(stderr(&output).contains("--nat"), "{value}: {}", stderr(&output));
    }
    let both = Node::start(&["--nat", "extip:1.2.3.4,extip:2a00::1"]);
    assert!(both.enode().contains("@1.2.3.4:"), "{}", both.enode());
}

/// The URL with another host.
fn at_host(enode: &str, host: &str) -> String {
    enode.replace("127.0.0.1", host)
}

#[test]
fn host_names_of_bootnodes_and_static_peers_are_resolved_by_the_running_node() {
    let first = Node::start(&[]);
    let url = at_host(first.enode(), "localhost");
    let mut second = Node::start(&["--bootnodes", &url]);
    assert_eq!(second.await_event("established")["node_id"], first.started["node_id"]);
    let mut third = Node::start(&["--nodiscover", "--static-peers", &url]);
    assert_eq!(third.await_event("established")["node_id"], first.started["node_id"]);
}

#[test]
fn a_name_without_a_usable_address_and_a_node_out_of_reach_do_not_stop_the_start() {
    // Without 127.0.0.1 and [::1], which the name `localhost` stands for.
    let others = ["--netrestrict", "127.0.0.2/32,127.0.0.3/32"];
    let first = Node::start_anywhere(&[&others[..], &["--addr", "127.0.0.2"]].concat());
    let list = ["localhost", "8.8.8.8", "127.0.0.2"].map(|host| first.enode().replace("127.0.0.2", host)).join(",");
    let second = [&others[..], &["--addr", "127.0.0.3", "--bootnodes", &list]].concat();
    let mut second = Node::start_anywhere(&second);
    let (mut has_failed, mut is_dialled) = (false, false);
    while !(has_failed && is_dialled) {
        match second.next_event()["event"].as_str() {
            Some("host_failed") => has_failed = true,
            // The first node refuses the stream, which comes from 127.0.0.1.
            Some("ended") => is_dialled = true,
            _ => {}
        }
    }
    let key = &first.enode()[8..136];
    for useless in [format!("enode://{key}@8.8.8.8:30303"), format!("enode://{key}@127.0.0.1:30303?discport=0")] {
        let output = run(&["node", "--addr", "127.0.0.1", "--port", "0", "--bootnodes", &useless]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("no bootnode can be contacted: "), "{}", stderr(&output));
    }
}

#[test]
fn nodes_with_ipv6_only_find_each_other() {
    if !peerless_tests::skip::has_ipv6() {
        return;
    }
    let only6 = ["--addr", "::1"];
    let first = Node::start_anywhere(&only6);
    assert!(first.enode().contains("@[::1]:"), "{}", first.enode());
    let mut second = Node::start_anywhere(&[&only6[..], &["--bootnodes", first.enr()]].concat());
    assert_eq!(second.await_event("established")["node_id"], first.started["node_id"]);
}

#[test]
fn a_dual_stack_record_is_contacted_by_the_family_that_this_node_has() {
    if !peerless_tests::skip::has_ipv6() {
        return;
    }
    let dual = Node::start_anywhere(&["--addr", "127.0.0.1,::1"]);
    for family in ["127.0.0.1", "::1"] {
        let mut node = Node::start_anywhere(&["--addr", family, "--bootnodes", dual.enr()]);
        assert_eq!(node.await_event("established")["node_id"], dual.started["node_id"], "{family}");
        let mut node = Node::start_anywhere(&["--addr", family, "--nodiscover", "--static-peers", dual.enr()]);
        assert_eq!(node.await_event("established")["node_id"], dual.started["node_id"], "{family}");
    }
}
