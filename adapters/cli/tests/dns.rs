//! The commands `dns ..`: a list is made, signed, checked, exported, served by a name server on loopback, and read back.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Node, fresh_path, last, run, stderr};
use peerless::crypto::{Secp256k1, SecretKey};
use peerless::wire::enr::{Record, RecordBuilder};
use peerless_tests::nameserver::{Conduct, NameServer, Zone};
use serde_json::{Value, json};

const KEY: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
const DOMAIN: &str = "nodes.example.org";
const LINK: &str = "enrtree://AM5FCQLWIZX2QFPNJAP7VUERCCRNGRHWZG3YYHIUV7BVDQ5FDPRT2@morenodes.example.org";

/// A folder of this test's own, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = fresh_path(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder can be made");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    fn key(&self) -> String {
        fs::write(self.0.join("signing.key"), KEY).expect("the folder can be written");
        self.path("signing.key")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(n: u8) -> Record {
    let secret = SecretKey::from_bytes([n + 1; 32]).expect("a key");
    let mut builder = RecordBuilder::default();
    builder.endpoint(([8, 8, n, 1], 30303).into(), 30303);
    builder.sign(&Secp256k1::new(), &secret, u64::from(n)).expect("a small record")
}

/// Writes a definition as geth has it.
fn define(path: &str, records: &[Record], links: &[&str]) {
    let node = |record: &Record| {
        let node =
            json!({"seq": record.seq(), "record": record.to_string(), "score": 7, "lastCheck": "2026-01-01T00:00:00Z"});
        (record.key().node_id().to_string(), node)
    };
    let nodes: BTreeMap<String, Value> = records.iter().map(node).collect();
    fs::create_dir_all(path).expect("the folder can be made");
    fs::write(Path::new(path).join("nodes.json"), json!(nodes).to_string()).expect("a file");
    let info = json!({"seq": 4, "links": links, "lastModified": "2026-01-01T00:00:00Z"});
    fs::write(Path::new(path).join("enrtree-info.json"), info.to_string()).expect("a file");
}

fn json_file(folder: &str, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(Path::new(folder).join(name)).expect("a file")).expect("JSON")
}

fn succeed(arguments: &[&str]) -> Value {
    let output = run(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    last(&output)
}

fn refuse(arguments: &[&str], word: &str) {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
    assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
    assert_eq!(stderr(&output).trim_end().lines().count(), 1, "{}", stderr(&output));
}

/// A server for what `to-txt` has written.
fn serve(names: &Value) -> NameServer {
    let mut zone = Zone::default();
    for (name, text) in names.as_object().expect("an object") {
        zone.txt(name, 60, &[text.as_str().expect("a text")]);
    }
    NameServer::start(zone, Conduct::default())
}

#[test]
fn a_list_is_signed_served_and_read_back_the_same() {
    let folder = Folder::new("round-trip");
    let (list, copy) = (folder.path("list"), folder.path("copy"));
    let records: Vec<Record> = (0..30).map(record).collect();
    define(&list, &records, &[LINK]);
    let signed = succeed(&["dns", "sign", &list, "--key", &folder.key(), "--domain", DOMAIN]);
    assert_eq!((&signed["seq"], &signed["nodes"], &signed["links"]), (&json!(5), &json!(30), &json!(1)));
    let url = signed["url"].as_str().expect("a URL");
    assert!(url.ends_with("@nodes.example.org"), "{url}");
    let checked = succeed(&["dns", "lint", &list]);
    assert_eq!((&checked["errors"], &checked["warnings"]), (&json!(0), &json!(0)), "{checked}");

    let names = succeed(&["dns", "to-txt", &list]);
    assert!(names[DOMAIN].as_str().expect("a root").starts_with("enrtree-root:v1 e="));
    let server = serve(&names);
    let addr = server.addr().to_string();
    let sync = ["dns", "sync", url, "--dns.server", &addr, "--rate", "1000", "--timeout", "30s"];
    let read = succeed(&[&sync[..], &["--out", &copy]].concat());
    assert_eq!((&read["seq"], &read["nodes"], &read["missing"]), (&json!(5), &json!(30), &json!(0)), "{read}");
    let (first, second) = (json_file(&list, "enrtree-info.json"), json_file(&copy, "enrtree-info.json"));
    for field in ["url", "seq", "signature", "links"] {
        assert_eq!(first[field], second[field], "{field}");
    }
    let ids =
        |folder: &str| json_file(folder, "nodes.json").as_object().expect("nodes").keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&list), ids(&copy));
    let compared = succeed(&["dns", "diff", &list, &copy]);
    assert_eq!(
        (&compared["unchanged"], &compared["added"], &compared["removed"]),
        (&json!(30), &json!([]), &json!([]))
    );
    assert_eq!(succeed(&["dns", "to-txt", &copy]), names, "what was read can be served again");

    refuse(&[&sync[..], &["--out", &copy]].concat(), "--force");
    succeed(&[&sync[..], &["--out", &copy, "--force"]].concat());
    let another = serve(&json!({ "elsewhere.example": "x" }));
    let other = another.addr().to_string();
    refuse(&["dns", "sync", url, "--dns.server", &other, "--timeout", "1s"], "no valid root");
}

