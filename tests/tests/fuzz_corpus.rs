//! The fuzz targets on stable: every committed input of `fuzz/corpus`, and a bounded number of generated ones for each.
//!
//! `FUZZ_INPUTS=1000` runs a thousand times as many generated inputs, `FUZZ_TARGET=session` one target alone. A failure
//! prints the input in hexadecimal: put it into the corpus under the name of what it found.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use peerless::rng::Seed;
use peerless_tests::fuzz::{Reached, TARGETS, Target};
use peerless_tests::memory::{Counting, peak_of};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The largest size of a folder of the corpus: it is a set of examples, not an archive.
const CORPUS_BYTES_MAX: usize = 32 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// A target's committed inputs, by name. Files of libFuzzer, named by 40 hexadecimal digits, are skipped.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a readable file"))
        })
        .collect();
    inputs.retain(|(name, _)| name.len() != 40);
    inputs.sort();
    inputs
}

fn check(target: &Target, name: &str, data: &[u8]) -> Reached {
    catch_unwind(AssertUnwindSafe(|| target.check(data))).unwrap_or_else(|panic| {
        eprintln!("{} fails on {name}: {}", target.name, const_hex::encode(data));
        resume_unwind(panic)
    })
}

fn targets() -> impl Iterator<Item = &'static Target> {
    let only = std::env::var("FUZZ_TARGET").ok();
    TARGETS.into_iter().filter(move |target| only.as_deref().is_none_or(|only| only == target.name))
}

#[test]
fn the_corpus_reaches_every_landmark() {
    for target in targets() {
        let inputs = corpus(target);
        let bytes: usize = inputs.iter().map(|(_, data)| data.len()).sum();
        assert!(
            !inputs.is_empty() && bytes <= CORPUS_BYTES_MAX,
            "{}: {} inputs, {bytes} bytes",
            target.name,
            inputs.len()
        );
        let mut reached = Reached::default();
        for (name, data) in &inputs {
            reached.add(&check(target, name, data));
        }
        let counts: Vec<String> = reached.iter().map(|(landmark, count)| format!("{landmark} {count}")).collect();
        println!("{}: {} inputs, {bytes} bytes; {}", target.name, inputs.len(), counts.join(", "));
        let missed: Vec<_> = target.landmarks.iter().filter(|landmark| reached.count(landmark) == 0).collect();
        assert!(missed.is_empty(), "{}: no input of the corpus comes to {missed:?}", target.name);
    }
}

#[test]
fn generated_inputs_find_nothing() {
    let factor = std::env::var("FUZZ_INPUTS").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    for target in targets() {
        let inputs = corpus(target);
        let mut rng = Seed::new([0xf0; 32]).fork(target.name);
        let (count, len_max) = target.generated;
        let mut reached = Reached::default();
        for round in 0..u64::from(count) * factor {
            let mut data = match rng.choose(&inputs) {
                Some((_, data)) if round % 2 == 0 => data.clone(),
                _ => vec![0; rng.below(len_max as u64 + 1) as usize],
            };
            if round % 2 == 1 {
                rng.fill(&mut data);
            }
            for _ in 0..rng.below(4) {
                let at = rng.below(data.len() as u64 + 1) as usize;
                match rng.below(4) {
                    0 => data.truncate(at),
                    1 => data.insert(at, rng.u64() as u8),
                    2 => drop((at < data.len()).then(|| data.remove(at))),
                    _ => data.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u64() as u8),
                }
            }
            reached.add(&check(target, &format!("round {round}"), &data));
        }
        let counts: Vec<String> = reached.iter().map(|(landmark, count)| format!("{landmark} {count}")).collect();
        println!("{}: {}", target.name, counts.join(", "));
    }
}

/// The targets, the files of cargo-fuzz and the folders of the corpus are the same list.
#[test]
fn every_target_is_a_program() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for folder in ["fuzz_targets", "corpus"] {
        let entries = fs::read_dir(fuzz().join(folder)).expect("a readable folder");
        let mut found: Vec<String> = entries
            .map(|entry| entry.expect("readable").path().file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        let mut expected: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "fuzz/{folder}");
    }
    for target in TARGETS {
        let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{}.rs", target.name))).expect("a target");
        assert!(program.lines().count() <= 3, "{}: its body belongs into tests/src/fuzz", target.name);
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}: not in fuzz/Cargo.toml", target.name);
    }
}

#[test]
fn memory_is_counted() {
    assert!(peak_of(|| drop(vec![0u8; 100_000])) >= 100_000);
    let (name, landmarks, generated) = ("greedy", &[][..], (0, 0));
    let memory = peerless_tests::fuzz::Memory::DECODER;
    let greedy = Target { name, body: |_, _| drop(vec![0u8; 100_000]), memory, landmarks, generated };
    let panic = catch_unwind(AssertUnwindSafe(|| greedy.check(&[]))).expect_err("that is too much");
    assert!(panic.downcast_ref::<String>().is_some_and(|message| message.contains("bytes held")));
}
