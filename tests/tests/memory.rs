//! What a node holds at rest, in bytes: the figures that the README promises.

use std::time::Duration;

use peerless::contract::Command;
use peerless_tests::memory::{Counting, live};
use peerless_tests::net::{Net, config};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Memory of a net once it has run and its records of what was seen are gone.
fn at_rest(net: &mut Net) -> isize {
    net.run_for(Duration::from_secs(40));
    net.forget();
    live()
}

#[test]
fn an_idle_session_takes_at_most_eight_kilobytes() {
    const PEERS: usize = 16;
    let mut net = Net::new(1);
    let (hub, other_hub) = (0, PEERS + 1);
    for i in 0..=other_hub {
        let mut config = config(i, 1);
        config.discovery = None;
        net.add(config);
    }
    let dial_all = |net: &mut Net, hub: usize| {
        for i in 1..=PEERS {
            let contact = net.contact(hub);
            net.command(i, Command::Dial { contact }).unwrap();
        }
    };
    // A node's first session leaves it the scratch space for compression, which its others share.
    dial_all(&mut net, other_hub);
    let contact = net.contact(other_hub);
    net.command(hub, Command::Dial { contact }).unwrap();
    let before = at_rest(&mut net);
    dial_all(&mut net, hub);
    let with_sessions = at_rest(&mut net);
    assert_eq!(net.established(hub), PEERS + 1);
    // Both ends, and what the net holds for the stream between them.
    let each = usize::try_from(with_sessions - before).unwrap() / (2 * PEERS);
    println!("an idle session takes {each} bytes");
    assert!(each <= 8 << 10, "{each} bytes");
}

#[test]
fn a_node_that_only_discovers_is_small() {
    const NODES: usize = 40;
    let mut net = Net::new(2);
    let before = at_rest(&mut net);
    let mut boot = None;
    for i in 0..NODES {
        let mut config = config(i, 1);
        config.peers.max_peers = 0;
        config.discovery.as_mut().unwrap().bootnodes.extend(boot);
        let i = net.add(config);
        boot.get_or_insert(net.contact(i));
    }
    let after = at_rest(&mut net);
    let each = usize::try_from(after - before).unwrap() / NODES;
    println!("a node that only discovers takes {each} bytes, its limiter tables included");
    assert!(each <= 48 << 10, "{each} bytes");
}
