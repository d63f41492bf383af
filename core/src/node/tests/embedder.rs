//! The embedder's commands while the node runs.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;

use super::*;
use crate::contract::{CommandError, CommandId, Devp2p, EndReason, Machine, PeerLimits, Tap, Tapped};
use crate::wire::p2p::Capability;

#[test]
fn a_peer_at_a_filtered_address_is_refused_at_once_and_wakes_no_node() {
    let mut config = quiet();
    config.filter = "10.0.0.0/8".parse().unwrap();
    let mut node = node(config);
    for command in [
        Command::AddPeer { contact: contact(2), kind: PeerKind::Static },
        Command::AddPeer { contact: contact(2), kind: PeerKind::Trusted },
        Command::Dial { contact: contact(2) },
    ] {
        let refused = Err(CommandError::Refused(Refusal::Filtered));
        assert_eq!(node.command(Instant::ZERO, command), refused, "{command:?}");
    }
    assert_eq!(node.offer(contact(2)), Err(CommandError::Refused(Refusal::Filtered)));
    assert_eq!((node.poll_timeout(), node.peers().declared().count()), (None, 0));
}

#[test]
fn an_offered_candidate_is_dialled_without_discovery() {
    let mut node = node(quiet());
    assert_eq!(node.poll_timeout(), None);
    node.offer(contact(2)).unwrap();
    let (at, why) = node.poll_timeout().unwrap();
    assert_eq!(why, Reason::Dial);
    node.handle(at, Input::Timeout);
    assert_eq!(dialled(&mut node).map(|(_, to)| to), Some(contact(2).tcp_addr()));
}

#[test]
fn new_limits_hold_for_the_next_dial() {
    let mut config = quiet();
    config.peers.max_peers = 0;
    let mut node = node(config);
    node.offer(contact(2)).unwrap();
    assert_eq!(node.poll_timeout(), None, "there is no room");
    node.set_limits(PeerLimits::default());
    let (at, _) = node.poll_timeout().unwrap();
    node.handle(at, Input::Timeout);
    assert!(dialled(&mut node).is_some());
}

#[test]
fn a_changed_filter_ends_connections_over_several_turns() {
    let mut node = crowded(1000);
    node.set_filter("10.0.0.0/8".parse().unwrap());
    let mut ended = Vec::new();
    for turn in 0..100u64 {
        let ends = ends(&mut node);
        assert!(ends.len() <= CONNS_PER_TURN);
        ended.extend(ends);
        node.handle(Instant::from_micros(turn + 1), Input::Timeout);
    }
    assert_eq!(ended.len(), 1000);
    let refused = End { by: Side::Us, stage: Stage::Handshake, why: EndReason::Refused(Refusal::Filtered) };
    assert!(ended.iter().all(|end| *end == refused));
}

/// Each refusal as busy is followed by one event, when half of the queue is free.
#[test]
fn discovery_that_was_busy_tells_once_when_it_takes_commands_again() {
    let mut node = node(discv4_alone());
    let crypto = Secp256k1::new();
    let mut others = (2..=250)
        .map(|n: u8| Contact::new(crypto.public_key(&secret(n)), [50 + n / 2, n, 1, 1].into(), 30303, 30303))
        .collect::<Vec<_>>()
        .into_iter();
    let now = Instant::from_micros(1);
    let added = others.by_ref().take_while(|contact| {
        let answer = node.command(now, Command::AddNode { contact: *contact });
        assert!(matches!(answer, Ok(_) | Err(CommandError::Busy)), "{answer:?}");
        answer.is_ok()
    });
    let added = added.count();
    assert!((10..200).contains(&added), "{added}");
    let late = others.next().unwrap();
    assert_eq!(node.command(now, Command::AddNode { contact: late }), Err(CommandError::Busy), "refused twice");

    let mut readied = Vec::new();
    let mut pings = 0;
    for _ in 0..10_000 {
        let Some((at, _)) = node.poll_timeout() else { break };
        if at > Instant::from_micros(60_000_000) {
            break;
        }
        node.handle(at, Input::Timeout);
        while let Some(action) = node.poll_action() {
            match action {
                Action::Emit(Event::DiscoveryReady) => readied.push(pings),
                Action::Send { .. } => pings += 1,
                _ => {}
            }
        }
    }
    assert_eq!(readied.len(), 1, "{readied:?}");
    assert!(readied[0] < added, "before all that were taken are pinged");
    let now = Instant::from_micros(60_000_001);
    assert!(node.command(now, Command::AddNode { contact: late }).is_ok());
}

