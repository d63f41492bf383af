//! The boundaries of the house: which block may import which, what the core may not contain, how large a file may be, and
//! that the links of documents lead to files.
//!
//! It reads the sources through the scanner in `rust.rs` and asks cargo about packages. A failure says what to do;
//! CONTRIBUTING.md says why.

mod checks;
mod packages;
mod rust;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rust::{Token, imports, tokens};

/// The blocks of `core/src` in dependency order. A file imports from its own block and from those of a lower rank;
/// blocks of one rank do not know each other, but for the ground, which is one block of several files.
const BLOCKS: [(&str, u8); 18] = [
    ("time", GROUND),
    ("rng", GROUND),
    ("limits", GROUND),
    ("netfilter", GROUND),
    ("crypto", 1),
    ("wire", 2),
    ("contract", 3),
    ("kad", 4),
    ("discv4", 5),
    ("discv5", 5),
    ("dns", 5),
    ("rlpx", 5),
    ("eth", 5),
    ("peers", 5),
    ("protocols", 6),
    ("node", 7),
    ("testing", 8),
    ("guide", 9),
];
const GROUND: u8 = 0;

const FILE_LINES_MAX: usize = 800;
const CLOSURE_CRATES_MAX: usize = 44;

/// Crates that would bring I/O, a clock, entropy or a random iteration order into the core.
const IMPURE_CRATES: [&str; 18] = [
    "ahash",
    "async-std",
    "chrono",
    "futures",
    "getrandom",
    "hashbrown",
    "instant",
    "jiff",
    "mio",
    "parking_lot",
    "quanta",
    "rand",
    "rustix",
    "smol",
    "socket2",
    "time",
    "tokio",
    "web-time",
];

#[test]
fn core_imports_point_downwards() {
    let mut wrong = Vec::new();
    for file in core_sources() {
        let module = module_path(&file.name);
        let Some(own) = module.first() else { continue };
        let Some(own_rank) = rank(own) else {
            wrong.push(format!(
                "{}: block `{own}` is unknown: give it its place in BLOCKS (tests/tests/house)",
                file.name
            ));
            continue;
        };
        for import in imports(&file.tokens, &module) {
            // A test may use the network in memory, whatever block it tests.
            if import.block == "testing" && module.iter().any(|part| part == "tests") {
                continue;
            }
            let allowed = match rank(&import.block) {
                Some(theirs) => import.block == *own || theirs < own_rank || (theirs, own_rank) == (GROUND, GROUND),
                None => false,
            };
            if !allowed {
                wrong.push(format!("{}:{}: `{own}` imports `{}`", file.name, import.line, import.block));
            }
        }
    }
    assert_none(
        &wrong,
        "A file of core/src imports only from its own block and from blocks above it in core/src/lib.rs; machines \
         (discv4, rlpx, eth, peers) do not import each other, and nothing goes through re-exports at the crate's root. \
         Move what is shared up, or let `node` carry it across.",
    );
}

#[test]
fn adapters_do_not_know_each_other() {
    let mut wrong = Vec::new();
    for package in packages() {
        let ours = package.dependencies.iter().filter(|name| *name == "peerless" || name.starts_with("peerless-"));
        let ours: Vec<_> = ours.collect();
        if package.folder == "core" && !ours.is_empty() {
            wrong.push(format!("core depends on {ours:?}: it may depend on no package of this workspace"));
        }
        if package.folder.starts_with("adapters/") {
            if !ours.iter().any(|name| *name == "peerless") {
                wrong.push(format!("{} does not depend on peerless: what does it adapt?", package.folder));
            }
            let others = ours.iter().filter(|name| **name != "peerless");
            if package.folder != "adapters/cli" {
                wrong.extend(others.map(|name| format!("{} depends on {name}", package.folder)));
            }
        }
    }
    assert_none(
        &wrong,
        "Adapters depend on `peerless` and never on each other; only adapters/cli wires them together.",
    );
}

#[test]
fn files_are_of_readable_size() {
    let mut wrong = Vec::new();
    for name in tracked(&["rs"]) {
        let lines = read(&name).lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{name}: {lines} lines"));
        }
    }
    assert_none(
        &wrong,
        "A file owns one thing and has at most 800 lines. Move its tests to `foo/tests.rs`, or find the second owner.",
    );
}

#[test]
fn core_files_say_what_they_own() {
    let silent = core_sources().into_iter().filter(|file| !file.text.starts_with("//!")).map(|file| file.name);
    assert_none(
        &silent.collect::<Vec<_>>(),
        "A file of core/src opens with `//!` lines: what it owns, which section it implements, what it never does.",
    );
}

