//! The vectors of `dnsdisc.json`, and properties of made trees.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use serde_json::Value;

use super::*;
use crate::crypto::testing::{array, field, rows, text};
use crate::crypto::{Crypto, PublicKey, Secp256k1, SecretKey};
use crate::limits::{LIST_BRANCH_CHILDREN, LIST_DOMAIN_BYTES_MAX};
use crate::wire::enr::{Record, RecordBuilder};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/dnsdisc.json")).unwrap()
}

fn key(value: &Value, name: &str) -> PublicKey {
    PublicKey::from_compressed_secp256k1(&array(value, name)).unwrap()
}

/// Compares a root with what the vectors say of it.
fn check_root(root: &Root, expected: &Value, key: Option<&PublicKey>) {
    let crypto = Secp256k1::new();
    assert_eq!(root.nodes.to_string(), text(expected, "e"));
    assert_eq!(root.links.to_string(), text(expected, "l"));
    assert_eq!(Some(root.seq), field(expected, "seq").as_u64());
    assert_eq!(root.signer(&crypto), Some(self::key(expected, "recovered")));
    let is_ok = field(expected, "sig_ok").as_bool().unwrap();
    assert_eq!(key.is_some_and(|key| root.is_signed_by(&crypto, key)), is_ok, "{root}");
    let signed = root.to_string();
    let (signed, _) = signed.split_once(" sig=").unwrap();
    assert_eq!(crypto.signed_hash(signed.as_bytes()), array(expected, "signed_hash"));
}

#[test]
fn trees_of_the_vectors_are_read_and_verified() {
    let vectors = vectors();
    let crypto = Secp256k1::new();
    let mut kinds = [0; 3];
    for tree in rows(&vectors, "trees") {
        let name = text(tree, "name");
        let public_key = key(tree, "public_key");
        let records = field(tree, "records").as_object().unwrap();
        let hashes = field(tree, "entry_hash_ok").as_object().unwrap();
        assert_eq!(hashes.len() + 1, records.len(), "{name}");
        for (place, entry) in records {
            let entry = entry.as_str().unwrap();
            let Some(is_ok) = hashes.get(place) else {
                let root: Root = entry.parse().unwrap();
                assert_eq!(root.to_string(), entry);
                check_root(&root, field(tree, "root"), Some(&public_key));
                continue;
            };
            let hash: EntryHash = place.split('.').next().unwrap().parse().unwrap();
            assert_eq!(hash.matches(entry.as_bytes()), is_ok.as_bool().unwrap(), "{place}");
            assert_eq!(hash == EntryHash::of(entry), is_ok.as_bool().unwrap(), "{place}");
            match Entry::parse(&crypto, entry) {
                Ok(parsed) => {
                    assert_eq!(parsed.to_string(), entry, "{place}");
                    kinds[match parsed {
                        Entry::Branch(_) => 0,
                        Entry::Link(_) => 1,
                        Entry::Record(_) => 2,
                    }] += 1;
                }
                // The record that is none, and texts of which only the first string was kept.
                Err(error) => assert!(entry == "enr:-----" || !is_ok.as_bool().unwrap(), "{place}: {error}"),
            }
        }
    }
    assert!(kinds.iter().all(|count| *count > 1), "{kinds:?}");
}

#[test]
fn roots_of_the_vectors_are_read_or_refused_for_the_stated_reason() {
    let vectors = vectors();
    for row in rows(field(&vectors, "root_records"), "rows") {
        let parsed = text(row, "text").parse::<Root>();
        match field(row, "error").as_str() {
            None => check_root(&parsed.unwrap(), field(row, "parsed"), None),
            Some("syntax") => assert_eq!(parsed, Err(RootError::Syntax)),
            Some(error) if error.contains("signature length") => assert_eq!(parsed, Err(RootError::SignatureLength)),
            Some(error) => panic!("{error}"),
        }
    }
}

#[test]
fn entries_of_the_vectors_are_read_or_refused_for_the_stated_reason() {
    let vectors = vectors();
    let crypto = Secp256k1::new();
    for row in rows(field(&vectors, "entries"), "rows") {
        let entry = text(row, "text");
        let parsed = Entry::parse(&crypto, entry);
        let error = field(row, "error").as_str();
        let is_as_stated = match (&parsed, error) {
            (Ok(parsed), None) => parsed.to_string() == entry,
            (Err(EntryError::Hash), Some(error)) => error.contains("errInvalidChild"),
            (Err(EntryError::Link(LinkError::KeyMissing)), Some(error)) => error.contains("errNoPubkey"),
            (Err(EntryError::Link(LinkError::Key)), Some(error)) => error.contains("errBadPubkey"),
            (Err(EntryError::Record(_)), Some(error)) => error.contains("errInvalidENR"),
            (Err(EntryError::Unknown), Some(error)) => error.contains("nknown"),
            _ => false,
        };
        assert!(is_as_stated, "{entry}: {parsed:?}, stated {error:?}");
    }
    let link: Link = text(&vectors, "link_url").parse().unwrap();
    assert_eq!(link.to_string(), text(&vectors, "link_url"));
    assert_eq!(link.domain.as_str(), "nodes.example.org");
}