#[test]
fn discovery_with_all_lookups_under_way_is_ready_when_one_has_ended() {
    let mut node = node(Config::new(secret(1), chain(1)));
    let now = Instant::from_micros(1);
    let silent = [contact(2).with_udp(30303), contact(3).with_udp(30303)];
    node.command(now, Command::SetBootnodes { nodes: &silent }).unwrap();
    let lookup = Command::Lookup { target: [7; 64] };
    let begun = (0..100).take_while(|_| node.command(now, lookup).is_ok()).count();
    assert!(begun < 100);
    assert_eq!(node.command(now, lookup), Err(CommandError::Busy));
    let mut ended = 0;
    'run: for _ in 0..1000 {
        let (at, _) = node.poll_timeout().expect("lookups have deadlines");
        node.handle(at, Input::Timeout);
        while let Some(action) = node.poll_action() {
            match action {
                Action::Emit(Event::Nodes { .. }) => ended += 1,
                Action::Emit(Event::DiscoveryReady) => break 'run,
                _ => {}
            }
        }
    }
    assert!(ended > 0, "none of {begun} had ended when discovery said that it is ready");
    assert!(node.command(Instant::ZERO, lookup).is_ok());
}

/// What a driver that is generic over machines sees of one, from a dial to its handshake.
fn observe(mut machine: impl Machine<Language = Devp2p>) -> Vec<String> {
    let mut seen = vec![];
    let now = Instant::from_micros(5);
    let command = machine.command(now, Command::Dial { contact: contact(2) });
    seen.push(alloc::format!("{command:?} {:?}", machine.poll_timeout()));
    let Some(Action::Dial { conn, to }) = machine.poll_action() else { panic!("no dial") };
    let from: SocketAddr = "8.8.8.8:30303".parse().unwrap();
    let accepted = machine.accept(now, SocketId::MAIN, from).unwrap();
    machine.handle(now, Input::Connected { conn, local: None });
    seen.push(alloc::format!("{to} {:?}", machine.poll_action()));
    assert!(machine.wants_read(accepted) && !machine.wants_read(ConnId(u64::MAX)));
    let unsent = machine.outbound(conn).len();
    assert_ne!(unsent, 0);
    machine.handle(now, Input::Wrote { conn, n: 1 });
    assert_eq!(machine.outbound(conn).len(), unsent - 1);
    let work = [accepted, conn].map(|conn| machine.take_work(conn));
    seen.push(alloc::format!("{:?} {work:?}", machine.outbound(conn)));
    seen.push(alloc::format!("{:?}", machine.poll_action()));
    seen
}

/// The kinds of calls that a tap saw.
#[derive(Default)]
struct Calls(Vec<&'static str>);

impl Tap for Calls {
    fn input(&mut self, _: Instant, _: &Input<'_>) {
        self.0.push("input");
    }
    fn accepted(&mut self, _: Instant, _: Option<ConnId>) {
        self.0.push("accepted");
    }
    fn commanded(&mut self, _: Instant, _: Result<CommandId, CommandError>) {
        self.0.push("commanded");
    }
    fn wrote(&mut self, _: Instant, _: ConnId, bytes: &[u8]) {
        assert_eq!(bytes.len(), 1);
        self.0.push("wrote");
    }
    fn action(&mut self, _: Instant, _: &Action<'_>) {
        self.0.push("action");
    }
    fn drained(&mut self, _: Instant) {
        self.0.push("drained");
    }
}

#[test]
fn a_machine_that_is_lent_or_tapped_is_driven_as_an_owned_one() {
    let owned = observe(node(quiet()));
    assert_eq!(observe(&mut node(quiet())), owned);
    let (mut first, mut second, mut boxed) = (Calls::default(), Some(Calls::default()), Box::new(Calls::default()));
    let taps = ((&mut first, &mut second), (&mut boxed, (None::<Calls>, ())));
    assert_eq!(observe(Tapped::new(node(quiet()), taps, Instant::ZERO)), owned);
    let expected =
        ["input", "commanded", "action", "input", "accepted", "input", "action", "wrote", "input", "drained"];
    assert_eq!((&first.0[..], &second.unwrap().0[..], &boxed.0[..]), (&expected[..], &expected[..], &expected[..]));
}

#[test]
fn debug_output_has_every_part_and_no_secret() {
    let mut node = node(Config::new(secret(0x5c), chain(1)));
    node.accept(Instant::ZERO, SocketId::MAIN, "8.8.8.8:30303".parse().unwrap()).unwrap();
    let shown = alloc::format!("{node:?} {:?} {:?}", node.discovery(), node.context);
    for part in ["Node {", "Discovery {", "Discv4 {", "Local {", "Bonds {", "Limiter", "Context {", "Outbox {"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("5c5c5c") && !shown.contains("92, 92, 92"), "{shown}");
}

#[test]
fn a_configuration_is_refused_in_words() {
    let mut config = quiet();
    config.capabilities = vec![Capability::new("unheard", 4).unwrap()];
    let Err(refused) = Node::new(config, [1; 32], Instant::ZERO, UNIX) else { panic!("a node") };
    assert_eq!(alloc::format!("{refused}"), "unheard/4 is offered but not registered");
    let mut config = quiet();
    config.record_entries = [(b"large".to_vec(), [&[0xb9, 1, 0][..], &[7; 256]].concat())].into();
    let Err(refused) = Node::new(config, [1; 32], Instant::ZERO, UNIX) else { panic!("a node") };
    assert_eq!(alloc::format!("{refused}"), "our node record would be larger than 300 bytes");
}
