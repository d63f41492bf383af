//! Commands without a network: keys, records, and arguments that are refused.

mod common;

use common::{fresh_path, last, run, stderr};

/// EIP-778's example.
const RECORD: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";
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
    let secret = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
    let shown = run(&["--json", "key", "show", "--nodekeyhex", secret, "--ip", "10.0.0.1", "--port", "30304"]);
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
fn failures_are_one_line_and_a_code() {
    let forged = RECORD.replace("QHCY", "QHCZ");
    for (arguments, code, word) in [
        (vec!["enr", "show", forged.as_str()], 1, "record"),
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
