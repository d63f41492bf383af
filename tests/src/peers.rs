//! Independent implementations as child processes, installed when they are needed: see `tests/peers/README.md`.
//!
//! `PEERLESS_INTEROP` decides which ones there are: `all`, `none`, or when unset those that install in seconds. What is
//! not there is skipped (see [`crate::skip`]), which is a failure with `CI=true`.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use peerless::wire::enode::{Contact, Enode};
use peerless::wire::enr::Record;
use serde_json::{Value, json};

use crate::skip::{is_ci, skip};

/// For the installation of a JavaScript peer: at most 34 MB.
const NPM_LIMIT: Duration = Duration::from_secs(300);
/// For the build of a Rust peer: 2.5 minutes on two idle cores.
const CARGO_LIMIT: Duration = Duration::from_secs(1800);
/// Until a peer says that it is ready; several start at once.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The JavaScript peers need this version of Node.js.
const NODE_MAJOR_MIN: u32 = 20;

/// Which implementation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `@ethereumjs/devp2p`, in JavaScript.
    Ethereumjs,
    /// `ethrex-p2p`, in Rust.
    Ethrex,
    /// `@chainsafe/discv5`, in JavaScript: discv5 only.
    Chainsafe,
    /// The crate `discv5`, in Rust: discv5 only.
    Sigp,
}

impl Kind {
    /// The name of its folder.
    const fn name(self) -> &'static str {
        match self {
            Self::Ethereumjs => "ethereumjs",
            Self::Ethrex => "ethrex",
            Self::Chainsafe => "chainsafe",
            Self::Sigp => "sigp",
        }
    }

    /// Whether it is a Rust program, which builds for minutes.
    const fn is_rust(self) -> bool {
        matches!(self, Self::Ethrex | Self::Sigp)
    }
}

/// An installed implementation.
#[derive(Clone, Debug)]
pub struct Program {
    pub kind: Kind,
    executable: PathBuf,
    script: Option<PathBuf>,
}

impl Program {
    /// The implementation, installed on the first call. `None` after a skip.
    ///
    /// # Panics
    /// Instead of a skip, with `CI=true`.
    pub fn find(kind: Kind) -> Option<Self> {
        static FOUND: [OnceLock<Result<Program, String>>; 4] = [const { OnceLock::new() }; 4];
        let install = if kind.is_rust() { rust } else { javascript };
        match FOUND[kind as usize].get_or_init(|| is_wanted(kind).and_then(|()| install(kind))) {
            Ok(program) => Some(program.clone()),
            Err(why) => {
                skip(why);
                None
            }
        }
    }

    /// Starts it with the shared genesis block and the secret key `key`, at free ports. `notify` is called whenever it
    /// has said something.
    ///
    /// # Panics
    /// If it cannot start.
    pub fn start(&self, key: u8, options: &[&str], notify: impl Fn() + Send + 'static) -> Peer {
        self.start_all(&[key], options, notify)
    }

    /// As [`Program::start`], with a node for each key. Only those that speak discv5 alone can have several.
    ///
    /// # Panics
    /// If it cannot start.
    pub fn start_all(&self, keys: &[u8], options: &[&str], notify: impl Fn() + Send + 'static) -> Peer {
        let mut command = Command::new(&self.executable);
        command.args(&self.script);
        for key in keys {
            command.args(["--key", &const_hex::encode([*key; 32])]);
        }
        if matches!(self.kind, Kind::Ethereumjs | Kind::Ethrex) {
            command.arg("--genesis").arg(sources().join("genesis.json"));
        }
        let mut child =
            command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an installed program");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).unwrap_or_else(|_| json!({"event": "garbage", "what": line}));
                if sender.send(said).is_err() {
                    return;
                }
                notify();
            }
        });
        let mut peer = Peer { child, stdin, lines, ready: Value::Null, said: Vec::new() };
        peer.ready = peer.lines.recv_timeout(START_LIMIT).expect("a peer that starts");
        assert_eq!(peer.ready["event"], "ready", "{}", peer.ready);
        peer
    }
}

/// A running implementation. It is killed when dropped, and ends by itself when its lifetime is over.
pub struct Peer {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Value>,
    /// The event `ready`.
    pub ready: Value,
    /// All that it has said since, oldest first, up to the last [`Peer::listen`].
    pub said: Vec<Value>,
}

impl Peer {
    /// Where it is.
    pub fn contact(&self) -> Contact {
        let enode = self.ready["enode"].as_str().and_then(|text| text.parse::<Enode>().ok());
        let contact = enode.and_then(|enode| enode.contact());
        contact.unwrap_or_else(|| panic!("no enode URL: {}", self.ready))
    }

    /// The records of its nodes at their start.
    pub fn records(&self) -> Vec<Record> {
        let records = self.ready["records"].as_array().into_iter().flatten();
        records.map(|text| text.as_str().and_then(|text| text.parse().ok()).expect("a record")).collect()
    }

    /// Gives it a command.
    pub fn command(&mut self, command: &Value) {
        writeln!(self.stdin, "{command}").expect("a peer that listens");
    }

    /// A command about a node at an endpoint.
    pub fn command_about(&mut self, command: &str, contact: &Contact) {
        self.command(&json!({"cmd": command, "enode": contact.to_string()}));
    }