#[test]
fn exports_hold_the_same_records_in_each_form() {
    let folder = Folder::new("exports");
    let list = folder.path("list");
    define(&list, &(0..20).map(record).collect::<Vec<_>>(), &[]);
    succeed(&["dns", "sign", &list, "--key", &folder.key(), "--domain", DOMAIN, "--seq", "77"]);
    let names = succeed(&["dns", "to-txt", &list]);
    let count = names.as_object().expect("an object").len();
    let zone_file = folder.path("list.zone");
    let written = succeed(&["dns", "to-cloudflare", &list, "--out", &zone_file]);
    assert_eq!((&written["seq"], &written["records"]), (&json!(77), &json!(count)));
    let zone = Zone::parse(&fs::read_to_string(&zone_file).expect("a file")).expect("a zone file");
    assert_eq!(zone.len(), count);
    let server = NameServer::start(zone, Conduct::default());
    let (url, addr) =
        (json_file(&list, "enrtree-info.json")["url"].as_str().expect("a URL").to_owned(), server.addr().to_string());
    let read = succeed(&["dns", "sync", &url, "--dns.server", &addr, "--rate", "1000"]);
    assert_eq!((&read["nodes"], &read["seq"]), (&json!(20), &json!(77)));

    let batch = succeed(&["dns", "to-route53", &list]);
    let changes = batch["Changes"].as_array().expect("changes");
    assert_eq!(changes.len(), count);
    for change in changes {
        let set = &change["ResourceRecordSet"];
        let value = set["ResourceRecords"][0]["Value"].as_str().expect("a value").replace("\" \"", "").replace('"', "");
        assert_eq!(names[set["Name"].as_str().expect("a name")], value);
    }
    refuse(&["dns", "to-txt", &list, "--out", &zone_file], "--force");
    let plain = run(&["dns", "to-cloudflare", &list]);
    assert!(Zone::parse(&String::from_utf8(plain.stdout).expect("text")).is_ok_and(|zone| zone.len() == count));
}

