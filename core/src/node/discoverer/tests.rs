//! Discovery alone: how many datagrams a command takes, and what is refused.

use super::*;
use crate::contract::{CallFailure, Event, Via};
use crate::testing::{Host, Net};
use crate::wire::discv4::{Datagram, Kind};

fn config(n: u8) -> Config {
    let mut config = Config::new(SecretKey::from_bytes([n; 32]).expect("in range"));
    config.addresses.set_ip([10, 0, 0, n].into());
    config
}

/// A configuration without discv5, that starts from a bootnode.
fn caller(n: u8, bootnode: Contact) -> Config {
    let mut config = config(n);
    config.discovery.discv5 = None;
    config.discovery.set_bootnodes(&[bootnode]);
    config
}

fn add(net: &mut Net<Discoverer>, config: Config) -> Host {
    let at = (config.addresses.ip().expect("set"), config.addresses.udp).into();
    net.add(at, |start| Discoverer::new(config, start.seed, start.now, start.unix).expect("valid"))
}

/// A bootnode, and a machine that does nothing by itself.
fn pair() -> (Net<Discoverer>, Host, Host) {
    let mut net = Net::new(1);
    // Datagrams do not overtake each other.
    net.link.delay = (Duration::from_millis(2), Duration::from_millis(2));
    let boot = add(&mut net, config(1));
    let mut passive = config(2);
    passive.is_passive = true;
    let passive = add(&mut net, passive);
    net.log_datagrams();
    (net, boot, passive)
}

/// The number of datagrams that a host has sent.
fn sent_count(net: &Net<Discoverer>, host: Host) -> usize {
    net.datagrams().iter().filter(|datagram| datagram.host == host && datagram.is_sent).count()
}

/// The kinds of the datagrams that a host has sent.
fn sent(net: &Net<Discoverer>, host: Host) -> Vec<Kind> {
    let sent = net.datagrams().iter().filter(|datagram| datagram.host == host && datagram.is_sent);
    sent.map(|datagram| Datagram::split(&datagram.bytes).and_then(|packet| packet.kind()).expect("a packet")).collect()
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_passive_ping_is_one_datagram() {
    let (mut net, boot, passive) = pair();
    let contact = net.machine(boot).contact();
    net.command(passive, Command::Ping { via: Via::Discv4, contact }).unwrap();
    net.run_for(LONG);
    assert!(net.saw(passive, |event| matches!(event, Event::Pong { .. })));
    assert_eq!(sent(&net, passive), [Kind::Ping]);
    assert_eq!(net.machine(passive).poll_timeout(), None, "nothing is due");
}

#[test]
fn a_passive_request_for_a_record_is_three_datagrams() {
    let (mut net, boot, passive) = pair();
    let contact = net.machine(boot).contact();
    net.command(passive, Command::RequestRecord { via: Via::Discv4, contact }).unwrap();
    net.run_for(LONG);
    let record = net.find(passive, |event| match event {
        Event::Record { record, .. } => Some(record.seq()),
        _ => None,
    });
    assert_eq!(record, Some(1));
    assert_eq!(sent(&net, passive), [Kind::Ping, Kind::Pong, Kind::EnrRequest]);
}

#[test]
fn by_discv5_each_is_a_packet_for_the_challenge_and_one_with_the_request() {
    for command in [
        |contact| Command::Ping { via: Via::Discv5, contact },
        |contact| Command::RequestRecord { via: Via::Discv5, contact },
    ] {
        let (mut net, boot, passive) = pair();
        let contact = net.machine(boot).contact();
        net.command(passive, command(contact)).unwrap();
        net.run_for(LONG);
        assert!(net.saw(passive, |event| matches!(event, Event::Pong { .. } | Event::Record { .. })));
        assert_eq!(sent_count(&net, passive), 2);
        assert_eq!(net.machine(passive).poll_timeout(), None, "nothing is due");
    }
}

#[test]
fn a_passive_ping_to_no_node_is_one_datagram_and_fails() {
    let (mut net, boot, passive) = pair();
    let contact = net.machine(boot).contact().with_udp(1);
    net.command(passive, Command::Ping { via: Via::Discv4, contact }).unwrap();
    net.run_for(LONG);
    let failed = |event: &Event<'_>| matches!(event, Event::CallFailed { why: CallFailure::Timeout, .. });
    assert!(net.saw(passive, failed));
    assert_eq!(sent(&net, passive), [Kind::Ping]);
}

#[test]
fn a_passive_lookup_finds_a_node_and_pings_only_what_it_asks() {
    let (mut net, boot, passive) = pair();
    let contact = net.machine(boot).contact();
    let hosts: Vec<Host> = (3..20).map(|n| add(&mut net, caller(n, contact))).collect();
    net.run_for(Duration::from_secs(60));
    assert_eq!(sent(&net, passive), [], "nodes that it has not asked do not know it");
    net.command(passive, Command::SetBootnodes { nodes: &[contact] }).unwrap();
    let wanted = net.machine(hosts[7]).contact();
    net.command(passive, Command::Lookup { target: *wanted.key().as_bytes() }).unwrap();
    net.run_for(Duration::from_secs(30));
    let found = net.find(passive, |event| match event {
        Event::Nodes { nodes, .. } => Some(nodes.contains(&wanted)),
        _ => None,
    });
    assert_eq!(found, Some(true));
    let (kinds, before) = (sent(&net, passive), sent_count(&net, passive));
    let count = |kind| kinds.iter().filter(|sent| **sent == kind).count();
    assert!(count(Kind::Ping) <= count(Kind::FindNode) && count(Kind::EnrRequest) == 0, "{kinds:?}");
    net.run_for(Duration::from_secs(60));
    assert_eq!(sent_count(&net, passive), before);
}

#[test]
fn a_bootnode_introduces_its_callers() {
    let mut net = Net::new(3);
    let boot = add(&mut net, config(1));
    let contact = net.machine(boot).contact();
    let callers = [2, 3].map(|n| add(&mut net, caller(n, contact)));
    net.run_for(Duration::from_secs(60));
    let discv4 = net.machine(callers[0]).discovery().discv4().expect("on");
    assert!(discv4.table().entry(&net.machine(callers[1]).contact().id()).is_some());
    assert_eq!(net.machine(boot).live_nodes().len(), 2);
    assert_eq!(net.machine(boot).record().fork_id(), None);
}

#[test]
fn commands_about_sessions_are_refused_and_streams_are_not_accepted() {
    let mut net = Net::new(4);
    let host = add(&mut net, config(1));
    let contact = net.machine(host).contact();
    assert_eq!(net.command(host, Command::Dial { contact }), Err(CommandError::NoSessions));
    assert!(net.connect_raw(host, ([10, 0, 0, 9], 1).into()).is_none());
    assert_eq!(net.machine(host).stats().accepts_refused, 1);
    net.command(host, Command::SetRecordEntry { key: b"opel", value: Some(&[0x80]) }).unwrap();
    assert_eq!(net.machine(host).record().seq(), 2);
    net.command(host, Command::Shutdown).unwrap();
    assert_eq!(net.command(host, Command::Ping { via: Via::Discv4, contact }), Err(CommandError::ShuttingDown));
    assert_eq!(net.machine(host).poll_timeout(), None);
}
