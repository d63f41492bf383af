//! What a network was recorded doing, it does again.

mod common;

use std::path::{Path, PathBuf};

use common::{Node, last, objects, run, stderr};

fn fresh_folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn traces(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a file").path().display().to_string()).collect();
    names.sort();
    names
}

#[cfg(unix)]
fn mode(path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn every_node_of_a_network_replays() {
    let folder = fresh_folder("devnet");
    let folder_name = folder.display().to_string();
    let output = run(&["--json", "devnet", "--nodes", "3", "--duration", "5s", "--trace", &folder_name]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("holds secret keys"), "{}", stderr(&output));
    let traces = traces(&folder);
    assert_eq!(traces.len(), 4, "{traces:?}");
    for trace in &traces {
        let output = run(&["--json", "replay", trace]);
        let verdict = last(&output);
        assert_eq!(output.status.code(), Some(0), "{trace}: {verdict}");
        assert_eq!(verdict["verified"], true);
        assert!(verdict["inputs"].as_u64() > Some(20), "{verdict}");
        assert!(verdict["duration_s"].as_f64() > Some(4.0), "{verdict}");
        #[cfg(unix)]
        assert_eq!(mode(trace), 0o600);
    }
    looked_into(&traces[1]);
    tampered(&traces[2]);
    std::fs::remove_dir_all(folder).expect("removed");
}

/// `--until`, `--print`, `--state` and `--bisect`.
fn looked_into(trace: &str) {
    let output = run(&["--json", "replay", trace, "--bisect", "sessions >= 1"]);
    assert_eq!(output.status.code(), Some(0));
    let found = objects(&output).into_iter().find(|object| object["event"] == "found").expect("a session");
    let input = found["input"].as_u64().expect("a number");
    let state = |input: u64| {
        let output = run(&["--json", "replay", trace, "--until", &format!("#{input}"), "--state"]);
        let state = objects(&output).into_iter().find(|object| object["table"].is_array()).expect("a state");
        let connections = state["connections"].as_array().expect("a list").clone();
        connections.iter().filter(|connection| connection["stage"] == "established").count()
    };
    assert_eq!((state(input - 1), state(input)), (0, 1));
    let output = run(&["--json", "replay", trace, "--print", "--until", "#5"]);
    let shown: Vec<_> = objects(&output).into_iter().filter(|object| object["what"].is_string()).collect();
    assert_eq!(shown.len(), 6, "{shown:?}");
    let output = run(&["--json", "replay", trace, "--bisect", "table > 100"]);
    assert_eq!((output.status.code(), &last(&output)["verified"]), (Some(1), &true.into()));
    let output = run(&["replay", trace, "--until", "1s"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("verified: "));
    let output = run(&["replay", trace, "--bisect", "tables > 1"]);
    assert_eq!(output.status.code(), Some(2), "misuse");
}

fn tampered(trace: &str) {
    let mut bytes = std::fs::read(trace).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(trace, &bytes).expect("writable");
    let output = run(&["--json", "replay", trace]);
    let verdict = last(&output);
    assert_eq!(output.status.code(), Some(1), "{verdict}");
    assert!(verdict["failure"].as_str().is_some_and(|failure| failure.contains("changed at input #")), "{verdict}");
    // Where the recorder was stopped, everything up to there replays.
    bytes[middle] ^= 1;
    std::fs::write(trace, &bytes[..middle]).expect("writable");
    let output = run(&["--json", "replay", trace]);
    assert_eq!((output.status.code(), &last(&output)["verified"]), (Some(1), &false.into()));
    let output = run(&["--json", "replay", trace, "--allow-cut"]);
    assert_eq!((output.status.code(), &last(&output)["verified"]), (Some(0), &true.into()));
}

#[test]
fn a_node_is_recorded_in_parts_and_never_over_another() {
    let folder = fresh_folder("node");
    std::fs::create_dir_all(&folder).expect("made");
    let trace = folder.join("a.pcapng").display().to_string();
    let node = Node::start(&["--trace", &trace, "--trace-rotate", "4096"]);
    for _ in 0..3 {
        let output = run(&["ping", node.enode(), "-c", "10", "--interval", "5ms"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    assert_eq!(node.interrupt(), Some(0));
    let parts = traces(&folder);
    assert!(parts.len() > 2, "{parts:?}");
    let verdict = last(&run(&["--json", "replay", &trace]));
    assert_eq!(verdict["verified"], true, "{verdict}");
    assert!(verdict["inputs"].as_u64() > Some(30), "{verdict}");
    let second = run(&["--json", "node", "--port", "0", "--addr", "127.0.0.1", "--trace", &trace]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("cannot record into"), "{}", stderr(&second));
    // A part is missing.
    std::fs::remove_file(folder.join("a.1.pcapng")).expect("removed");
    assert_eq!(last(&run(&["--json", "replay", &trace]))["verified"], false);
    std::fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn a_redacted_trace_can_be_shared() {
    let folder = fresh_folder("redacted");
    std::fs::create_dir_all(&folder).expect("made");
    let trace = folder.join("a.pcapng").display().to_string();
    let key = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
    let node = Node::start(&["--trace", &trace, "--trace-redacted", "--nodekeyhex", key]);
    assert_eq!(run(&["ping", node.enode(), "-c", "1"]).status.code(), Some(0));
    assert_eq!(node.interrupt(), Some(0));
    let bytes = std::fs::read(&trace).expect("readable");
    let mut secret = [0; 32];
    const_hex::decode_to_slice(key, &mut secret).expect("digits");
    assert!(!bytes.windows(32).any(|window| window == secret));
    let verdict = last(&run(&["--json", "replay", &trace]));
    assert!(verdict["failure"].as_str().is_some_and(|failure| failure.contains("redacted")), "{verdict}");
    std::fs::remove_dir_all(folder).expect("removed");
}
