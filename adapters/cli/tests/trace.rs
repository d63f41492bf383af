//! Recordings of `devnet` and `node` replay.

mod common;

use std::path::{Path, PathBuf};

use common::{Node, last, objects, run, run_with_input, stderr};
use serde_json::Value;

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
        recorded_to_its_end(trace, &verdict);
        #[cfg(unix)]
        assert_eq!(mode(trace), 0o600);
    }
    looked_into(&traces[1]);
    stepped(&traces[1]);
    tampered(&traces[2]);
    std::fs::remove_dir_all(folder).expect("removed");
}

/// Even on a loaded machine, the trace holds the first input, the final Disconnect, and every input between.
fn recorded_to_its_end(trace: &str, verdict: &Value) {
    let output = run(&["--json", "replay", trace, "--print"]);
    let shown: Vec<_> = objects(&output).into_iter().filter(|object| object["what"].is_string()).collect();
    let numbers: Vec<_> = shown.iter().map(|input| input["input"].as_u64()).collect();
    assert_eq!(numbers, (0..shown.len() as u64).map(Some).collect::<Vec<_>>(), "{trace}");
    assert_eq!(verdict["inputs"], shown.len(), "{trace}");
    assert_eq!(verdict["complete"], true);
    assert!(shown.iter().any(|input| input["what"] == "command: shut down"), "{trace}: {shown:?}");
}

/// `--step`, with commands on stdin.
fn stepped(trace: &str) {
    let arguments = ["replay", trace, "--step"];
    let step = |lines| {
        let output = run_with_input(&arguments, lines);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let count = |text: &str, start: &str| text.lines().filter(|line| line.starts_with(start)).count();

    // Two inputs, the state, an unknown command, and the end.
    let text = step("\n\nstate\nwhat?\nquit\n\n\n");
    assert!(text.starts_with("an empty line goes on to the next input; state, continue, quit\nnext: #0 "), "{text}");
    assert_eq!((count(&text, "#0 "), count(&text, "#1 "), count(&text, "#2 ")), (1, 1, 0), "{text}");
    assert_eq!(count(&text, "next: #2 "), 3, "asked again after the look and the mistake: {text}");
    assert_eq!(count(&text, "next deadline: "), 1, "{text}");
    assert!(text.contains("\"what?\" is none of: state, continue, quit"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("verified so far: 2 inputs")), "{text}");

    // Stdin ends at once, or after an input.
    for (lines, inputs) in [("", 0), ("\n\n\n", 3), ("\n\nq", 2)] {
        let text = step(lines);
        assert_eq!(count(&text, "#"), inputs, "{text}");
        assert!(text.ends_with(" s\n") && text.contains(&format!("verified so far: {inputs} inputs")), "{text}");
    }

    // To the end, without printing each input.
    let text = step("\n c \n");
    assert_eq!((count(&text, "next: "), count(&text, "#")), (2, 1), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("verified: ")), "{text}");

    // With `--json` there are only objects.
    let output = run_with_input(&["--json", "replay", trace, "--step"], "\ns\n\n");
    let objects = objects(&output);
    let inputs: Vec<_> = objects.iter().filter_map(|object| object["what"].as_str()).collect();
    assert_eq!(inputs.len(), 2, "{objects:?}");
    let verdict = objects.last().expect("a verdict");
    assert_eq!((objects.len(), &verdict["verified"], &verdict["complete"]), (4, &true.into(), &false.into()));

    // Both bounds hold at once.
    let output = run_with_input(&["replay", trace, "--step", "--until", "#1"], "\n\n\n\n");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(count(&text, "next: "), 2, "{text}");
    assert!(text.contains("verified so far: 2 inputs"), "{text}");
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
    assert!(objects(&output).iter().any(|object| object["event"] == "not found"));
    let output = run(&["replay", trace, "--until", "1s"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("verified so far: "));
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
    assert!(verdict["inputs"].as_u64() >= Some(30), "{verdict}");
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
