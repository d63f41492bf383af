//! Two nodes that reach each other: sessions and their ends, discovery and dials.

use alloc::collections::BTreeMap;

use super::*;
use crate::contract::{BanTarget, CallFailure, CommandError, EndReason, Fault, Label, Via};
use crate::rng::Rng;
use crate::testing::{Host, Net};
use crate::wire::p2p::Capability;

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

/// A node that discovers by one protocol, on a network that may have a fork to come.
fn by_protocol(n: u8, network_id: u8, via: Via, forks: &[u64]) -> Config {
    let schedule = ForkSchedule::new([network_id; 32], 0, &[], forks);
    let network = Network { name: "a network".into(), network_id: 1, schedule };
    let head = Head { number: 0, time: UNIX.as_secs(), hash: [1; 32] };
    let mut config = Config::new(secret(n), Chain::new(network, head, 0, [0; 32]));
    config.addresses.set_ip([9, 9, 9, n].into());
    match via {
        Via::Discv4 => config.discovery.discv5 = None,
        Via::Discv5 => config.discovery.discv4 = None,
    }
    config
}

#[test]
fn a_node_of_another_network_is_not_dialled() {
    let dials = |network_id: u8, via: Via| {
        let mut configs = [(1, 1), (2, network_id)].map(|(n, network_id)| by_protocol(n, network_id, via, &[]));
        let bootnode = Node::new(configs[1].clone(), [1; 32], Instant::ZERO, UNIX).unwrap().contact();
        configs[0].discovery.set_bootnodes(&[bootnode]);
        let (mut net, hosts) = network(configs);
        net.run_for(Duration::from_secs(60));
        let known = |host: &Host| {
            let discovery = net.machine(*host).discovery();
            discovery.discv4().map_or(0, |v4| v4.table().len()) + discovery.discv5().map_or(0, |v5| v5.table().len())
        };
        assert!(hosts.iter().all(|host| known(host) == 1), "they know each other");
        hosts.iter().map(|host| net.machine(*host).stats().dials).sum::<u64>()
    };
    for via in [Via::Discv4, Via::Discv5] {
        assert!(dials(1, via) > 0, "{via}: one of the same network is");
        assert_eq!(dials(2, via), 0, "{via}: its fork id is another");
    }
}

#[test]
fn a_fork_that_passes_is_in_the_record_that_others_get() {
    let fork = UNIX.as_secs() + 100;
    for via in [Via::Discv4, Via::Discv5] {
        let (mut net, [one, two]) = network([1, 2].map(|n| {
            let mut config = by_protocol(n, 1, via, &[fork]);
            config.peers.dial_ratio = 0;
            config
        }));
        let contact = net.machine(two).contact();
        let asked = |net: &mut Net<Node>| {
            // The first request may overtake the endpoint proof that it needs.
            for _ in 0..2 {
                net.command(one, Command::RequestRecord { via, contact }).unwrap();
                net.run_for(Duration::from_secs(3));
            }
            let record = net.events(one).iter().rev().find_map(|(_, event)| match event {
                Event::Record { record, .. } => Some(record.clone()),
                _ => None,
            });
            record.expect("an answer")
        };
        let before = asked(&mut net);
        assert_eq!(before.fork_id().unwrap().next, fork, "{via}");
        let head = Head { number: 7, time: fork, hash: [2; 32] };
        net.command(two, Command::SetHead { head, earliest: 0 }).unwrap();
        let after = asked(&mut net);
        assert_eq!(after.seq(), before.seq() + 1, "{via}");
        assert_eq!(after.fork_id().unwrap().next, 0, "{via}: it has passed");
        assert_ne!(after.fork_id().unwrap().hash, before.fork_id().unwrap().hash, "{via}");
        assert_eq!(*after, *net.machine(two).record(), "{via}");
    }
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
    let addresses = crate::contract::Addresses { tcp: 4444, ..net.machine(two).addresses() };
    net.command(two, Command::SetAddresses { addresses }).unwrap();
    // The first request may overtake the endpoint proof that it needs.
    for _ in 0..2 {
        net.command(one, Command::RequestRecord { via: Via::Discv4, contact }).unwrap();
        net.run_for(Duration::from_secs(3));
    }
    let mut records = net.events(one).iter().filter_map(|(_, event)| match event {
        Event::Record { record, .. } => Some(record),
        _ => None,
    });
    let record = records.next_back().expect("an answer");
    assert_eq!((record.seq(), record.get(b"snap"), record.tcp()), (9, Some(&[0xc0][..]), Some(4444)));

    let offered = [Capability::new("foo", 1).unwrap()];
    assert_eq!(
        net.command(two, Command::SetCapabilities { offered: &offered }),
        Err(CommandError::UnknownCapability),
        "it is in no table"
    );
    net.command(two, Command::SetCapabilities { offered: &[Capability::eth(68)] }).unwrap();
    net.command(one, Command::Dial { contact }).unwrap();
    net.run_for(Duration::from_secs(3));
    let hello = net.events(one).iter().find_map(|(_, event)| match event {
        Event::Hello { hello, .. } => Some((hello.port, hello.capabilities.clone())),
        _ => None,
    });
    assert_eq!(hello, Some((4444, [Capability::eth(68)].into())));
}

