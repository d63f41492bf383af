//! A process without free file descriptors: accepting pauses, dials fail, and the driver neither spins nor fails.
#![cfg(unix)]

mod common;

use std::fs::File;
use std::net::TcpStream;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use common::Peer;
use peerless::contract::{Command, EndReason, IoFault};

const FEW_FILES: &str = "PEERLESS_TEST_HAS_FEW_FILES";

/// Runs itself again, in a process that may open few files.
#[test]
fn a_full_file_table_pauses_accepting() {
    if std::env::var_os(FEW_FILES).is_some() {
        return crowded();
    }
    let output = Process::new("sh")
        .args(["-c", r#"ulimit -n 64 && exec "$0" --nocapture"#])
        .arg(std::env::current_exe().unwrap())
        .env(FEW_FILES, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn crowded() {
    let mut a = Peer::new("127.0.0.1", 1, |config| config.discovery.switch_off());
    let contact = Peer::new("127.0.0.1", 2, |_| ()).contact;
    // The stream waits in the kernel's backlog.
    let caller = TcpStream::connect(a.contact.tcp_addr()).unwrap();
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).take(1000).collect();
    assert!(files.len() < 100, "this test is to run with few files");

    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        a.turn(Duration::from_millis(100));
    }
    let stats = a.driver.stats();
    assert_eq!(stats.accept_pauses, 1);
    assert!(stats.turns < 10, "{} turns while nothing can be done", stats.turns);
    assert!(a.driver.accept_trouble().is_some_and(|error| error.to_string().contains("open files")));
    assert_eq!(a.driver.stream_count(), 0);

    a.command(Command::Dial { contact });
    a.until("the end of the dial", |a| a.end().is_some());
    assert_eq!(a.end().unwrap().why, EndReason::Io(IoFault::Exhausted));

    files.clear();
    a.until("the caller's acceptance", |a| a.driver.stream_count() == 1);
    assert!(a.driver.accept_trouble().is_none());
    drop(caller);
    a.until("the caller's end", |a| a.driver.stream_count() == 0);
}
