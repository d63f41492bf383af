//! Traces as files: parts, permissions, and traces of earlier versions.

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};

use common::{START, UNIX, World, add, config, contact, meeting, run, seed, world};
use peerless::contract::{Command, Devp2p, Input, Tap, Via};
use peerless::crypto::Secp256k1;
use peerless_trace::format::{Broken, Reader, Record, SECP256K1, part_path};
use peerless_trace::inspect::{Findings, Keys, collect_secrets};
use peerless_trace::keylog::KeyLog;
use peerless_trace::record::{Options, Recorder, Subject};
use peerless_trace::replay::{Failure, Replay};

fn fresh(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("a.pcapng")
}

fn replay(path: &Path) -> Result<u64, Failure> {
    Replay::new(Reader::open(path).unwrap())?.run()
}

/// Two nodes that ping each other, the first recorded into files.
fn record(path: &Path, options: Options) {
    drop(recorded(path, options));
}

fn recorded(path: &Path, options: Options) -> World {
    let configs = [config(1, None), config(2, Some(contact(1)))];
    let (seed, crypto) = (seed(1), Secp256k1::new());
    let subject = Subject::new(&configs[0], &seed, START, UNIX, &crypto);
    let recorder = Recorder::create(path, &subject, options, Box::new(|error| panic!("{error}"))).unwrap();
    let again = Recorder::create(path, &subject, options, Box::new(|_| {}));
    assert!(again.is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists));
    let [one, two] = configs;
    let mut world = world();
    add(&mut world, one, 1, Box::new(recorder));
    let pinging = add(&mut world, two, 2, Box::new(()));
    for _ in 0..60 {
        world.command(pinging, Command::Ping { via: Via::Discv4, contact: contact(1) }).unwrap();
        run(&mut world, 50);
    }
    world
}

#[test]
fn drained_inputs_are_written_without_further_calls() {
    let path = fresh("idle");
    let world = recorded(&path, Options::default());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let inputs = loop {
        match replay(&path) {
            Err(Failure::Broken(Broken::Cut { inputs })) if inputs > 60 => break inputs,
            Err(Failure::Broken(Broken::Cut { .. })) => {
                assert!(std::time::Instant::now() < until, "nothing is written")
            }
            other => panic!("{other:?}"),
        }
        std::thread::yield_now();
    };
    drop(world);
    assert_eq!(replay(&path).unwrap(), inputs, "there was nothing left but the end mark");
}

