//! Two nodes that reach each other: sessions and their ends, discovery and dials.

use super::*;
use crate::contract::{BanTarget, CommandError, EndReason, Label};
use crate::testing::{Host, Net};

fn network(configs: [Config; 2]) -> (Net<Node>, [Host; 2]) {
    let mut net = Net::new(1);
    let hosts = configs.map(|config| {
        let addr = (config.addresses.ip().unwrap(), 30303).into();
        net.add(addr, |start| Node::new(config, start.seed, start.now, start.unix).unwrap())
    });
    (net, hosts)
}

fn config(n: u8) -> Config {
    let mut config = Config { secret: secret(n), ..quiet() };
    config.addresses.set_ip([9, 9, 9, n].into());
    config
}

fn established(net: &Net<Node>, host: Host) -> usize {
    net.machine(host).peers().counts().established
}

/// Two nodes in session.
fn in_session() -> (Net<Node>, [Host; 2]) {
    let (mut net, [one, two]) = network([config(1), config(2)]);
    let contact = net.machine(two).contact();
    net.command(one, Command::Dial { contact }).unwrap();
    assert!(net.run_until(Duration::from_secs(5), |net| established(net, one) + established(net, two) == 2));
    (net, [one, two])
}

fn ends(net: &Net<Node>, host: Host) -> Vec<(Side, EndReason)> {
    let end = |event: &Event<'_>| match event {
        Event::Ended { end, .. } => Some((end.by, end.why)),
        _ => None,
    };
    net.events(host).iter().filter_map(|(_, event)| end(event)).collect()
}

/// Both nodes have seen the session end because the first one has banned the second one.
fn assert_banned(net: &mut Net<Node>, [one, two]: [Host; 2]) {
    net.run_for(Duration::from_secs(3));
    assert_eq!(ends(net, one), [(Side::Us, EndReason::Refused(Refusal::Banned))]);
    assert_eq!(ends(net, two), [(Side::Them, EndReason::Disconnect(DisconnectReason::UselessPeer))]);
    assert!(net.saw(one, |event| matches!(event, Event::Banned { .. } | Event::AddressBanned { .. })));
    for host in [one, two] {
        assert_eq!(net.machine(host).sessions().count(), 0);
        assert_counted(net.machine(host));
    }
}

#[test]
fn a_ban_ends_the_connections_of_the_peer() {
    let (mut net, hosts) = in_session();
    let id = net.machine(hosts[1]).contact().id();
    net.command(hosts[0], Command::Report { id, delta: -100, reason: Label::new("bad block").unwrap() }).unwrap();
    assert!(net.machine(hosts[0]).peers().is_banned(net.now(), &id));
    assert_banned(&mut net, hosts);
}

#[test]
fn a_ban_of_the_embedder_ends_the_connections_that_it_names() {
    for by_address in [false, true] {
        let (mut net, hosts) = in_session();
        let contact = net.machine(hosts[1]).contact();
        let target = if by_address { BanTarget::Address(contact.ip()) } else { BanTarget::Id(contact.id()) };
        net.command(hosts[0], Command::Ban { target, duration: Duration::from_secs(60) }).unwrap();
        assert_banned(&mut net, hosts);
        let from = ([9, 9, 9, 2], 40_000).into();
        assert_eq!(net.connect_raw(hosts[0], from).is_none(), by_address);
        net.command(hosts[0], Command::Unban { target }).unwrap();
        assert_eq!(net.command(hosts[0], Command::Unban { target }), Err(CommandError::NotBanned));
        net.run_for(Duration::from_secs(40));
        net.command(hosts[0], Command::Dial { contact }).unwrap();
        net.run_for(Duration::from_secs(3));
        assert_eq!(established(&net, hosts[0]), 1);
    }
}

#[test]
fn a_report_that_leads_to_no_ban_keeps_the_connection() {
    let (mut net, [one, two]) = in_session();
    let id = net.machine(two).contact().id();
    net.command(one, Command::Report { id, delta: -99, reason: Label::new("slow").unwrap() }).unwrap();
    net.run_for(Duration::from_secs(3));
    assert_eq!(established(&net, one), 1);
    assert_eq!(net.machine(one).peers().ledgers().score(net.now(), &id), -99);
}

#[test]
fn a_filter_ends_the_connections_that_it_forbids() {
    let (mut net, [one, two]) = in_session();
    let contact = net.machine(two).contact();
    net.command(one, Command::SetFilter { filter: &"9.0.0.0/8".parse().unwrap() }).unwrap();
    net.run_for(Duration::from_secs(3));
    assert_eq!(established(&net, one), 1, "the filter permits its address");
    net.command(one, Command::SetFilter { filter: &"10.0.0.0/8".parse().unwrap() }).unwrap();
    net.run_for(Duration::from_secs(3));
    assert_eq!(ends(&net, one), [(Side::Us, EndReason::Refused(Refusal::Filtered))]);
    assert_eq!(net.connect_raw(one, contact.tcp_addr()), None);
    let dial = net.command(one, Command::Dial { contact });
    assert_eq!(dial, Err(CommandError::Refused(Refusal::Filtered)));
}

#[test]
fn a_trusted_peer_is_exempt_from_the_moment_that_it_is_declared() {
    let (mut net, [one, two]) = in_session();
    let contact = net.machine(one).contact();
    assert_eq!(net.machine(two).peers().counts().exempt, 0);
    net.command(two, Command::AddPeer { contact, kind: PeerKind::Trusted }).unwrap();
    assert_eq!(net.machine(two).peers().counts().exempt, 1);
    assert_counted(net.machine(two));
}

