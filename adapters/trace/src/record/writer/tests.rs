//! Slow and failing disks.

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};

use peerless::contract::{ConnId, Devp2p, Input};
use peerless::time::{Instant as Now, UnixTime};

use super::*;
use crate::format::{Checkpoint, Payload, Reader, Record, SECP256K1};

/// A writer whose next write waits for its result from the test, until the test drops the sender.
struct Disk {
    outcomes: Receiver<io::Result<()>>,
    bytes: Sender<Vec<u8>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outcomes.recv().unwrap_or(Ok(()))?;
        self.bytes.send(bytes.to_vec()).expect("heard");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks with one input, of about so many bytes.
fn blocks(index: u64, bytes: usize) -> Blocks {
    let mut blocks = Blocks::default();
    let payload = vec![index as u8; bytes];
    let input = Input::Bytes { conn: ConnId(1), bytes: &payload };
    blocks.record(|out| {
        format::encode_input::<Devp2p>(index, Now::ZERO, &Checkpoint::default(), &input, Payload::Here, out);
    });
    blocks
}

fn start(patience: Patience) -> (Background, Sender<io::Result<()>>, Receiver<Vec<u8>>) {
    let header = Header {
        version: format::VERSION,
        family: String::from("devp2p"),
        software: String::new(),
        primitives: SECP256K1.to_owned(),
        part: 0,
        previous: 0,
        first_input: 0,
        start: Now::ZERO,
        unix: UnixTime::from_secs(0),
        key: None,
        udp: None,
        tcp: None,
        secrets: None,
        config: Vec::new(),
    };
    let ((say, outcomes), (bytes, written)) = (channel(), channel());
    let mut writer = Writer::new(Output::to_writer(Box::new(Disk { outcomes, bytes })), header);
    say.send(Ok(())).expect("heard");
    writer.begin_part().expect("written");
    (Background::start(writer, patience).expect("a thread"), say, written)
}

/// The numbers of inputs in what was written.
fn inputs(written: &Receiver<Vec<u8>>) -> Vec<u64> {
    let bytes: Vec<u8> = written.try_iter().flatten().collect();
    let mut reader: Reader = Reader::new(io::Cursor::new(bytes));
    let mut inputs = Vec::new();
    while let Ok(Some(record)) = reader.read() {
        if let Record::Input(input) = record {
            inputs.push(input.index);
        }
    }
    inputs
}

const SIZE: usize = 10_000;
const PATIENT: Patience = Patience { waiting_bytes: 5 * SIZE, wait: Duration::from_secs(3600) };

#[test]
fn a_disk_that_is_slow_is_waited_for() {
    let (mut background, say, written) = start(PATIENT);
    let patient = std::thread::spawn(move || {
        for index in 0..20 {
            background.hand_over(&mut blocks(index, SIZE)).expect("taken");
            let waiting = background.shared.lock().waiting_bytes;
            assert!(waiting <= PATIENT.waiting_bytes, "{waiting}");
        }
        background.end().expect("written");
    });
    for _ in 0..20 {
        say.send(Ok(())).expect("heard");
    }
    patient.join().expect("no panic");
    assert_eq!(inputs(&written), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_does_nothing_ends_the_recording() {
    let (background, say, written) = start(Patience { wait: Duration::ZERO, ..PATIENT });
    let refused =
        (0..20).find_map(|index| background.hand_over(&mut blocks(index, SIZE)).err().map(|why| (index, why)));
    let (index, why) = refused.expect("full at some time");
    assert_eq!((index, why.kind()), (4, io::ErrorKind::TimedOut), "the fifth does not fit with its head");
    // The node has gone on; what was taken is still written.
    let thread = { background }.thread.take().expect("not ended");
    drop(say);
    thread.join().expect("no panic");
    assert_eq!(inputs(&written), [0, 1, 2, 3]);
}

#[test]
fn blocks_larger_than_the_bound_are_taken_alone() {
    let (mut background, say, written) = start(PATIENT);
    background.hand_over(&mut blocks(0, 100 * SIZE)).expect("taken");
    drop(say);
    background.hand_over(&mut blocks(1, 100 * SIZE)).expect("taken, after the first is written");
    background.end().expect("written");
    assert_eq!(inputs(&written), [0, 1]);
}

#[test]
fn a_failure_is_told_once() {
    let (mut background, say, written) = start(PATIENT);
    background.hand_over(&mut blocks(0, SIZE)).expect("taken");
    say.send(Ok(())).expect("heard");
    background.hand_over(&mut blocks(1, SIZE)).expect("taken");
    say.send(Err(io::ErrorKind::StorageFull.into())).expect("heard");
    let mut index = 2;
    let failure = loop {
        let mut next = background.unpark();
        next.record(format::encode_continued);
        if let Err(failure) = background.park(&mut next) {
            break failure;
        }
        index += 1;
        std::thread::yield_now();
    };
    assert_eq!(failure.kind(), io::ErrorKind::StorageFull, "after {index} tries");
    background.end().expect("the failure was reported before");
    assert_eq!(inputs(&written), [0]);
}

#[test]
fn what_is_parked_is_written_when_nothing_follows() {
    let (background, say, written) = start(PATIENT);
    drop(say);
    let header = written.recv().expect("a header");
    background.park(&mut blocks(0, SIZE)).expect("parked");
    let more = written.recv().expect("the writer takes it by itself");
    assert!(!header.is_empty() && more.len() > SIZE);
    assert!(background.unpark().is_empty(), "there is something else to go on with");
}

#[test]
fn what_was_not_parked_in_time_is_taken_when_it_is() {
    let (background, say, written) = start(PATIENT);
    drop(say);
    written.recv().expect("a header");
    let waits = Instant::now() + Duration::from_secs(30);
    while !background.shared.lock().is_late {
        assert!(Instant::now() < waits, "the writer does not take the parked buffer");
        std::thread::yield_now();
    }
    let mut blocks = blocks(0, SIZE);
    background.park(&mut blocks).expect("taken");
    assert!(background.shared.lock().parked.is_none(), "it does not have to wait once more");
    assert!(written.recv().expect("written").len() > SIZE);
}