#[test]
fn what_is_wrong_with_a_definition_is_told() {
    let folder = Folder::new("wrong");
    let (list, key) = (folder.path("list"), folder.key());
    refuse(&["dns", "lint", &list], "not a folder");
    define(&list, &[record(1), record(2)], &[]);
    refuse(&["dns", "to-txt", &list], "not signed");
    refuse(&["dns", "sign", &list, "--key", &folder.path("none")], "cannot read the key file");
    fs::write(folder.path("keystore.json"), r#"{"crypto":{"cipher":"aes-128-ctr"},"version":3}"#).expect("a file");
    refuse(&["dns", "sign", &list, "--key", &folder.path("keystore.json")], "keystore");
    let domain = ["--domain", DOMAIN];
    succeed(&[&["dns", "sign", &list, "--key", &key], &domain[..]].concat());
    // A node more, without a new signature.
    let mut nodes = json_file(&list, "nodes.json");
    nodes[record(3).key().node_id().to_string()] = json!({"seq": 3, "record": record(3).to_string()});
    fs::write(Path::new(&list).join("nodes.json"), nodes.to_string()).expect("a file");
    refuse(&["dns", "to-txt", &list], "sign it again");
    // A node under another's id, one of another sequence number, one that is no record.
    let id = |n| record(n).key().node_id().to_string();
    nodes[id(4)] = json!({"seq": 5, "record": record(5).to_string()});
    nodes[id(3)]["seq"] = json!(9);
    nodes[id(2)] = json!({"seq": 2, "record": "enr:-----"});
    fs::write(Path::new(&list).join("nodes.json"), nodes.to_string()).expect("a file");
    let output = run(&["--json", "dns", "lint", &list]);
    assert_eq!(output.status.code(), Some(1));
    let report = last(&output);
    let findings = report["findings"].as_array().expect("findings");
    let of = |name: &str, word: &str| {
        findings
            .iter()
            .any(|finding| finding["of"] == name && finding["what"].as_str().is_some_and(|what| what.contains(word)))
    };
    assert!(of(&id(4), "of the node") && of(&id(3), "seq is 9") && of(&id(2), "base64"), "{report}");
    assert!(of("enrtree-info.json", "signature is not of these nodes"), "{report}");
    refuse(&["dns", "sign", &list, "--key", &key], "and 2 more: see dns lint");
    fs::write(Path::new(&list).join("nodes.json"), "[").expect("a file");
    refuse(&["dns", "lint", &list], "malformed");
}

#[test]
fn useless_records_are_warned_of() {
    let folder = Folder::new("useless");
    let list = folder.path("list");
    let crypto = Secp256k1::new();
    let secret = |n| SecretKey::from_bytes([n; 32]).expect("a key");
    let bare = RecordBuilder::default().sign(&crypto, &secret(50), 1).expect("a record");
    let private = RecordBuilder::default().endpoint(([10, 0, 0, 1], 0).into(), 0).sign(&crypto, &secret(51), 1);
    let twin = RecordBuilder::default().endpoint(([8, 8, 1, 1], 30303).into(), 30303).sign(&crypto, &secret(52), 1);
    define(&list, &[bare, private.expect("a record"), twin.expect("a record"), record(1)], &[]);
    let report = succeed(&["dns", "lint", &list]);
    let text = report.to_string();
    for word in
        ["no address", "not a public address", "no UDP port", "no TCP port", "same endpoint", "not signed", "no url"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!((&report["errors"], &report["warnings"]), (&json!(0), &json!(7)));
}

#[test]
fn a_name_server_outside_the_filter_is_not_asked() {
    let url = LINK;
    refuse(&["dns", "sync", url, "--dns.server", "9.9.9.9"], "the address filter forbids the name server 9.9.9.9:53");
    let output = run(&["dns", "sync", "enrtree://nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no key before an @"), "{}", stderr(&output));
}

#[test]
fn a_node_finds_its_peers_in_a_list_alone() {
    let folder = Folder::new("node");
    let list = folder.path("list");
    let listed = Node::start(&["--nodiscover"]);
    let record: Record = listed.enr().parse().expect("a record");
    define(&list, &[record], &[]);
    let signed = succeed(&["dns", "sign", &list, "--key", &folder.key(), "--domain", DOMAIN]);
    let server = serve(&succeed(&["dns", "to-txt", &list]));
    let (url, addr) = (signed["url"].as_str().expect("a URL"), server.addr().to_string());
    let mut node = Node::start(&["--nodiscover", "--discovery.dns", url, "--dns.server", &addr]);
    let established = node.await_event("established");
    assert_eq!(established["node_id"], listed.started["node_id"]);
    refuse(
        &["node", "--port", "0", "--addr", "127.0.0.1", "--discovery.dns", url, "--dns.server", "9.9.9.9"],
        "forbids",
    );
}
