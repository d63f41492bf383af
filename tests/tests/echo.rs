//! A machine of another protocol family behind everything that drives nodes: sockets, the simulator with faults, a tap, the
//! recorder and replay. The family is the one of `core/examples/echo.rs`, taken in as it is.

#[path = "../../core/examples/echo.rs"]
mod echo;

use std::fmt;
use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerless::contract::{Action, CommandId, ConnId, Input, Machine, Tap, Tapped};
use peerless::crypto::Crypto;
use peerless::netfilter::NetFilter;
use peerless::testing::{Host, Net};
use peerless::time::{Instant, UnixTime};
use peerless_mio::{Driver, Listen, Sockets};
use peerless_sim::{Birth, Fingerprint, HostSpec, Settings, World};
use peerless_trace::format::{Decoder, Encode, Header, Malformed, Reader, Recordable, Replayable, encode_parts};
use peerless_trace::record::{Options, Recorder, Subject};
use peerless_trace::replay::{Failure, Replay};

use echo::{Echo, EchoCommand, EchoEvent, EchoMachine, EchoRefused};

const SEED: [u8; 32] = [7; 32];

fn loopback() -> NetFilter {
    "127.0.0.0/8".parse().unwrap()
}

/// What a family says of itself to be simulated: nothing.
impl Fingerprint for Echo {}

/// A command that owns its bytes.
#[allow(missing_docs, reason = "the fields of `EchoCommand`")]
#[derive(Clone, PartialEq, Debug)]
pub enum Owned {
    Dial(SocketAddr),
    Say(ConnId, Vec<u8>),
    Shout(SocketAddr, Vec<u8>),
    Resolve(String),
    Close(ConnId),
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What a family says of itself to be recorded: a codec of its words.
impl Recordable for Echo {
    const FAMILY: &'static str = "echo";

    type OwnedCommand = Owned;

    fn encode_command(command: &EchoCommand<'_>, out: &mut Vec<u8>) {
        match *command {
            EchoCommand::Dial { to } => {
                out.byte(1);
                out.addr(to);
            }
            EchoCommand::Say { conn, bytes } => encode_parts(2, conn.0, bytes, out),
            EchoCommand::Shout { to, bytes } => {
                out.byte(3);
                out.addr(to);
                out.bytes(bytes);
            }
            EchoCommand::Resolve { name } => {
                out.byte(4);
                out.text(name);
            }
            EchoCommand::Close { conn } => {
                out.byte(5);
                out.count(conn.0);
            }
        }
    }

    fn decode_command(decoder: &mut Decoder<'_>) -> Result<Owned, Malformed> {
        Ok(match decoder.byte()? {
            1 => Owned::Dial(decoder.addr()?),
            2 => Owned::Say(ConnId(decoder.count()?), decoder.bytes()?.to_vec()),
            3 => Owned::Shout(decoder.addr()?, decoder.bytes()?.to_vec()),
            4 => Owned::Resolve(decoder.text()?.to_owned()),
            5 => Owned::Close(ConnId(decoder.count()?)),
            _ => return Err(Malformed("command of echo")),
        })
    }

    fn as_command(owned: &Owned) -> EchoCommand<'_> {
        match owned {
            Owned::Dial(to) => EchoCommand::Dial { to: *to },
            Owned::Say(conn, bytes) => EchoCommand::Say { conn: *conn, bytes },
            Owned::Shout(to, bytes) => EchoCommand::Shout { to: *to, bytes },
            Owned::Resolve(name) => EchoCommand::Resolve { name },
            Owned::Close(conn) => EchoCommand::Close { conn: *conn },
        }
    }

    fn encode_event<'e>(event: &'e EchoEvent<'_>, out: &mut Vec<u8>) -> Option<&'e [u8]> {
        match event {
            EchoEvent::Open { conn } => encode_parts(1, conn.0, &[], out),
            EchoEvent::Heard { conn, bytes } => encode_parts(2, conn.0, bytes, out),
            EchoEvent::Ended { conn } => encode_parts(3, conn.0, &[], out),
            EchoEvent::Resolved { command, text } => encode_parts(4, command.0, text, out),
            EchoEvent::Returned { from, bytes } => {
                out.byte(5);
                out.addr(*from);
                return Some(bytes);
            }
        }
        None
    }

    fn encode_refused(refused: EchoRefused, out: &mut Vec<u8>) {
        out.byte(match refused {
            EchoRefused::UnknownConn => 1,
            EchoRefused::Busy => 2,
        });
    }
}