    /// Takes what it has said by now.
    pub fn listen(&mut self) {
        self.said.extend(self.lines.try_iter());
    }

    /// The first event of a name, from the `from`-th on, whose fields are as given; a field can be left out.
    pub fn find(&self, from: usize, event: &str, fields: &Value) -> Option<&Value> {
        let matches = |said: &&Value| {
            let fields = fields.as_object().expect("an object of fields");
            said["event"] == event && fields.iter().all(|(name, value)| said[name] == *value)
        };
        self.said.iter().skip(from).find(matches)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_wanted(kind: Kind) -> Result<(), String> {
    match std::env::var("PEERLESS_INTEROP").as_deref() {
        Ok("none") => Err("PEERLESS_INTEROP is none: unset it".into()),
        Ok("all") => Ok(()),
        _ if kind.is_rust() && !is_ci() => {
            Err("the Rust peers build for minutes: PEERLESS_INTEROP=all runs their tests".into())
        }
        _ => Ok(()),
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Where things are installed: inside the folder that Cargo builds into, wherever that is. Cargo marks it.
fn installed() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let marked = exe.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let target = marked.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_path_buf);
    target.join("interop")
}

fn javascript(kind: Kind) -> Result<Program, String> {
    let version = run(Command::new("node").arg("--version"), START_LIMIT)?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MAJOR_MIN) {
        return Err(format!("Node.js {NODE_MAJOR_MIN} or later is needed, not {}", version.trim()));
    }
    let (source, home) = (sources().join(kind.name()), installed().join(kind.name()));
    if !is_complete(&source, &home) {
        install(&source, &home)?;
    }
    Ok(Program { kind, executable: "node".into(), script: Some(home.join("peer.mjs")) })
}

const JAVASCRIPT_FILES: [&str; 4] = ["package.json", "package-lock.json", ".npmrc", "peer.mjs"];

/// Whether an installation is there, whole, and of the files as they are. npm writes its hidden lock file last.
fn is_complete(source: &Path, home: &Path) -> bool {
    let same = |file: &&str| match (fs::read(source.join(file)), fs::read(home.join(file))) {
        (Ok(source), Ok(copy)) => source == copy,
        _ => false,
    };
    home.join("node_modules/.package-lock.json").is_file() && JAVASCRIPT_FILES.iter().all(same)
}

/// Installs beside `home` and puts it there in one step, so that of several processes that do this at once each finds
/// either nothing or everything.
fn install(source: &Path, home: &Path) -> Result<(), String> {
    let suffixed = |suffix: &str| home.with_extension(format!("{suffix}.{}", std::process::id()));
    let (fresh, stale) = (suffixed("new"), suffixed("old"));
    let told = |error: io::Error| format!("cannot install into {}: {error}", home.display());
    fs::create_dir_all(&fresh).map_err(told)?;
    for file in JAVASCRIPT_FILES {
        fs::copy(source.join(file), fresh.join(file)).map_err(told)?;
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"];
    let npm = run(Command::new("npm").args(arguments).current_dir(&fresh), NPM_LIMIT);
    if npm.is_ok() {
        if !is_complete(source, home) && home.exists() {
            // A process that loses a race here finds the files of the winner.
            let _ = fs::rename(home, &stale);
        }
        let _ = fs::rename(&fresh, home);
    }
    let _ = (fs::remove_dir_all(&fresh), fs::remove_dir_all(&stale));
    npm?;
    let is_installed = is_complete(source, home);
    if is_installed { Ok(()) } else { Err(format!("{} is incomplete after its installation", home.display())) }
}

fn rust(kind: Kind) -> Result<Program, String> {
    let home = installed().join(kind.name());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]);
    cargo.arg(sources().join(kind.name()).join("Cargo.toml")).env("CARGO_TARGET_DIR", &home);
    // Flags and targets that are meant for the tests would only build it anew, or elsewhere.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL", "RUSTC_WRAPPER"]
    {
        cargo.env_remove(variable);
    }
    run(&mut cargo, CARGO_LIMIT)?;
    let name = format!("peerless-test-peer-{}{}", kind.name(), std::env::consts::EXE_SUFFIX);
    Ok(Program { kind, executable: home.join("release").join(name), script: None })
}

/// Runs a program to its end, and returns what it has printed.
fn run(command: &mut Command, limit: Duration) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("{name}: {error}"))?;
    let (sender, outputs) = channel();
    let reads: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
    for (which, mut read) in reads.into_iter().enumerate() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = read.read_to_end(&mut text);
            sender.send((which, String::from_utf8_lossy(&text).into_owned()))
        });
    }
    let end = Instant::now() + limit;
    let mut texts = [String::new(), String::new()];
    for _ in 0..texts.len() {
        match outputs.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok((which, text)) => texts[which] = text,
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name}: not done after {limit:?}"));
            }
        }
    }
    let [out, mut trouble] = texts;
    let status = child.wait().map_err(|error| format!("{name}: {error}"))?;
    if status.success() {
        return Ok(out);
    }
    let cut = trouble.char_indices().rev().nth(1000).map_or(0, |(at, _)| at);
    trouble.drain(..cut);
    Err(format!("{name}: {status}: {trouble}"))
}
