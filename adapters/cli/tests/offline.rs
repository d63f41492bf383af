//! Commands without a network: keys, records, and arguments that are refused.

mod common;

use common::{fresh_path, last, peerless, run, run_with_input, stderr};
use data_encoding::BASE64URL_NOPAD;

/// EIP-778's example.
const RECORD: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";
const SECRET: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
const OTHER_KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const BROKEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/nodes/broken.txt");
const RECORD_ID: &str = "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7";

#[test]
fn a_generated_key_is_private_and_can_be_read_back() {
    let path = fresh_path("nodekey");
    let file = path.to_str().expect("a path in UTF-8");
    let generated = run(&["--json", "key", "generate", file]);
    assert_eq!(generated.status.code(), Some(0), "{}", stderr(&generated));
    let content = std::fs::read_to_string(&path).expect("the file is there");
    assert_eq!(content.len(), 64);
    assert!(content.chars().all(|c| c.is_ascii_hexdigit()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).expect("the file is there").permissions().mode() & 0o777, 0o600);
    }

    let shown = run(&["--json", "key", "show", "--nodekey", file]);
    assert_eq!(last(&shown)["enode"], last(&generated)["enode"]);
    assert!(!String::from_utf8_lossy(&shown.stdout).contains(&content), "the secret is not shown");

    let again = run(&["key", "generate", file]);
    assert_eq!(again.status.code(), Some(1), "a key is never written over");
    assert_eq!(std::fs::read_to_string(&path).expect("the file is there"), content);
    std::fs::remove_file(path).expect("the file is there");
}

#[test]
fn a_known_secret_has_its_known_public_key() {
    let shown = run(&["--json", "key", "show", "--nodekeyhex", SECRET, "--ip", "10.0.0.1", "--port", "30304"]);
    let report = last(&shown);
    assert_eq!(report["node_id"], RECORD_ID);
    let enode = report["enode"].as_str().expect("an enode URL");
    assert!(enode.starts_with("enode://ca634cae0d49acb4") && enode.ends_with("@10.0.0.1:30304"), "{enode}");
}

#[test]
fn records_are_shown_as_text_hex_and_file() {
    let shown = run(&["--json", "enr", "show", RECORD]);
    let report = last(&shown);
    assert_eq!((&report["node_id"], &report["seq"]), (&RECORD_ID.into(), &1.into()));
    assert!(report["enode"].as_str().expect("an enode URL").ends_with("@127.0.0.1:0?discport=30303"));

    let path = fresh_path("record");
    std::fs::write(&path, format!("{RECORD}\n")).expect("the folder can be written");
    let from_file = run(&["--json", "enr", "show", path.to_str().expect("a path in UTF-8")]);
    assert_eq!(last(&from_file), report);
    std::fs::remove_file(path).expect("the file is there");

    let text = run(&["enr", "show", RECORD]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("signature   valid"));
}

#[test]
fn an_invalid_record_is_shown_with_its_fault() {
    let output = run(&["--json", "enr", "show", &RECORD.replace("QHCY", "QHCZ")]);
    let report = last(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&report["valid"], &report["invalid"]), (&false.into(), &"invalid signature".into()));
    assert_eq!(report["entries"][3]["value"], "30303");
}

#[test]
fn records_are_read_from_stdin_and_binary_files() {
    let shown = last(&run(&["--json", "enr", "show", RECORD]));
    assert_eq!(last(&run_with_input(&["--json", "enr", "show", "-"], RECORD)), shown);
    assert_eq!(last(&run(&["--json", "enr", "show", &RECORD[4..]])), shown, "base64 alone begins with a hyphen");
    let path = fresh_path("record.bin");
    let hex = run(&["--json", "enr", "sign", RECORD, "--nodekeyhex", SECRET]);
    let signed = last(&hex)["enr"].as_str().expect("a record").to_owned();
    std::fs::write(&path, BASE64URL_NOPAD.decode(&signed.as_bytes()[4..]).expect("base64")).expect("a file");
    let report = last(&run(&["--json", "enr", "show", path.to_str().expect("a path in UTF-8")]));
    assert_eq!((&report["enr"], &report["seq"]), (&signed.into(), &2.into()));
    std::fs::remove_file(path).expect("the file is there");
}