#[test]
fn values_of_ethereumjs_are_read_as_there() {
    let vectors = vectors();
    let crypto = Secp256k1::new();
    let js = field(&vectors, "ethereumjs");
    let values = field(js, "values");
    let entry = |name| Entry::parse(&crypto, text(values, name));
    for name in ["enr", "enrA", "enrB", "enrUnpadded"] {
        assert!(matches!(entry(name), Ok(Entry::Record(_))), "{name}");
    }
    assert!(matches!(entry("enrBranch"), Ok(Entry::Branch(children)) if children.len() == 3));
    let Ok(Entry::Link(link)) = entry("enrTree") else { panic!() };
    assert!(link.to_string().contains(text(values, "publicKey")));
    for name in ["enrBadPrefix", "enrRootBadPrefix", "enrBranchBadPrefix", "enrTreeBadPrefix"] {
        assert_eq!(entry(name), Err(EntryError::Unknown), "{name}");
    }
    assert_eq!(entry("enrTreeMalformed"), Err(EntryError::Link(LinkError::KeyMissing)));
    let root: Root = text(values, "enrRoot").parse().unwrap();
    check_root(&root, field(js, "root_check"), Some(&link.key));
    let bad: Root = text(values, "enrRootBadSig").parse().unwrap();
    assert!(!bad.is_signed_by(&crypto, &link.key));
    for name in ["enrRootMalformed", "enrRootBadPrefix"] {
        assert_eq!(text(values, name).parse::<Root>(), Err(RootError::Syntax), "{name}");
    }
}

#[test]
fn public_lists_have_addresses_that_are_read() {
    let vectors = vectors();
    let lists = field(&vectors, "bootstrap_lists");
    let expected = key(lists, "key_compressed");
    for url in rows(lists, "urls") {
        let url = url.as_str().unwrap();
        let link: Link = url.parse().unwrap();
        assert_eq!((link.key, link.to_string()), (expected, url.into()));
        assert!(url.contains(text(lists, "key")));
    }
}

#[test]
fn domains_are_bounded_and_in_lower_case() {
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(8)].join(".");
    assert_eq!(long.len(), LIST_DOMAIN_BYTES_MAX);
    for (text, expected) in
        [("n", "n"), ("Nodes.Example.ORG.", "nodes.example.org"), ("_a-1.b", "_a-1.b"), (&long, &long)]
    {
        assert_eq!(text.parse::<Domain>().unwrap().as_str(), expected);
    }
    let hash: EntryHash = "A".repeat(52).parse().unwrap();
    assert!(long.parse::<Domain>().unwrap().subdomain(&hash).len() <= 253);
    let error = |text: &str| text.parse::<Domain>().unwrap_err();
    for text in ["", ".", "a..b", ".a"] {
        assert_eq!(error(text), DomainError::Empty, "{text:?}");
    }
    for text in [format!("{long}d"), "a".repeat(64)] {
        assert_eq!(error(&text), DomainError::TooLong);
    }
    for text in ["a b", "a/b", "-a", "a-.b", "\u{e4}.org", "a:53", "a@b", "a\0", "a\n"] {
        assert_eq!(error(text), DomainError::Character, "{text:?}");
    }
}

#[test]
fn hashes_have_12_to_32_bytes_and_keep_every_digit() {
    for digits in 0..60 {
        let parsed = "B".repeat(digits).parse::<EntryHash>();
        let is_legal = (20..=52).contains(&digits) && ![1, 3, 6].contains(&(digits % 8));
        assert_eq!(parsed.is_ok(), is_legal, "{digits}");
        if let Ok(hash) = parsed {
            assert_eq!((hash.to_string(), hash.as_bytes().len()), ("B".repeat(digits), digits * 5 / 8));
        }
    }
    for text in
        ["aaaaaaaaaaaaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAA1", "AAAAAAAAAAAAAAAAAA\u{e4}"]
    {
        assert_eq!(text.parse::<EntryHash>(), Err(EntryError::Hash), "{text}");
    }
}

