//! Runs the built program, restricted to loopback.
#![allow(dead_code, unreachable_pub, reason = "every test uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Time limit for one step; far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(15);
/// The only permitted addresses.
pub const LOOPBACK: &str = "127.0.0.0/8,::1/128";

/// A command line of the program.
pub fn peerless(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerless"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PEERLESS_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(arguments).env("PEERLESS_NETRESTRICT", LOOPBACK).stdin(Stdio::null());
    command
}

/// Runs a command line to its end.
pub fn run(arguments: &[&str]) -> Output {
    peerless(arguments).output().expect("the program runs")
}

/// Runs a command line to its end, with these lines on its stdin.
pub fn run_with_input(arguments: &[&str], lines: &str) -> Output {
    let mut command = peerless(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // The program may end before it has read all lines.
    let _ = child.stdin.take().expect("stdin is piped").write_all(lines.as_bytes());
    child.wait_with_output().expect("the program ends")
}

/// Every line of stdout as JSON: there must be nothing else.
pub fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The last line of stdout as JSON.
pub fn last(output: &Output) -> Value {
    objects(output).pop().unwrap_or_else(|| panic!("nothing on stdout; stderr: {}", stderr(output)))
}

/// Stderr as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `peerless node` on loopback, until dropped.
pub struct Node {
    child: Child,
    lines: Receiver<Value>,
    pub started: Value,
}

impl Node {
    /// Starts a node at any port of 127.0.0.1, unless `arguments` name another address, and waits until it says where.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_as(&[&["node"], arguments].concat())
    }

    /// Starts another command that listens as `node` does.
    pub fn start_as(arguments: &[&str]) -> Self {
        let has_addr = arguments.contains(&"--addr");
        Self::spawn(&[arguments, if has_addr { &[] } else { &["--addr", "127.0.0.1"] }].concat())
    }

    /// Starts a node at any port of every address of this machine, and waits until it says where.
    pub fn start_anywhere(arguments: &[&str]) -> Self {
        Self::spawn(&[&["node"], arguments].concat())
    }

    fn spawn(arguments: &[&str]) -> Self {
        let mut command = peerless(&["--json", "--verbosity", "0"]);
        let mut child =
            command.args(arguments).args(["--port", "0"]).stdout(Stdio::piped()).spawn().expect("the program runs");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.expect("stdout is text");
                let object = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(object).is_err() {
                    return;
                }
            }
        });
        let started = lines.recv_timeout(PATIENCE).expect("the node says that it started");
        Self { child, lines, started }
    }

    pub fn enode(&self) -> &str {
        self.started["enode"].as_str().expect("an enode URL")
    }

    pub fn enr(&self) -> &str {
        self.started["enr"].as_str().expect("a record")
    }

    /// The next event of this kind.
    pub fn await_event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no {kind}: {error}"));
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// The next event of any kind.
    pub fn next_event(&mut self) -> Value {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no event: {error}"))
    }

    /// Interrupts the node as a user would; returns its exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
        self.child.wait().expect("the node ends").code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a path for this test, without a file.
pub fn fresh_path(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}