/// Two nodes that ask each other for headers: what an application does with what its node tells.
struct Applications {
    net: Net<Node>,
    hosts: [Host; 2],
    dice: Rng,
    /// Requests of the peer that are answered later: when, by which host, on which connection, with what.
    to_answer: Vec<(Instant, usize, ConnId, u64, &'static [u8])>,
    reached: BTreeMap<&'static str, u32>,
}

impl Applications {
    const ETH: Capability = Capability::eth(69);
    const GET_HEADERS: u64 = crate::wire::eth::id::GET_BLOCK_HEADERS;

    fn new(seed: u8) -> Self {
        let (net, hosts) = network([config(1), config(2)]);
        let dice = Seed::new([seed; 32]).fork("applications");
        Self { net, hosts, dice, to_answer: Vec::new(), reached: BTreeMap::new() }
    }

    fn contact(&self, of: usize) -> Contact {
        self.net.machine(self.hosts[of]).contact()
    }

    /// The score of each side's peer.
    fn scores(&self) -> [i32; 2] {
        let score = |of: usize| {
            self.net.machine(self.hosts[of]).peers().ledgers().score(self.net.now(), &self.contact(1 - of).id())
        };
        [0, 1].map(score)
    }

    fn is_connected(&self) -> bool {
        self.hosts.iter().any(|host| self.net.machine(*host).sessions().next().is_some())
    }

    /// Requests headers of the peer, if there is a session.
    fn ask(&mut self, by: usize) {
        let Some(conn) = self.net.conn(self.hosts[by], self.hosts[1 - by]) else { return };
        let (capability, id, body) = (Self::ETH, Self::GET_HEADERS, &[0xc4, 0x80, 0x01, 0x80, 0x80][..]);
        let _ = self.net.command(self.hosts[by], Command::Request { conn, capability, id, body });
    }

