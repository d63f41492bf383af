//! Tests that cannot run on this machine: each says so when it ends, and `tests/run` lists them in its last lines.
//!
//! On a continuous integration server (`CI=true`) a skip is a failure, unless what is missing cannot be had there.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Names the file to which skips are appended, one a line: reason, tab, test program and test. Set by `tests/run`.
const FILE: &str = "PEERLESS_SKIPS";

/// Reports that the running test does not run, or not all of it, and why. The reason says how to run it.
///
/// # Panics
/// With `CI=true`.
pub fn skip(reason: &str) {
    assert!(!is_ci(), "no test may be skipped with CI=true: {reason}");
    skip_even_in_ci(reason);
}

/// As [`skip`], for what a continuous integration server cannot have, such as recordings outside of the repository.
///
/// # Panics
/// If the file that `tests/run` reads cannot be written.
pub fn skip_even_in_ci(reason: &str) {
    let line = line(reason, &program(), std::thread::current().name().unwrap_or("main"));
    // Not by `eprintln!`, whose output a passing test does not show.
    let _ = writeln!(io::stderr(), "skipped: {}", line.trim_end());
    if let Some(file) = std::env::var_os(FILE) {
        append(Path::new(&file), &line).expect("the file of skipped tests can be written");
    }
}

/// Whether tests run on a continuous integration server.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// The folder with recordings of real nodes, or `None` after a skip.
pub fn recordings() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("PEERLESS_RECORDED");
    if folder.is_none() {
        skip_even_in_ci("recordings of real nodes are not part of the repository: PEERLESS_RECORDED=FOLDER names them");
    }
    folder.map(Into::into)
}

/// Skips a test because tshark does not run. `PEERLESS_TSHARK=none` allows that with `CI=true`.
///
/// # Panics
/// With `CI=true` and without `PEERLESS_TSHARK=none`.
pub fn skip_without_tshark(error: &io::Error) {
    let reason = format!("tshark does not run ({error}): install it");
    if std::env::var_os("PEERLESS_TSHARK").is_some_and(|value| value == "none") {
        skip_even_in_ci(&reason);
    } else {
        skip(&reason);
    }
}

/// Whether this machine has an IPv6 loopback address; a skip where it has none.
///
/// # Panics
/// Where it has none, with `CI=true`.
pub fn has_ipv6() -> bool {
    let socket = std::net::UdpSocket::bind("[::1]:0");
    if let Err(error) = &socket {
        skip(&format!("there is no IPv6 loopback ({error}): enable IPv6"));
    }
    socket.is_ok()
}

/// The test program's name without Cargo's hash.
fn program() -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    let stem = exe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    stem.rsplit_once('-').map_or(stem.clone(), |(name, _)| name.to_owned())
}

fn line(reason: &str, program: &str, test: &str) -> String {
    let reason: Vec<&str> = reason.split_whitespace().collect();
    format!("{}\t{program} {test}\n", reason.join(" "))
}

/// One write, so that lines of several test programs do not mix.
fn append(file: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(file)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_one_line_that_names_the_test() {
        assert_eq!(line("a\n b\tc", "interop", "x::y"), "a b c\tinterop x::y\n");
        assert_eq!(program(), "peerless_tests");
        assert_eq!(std::thread::current().name(), Some("skip::tests::a_skip_is_one_line_that_names_the_test"));
    }

    #[test]
    fn skips_of_several_programs_are_kept() {
        let file = std::env::temp_dir().join(format!("peerless-skips-{}", std::process::id()));
        for test in ["a", "b"] {
            append(&file, &line("no network", "interop", test)).unwrap();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(text, "no network\tinterop a\nno network\tinterop b\n");
    }
}
