//! Traces as files: parts, permissions, and traces of earlier versions.

mod common;

use std::path::{Path, PathBuf};

use common::{Host, START, UNIX, World, config, contact, meeting, seed};
use peerless::contract::Command;
use peerless::crypto::Secp256k1;
use peerless_trace::format::{Broken, Reader, part_path};
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
    let mut world = World::new(vec![Host::new(one, 1, Box::new(recorder)), Host::new(two, 2, Box::new(()))]);
    for _ in 0..60 {
        let now = world.now;
        world.hosts[1].command(now, Command::Ping { contact: contact(1) });
        world.run(50);
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

/// The trace of a session, as version 1 of the format was written at first.
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
    let replayed = ["meeting.v1.pcapng"];
    let read: [&str; 0] = [];
    for name in replayed {
        let inputs = replay(&data.join(name)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert!(inputs > 25, "{name}: {inputs}");
    }
    for name in read.iter().chain(&replayed) {
        let mut reader = Reader::open(&data.join(name)).unwrap();
        while reader.read().unwrap_or_else(|broken| panic!("{name} {broken}")).is_some() {}
    }
    for entry in std::fs::read_dir(data).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(read.iter().chain(&replayed).any(|known| *known == name), "{name} is not tested");
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
    let mut world = World::new(vec![Host::new(config, 1, Box::new(recorder))]);
    world.run(3000);
    drop(world);
    assert_eq!(failures.iter().collect::<Vec<_>>(), [std::io::ErrorKind::StorageFull]);
}