#[test]
fn a_trace_is_complete_up_to_a_panic() {
    let path = fresh("panic");
    let node = path.clone();
    let thread = std::thread::spawn(move || {
        let _world = recorded(&node, Options::default());
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert!(replay(&path).unwrap() > 60, "with its end mark");
}

#[test]
fn parts_are_one_trace() {
    let path = fresh("parts");
    record(&path, Options { rotate_bytes: Some(4096), ..Options::default() });
    let parts = (0..).take_while(|part| part_path(&path, *part).exists()).count();
    assert!(parts > 3, "{parts}");
    let inputs = replay(&path).unwrap();
    assert!(inputs > 60, "{inputs}");
    let whole = fresh("whole");
    record(&whole, Options::default());
    assert_eq!(replay(&whole).unwrap(), inputs, "cut or not, it is the same");
    // Parts are not interchangeable.
    std::fs::copy(part_path(&path, 1), part_path(&path, 2)).unwrap();
    let failure = replay(&path).unwrap_err();
    assert!(failure.to_string().contains("continues in part 2"), "{failure}");
    assert!(replay(&part_path(&path, 1)).unwrap_err().to_string().contains("not the first part"));
}

/// The end of a trace that filled its last part was once followed by another part.
#[test]
fn a_trace_ends_once_whatever_its_parts_hold() {
    let mut parts = Vec::new();
    for rotate_bytes in (640..900).step_by(4) {
        let path = fresh("end");
        let (config, seed, crypto) = (config(1, None), seed(1), Secp256k1::new());
        let subject = Subject::new(&config, &seed, START, UNIX, &crypto);
        let options = Options { rotate_bytes: Some(rotate_bytes), ..Options::default() };
        let mut recorder = Recorder::create(&path, &subject, options, Box::new(|error| panic!("{error}"))).unwrap();
        for _ in 0..3 {
            recorder.input(START, &Input::Timeout);
        }
        recorder.finish().unwrap();
        let mut reader = Reader::<Devp2p>::open(&path).unwrap();
        while reader.read().unwrap_or_else(|broken| panic!("{rotate_bytes}: {broken}")).is_some() {}
        assert_eq!(reader.inputs(), 3);
        parts.push((0..).take_while(|part| part_path(&path, *part).exists()).count());
    }
    parts.dedup();
    assert!(parts.len() > 2, "{parts:?}");
}

#[cfg(unix)]
#[test]
fn files_with_secrets_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let path = fresh("mode");
    record(&path, Options { rotate_bytes: Some(4096), ..Options::default() });
    for part in 0..3 {
        let mode = std::fs::metadata(part_path(&path, part)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "part {part}");
    }
}

/// The trace of a session, as the version of the format in its name was written at first.
///
/// When nodes are changed to behave differently, record the session again next to the old file
/// (`PEERLESS_TRACE_SAMPLE=FILE cargo test -p peerless-trace --test files`), and move the old one to those that are
/// only read.
#[test]
fn golden_old_traces_replay() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    if let Some(sample) = std::env::var_os("PEERLESS_TRACE_SAMPLE") {
        std::fs::write(sample, &meeting(Options::default())[0]).unwrap();
    }
    let replayed = ["meeting.v2.pcapng"];
    let inspected = ["meeting.v1.pcapng"];
    for name in replayed {
        let inputs = replay(&data.join(name)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert!(inputs > 25, "{name}: {inputs}");
    }
    for entry in std::fs::read_dir(data).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(replayed.iter().chain(&inspected).any(|known| *known == name), "{name} is not tested");
    }
}

/// Version 1: other draws mean other keys, so that an older release replays it; its packets and messages are shown.
#[test]
fn a_trace_of_version_1_is_inspected_and_not_replayed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/meeting.v1.pcapng");
    let failure = replay(&path).unwrap_err();
    assert!(matches!(failure, Failure::OldVersion(1)), "{failure}");
    assert!(failure.to_string().contains("an older release"), "{failure}");

    let mut reader = Reader::open(&path).unwrap();
    let Some(Record::Header(header)) = reader.read().unwrap() else { panic!("a header comes first") };
    assert_eq!((header.version, &*header.family, &*header.primitives), (1, "devp2p", SECP256K1));
    assert!(header.secrets.is_some() && header.key.is_some());
    assert!(matches!(reader.read(), Err(Broken::OldVersion { version: 1 })));

    let mut log = KeyLog::default();
    collect_secrets(File::open(&path).unwrap(), &mut log).unwrap();
    let mut findings = Findings::new(File::open(&path).unwrap(), Keys::new(log, Vec::new()), Vec::new());
    let shown: Vec<String> =
        std::iter::from_fn(|| findings.next_finding().unwrap()).map(|finding| finding.name().to_string()).collect();
    // No session's secrets were kept in it, and its node's key opens the handshake only.
    for word in ["Ping", "ENRResponse", "Begun", "Auth"] {
        assert!(shown.iter().any(|name| name == word), "no {word} in {shown:#?}");
    }
}

#[test]
fn a_recorder_that_cannot_write_reports_it_once() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (sender, failures) = std::sync::mpsc::channel();
    let config = config(1, None);
    let (seed, crypto) = (seed(1), Secp256k1::new());
    let subject = Subject::new(&config, &seed, START, UNIX, &crypto);
    let failed = Box::new(move |error: std::io::Error| sender.send(error.kind()).unwrap());
    let recorder = Recorder::to_writer(Box::new(Full), &subject, Options::default(), failed);
    let mut world = world();
    add(&mut world, config, 1, Box::new(recorder));
    run(&mut world, 3000);
    drop(world);
    assert_eq!(failures.iter().collect::<Vec<_>>(), [std::io::ErrorKind::StorageFull]);
}