/// What a machine says of itself to be replayed: how it is built again.
impl Replayable for EchoMachine {
    fn rebuild(header: &Header, _: Arc<dyn Crypto + Send + Sync>) -> Result<Self, String> {
        let seed = header.seed().ok_or("redacted")?;
        Ok(Self::new(*seed, header.start, header.unix, loopback()))
    }
}

/// A writer whose bytes can be read while it is owned elsewhere.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

fn recorder(file: &Shared, now: Instant, unix: UnixTime) -> Recorder<Echo> {
    let subject = Subject::of_family(Vec::new(), &SEED, now, unix);
    Recorder::to_writer_as(Box::new(file.clone()), &subject, Options::default(), Box::new(|error| panic!("{error}")))
}

fn replayed(trace: Vec<u8>) -> Result<u64, Failure<Owned>> {
    Replay::<EchoMachine>::new_as(Reader::new_as(Cursor::new(trace)), |_| None)?.run()
}

/// Counts what passes.
#[derive(Default)]
struct Counts {
    inputs: u32,
    actions: u32,
    accepted: u32,
    commanded: u32,
    wrote: usize,
    drained: u32,
}

impl Tap<Echo> for Counts {
    fn input(&mut self, _: Instant, _: &Input<'_, EchoCommand<'_>>) {
        self.inputs += 1;
    }

    fn accepted(&mut self, _: Instant, conn: Option<ConnId>) {
        self.accepted += u32::from(conn.is_some());
    }

    fn commanded(&mut self, _: Instant, _: Result<CommandId, EchoRefused>) {
        self.commanded += 1;
    }

    fn wrote(&mut self, _: Instant, _: ConnId, bytes: &[u8]) {
        self.wrote += bytes.len();
    }

    fn action(&mut self, _: Instant, _: &Action<'_, EchoEvent<'_>>) {
        self.actions += 1;
    }

    fn drained(&mut self, _: Instant) {
        self.drained += 1;
    }
}

type TappedEcho = Tapped<EchoMachine, (Counts, Recorder<Echo>)>;

fn heard<'a>(events: impl IntoIterator<Item = &'a EchoEvent<'static>>) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        if let EchoEvent::Heard { bytes, .. } = event {
            all.extend_from_slice(bytes);
        }
    }
    all
}

#[test]
fn a_foreign_machine_is_tapped_recorded_and_replayed() {
    let file = Shared::default();
    let mut net: Net<TappedEcho> = Net::new(3);
    let [one, two]: [Host; 2] = [1u8, 2].map(|n| {
        let file = if n == 1 { file.clone() } else { Shared::default() };
        net.add(SocketAddr::from(([127, 0, 0, n], 7)), |start| {
            let machine = EchoMachine::new(SEED, start.now, start.unix, loopback());
            Tapped::new(machine, (Counts::default(), recorder(&file, start.now, start.unix)), start.now)
        })
    });
    let to = net.addr(two);
    net.command(one, EchoCommand::Dial { to }).unwrap();
    net.command(one, EchoCommand::Shout { to, bytes: b"out there" }).unwrap();
    net.command(one, EchoCommand::Resolve { name: "nodes.example.org" }).unwrap();
    assert_eq!(net.command(one, EchoCommand::Close { conn: ConnId(9) }), Err(EchoRefused::UnknownConn));
    net.run_for(Duration::from_secs(1));
    let said: Vec<u8> = (0..50_000u32).map(|i| ((i * i) >> 5) as u8).collect();
    net.command(one, EchoCommand::Say { conn: ConnId(0), bytes: &said }).unwrap();
    net.run_for(Duration::from_secs(100));

    let events: Vec<_> = net.events(one).iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(heard(&events), said, "every byte comes back in order");
    assert!(events.contains(&EchoEvent::Returned { from: to, bytes: b"out there".into() }));
    assert!(events.contains(&EchoEvent::Resolved { command: CommandId(2), text: Default::default() }), "{events:?}");
    assert_eq!(events.last(), Some(&EchoEvent::Ended { conn: ConnId(0) }), "an idle stream is closed");
    let (counts, _) = net.machine(one).tap();
    assert_eq!((counts.commanded, counts.wrote), (5, said.len()));
    assert_eq!(net.machine(two).tap().0.accepted, 1);
    assert!(counts.inputs > 20 && counts.actions > 10 && counts.drained > 20);

    drop(net);
    let trace = file.bytes();
    assert!(replayed(trace.clone()).unwrap() > 20);
    let mut changed = trace;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(matches!(replayed(changed), Err(Failure::Broken(_))));
}

