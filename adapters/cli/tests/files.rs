//! Files that commands write: never over an input, over another file only with `--force`. Errors name a cause once.

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use common::{fresh_path, run, stderr};

const TRACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../trace/tests/data");
const KEY: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A file of this test's own with this content, readable by its owner alone.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = fresh_path(name);
    std::fs::write(&path, content).expect("the folder can be written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("the file is ours");
    }
    path
}

/// A copy of a committed trace.
fn trace(name: &str) -> PathBuf {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(TRACES).expect("the folder of traces").map(|entry| entry.expect("a file").path()).collect();
    names.sort();
    file(name, &std::fs::read(&names[0]).expect("a trace"))
}

/// Runs a command that must fail with this word on one line of stderr, and leave the file as it is.
fn refused(arguments: &[&str], kept: &Path, word: &str) {
    let before = std::fs::read(kept).expect("the file is there");
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
    assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
    assert_eq!(std::fs::read(kept).expect("the file is there"), before, "{arguments:?} changed {}", kept.display());
}

#[test]
fn inspect_does_not_write_over_what_it_reads() {
    let capture = trace("capture.pcapng");
    let (log, key) = (file("keys.log", b""), file("node.key", KEY.as_bytes()));
    let link = fresh_path("link.pcapng");
    std::fs::hard_link(&capture, &link).expect("a file system with links");
    for force in [&[][..], &["--force"]] {
        let inspect = |out: &Path, kept: &Path| {
            let arguments =
                ["inspect", text(&capture), "--keylog", text(&log), "--nodekey", text(&key), "--decrypted", text(out)];
            refused(&[&arguments, force].concat(), kept, "read by this command");
        };
        inspect(&capture, &capture);
        inspect(&link, &capture);
        inspect(&log, &log);
        inspect(&key, &key);
        let around = capture.parent().expect("a folder").join(".").join(capture.file_name().expect("a name"));
        inspect(&around, &capture);
    }
    for path in [capture, log, key, link] {
        std::fs::remove_file(path).expect("the file is there");
    }
}

#[test]
fn an_existing_output_is_replaced_only_by_force() {
    let capture = trace("replaced.pcapng");
    let out = file("other", b"other work");
    let arguments = ["inspect", text(&capture), "--decrypted", text(&out)];
    refused(&arguments, &out, "--force");
    let output = run(&[&arguments[..], &["--force"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let written = std::fs::read(&out).expect("the file is there");
    assert!(written.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "a pcapng file");

    let plot = ["sim", "discovery", "--nodes", "4", "--time", "20s", "--plot", text(&out)];
    refused(&plot, &out, "--force");
    let trace = ["sim", "discovery", "--nodes", "4", "--time", "20s", "--trace", text(&out)];
    refused(&trace, &out, "it exists");
    for path in [capture, out] {
        std::fs::remove_file(path).expect("the file is there");
    }
}

#[test]
fn two_outputs_are_two_files() {
    let path = fresh_path("both");
    let output =
        run(&["sim", "discovery", "--nodes", "4", "--time", "20s", "--plot", text(&path), "--trace", text(&path)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!path.exists());
}

#[test]
fn a_key_log_is_not_appended_to_a_key() {
    let key = file("appended.key", KEY.as_bytes());
    let node = ["node", "--addr", "127.0.0.1", "--port", "0", "--nodekey", text(&key), "--keylog", text(&key)];
    refused(&node, &key, "read by this command");
    std::fs::remove_file(key).expect("the file is there");
}

#[test]
fn an_error_names_its_cause_once() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let output = run(&["node", "--addr", "127.0.0.1", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert_eq!(text.matches("in use").count(), 1, "{text}");
    assert!(text.contains("choose another port"), "{text}");

    let text = stderr(&run(&["replay", "/nonexistent/trace"]));
    assert_eq!(text.matches("No such file").count(), 1, "{text}");
}
