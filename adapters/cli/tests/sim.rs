//! The command `sim`, and the trace of one node of a run, which `replay` runs alone.

mod common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{last, objects, peerless, run, stderr};
use serde_json::Value;

fn fresh_folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-sim-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("made");
    path
}

/// The object about the trace, and the report.
fn simulated(arguments: &[&str]) -> (Option<i32>, Value, Value) {
    let output = run(&[&["--json", "sim"], arguments].concat());
    let traced = objects(&output).into_iter().find(|object| object["event"] == "trace");
    (output.status.code(), traced.unwrap_or_else(|| panic!("no trace: {}", stderr(&output))), last(&output))
}

#[test]
fn a_node_of_a_run_is_recorded_and_replays() {
    let folder = fresh_folder("node");
    let size = ["churn", "--nodes", "14", "--time", "240s", "--seed", "3", "--cpu", "10"];
    let plain = last(&run(&[&["--json", "sim"], &size[..]].concat()));
    for (crypto, primitives) in [("simmac", "simmac 3"), ("memo", "secp256k1")] {
        let file = folder.join(format!("{crypto}.pcapng")).display().to_string();
        let arguments = [&size[..], &["--crypto", crypto, "--trace", &file]].concat();
        let (code, traced, report) = simulated(&arguments);
        assert_eq!((code, report["crypto"].as_str()), (Some(0), Some(crypto)), "{report}");
        assert_eq!((&traced["host"], traced["primitives"].as_str()), (&0.into(), Some(primitives)), "{traced}");
        assert!(report["cpu"]["busy_percent"].as_f64() > Some(0.0), "{report}");
        if crypto == "simmac" {
            assert_eq!(plain["trace_hash"], report["trace_hash"], "recording changes nothing");
        }
        let verdict = last(&run(&["--json", "replay", &file]));
        assert_eq!((&verdict["verified"], &verdict["primitives"]), (&true.into(), &primitives.into()), "{verdict}");
        let output = run(&["--json", "inspect", &file]);
        let totals = last(&output);
        assert_eq!((&totals["unknown"], &totals["broken"]), (&0.into(), &0.into()), "{totals}");
        assert!(totals["messages"].as_u64() > Some(50), "{totals}");
        let again = run(&[&["sim"], &arguments[..]].concat());
        assert!(again.status.code() == Some(1) && stderr(&again).contains("it exists"), "never over another");
        std::fs::remove_file(file).expect("removed");
    }
    // Each life of a node that restarts is another trace.
    let file = folder.join("life.pcapng").display().to_string();
    let of = |life: &'static str| {
        let choice = ["--trace", &file, "--trace-node", "5", "--trace-life", life];
        run(&[&["--json", "sim"], &size[..], &choice].concat())
    };
    let lives = objects(&of("1")).into_iter().find(|object| object["event"] == "trace").expect("a trace");
    assert!(lives["lives"].as_u64() > Some(1), "{lives}");
    let first = last(&run(&["--json", "replay", &file]));
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(of("2").status.code(), Some(0));
    let second = last(&run(&["--json", "replay", &file]));
    assert_eq!((&first["verified"], &second["verified"]), (&true.into(), &true.into()));
    assert_ne!(first["inputs"], second["inputs"]);
    std::fs::remove_file(&file).expect("removed");
    let none = of("99");
    assert!(none.status.code() == Some(1) && stderr(&none).contains("lives, not 99"), "{}", stderr(&none));
    let liar = run(&["sim", "hostile", "--nodes", "20", "--time", "180s", "--trace", &file, "--trace-node", "7"]);
    assert!(liar.status.code() == Some(1) && stderr(&liar).contains("not an honest node"), "{}", stderr(&liar));
    std::fs::remove_dir_all(folder).expect("removed");
}