#[test]
fn a_trace_of_one_family_is_refused_by_another() {
    let file = Shared::default();
    let (now, unix) = (Instant::ZERO, UnixTime::from_secs(1));
    let mut machine = Tapped::new(EchoMachine::new(SEED, now, unix, loopback()), recorder(&file, now, unix), now);
    machine.handle(now, Input::Timeout);
    drop(machine);
    let node = Replay::new(Reader::new(Cursor::new(file.bytes()))).map(|_| ());
    assert!(matches!(node, Err(Failure::Family(family)) if family == "echo"));
}

#[test]
fn a_foreign_machine_runs_over_sockets_and_its_recording_replays() {
    let machine = |now, unix| Ok::<_, ()>(EchoMachine::new(SEED, now, unix, loopback()));
    let bind = || Sockets::bind(&Listen::at((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
    let mut server = Driver::new(bind(), machine).unwrap();
    let to = server.sockets().tcp_addr().unwrap();
    let udp = server.sockets().udp_addr().unwrap();
    let (file, mut start) = (Shared::default(), None);
    let mut client = Driver::new(bind(), |now, unix| {
        start = Some((now, unix));
        machine(now, unix)
    })
    .unwrap();
    let (now, unix) = start.unwrap();
    client.set_tap(Box::new(recorder(&file, now, unix)));
    client.command(EchoCommand::Dial { to }).unwrap();
    client.command(EchoCommand::Shout { to: udp, bytes: b"ping" }).unwrap();
    client.command(EchoCommand::Resolve { name: "example.org" }).unwrap();
    let said = vec![0x5a; 60_000];
    let (mut back, mut returned, mut resolved, mut said_it) = (Vec::new(), false, false, false);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while (back.len() < said.len() || !returned) && std::time::Instant::now() < deadline {
        let mut open = false;
        client
            .turn(Some(Duration::from_millis(5)), |event| match event {
                EchoEvent::Open { .. } => open = true,
                EchoEvent::Heard { bytes, .. } => back.extend_from_slice(&bytes),
                EchoEvent::Returned { bytes, .. } => returned = *bytes == *b"ping",
                EchoEvent::Resolved { text, .. } => resolved = text.is_empty(),
                EchoEvent::Ended { .. } => panic!("the stream ended"),
            })
            .unwrap();
        if open && !said_it {
            client.command(EchoCommand::Say { conn: ConnId(0), bytes: &said }).unwrap();
            said_it = true;
        }
        server.turn(Some(Duration::from_millis(5)), |_| ()).unwrap();
    }
    assert_eq!((back, returned, resolved), (said, true, true));
    drop(client);
    assert!(replayed(file.bytes()).unwrap() > 5);
}

#[test]
fn a_foreign_machine_is_simulated_with_faults_and_repeats() {
    let run = |threads| {
        let settings = Settings { seed: 11, threads, ..Settings::default() };
        let maker = |birth: &Birth<'_>| EchoMachine::new(birth.seed, birth.now, birth.unix, NetFilter::default());
        let mut world: World<EchoMachine> = World::new(settings, maker);
        let hosts: Vec<_> = (0..8).map(|_| world.add_host(HostSpec::default())).collect();
        hosts.iter().for_each(|host| world.start(*host));
        world.run_for(Duration::from_secs(1)).unwrap();
        for (host, other) in hosts.iter().zip(hosts.iter().cycle().skip(1)) {
            let to = world.addr(*other).into();
            world.command(*host, EchoCommand::Dial { to }).unwrap().unwrap();
            world.command(*host, EchoCommand::Shout { to, bytes: b"hello" }).unwrap().unwrap();
        }
        world.run_for(Duration::from_secs(1)).unwrap();
        for host in &hosts {
            for conn in [ConnId(0), ConnId(1)] {
                let _ = world.command(*host, EchoCommand::Say { conn, bytes: &[9; 5000] });
            }
        }
        world.crash(hosts[3], peerless_sim::Crash::Power);
        world.run_for(Duration::from_secs(120)).unwrap();
        let totals = world.totals();
        assert!(totals.streams >= 7 && totals.stream_bytes > 8 * 5000, "{totals:?}");
        assert!(world.machines().all(|(_, machine)| machine.poll_timeout().is_none()), "idle streams are closed");
        (world.trace_hash(), world.events())
    };
    assert_eq!(run(1), run(1));
    assert_eq!(run(1), run(2));
}
