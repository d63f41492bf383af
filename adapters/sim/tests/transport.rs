//! Datagrams and streams as machines see them, over links, NATs and faults.

mod common;

use std::time::Duration;

use common::{Got, Script};
use peerless::contract::{Command, ConnId, IoFault, Via};
use peerless::time::Instant;
use peerless::wire::enode::Contact;
use peerless::wire::p2p::Capability;
use peerless_sim::{Crash, Effect, Fault, HostId, HostSpec, Hosts, Nat, Settings, Tamper, World, scenery};

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const C: HostId = HostId(2);
const FIRST: ConnId = ConnId(0);

type Scripted = World<Script>;

fn world(nats: &[Nat]) -> Scripted {
    let mut world = World::new(Settings { seed: 3, ..Settings::default() }, Script::maker);
    for nat in nats {
        world.add_host(HostSpec { nat: *nat, starts_in: Some(Duration::ZERO), ..HostSpec::default() });
    }
    world.run_for(Duration::from_secs(1)).unwrap();
    world
}

fn contact(world: &Scripted, host: HostId) -> Contact {
    let addr = world.addr(host);
    Contact::new(world.crypto().public_key(&scenery::secret(host)), addr.ip.into(), addr.port, addr.port)
}

fn run(world: &mut Scripted, millis: u64) {
    world.run_for(Duration::from_millis(millis)).unwrap();
}

fn tell(world: &mut Scripted, host: HostId, command: Command<'_>) {
    world.command(host, command).expect("the machine runs").unwrap();
}

fn dial(world: &mut Scripted, from: HostId, to: HostId) {
    let contact = contact(world, to);
    tell(world, from, Command::Dial { contact });
    run(world, 2000);
}

fn write(world: &mut Scripted, host: HostId, payload: &[u8]) {
    tell(world, host, Command::Send { conn: FIRST, capability: Capability::eth(68), id: 0, payload });
}

fn close(world: &mut Scripted, host: HostId) {
    tell(world, host, Command::Send { conn: FIRST, capability: Capability::eth(68), id: 1, payload: &[] });
}