#[test]
fn a_node_of_another_network_is_not_dialled() {
    let dials = |network_id: u8| {
        let mut configs = [(1, 1), (2, network_id)].map(|(n, network_id)| {
            let mut config = Config::new(secret(n), chain(network_id));
            config.addresses.set_ip([9, 9, 9, n].into());
            config
        });
        let bootnode = Contact::new(Secp256k1::new().public_key(&secret(2)), [9, 9, 9, 2].into(), 30303, 30303);
        configs[0].discovery.discv4.as_mut().unwrap().bootnodes = [bootnode].into();
        let (mut net, hosts) = network(configs);
        net.run_for(Duration::from_secs(60));
        let known = |host: &Host| net.machine(*host).discovery().discv4().unwrap().table().len();
        assert!(hosts.iter().all(|host| known(host) == 1), "they know each other");
        hosts.iter().map(|host| net.machine(*host).stats().dials).sum::<u64>()
    };
    assert!(dials(1) > 0, "one of the same network is");
    assert_eq!(dials(2), 0, "its fork id is another");
}

#[test]
fn changes_of_the_identity_reach_discovery_and_new_sessions() {
    let mut configs = [1, 2].map(|n| {
        let mut config = Config::new(secret(n), chain(1));
        config.addresses.set_ip([9, 9, 9, n].into());
        config.peers.dial_ratio = 0;
        config
    });
    configs[1].record_seq = 7;
    let (mut net, [one, two]) = network(configs);
    let contact = net.machine(two).contact();
    net.command(two, Command::SetRecordEntry { key: b"snap", value: Some(&[0xc0]) }).unwrap();
    assert_eq!(
        net.command(two, Command::SetRecordEntry { key: b"ip", value: None }),
        Err(CommandError::RecordEntry),
        "the node's own entry"
    );
    let addresses = crate::contract::Addresses { tcp: 4444, ..*net.machine(two).addresses() };
    net.command(two, Command::SetAddresses { addresses }).unwrap();
    // The first request may overtake the endpoint proof that it needs.
    for _ in 0..2 {
        net.command(one, Command::RequestRecord { contact }).unwrap();
        net.run_for(Duration::from_secs(3));
    }
    let mut records = net.events(one).iter().filter_map(|(_, event)| match event {
        Event::Record { record, .. } => Some(record),
        _ => None,
    });
    let record = records.next_back().expect("an answer");
    assert_eq!((record.seq(), record.get(b"snap"), record.tcp()), (9, Some(&[0xc0][..]), Some(4444)));

    let offered = [crate::wire::p2p::Capability::new("foo", 1).unwrap()];
    assert_eq!(
        net.command(two, Command::SetCapabilities { offered: &offered }),
        Err(CommandError::UnknownCapability),
        "it is in no table"
    );
    net.command(two, Command::SetCapabilities { offered: &[crate::wire::p2p::Capability::eth(68)] }).unwrap();
    net.command(one, Command::Dial { contact }).unwrap();
    net.run_for(Duration::from_secs(3));
    let hello = net.events(one).iter().find_map(|(_, event)| match event {
        Event::Hello { hello, .. } => Some((hello.port, hello.capabilities.clone())),
        _ => None,
    });
    assert_eq!(hello, Some((4444, [crate::wire::p2p::Capability::eth(68)].into())));
}

/// The state in a snapshot is the state of the node that starts from it.
#[test]
fn a_snapshot_is_restored_by_a_later_run() {
    let (mut net, [one, two]) = in_session();
    let [banned, wanted] = [7, 8].map(contact);
    let forever = Duration::from_secs(1 << 40);
    net.command(one, Command::Ban { target: BanTarget::Id(banned.id()), duration: Duration::from_secs(600) }).unwrap();
    net.command(one, Command::Ban { target: BanTarget::Address(banned.ip()), duration: forever }).unwrap();
    net.command(one, Command::Unban { target: BanTarget::Address(banned.ip()) }).unwrap();
    net.command(one, Command::AddPeer { contact: wanted, kind: PeerKind::Trusted }).unwrap();
    let mut snapshot = net.machine(one).snapshot();
    assert_eq!((snapshot.record_seq, snapshot.bans.len(), snapshot.peers.len()), (1, 1, 1));
    snapshot.nodes = [net.machine(two).contact()].into();

    let later = Config { snapshot, ..Config::new(secret(1), chain(1)) };
    let restored = |elapsed| {
        let unix = net.unix().plus_secs(elapsed);
        Node::new(later.clone(), [9; 32], Instant::ZERO, unix).unwrap()
    };
    let node = restored(500);
    assert_eq!(node.record().seq(), 2, "a higher number than the last run's");
    assert!(node.peers().is_banned(Instant::ZERO, &banned.id()));
    assert!(!node.peers().is_banned(Instant::ZERO + Duration::from_secs(101), &banned.id()));
    assert_eq!(
        node.peers().declared().map(|(contact, kind)| (*contact, kind)).collect::<Vec<_>>(),
        [(wanted, PeerKind::Trusted)]
    );
    assert!(!restored(601).peers().is_banned(Instant::ZERO, &banned.id()), "the ban is over");

    let mut node = restored(0);
    assert!(node.discovery().discv4().unwrap().table().is_empty(), "restored nodes enter no table before they answer");
    node.handle(Instant::ZERO, Input::Timeout);
    let mut asked = Vec::new();
    while let Some(action) = node.poll_action() {
        if let Action::Send { to, .. } = action {
            asked.push(to);
        }
    }
    node.handle(Instant::from_micros(1), Input::Timeout);
    while let Some(action) = node.poll_action() {
        if let Action::Send { to, .. } = action {
            asked.push(to);
        }
    }
    assert_eq!(asked, [net.machine(two).contact().udp_addr()]);
}