#[test]
fn texts_that_would_be_written_otherwise_are_refused() {
    let root = text(&vectors()["ethereumjs"]["values"], "enrRoot").to_string();
    for (from, to, error) in [
        (" l=", "  l=", RootError::Syntax),
        (":v1", ":v2", RootError::Syntax),
        ("seq=1839", "seq=01839", RootError::Seq),
        ("seq=1839", "seq=+1839", RootError::Seq),
        ("seq=1839", "seq=18446744073709551616", RootError::Seq),
        ("WogE", "WogE=", RootError::Base64),
        ("WogE", "WogE x", RootError::Syntax),
        ("e=J", "e=j", RootError::Hash),
    ] {
        assert_eq!(root.replacen(from, to, 1).parse::<Root>(), Err(error), "{from:?} {to:?}");
    }
    let long = format!("enrtree-branch:{}", ["A".repeat(52).as_str(); 60].join(","));
    assert_eq!(Entry::parse(&Secp256k1::new(), &long), Err(EntryError::TooLong));
}

fn secret(n: u64) -> SecretKey {
    let mut bytes = [7; 32];
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_bytes(bytes).unwrap()
}

fn records(count: u64) -> Vec<Record> {
    let crypto = Secp256k1::new();
    let record = |n| {
        let mut builder = RecordBuilder::default();
        builder.endpoint(([10, 0, 0, 1], 30303).into(), 30303).sign(&crypto, &secret(n), 1).unwrap()
    };
    (1..=count).map(record).collect()
}

/// The leaves under a hash, read as a client reads them, with their depths.
fn leaves(tree: &Tree, top: EntryHash) -> Vec<(usize, Entry)> {
    let crypto = Secp256k1::new();
    let mut found = Vec::new();
    let mut open = std::vec![(0, top)];
    while let Some((depth, hash)) = open.pop() {
        let (_, text) = tree.entries().find(|(other, _)| **other == hash).expect("every child is there");
        assert!(hash.matches(text.as_bytes()) && text.len() <= 405);
        match Entry::parse(&crypto, text).unwrap() {
            Entry::Branch(children) => {
                assert!(children.len() <= LIST_BRANCH_CHILDREN && (children.len() > 1 || depth == 0));
                open.extend(children.into_iter().map(|child| (depth + 1, child)));
            }
            leaf => found.push((depth, leaf)),
        }
    }
    found
}

#[test]
fn a_made_tree_holds_its_records_and_links_and_nothing_else() {
    let crypto = Secp256k1::new();
    let key = crypto.public_key(&secret(99));
    let links: Vec<Link> =
        (0..15).map(|n| Link { key, domain: format!("d{n}.example.org").parse().unwrap() }).collect();
    for (count, depth) in [(0, 0), (1, 0), (2, 1), (13, 1), (14, 2), (169, 2), (170, 3)] {
        let records = records(count);
        let tree = Plan::new(count, &records, &links).unwrap().sign(&crypto, &secret(99));
        assert!(tree.root().is_signed_by(&crypto, &key) && tree.root().seq == count);
        let nodes = leaves(&tree, tree.root().nodes);
        assert_eq!((nodes.len(), nodes.iter().map(|leaf| leaf.0).max().unwrap_or(0)), (records.len(), depth));
        assert!(records.iter().all(|record| nodes.iter().any(|(_, leaf)| *leaf == Entry::Record(record.clone()))));
        let linked = leaves(&tree, tree.root().links);
        assert!(links.iter().all(|link| linked.iter().any(|(_, leaf)| *leaf == Entry::Link(link.clone()))));
        assert_eq!(linked.len(), links.len());
        let names: Vec<(String, String)> = tree.names(&"x.org".parse().unwrap()).collect();
        assert_eq!((names.len(), &*names[0].0), (tree.entries().len() + 1, "x.org"));
        assert_eq!(names[0].1.parse::<Root>().as_ref(), Ok(tree.root()));
    }
}

#[test]
fn the_order_of_records_does_not_matter_and_a_node_is_listed_once() {
    let crypto = Secp256k1::new();
    let mut records = records(30);
    let plan = Plan::new(1, &records, &[]).unwrap();
    records.reverse();
    assert_eq!(Plan::new(1, &records, &[]).as_ref(), Ok(&plan));
    records.push(records[4].clone());
    let id = records[4].key().node_id();
    assert_eq!(Plan::new(1, &records, &[]), Err(PlanError::Duplicate(id)));
    let tree = plan.clone().sign(&crypto, &secret(1));
    let key = crypto.public_key(&secret(1));
    assert_eq!(plan.clone().with_signature(&crypto, &key, tree.root().signature), Some(tree.clone()));
    let other = Plan::new(2, &records[1..30], &[]).unwrap();
    assert_eq!(other.with_signature(&crypto, &key, tree.root().signature), None, "another tree");
    assert_eq!(plan.with_signature(&crypto, &crypto.public_key(&secret(2)), tree.root().signature), None);
}