fn script(world: &Scripted, host: HostId) -> &Script {
    world.machine(host).unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn streams_keep_the_bytes_but_not_the_chunks() {
    let mut world = world(&[Nat::None; 2]);
    dial(&mut world, A, B);
    assert!(script(&world, A).saw(&Got::Connected(FIRST)) && script(&world, B).saw(&Got::Incoming(FIRST)));
    let sent = pattern(1_000_000);
    write(&mut world, A, &sent);
    write(&mut world, B, &sent[..5000]);
    run(&mut world, 60_000);
    let (a, b) = (script(&world, A), script(&world, B));
    assert!(b.received[&FIRST] == sent && a.received[&FIRST] == sent[..5000], "ordered, complete, both ways");
    let sizes = |script: &Script, written: bool| -> std::collections::BTreeSet<usize> {
        let of = |got: &Got| match got {
            Got::Bytes(_, n) if !written => Some(*n),
            Got::Wrote(_, n) if written => Some(*n),
            _ => None,
        };
        script.got.iter().filter_map(|(_, got)| of(got)).collect()
    };
    let (writes, reads) = (sizes(a, true), sizes(b, false));
    assert!(writes.len() > 5 && reads.len() > 20, "{writes:?} {reads:?}");
    assert!(reads.first().is_some_and(|smallest| *smallest < 16), "{reads:?}");
    // Not faster than the slower access permits.
    let (first, last) = (b.got.first().unwrap().0, b.got.last().unwrap().0);
    assert!(last.since(first) >= Duration::from_micros(1_000_000 * 8 / 52), "{:?}", last.since(first));
}

#[test]
fn a_reader_that_stops_reading_stops_the_writer() {
    let mut world = world(&[Nat::None; 2]);
    dial(&mut world, A, B);
    tell(&mut world, B, Command::Shutdown);
    let sent = pattern(600_000);
    write(&mut world, A, &sent);
    run(&mut world, 10_000);
    let left = script(&world, A).outbound[&FIRST].len();
    assert!(left > 400_000, "{left} left: a window's worth is on its way");
    assert!(script(&world, B).received.is_empty());
    tell(&mut world, B, Command::Shutdown);
    run(&mut world, 60_000);
    assert!(script(&world, B).received[&FIRST] == sent, "paused streams go on");
}

/// What B got of a stream from A under a man in the middle who changes every segment in one way; and A's inputs.
fn tampered(how: Tamper, sent: &[u8]) -> (Vec<u8>, Vec<Got>, u64) {
    let mut world = world(&[Nat::None; 2]);
    dial(&mut world, A, B);
    let (since, until) = (world.now(), world.now() + Duration::from_secs(3600));
    let effect = Effect::Tamper(how, 1_000_000);
    let [from, to] = [A, B].map(Hosts::One);
    world.conditions_mut().add(Fault { since, until, from, to, both_ways: true, effect });
    write(&mut world, A, sent);
    run(&mut world, 5000);
    let got = script(&world, B).got.iter().chain(&script(&world, A).got).map(|(_, got)| got.clone()).collect();
    let received = script(&world, B).received.get(&FIRST).cloned().unwrap_or_default();
    (received, got, world.totals().segments_tampered)
}

#[test]
fn a_man_in_the_middle_flips_repeats_resets_and_truncates() {
    let sent = pattern(1000);
    let (flipped, _, segments) = tampered(Tamper::Flip, &sent);
    let bits: u32 = flipped.iter().zip(&sent).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert!(flipped.len() == sent.len() && bits as u64 == segments && segments > 0, "{bits} of {segments}");
    let (repeated, ..) = tampered(Tamper::Repeat, &sent);
    assert_eq!(repeated.len(), 2 * sent.len());
    let (received, got, _) = tampered(Tamper::Reset, &sent);
    let broken = got.iter().filter(|got| **got == Got::Broken(FIRST, IoFault::Reset)).count();
    assert!(received.is_empty() && broken == 2, "at both ends: {got:?}");
    let (received, got, _) = tampered(Tamper::Truncate, &sent);
    let ended = got.iter().filter(|got| **got == Got::Eof(FIRST)).count();
    assert!(received.len() < sent.len() && ended == 2, "at both ends: {got:?}");
}

#[test]
fn streams_half_close_and_reset() {
    let mut world = world(&[Nat::None; 2]);
    dial(&mut world, A, B);
    write(&mut world, A, b"final bytes");
    run(&mut world, 1000);
    close(&mut world, A);
    run(&mut world, 1000);
    let b = script(&world, B);
    assert!(b.received[&FIRST] == b"final bytes" && b.got.last().is_some_and(|(_, got)| *got == Got::Eof(FIRST)));
    // B still has its half open; writing to an end that closed both halves is answered by a reset.
    write(&mut world, B, b"are you there");
    run(&mut world, 1000);
    assert!(script(&world, B).saw(&Got::Broken(FIRST, IoFault::Reset)));
    assert!(!script(&world, A).got.iter().any(|(_, got)| matches!(got, Got::Broken(..) | Got::Eof(_))));
}

#[test]
fn dials_are_refused_swallowed_or_closed_unread() {
    let mut world = world(&[Nat::None; 3]);
    world.crash(B, Crash::Process);
    dial(&mut world, A, B);
    assert!(script(&world, A).saw(&Got::Broken(FIRST, IoFault::Refused)));

    world.start(B);
    world.crash(B, Crash::Power);
    dial(&mut world, C, B);
    run(&mut world, 60_000);
    assert!(script(&world, C).got.iter().all(|(_, got)| matches!(got, Got::Timeout)), "no host answers");

    world.start(B);
    let contact = contact(&world, A);
    tell(&mut world, B, Command::AddNode { contact });
    dial(&mut world, A, B);
    let second = ConnId(1);
    assert!(script(&world, A).saw(&Got::Connected(second)) && script(&world, A).saw(&Got::Eof(second)));
}

#[test]
fn each_kind_of_crash_ends_streams_in_its_way() {
    for (how, is_told) in [(Crash::Process, true), (Crash::Power, false), (Crash::Sleep, false)] {
        let mut world = world(&[Nat::None; 2]);
        dial(&mut world, A, B);
        world.crash(B, how);
        run(&mut world, 5000);
        assert_eq!(script(&world, A).saw(&Got::Broken(FIRST, IoFault::Reset)), is_told, "{how:?}");
        assert!(world.machine(B).is_none());
        world.start(B);
        run(&mut world, 5000);
        let b = script(&world, B);
        assert_eq!(b.saw(&Got::Incoming(FIRST)), how == Crash::Sleep, "{how:?}: memory");
        assert_eq!(b.saw(&Got::Broken(FIRST, IoFault::Reset)), how == Crash::Sleep, "{how:?}");
        if !is_told {
            write(&mut world, A, b"still there?");
            run(&mut world, 5000);
            assert!(
                script(&world, A).saw(&Got::Broken(FIRST, IoFault::Reset)),
                "{how:?}: the host knows nothing of it"
            );
        }
    }
}

#[test]
fn streams_stall_during_a_cut_and_continue_after_it() {
    let mut world = world(&[Nat::None; 2]);
    dial(&mut world, A, B);
    let now = world.now();
    let cut = Fault {
        since: now,
        until: now + Duration::from_secs(10),
        from: Hosts::One(A),
        to: Hosts::All,
        both_ways: false,
        effect: Effect::Cut,
    };
    world.conditions_mut().add(cut);
    write(&mut world, A, b"through?");
    write(&mut world, B, b"this way");
    run(&mut world, 9000);
    assert_eq!(script(&world, A).received[&FIRST], b"this way", "one way only");
    assert!(script(&world, B).received.is_empty());
    run(&mut world, 4000);
    assert_eq!(script(&world, B).received[&FIRST], b"through?");
}

/// The number of ten datagrams, one a second, that arrive from one host at another, with their source port.
fn arrivals(world: &Scripted, at: HostId, from: HostId) -> (usize, Option<u16>) {
    let ip = std::net::IpAddr::from(world.addr(from).ip);
    let ports: Vec<u16> = script(world, at)
        .got
        .iter()
        .filter_map(|(_, got)| if let Got::Datagram(addr, _) = got { Some(addr) } else { None })
        .filter(|addr| addr.ip() == ip)
        .map(|addr| addr.port())
        .collect();
    (ports.len(), ports.first().copied())
}

#[test]
fn each_kind_of_nat_admits_its_senders_only() {
    for nat in [Nat::None, Nat::FullCone, Nat::Restricted, Nat::Symmetric] {
        // A is behind the NAT and sends to B; B answers, and C sends unasked.
        let mut world = world(&[nat, Nat::None, Nat::None]);
        let (a, b) = (contact(&world, A), contact(&world, B));
        tell(&mut world, C, Command::Ping { via: Via::Discv4, contact: a });
        run(&mut world, 5500);
        assert_eq!(arrivals(&world, A, C).0 > 0, nat == Nat::None, "{nat:?}: unasked, before anything was sent");
        tell(&mut world, A, Command::Ping { via: Via::Discv4, contact: b });
        tell(&mut world, B, Command::Ping { via: Via::Discv4, contact: a });
        run(&mut world, 10_500);
        let (count, port) = arrivals(&world, B, A);
        assert!(count >= 10, "{nat:?}: outwards everything passes");
        assert_eq!(port == Some(a.udp()), nat != Nat::Symmetric, "{nat:?}");
        assert_eq!(arrivals(&world, A, B).0 >= 9, nat != Nat::Symmetric, "{nat:?}: to the port that A listens on");
        let open = matches!(nat, Nat::None | Nat::FullCone);
        assert_eq!(arrivals(&world, A, C).0 > 6, open, "{nat:?}: a stranger");
        dial(&mut world, C, A);
        assert_eq!(script(&world, C).saw(&Got::Connected(FIRST)), open, "{nat:?}: a stream from outside");
        dial(&mut world, A, B);
        assert!(script(&world, A).got.iter().any(|(_, got)| matches!(got, Got::Connected(_))), "{nat:?}: outwards");
    }
}

#[test]
fn wall_clocks_are_skewed_and_step() {
    let mut world = world(&[Nat::None]);
    world.set_clock_skew(A, -90);
    let start = Settings::default().start.as_secs();
    assert!(script(&world, A).saw(&Got::WallClock(start + world.now().as_micros() / 1_000_000 - 90)));
    assert_eq!(world.now(), Instant::from_micros(1_000_000));
}