#[test]
fn core_closure_is_small_and_pure() {
    let listing = cargo(&["tree", "-p", "peerless", "-e", "normal", "--prefix", "none", "--locked"]);
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    assert!(versions.remove("peerless").is_some(), "`cargo tree -p peerless` did not list peerless:\n{listing}");

    let crates: usize = versions.values().map(BTreeSet::len).sum();
    println!("the core's dependency closure: {crates} crates");
    assert!(
        crates <= CLOSURE_CRATES_MAX,
        "core's dependency closure has {crates} crates, {CLOSURE_CRATES_MAX} at most: see `cargo tree -p peerless -e normal`"
    );

    let twice: Vec<_> = versions.iter().filter(|(_, v)| v.len() > 1).map(|(name, v)| format!("{name} {v:?}")).collect();
    assert_none(&twice, "Two versions of one crate in core's closure: align the requirements in core/Cargo.toml.");

    let impure: Vec<_> = IMPURE_CRATES.iter().filter(|name| versions.contains_key(**name)).collect();
    assert_none(
        &impure,
        "Core's closure may hold no I/O, clock, entropy or random order: use another crate or feature.",
    );

    let claim = format!("{crates} crates");
    assert!(read("README.md").contains(&claim), "README.md has to say how large core's closure is: `{claim}`");
}

#[test]
fn core_is_no_std_and_safe() {
    let root = read("core/src/lib.rs");
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(root.lines().any(|line| line.trim() == attribute), "core/src/lib.rs has to say {attribute}");
    }
    assert_none(&occurrences(&["unsafe"]), "The core is safe Rust: find another way, or a library that has one.");
}

#[test]
fn core_reads_no_clock() {
    let mut found = Vec::new();
    for clock in ["Instant", "SystemTime"] {
        found.extend(occurrences(&[clock, "::", "now"]));
        found.extend(occurrences(&["std", "::", "time", "::", clock]));
    }
    assert_none(&found, "The core reads no clock, not even in its tests: take `now` from the caller.");
}

#[test]
fn nothing_is_left_for_later() {
    // Split, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let calls = [concat!("to", "do!"), concat!("unimpl", "emented!")];
    let mut found = Vec::new();
    for name in tracked(&["rs", "md"]) {
        for (number, line) in (1..).zip(read(&name).lines()) {
            let marked = line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| words.contains(&word));
            if marked || calls.iter().any(|call| line.contains(call)) {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert_none(&found, "Finish it, or take it out and say in README.md what is not done.");
}

#[test]
fn no_machine_is_mentioned() {
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for name in tracked(&[]) {
        let Ok(text) = fs::read_to_string(root().join(&name)) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            // In the middle of a longer path it is part of an address, not a folder of this machine.
            let absolute = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~*}".contains(c));
            if folders.iter().any(|folder| line.match_indices(folder).any(|(at, _)| absolute(at))) {
                found.push(format!("{name}:{number}: {}", line.trim().chars().take(120).collect::<String>()));
            }
        }
    }
    assert_none(&found, "Folders of one machine mean nothing on another: use paths relative to the repository.");
}

#[test]
fn one_program_and_no_default_members() {
    let bins = packages()
        .into_iter()
        .flat_map(|package| package.bins.into_iter().map(move |bin| (package.folder.clone(), bin)));
    assert_eq!(
        bins.collect::<Vec<_>>(),
        [("adapters/cli".to_owned(), Bin { name: "peerless".to_owned(), doc: false })],
        "the workspace has exactly one [[bin]]: `peerless` in adapters/cli, with `doc = false` (its name is the \
         library's); `cargo run` has to know what to run. Make it an example or a subcommand."
    );
    let manifest = read("Cargo.toml");
    assert!(
        !manifest.lines().any(|line| line.trim_start().starts_with("default-members")),
        "no default-members in Cargo.toml: `cargo test` tests everything"
    );
}

#[test]
fn documents_point_at_what_exists() {
    let mut broken = Vec::new();
    for name in tracked(&["md"]) {
        let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
        for (number, target) in links(&read(&name)) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains(':') && !root().join(folder).join(path).exists() {
                broken.push(format!("{name}:{number}: {target}"));
            }
        }
    }
    assert_none(&broken, "A relative link leads nowhere: correct it, or create what it promises.");
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ] {
        assert!(!read(name).trim().is_empty(), "{name} is empty");
    }
}