#[test]
fn a_record_is_signed_changed_compared_and_checked() {
    let signed = run(&[
        "--json",
        "enr",
        "sign",
        "--nodekeyhex",
        SECRET,
        "--ip",
        "1.2.3.4",
        "--udp",
        "30303",
        "--tcp",
        "30304",
        "--ip6",
        "2a00::1",
        "--udp6",
        "30305",
        "--tcp6",
        "30306",
        "--seq",
        "9",
        "--entry",
        "snap=c0,zz=83616263",
        "--eth-network",
        "mainnet",
    ]);
    let report = last(&signed);
    assert_eq!((&report["node_id"], &report["seq"]), (&RECORD_ID.into(), &9.into()), "{}", stderr(&signed));
    assert_eq!(report["eth"]["network"], "mainnet");
    let keys = |report: &serde_json::Value| -> Vec<String> {
        let entries = report["entries"].as_array().expect("entries").iter();
        entries.map(|entry| entry["key"].as_str().expect("a key").to_owned()).collect()
    };
    assert_eq!(keys(&report).join(" "), "eth id ip ip6 secp256k1 snap tcp tcp6 udp udp6 zz");
    let first = report["enr"].as_str().expect("a record");

    let changed = run(&[
        "--json",
        "enr",
        "sign",
        first,
        "--nodekeyhex",
        SECRET,
        "--tcp6",
        "0",
        "--udp",
        "30307",
        "--entry",
        "zz=",
    ]);
    let report = last(&changed);
    assert_eq!(report["seq"], 10, "{}", stderr(&changed));
    assert_eq!(keys(&report).join(" "), "eth id ip ip6 secp256k1 snap tcp udp udp6");
    let second = report["enr"].as_str().expect("a record");

    let difference = run(&["--json", "enr", "diff", first, second]);
    assert_eq!(difference.status.code(), Some(1));
    let names: Vec<_> =
        last(&difference)["entries"].as_array().expect("a list").iter().map(|e| e["key"].clone()).collect();
    assert_eq!(names, ["tcp6", "udp", "zz"]);
    assert_eq!(run(&["enr", "diff", first, first]).status.code(), Some(0));
    assert_eq!(run(&["enr", "lint", first]).status.code(), Some(0));
    assert_eq!(run(&["enr", "lint", &RECORD.replace("QHCY", "QHCZ")]).status.code(), Some(1));

    let stale = run(&["enr", "sign", second, "--nodekeyhex", SECRET, "--seq", "10"]);
    assert!(stderr(&stale).contains("does not replace"), "{}", stderr(&stale));
    let large = run(&["enr", "sign", "--nodekeyhex", SECRET, "--entry", &format!("zz=b8c8{}", "61".repeat(200))]);
    assert!(stderr(&large).contains("too large"), "{}", stderr(&large));
}

#[test]
fn keys_become_ids_urls_and_records_as_geths_do() {
    let path = fresh_path("to.key");
    std::fs::write(&path, format!("{SECRET}\n")).expect("the folder can be written");
    let file = path.to_str().expect("a path in UTF-8");
    let text = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    };
    assert_eq!(text(&["key", "to-id", file]), RECORD_ID);
    assert!(text(&["key", "to-enode", file]).ends_with("@127.0.0.1:30303"));
    let url = text(&["key", "to-enode", "--ip", "2001:db8::1", "--tcp", "0", "--udp", "30301", "--nodekey", file]);
    assert!(url.ends_with("@[2001:db8::1]:0?discport=30301"), "{url}");
    let record = text(&["key", "to-enr", "--ip", "1.2.3.4", "--tcp", "30304", file]);
    let report = last(&run(&["--json", "enr", "show", &record]));
    assert!(report["enode"].as_str().expect("an enode URL").ends_with("@1.2.3.4:30304"), "{report}");
    assert_eq!(last(&run(&["--json", "key", "to-id", file]))["node_id"], RECORD_ID);
    let both = run(&["key", "to-id", file, "--nodekeyhex", SECRET]);
    assert_eq!(both.status.code(), Some(2));
    std::fs::remove_file(path).expect("the file is there");
}