    /// Runs for a while, and lets `answer` choose what a host answers to a request and how late, if it does.
    fn run(&mut self, time: Duration, mut answer: impl FnMut(usize, &mut Rng) -> Option<(Duration, &'static [u8])>) {
        self.net.run_for(time);
        let now = self.net.now();
        for by in [0, 1] {
            for (_, event) in self.net.events(self.hosts[by]).to_vec() {
                let what = match event {
                    Event::Request { conn, request_id, .. } => {
                        if let Some((delay, body)) = answer(by, &mut self.dice) {
                            self.to_answer.push((now + delay, by, conn, request_id, body));
                        }
                        "asked"
                    }
                    Event::Response { .. } => "answered",
                    Event::RequestFailed { why: CallFailure::Timeout, .. } => "timed out",
                    Event::Established { .. } => "established",
                    Event::Banned { .. } => "banned",
                    Event::Scored { delta, .. } if delta < 0 => "charged",
                    Event::Ended {
                        end: End { why: EndReason::Fault(Fault::HeaderMac | Fault::FrameMac), .. }, ..
                    } => "wrong MAC",
                    Event::Ended { end: End { why: EndReason::Io(_) | EndReason::Eof, .. }, .. } => "cut",
                    Event::Ended { end: End { why: EndReason::Timeout(_), .. }, .. } => "end by time",
                    _ => continue,
                };
                *self.reached.entry(what).or_default() += 1;
            }
        }
        self.net.forget();
        let hosts = self.hosts;
        let (due, later) = core::mem::take(&mut self.to_answer).into_iter().partition(|(at, ..)| *at <= now);
        self.to_answer = later;
        let due: Vec<_> = due;
        for (_, by, conn, request_id, body) in due {
            let (capability, id) = (Self::ETH, Self::GET_HEADERS);
            let _ = self.net.command(hosts[by], Command::Respond { conn, capability, request_id, id, body });
        }
    }

    fn count(&self, what: &str) -> u32 {
        self.reached.get(what).copied().unwrap_or(0)
    }
}

/// A man in the middle who flips, cuts, repeats and delays for a day has neither side charged or banned: what a router can cause
/// is no proof (attack P3b). Each answers every request, one in eight of them after its time.
#[test]
fn a_man_in_the_middle_has_no_score_changed_and_no_peer_banned() {
    let mut pair = Applications::new(7);
    let millis = Duration::from_millis;
    for tick in 0..43_200 {
        if tick % 150 == 0 {
            let delays = [(millis(1), millis(5)), (millis(100), millis(3000)), (millis(4000), millis(14_000))];
            pair.net.link.tampered_per_mille = [0, 5, 50][pair.dice.below(3) as usize];
            pair.net.link.delay = delays[pair.dice.below(3) as usize];
        }
        let by = pair.dice.below(2) as usize;
        if !pair.is_connected() {
            let contact = pair.contact(1 - by);
            let _ = pair.net.command(pair.hosts[by], Command::Dial { contact });
        }
        pair.ask(by);
        pair.run(Duration::from_secs(2), |_, dice| {
            let delay = if dice.below(8) == 0 { 12 } else { 0 };
            Some((Duration::from_secs(delay), &[0xc1, 0xc0]))
        });
        let scores = pair.scores();
        assert!(scores.iter().all(|score| *score >= 0), "{scores:?} after {:?}", pair.reached);
    }
    assert_eq!((pair.count("charged"), pair.count("banned")), (0, 0), "{:?}", pair.reached);
    for (what, least) in [
        ("established", 200),
        ("wrong MAC", 50),
        ("cut", 50),
        ("end by time", 20),
        ("timed out", 100),
        ("answered", 5000),
    ] {
        assert!(pair.count(what) >= least, "the test reaches its point: {what}: {:?}", pair.reached);
    }
    for host in pair.hosts {
        let peers = pair.net.machine(host).peers();
        assert!(peers.bans().is_empty() && peers.offences().is_empty());
    }
}

/// H4: a peer that answers four of five requests with nothing, and the fifth a minute later, earns no credit and is banned within
/// the hour; one that serves the four stays in good standing all day.
#[test]
fn a_peer_that_answers_with_nothing_is_banned_and_one_that_serves_is_not() {
    for serves in [false, true] {
        let mut pair = Applications::new(8);
        let contact = pair.contact(1);
        pair.net.command(pair.hosts[0], Command::Dial { contact }).unwrap();
        let mut asked = 0;
        let mut banned_at = None;
        for tick in 1..=8640 {
            pair.ask(0);
            let mut answer = |_, _: &mut Rng| {
                asked += 1;
                let body: &'static [u8] = if serves { &[0xc1, 0xc0] } else { &[0xc0] };
                // A node that left it open for ever would stop reading.
                Some((Duration::from_secs(if asked % 5 == 0 { 60 } else { 0 }), body))
            };
            pair.run(Duration::from_secs(1), &mut answer);
            pair.run(Duration::from_secs(9), &mut answer);
            assert!(serves || pair.scores()[0] <= 0, "no credit for nothing");
            if pair.count("banned") > 0 {
                banned_at = Some(Duration::from_secs(10 * tick));
                break;
            }
        }
        assert!(pair.count("timed out") > 0 && pair.count("charged") > 0);
        if serves {
            assert_eq!((banned_at, pair.scores()[0] > -20), (None, true), "{:?}", pair.scores());
        } else {
            let at = banned_at.expect("it is banned");
            assert!(at <= Duration::from_secs(3600), "{at:?}: {:?}", pair.reached);
        }
    }
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

    let later = Config { snapshot, ..discv4_alone() };
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