#[test]
fn links_are_found_outside_of_code() {
    let text = "[a](b.md) `[c](d)`\n```\n[e](f)\n```\n![g](h#i)";
    assert_eq!(links(text), [(1, "b.md".to_owned()), (5, "h#i".to_owned())]);
}

// Reading the tree

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The repository's files with one of the given extensions, or all of them: what git tracks or would track, or
/// everything but build products where git does not answer.
fn tracked(extensions: &[&str]) -> Vec<String> {
    let listing =
        Command::new("git").args(["ls-files", "-z", "-co", "--exclude-standard"]).current_dir(root()).output();
    let mut names: Vec<String> = match listing {
        Ok(listing) if listing.status.success() => {
            String::from_utf8_lossy(&listing.stdout).split_terminator('\0').map(str::to_owned).collect()
        }
        _ => walk(),
    };
    // A link's target is read where it lies.
    names.retain(|name| root().join(name).symlink_metadata().is_ok_and(|file| file.is_file()));
    assert!(names.iter().any(|name| name == "core/src/lib.rs"), "the repository's files were not found");
    if !extensions.is_empty() {
        names.retain(|name| Path::new(name).extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)));
    }
    names.sort();
    names.dedup();
    names
}

fn walk() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            let path = folder.join(entry.file_name());
            match entry.path().is_dir() {
                true if ["target", "node_modules", ".git"].iter().any(|skipped| entry.file_name() == *skipped) => {}
                true => folders.push(path),
                false => found.push(path.to_string_lossy().replace('\\', "/")),
            }
        }
    }
    found
}

struct Source {
    name: String,
    text: String,
    tokens: Vec<Token>,
}

fn core_sources() -> Vec<Source> {
    let names = tracked(&["rs"]).into_iter().filter(|name| name.starts_with("core/src/"));
    let sources = names.map(|name| {
        let text = read(&name);
        Source { tokens: tokens(&text), text, name }
    });
    sources.collect()
}

/// Where the sequence of tokens occurs in the code of `core/src`.
fn occurrences(sequence: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in core_sources() {
        let windows = file.tokens.windows(sequence.len());
        let hits = windows.filter(|window| window.iter().map(|token| token.text.as_str()).eq(sequence.iter().copied()));
        found.extend(hits.map(|window| format!("{}:{}: {}", file.name, window[0].line, sequence.concat())));
    }
    found
}

/// The targets of a document's links, with their lines, outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(targets.map(|target| (number, target.to_owned())));
    }
    found
}

#[track_caller]
fn assert_none(found: &[impl std::fmt::Display], advice: &str) {
    let list: String = found.iter().map(|line| format!("\n  {line}")).collect();
    assert!(found.is_empty(), "{advice}\n{} found:{list}\n", found.len());
}

// Asking cargo

#[derive(PartialEq, Debug)]
struct Bin {
    name: String,
    doc: bool,
}

struct Package {
    /// Relative to the repository.
    folder: String,
    /// Names of all kinds of dependencies.
    dependencies: BTreeSet<String>,
    bins: Vec<Bin>,
}

fn packages() -> Vec<Package> {
    let json = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let metadata: serde_json::Value = serde_json::from_str(&json).expect("cargo metadata prints JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    // The tests of any package may use what the tests share.
    let dependency = |dependency: &serde_json::Value| {
        let name = text(&dependency["name"]);
        (name != "peerless-tests" || dependency["kind"] != "dev").then_some(name)
    };
    let packages = list(&metadata["packages"]).into_iter().map(|package| {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root()).ok()).expect("a member's folder");
        let targets = list(&package["targets"]).into_iter();
        let bins = targets.filter(|target| list(&target["kind"]).iter().any(|kind| kind == "bin"));
        Package {
            folder: folder.to_string_lossy().replace('\\', "/"),
            dependencies: list(&package["dependencies"]).iter().filter_map(dependency).collect(),
            bins: bins.map(|bin| Bin { name: text(&bin["name"]), doc: bin["doc"] == true }).collect(),
        }
    });
    packages.collect()
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {errors}", args.join(" "));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

// What is where in core/src

fn rank(block: &str) -> Option<u8> {
    BLOCKS.iter().find(|(name, _)| *name == block).map(|(_, rank)| *rank)
}

/// `core/src/wire/enr.rs` is `wire::enr`, `core/src/wire/mod.rs` is `wire`, `core/src/lib.rs` is the root.
fn module_path(name: &str) -> Vec<String> {
    let path = name.trim_start_matches("core/src/").trim_end_matches(".rs");
    path.split('/').filter(|part| !["mod", "lib"].contains(part)).map(str::to_owned).collect()
}