#[test]
fn empty_environment_variables_are_as_if_unset() {
    let mut command = peerless(&["--json", "key", "show", "--nodekeyhex", SECRET]);
    for name in ["PEERLESS_IP", "PEERLESS_PORT", "PEERLESS_NODEKEY", "PEERLESS_VERBOSITY", "PEERLESS_NETRESTRICT"] {
        command.env(name, "");
    }
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(last(&output)["enode"].as_str().expect("an enode URL").ends_with("@127.0.0.1:30303"));
}

#[test]
fn failures_are_one_line_and_a_code() {
    for (arguments, code, word) in [
        (vec!["enr", "show", "enr:-IS+"], 1, "record"),
        (vec!["enr", "show", "/nonexistent/record"], 1, "no file"),
        (vec!["enr", "sign", "--ip", "10.0.0.1"], 1, "--nodekey"),
        (vec!["enr", "sign", "--entry", "snap"], 2, "KEY=HEX"),
        (vec!["enr", "sign", "--entry", "snap=c0c0"], 2, "more than one"),
        (vec!["enr", "sign", "--entry", "id=827634"], 2, "follows from the key"),
        (vec!["enr", "sign", RECORD, "--nodekeyhex", OTHER_KEY], 1, "not of this key"),
        (vec!["key", "to-id", "/nonexistent/key"], 1, "/nonexistent/key"),
        (vec!["nodeset", "info", "/nonexistent/nodes.json"], 1, "/nonexistent/nodes.json"),
        (vec!["nodeset", "convert", BROKEN], 1, "--to"),
        (vec!["nodeset", "convert", BROKEN, "--to", "xml"], 2, "xml"),
        (vec!["nodeset", "info", BROKEN], 1, "line 2"),
        (vec!["nodeset", "filter", BROKEN, "-ip", "10.0.0.1"], 2, "10.0.0.1"),
        (vec!["node", "--bootnodes", "/nonexistent/nodes.json"], 1, "/nonexistent/nodes.json"),
        (vec!["node", "--bootnodes", "enod://00@127.0.0.1:1"], 2, "enod://00"),
        (vec!["key", "show"], 1, "--nodekey"),
        (vec!["key", "show", "--nodekeyhex", "00"], 1, "64 hexadecimal digits"),
        (vec!["key", "show", "--nodekey", "/nonexistent/key"], 1, "/nonexistent/key"),
        (vec!["node", "--genesis", "/nonexistent/genesis.json"], 1, "/nonexistent/genesis.json"),
        (vec!["ping", RECORD, "-c", "0"], 2, "0"),
        (vec!["ping", "enode://00@127.0.0.1:1"], 2, "enode"),
        (vec!["node", "--network", "ropsten"], 2, "ropsten"),
        (vec!["node", "--netrestrict", "127.0.0.1"], 2, "127.0.0.1"),
        (vec!["devnet", "--nodes", "1"], 2, "1"),
        (vec!["devnet", "--duration", "1s"], 1, "--duration"),
        (vec!["fly"], 2, "fly"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(code == 2 || stderr(&output).lines().count() == 1, "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn errors_are_json_objects_with_json() {
    let output = run(&["--json", "key", "show"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(last(&output)["error"].as_str().expect("a text").contains("--nodekey"));
}
