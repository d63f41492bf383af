//! The view on a real pseudoterminal: however the program ends, the terminal is as it was before.
//!
//! The test program starts itself on the other end of the terminal, to show a page there and to end in a given way.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{Page, Screen};

/// How the program started by a test ends.
const ENDING: &str = "PEERLESS_TEST_ENDING";
const PATIENCE: Duration = Duration::from_secs(30);
const ROWS: u16 = 40;
const COLUMNS: u16 = 120;

/// In the program that a test has started: shows pages until it ends.
#[test]
fn a_view_ends_as_it_is_told() {
    let Some(ending) = std::env::var_os(ENDING) else { return };
    let mut screen = Screen::open(true).expect("a terminal");
    let page = Page { title: "a page".into(), ..Page::default() };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        screen.show(&page).expect("a terminal");
        match ending.to_str() {
            Some("exit") => return,
            Some("panic") => panic!("a test wants a panic"),
            Some("panic of a thread") => {
                std::thread::spawn(|| panic!("a test wants a panic")).join().expect_err("a panic");
                screen.show(&page).expect("a terminal");
                return;
            }
            _ if screen.is_quit() => return,
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("no key came");
}

/// Runs a view that ends like this, types `keys` once it shows, and returns the emulated terminal's last state.
fn shown(ending: &str, keys: &[u8]) -> vt100::Parser {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudoterminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a pseudoterminal");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = File::options().read(true).write(true).open(name.to_str().expect("a path")).expect("its other end");
    tcsetwinsize(&theirs, Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
    let before = tcgetattr(&theirs).expect("its modes").local_modes;
    assert!(before.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));

    let end = || Stdio::from(theirs.try_clone().expect("a descriptor"));
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "view::terminal_tests::a_view_ends_as_it_is_told", "--nocapture"])
        .env(ENDING, ending)
        .env("TERM", "xterm")
        .env("RUST_BACKTRACE", "0")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("this program");
    let (sender, chunks) = channel();
    let mut reader = File::from(ours.try_clone().expect("a descriptor"));
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let size = |size| NonZero::new(size).expect("a size");
    let mut emulator = vt100::Parser::new(size(ROWS), size(COLUMNS), 1000);
    let (mut was_shown, mut keys, deadline) = (false, Some(keys), Instant::now() + PATIENCE);
    let mut writer = File::from(ours);
    loop {
        let has_ended = child.try_wait().expect("a child").is_some();
        match chunks.recv_timeout(Duration::from_millis(50)) {
            Ok(chunk) => emulator.process(&chunk),
            Err(_) if has_ended => break,
            Err(_) => assert!(Instant::now() < deadline, "the view did not end"),
        }
        let screen = emulator.screen();
        if screen.alternate_screen() && screen.contents().contains("a page") {
            was_shown = true;
            if let Some(keys) = keys.take() {
                writer.write_all(keys).expect("a terminal");
            }
        }
    }
    // A view that ends at once may be over within one chunk.
    assert!(was_shown || ending != "key", "{}", emulator.screen().contents());
    assert_eq!(tcgetattr(&theirs).expect("its modes").local_modes, before, "{ending}: modes of the terminal");
    assert!(!emulator.screen().alternate_screen() && !emulator.screen().hide_cursor(), "{ending}");
    emulator
}

#[test]
fn exit_and_keys_give_the_terminal_back() {
    for (ending, keys) in [("exit", ""), ("key", "q"), ("key", "\x03"), ("key", "xyq")] {
        let emulator = shown(ending, keys.as_bytes());
        let text = emulator.screen().contents();
        assert!(text.contains("1 passed") && !text.contains("a page"), "{ending} {keys:?}:\n{text}");
    }
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_reported() {
    for (ending, result) in [("panic", "1 failed"), ("panic of a thread", "1 passed")] {
        let emulator = shown(ending, b"");
        let text = emulator.screen().contents();
        assert!(text.contains("a test wants a panic") && text.contains(result), "{ending}:\n{text}");
        assert!(!text.contains("a page"), "{ending}:\n{text}");
    }
}