/// Three minutes are too few for a storm to settle: with some seeds, a node has not found back to the hub by then.
#[test]
fn a_failure_that_a_campaign_finds_is_a_trace() {
    let folder = fresh_folder("campaign");
    let size = ["--nodes", "16", "--time", "180s"];
    let fails = |seed: &u64| {
        let seed = seed.to_string();
        let output = run(&[&["sim", "storm", "--seed", &seed, "--faults", "all"], &size[..]].concat());
        output.status.code() == Some(1)
    };
    let seed = (1..200).find(fails).expect("a seed that fails").to_string();
    let name = folder.display().to_string();
    let campaign =
        ["--json", "sim", "campaign", "--scenario", "storm", "--for", "1s", "--threads", "1", "--seed", &seed];
    let output = run(&[&campaign[..], &size, &["--trace", &name]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let found = last(&output)["failures"][0].clone();
    assert_eq!(found["seed"].to_string(), seed, "{found}");
    let file = found["trace"]["file"].as_str().expect("a trace").to_owned();
    let host = found["trace"]["host"].as_u64().expect("a host");
    assert!(found["what"].as_str().is_some_and(|what| what.contains(&format!("host {host}"))), "{found}");

    let output = run(&["--json", "replay", &file, "--state"]);
    assert_eq!(last(&output)["verified"], true);
    let state = objects(&output).into_iter().find(|object| object["table"].is_array()).expect("a state");
    // The demand concerns free slots: the node has fewer sessions than slots.
    let stages = state["connections"].as_array().expect("a list").iter().map(|connection| connection["stage"].clone());
    assert!(stages.filter(|stage| stage == "established").count() < 8, "{state}");
    assert!(state["now_us"].as_u64() <= Some(180_000_000), "{state}");

    // The printed command reports the same and records the same node.
    let again = folder.join("again.pcapng").display().to_string();
    let command = found["command"].as_str().expect("a command").to_owned();
    let arguments: Vec<&str> = command.split(' ').skip(2).chain(["--trace", &again]).collect();
    let (code, traced, report) = simulated(&arguments);
    assert_eq!((code, &traced["host"]), (Some(1), &found["trace"]["host"]), "{report}");
    assert_eq!(report["failure"]["host"], found["trace"]["host"]);
    assert!(std::fs::read(&again).expect("a file") == std::fs::read(&file).expect("a file"), "byte for byte");
    std::fs::remove_dir_all(folder).expect("removed");
}

/// The last line has the parameters and all shares, of one seed or as means over several.
#[test]
fn an_attack_is_reported_by_shares() {
    let folder = fresh_folder("eclipse");
    let file = folder.join("attack.svg").display().to_string();
    let size = ["--honest", "60", "--known", "30", "--subnets", "3", "--room", "10", "--room-drawn", "node"];
    let size = [&["--json", "sim", "eclipse", "--peace", "5m", "--time", "10m", "--restart", "2m"], &size[..]].concat();
    let one =
        run(&[&size[..], &["--inbound", "--silent-subnets", "2", "--silent-rate", "5", "--plot", &file]].concat());
    let several = run(&[&size[..], &["--seeds", "1..3", "--threads", "2"]].concat());
    assert_eq!((one.status.code(), several.status.code()), (Some(0), Some(0)), "{}", stderr(&several));
    assert_eq!(objects(&several).len(), 4, "one for each seed, and the summary");
    for report in [last(&one), last(&several)] {
        assert_eq!((&report["subnets"], &report["room_percent"]), (&3.into(), &10.into()), "{report}");
        assert_eq!(report["room_drawn"], "node");
        let names = ["outbound", "hostile_outbound", "inbound", "hostile_inbound"];
        for part in [&report, &report["restarted"], &report["restarted_bare"]] {
            assert!(names.iter().all(|name| part[name].is_number()), "{part}");
        }
        assert!(report["table_share"].as_f64() > Some(0.0) && report["book_share"].is_number(), "{report}");
    }
    assert!(last(&one)["calls"]["callers"].is_number() && last(&several)["max"]["outbound"].is_number());
    assert!(std::fs::read_to_string(&file).expect("a file").starts_with("<svg"));
    std::fs::remove_dir_all(folder).expect("removed");
}

/// The figures of a flood are among the report's own fields, and its command repeats the run.
#[test]
fn a_flood_is_reported_by_what_tables_hold_and_lookups_find() {
    let size = ["--nodes", "10", "--time", "180s", "--cpu", "1", "--kind", "mixed"];
    let of = |spoof: &str| run(&[&["--json", "sim", "flood", "--rate", "200", "--spoof", spoof], &size[..]].concat());
    for spoof in ["random", "48", "neighbours"] {
        let report = last(&of(spoof));
        let names = ["tables_before", "tables_after", "lookup_found", "starting_found", "newcomer_found"];
        assert!(names.iter().all(|name| report[name].as_f64() > Some(0.0)), "{report}");
        assert!(report["rate"] == 200 && report["cpu"]["busy_percent"].as_f64() > Some(0.0), "{report}");
        let command = report["command"].as_str().expect("a command");
        let again = last(&run(&["--json"].into_iter().chain(command.split(' ').skip(1)).collect::<Vec<_>>()));
        assert_eq!(report["trace_hash"], again["trace_hash"], "{command}");
    }
}

/// The report of a campaign of `discovery` in its smallest size.
fn campaign(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(&[&["--json", "sim", "campaign", "--scenario", "discovery"], arguments].concat());
    (output.status.code(), last(&output))
}

#[test]
fn a_campaign_runs_each_of_its_seeds_once() {
    let (code, report) = campaign(&["--nodes", "5", "--time", "180s", "--seeds", "7..9"]);
    assert_eq!((code, &report["runs"], &report["interrupted"]), (Some(0), &3.into(), &false.into()), "{report}");
    assert_eq!((&report["first_seed"], &report["last_seed"]), (&7.into(), &9.into()), "{report}");
    assert_eq!(report["scenarios"], serde_json::json!({"discovery": {"runs": 3, "failed": 0}}));
    assert_eq!(campaign(&["--nodes", "5", "--time", "180s", "--seeds", "7..7"]).1["runs"], 1);
}

#[cfg(unix)]
#[test]
fn an_interrupted_campaign_prints_its_counts() {
    let mut command = peerless(&["sim", "campaign", "--scenario", "discovery", "--seeds", "0..1000000000"]);
    let mut child = command.args(["--nodes", "5", "--time", "180s"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    // By its first line the program listens for signals.
    let first = lines.next().expect("a line").expect("text");
    assert!(first.starts_with("seeds from 0 on"), "{first}");
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("it runs");
    assert!(status.success());
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{rest:?}");
    assert!(rest[0].starts_with("discovery ") && rest[0].ends_with(" runs, 0 failed"), "{rest:?}");
    assert!(rest[1].starts_with("interrupted after ") && rest[1].contains(" runs, seeds 0 to "), "{rest:?}");
}

/// A large run executes the program again for huge pages, which must not show. This one ends at once, with an error that
/// shows that all arguments were passed on.
#[test]
fn a_large_run_begins_anew_unnoticed() {
    let arguments = ["--json", "sim", "discovery", "--nodes", "1000", "--time", "3s"];
    let [anew, at_once] = [false, true].map(|has_settings| {
        let mut command = peerless(&arguments);
        command.env_remove("GLIBC_TUNABLES");
        if has_settings {
            command.env("GLIBC_TUNABLES", "glibc.malloc.arena_max=2");
        }
        command.output().expect("it runs")
    });
    assert!(last(&anew)["error"].as_str().is_some_and(|error| error.contains("virtual time")), "{}", last(&anew));
    assert_eq!(anew, at_once);
}
