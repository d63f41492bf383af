use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::RowAccessor as _;

use super::*;
use crate::nodeset::model::Kind;

const GETH: &str = include_str!("../../../tests/data/nodes/nodes.json");
const RETH: &str = include_str!("../../../tests/data/nodes/known-peers.json");
const RETH_LEGACY: &str = include_str!("../../../tests/data/nodes/known-peers-legacy.json");
const STATIC: &str = include_str!("../../../tests/data/nodes/static-nodes.json");
const POLYCLI: &str = include_str!("../../../tests/data/nodes/polycli.json");
const YAML: &str = include_str!("../../../tests/data/nodes/nodes.yaml");
const TEXT: &str = include_str!("../../../tests/data/nodes/nodes.txt");
const NDJSON: &str = include_str!("../../../tests/data/nodes/nodes.ndjson");
const BROKEN: &str = include_str!("../../../tests/data/nodes/broken.txt");
const ALL: [&str; 8] = [GETH, RETH, RETH_LEGACY, STATIC, POLYCLI, YAML, TEXT, NDJSON];

/// The node of the secret 1, whose record is in most samples.
const MAIN: &str = "c0a6c424ac7157ae408398df7e5f4552091a69125d5dfcb7b8c2659029395bdf";

fn read_text(text: &str) -> Reading {
    read(text.as_bytes()).unwrap_or_else(|error| panic!("{error:#}: {text}"))
}

fn node_of(text: &str, id: &str) -> Node {
    read_text(text).set.get(&id.parse().unwrap()).expect("the node").clone()
}

/// The sample as another format.
fn converted(text: &str, format: Format) -> (String, Losses) {
    let (bytes, losses) = format.write(&read_text(text).set).unwrap();
    (String::from_utf8(bytes).unwrap(), losses)
}

#[test]
fn every_dialect_is_recognised_and_read() {
    for (text, format, nodes, records) in [
        (GETH, Format::Geth, 3, 2),
        (RETH, Format::Reth, 2, 0),
        (RETH_LEGACY, Format::List, 2, 0),
        (STATIC, Format::List, 2, 1),
        (POLYCLI, Format::Polycli, 2, 1),
        (YAML, Format::Yaml, 3, 1),
        (TEXT, Format::Text, 4, 2),
        (NDJSON, Format::Ndjson, 2, 1),
    ] {
        let reading = read_text(text);
        assert_eq!((reading.format, reading.problems.as_slice(), reading.repeated), (format, &[][..], 0));
        let with_record = reading.set.nodes().iter().filter(|node| node.record().is_some()).count();
        assert_eq!((reading.set.nodes().len(), with_record), (nodes, records), "{format}");
    }
}

#[test]
fn empty_lists_are_lists() {
    for (text, format) in [("", Format::Text), ("# none\n", Format::Text), ("[]", Format::List), ("{}", Format::Geth)] {
        let reading = read_text(text);
        assert_eq!((reading.format, reading.set.nodes().len()), (format, 0), "{text:?}");
    }
}

#[test]
fn geths_scores_and_times_are_read() {
    let node = node_of(GETH, MAIN);
    assert_eq!(node.score, Some(40));
    assert_eq!(node.first_response.unwrap().to_string(), "2026-09-01T10:00:00Z");
    assert_eq!(node.last_check.unwrap().to_string(), "2026-09-09T12:00:00Z", "the file has +02:00");
    let never = read_text(GETH).set.into_nodes().into_iter().find(|node| node.record().is_none()).unwrap();
    assert_eq!((never.score, never.first_response), (None, None));
}

#[test]
fn reths_kinds_fork_ids_and_reputations_are_read() {
    let node = node_of(RETH, MAIN);
    assert_eq!((node.kind, node.reputation), (Some(Kind::Trusted), Some(-1024)));
    assert_eq!(node.fork_id().unwrap().to_string(), "07c9462e");
    let hex = RETH.replace("[\n        7,\n        201,\n        70,\n        46\n      ]", "\"0x07c9462e\"");
    assert_ne!(hex, RETH);
    assert_eq!(node_of(&hex, MAIN).fork_id, node.fork_id);
}

#[test]
fn polyclis_visits_are_read() {
    let node = node_of(POLYCLI, MAIN);
    assert_eq!(node.visits.len(), 2);
    assert!(node.client().unwrap().starts_with("Geth/v1.16.2"));
    assert_eq!(node.first_response, node.last_response, "one visit was answered");
}

#[test]
fn fields_of_later_versions_are_kept() {
    for text in [
        GETH.replace("\"seq\": 7", "\"seq\": 7, \"later\": 1"),
        RETH.replace("\"kind\": \"trusted\"", "\"kind\": \"trusted\", \"later\": 1"),
    ] {
        assert_eq!(node_of(&text, MAIN).other["later"], 1);
        assert!(converted(&text, Format::Text).1.to_string().contains("other fields (1)"));
    }
}

#[test]
fn ndjson_keeps_what_it_does_not_know() {
    let node = node_of(NDJSON, MAIN);
    assert_eq!(node.other["country"], "NL");
    let (again, losses) = converted(NDJSON, Format::Ndjson);
    assert!(losses.is_empty(), "{losses}");
    assert_eq!(converted(&again, Format::Ndjson).0, again);
    assert!(again.contains("\"country\":\"NL\"") && again.contains("too many peers"), "{again}");
}

#[test]
fn what_is_read_can_be_written_and_read_again() {
    for text in ALL {
        let nodes = read_text(text).set.into_nodes();
        for format in [Format::Geth, Format::Polycli, Format::List, Format::Text, Format::Yaml, Format::Ndjson] {
            let (written, _) = converted(text, format);
            for node in &nodes {
                let again = node_of(&written, &node.id().to_string());
                assert_eq!(again.target.to_string(), node.target.to_string(), "{format}");
            }
        }
        for format in [Format::Enodes, Format::Reth] {
            let (written, _) = converted(text, format);
            for node in &nodes {
                assert_eq!(node_of(&written, &node.id().to_string()).enode(), node.enode(), "{format}");
            }
        }
    }
}

/// What geth writes, it must read: its own order, indent and zero times.
#[test]
fn geths_file_is_written_as_geth_writes_it() {
    let (written, losses) = converted(GETH, Format::Geth);
    assert!(losses.is_empty(), "{losses}");
    assert_eq!(written, GETH.replace("2026-09-09T14:00:00+02:00", "2026-09-09T12:00:00Z"));
}

#[test]
fn what_a_format_cannot_hold_is_counted() {
    for (text, format, expected) in [
        (GETH, Format::Text, "scores (2), times (3)"),
        (GETH, Format::Enodes, "records (2), scores (2), times (3)"),
        (RETH, Format::Geth, "kinds and reputations (2), fork ids not from records (1)"),
        (POLYCLI, Format::Csv, "visits (2)"),
        (NDJSON, Format::Parquet, "other fields (1), visits (1)"),
        (YAML, Format::List, ""),
    ] {
        assert_eq!(format.write(&read_text(text).set).unwrap().1.to_string(), expected, "{format}");
    }
}

#[test]
fn nodes_without_an_address_are_counted_where_they_cannot_be_written() {
    let key = read_text(GETH).set.nodes()[0].key().to_string();
    for (text, format) in
        [(format!("enode://{key}"), Format::Reth), (format!("enode://{key}@boot.example.org:30303"), Format::Reth)]
    {
        let (bytes, losses) = format.write(&read_text(&text).set).unwrap();
        assert_eq!((losses.to_string().as_str(), bytes.as_slice()), ("nodes without an address (1)", &b"[]\n"[..]));
    }
}

#[test]
fn invalid_items_are_named_with_their_place() {
    let reading = read_text(BROKEN);
    let places: Vec<&str> = reading.problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(places, ["line 2", "line 3"]);
    assert_eq!(reading.set.nodes().len(), 2);
    for (text, at, why) in [
        (GETH.replace(MAIN, &"00".repeat(32)), "node 0000", "that of node c0a6c424"),
        (GETH.replace("\"seq\": 7", "\"seq\": 8"), "node c0a6c424", "seq is 8, and 7 in its record"),
        (GETH.replace("\"score\": 40", "\"score\": \"x\""), "node c0a6c424", "invalid type"),
        (GETH.replace("2026-09-01T10", "2026-09-01 10"), "node c0a6c424", "RFC 3339"),
        (RETH.replace("trusted", "loved"), "item 1", "loved"),
        (STATIC.replace("\"\"", "7"), "item 2", "7 is not a text"),
        (POLYCLI.replace("\"url\"", "\"uri\""), "node c0a6c424", "url"),
        (YAML.replace("  - \"", "  * \""), "line 5", "not an item"),
        (NDJSON.replace(MAIN, &"00".repeat(32)), "line 1", "by its key"),
        (NDJSON.replace("\"score\": 3", "\"score\": 3.5"), "line 1", "not an integer"),
        (NDJSON.replace("\"kind\": \"static\"", "\"kind\": 1"), "line 2", "not a text"),
    ] {
        let reading = read_text(&text);
        let problem = reading.problems.first().unwrap_or_else(|| panic!("no problem for {why}: {text}"));
        assert!(problem.at.starts_with(at) && problem.why.contains(why), "{problem} instead of {at}: {why}");
    }
}

#[test]
fn broken_lists_are_read_without_a_panic() {
    for text in ALL {
        for at in (0..text.len()).step_by(23) {
            let _ = read(&text.as_bytes()[..at]);
            let mut changed = text.as_bytes().to_vec();
            changed[at] = b'"';
            let _ = read(&changed);
        }
    }
}

#[test]
fn a_node_named_twice_is_counted() {
    let text = format!("{TEXT}{TEXT}");
    let reading = read_text(&text);
    assert_eq!((reading.set.nodes().len(), reading.repeated, reading.contradicted), (4, 4, 0));
    // A key that occurs twice in a map of JSON is not passed over in silence.
    let first = GETH.split_once("},").unwrap().0;
    let twice = format!("{first}}},{}", &GETH[1..]);
    assert_eq!(read_text(&twice).repeated, 1);
}

#[test]
fn what_is_no_list_is_refused_with_its_reason() {
    for (content, why) in [
        (&b"PAR1\x00"[..], "Parquet"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"{\"a\": ", "not a map"),
        (b"{\"a\": 1}", "\"a\""),
        (b"[1, ", "not a list"),
    ] {
        let error = read(content).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let (csv, _) = converted(GETH, Format::Csv);
    assert!(read(csv.as_bytes()).unwrap_err().to_string().contains("CSV"));
}

#[test]
fn comments_begin_at_a_space_or_the_start_of_a_line() {
    let items = |line| text::items(line).collect::<Vec<_>>();
    assert_eq!(items("# all"), Vec::<&str>::new());
    assert_eq!(items("a#b # c"), ["a#b"]);
    assert_eq!(items(" a,b\tc , #d"), ["a", "b", "c"]);
}

#[test]
fn tables_have_a_row_for_each_node() {
    let (csv, _) = converted(GETH, Format::Csv);
    assert_eq!(csv.lines().count(), 4);
    let main = csv.lines().find(|line| line.starts_with(MAIN)).unwrap();
    assert!(main.contains(",192.0.2.1,30303,30303,,,,07c9462e,0,mainnet,true,Geth/1.16.2,40,2026-09-01"), "{main}");

    let (bytes, _) = Format::Parquet.write(&read_text(GETH).set).unwrap();
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    let main = rows.iter().find(|row| row.get_string(0).unwrap() == MAIN).unwrap();
    let names: Vec<&String> = main.get_column_iter().map(|(name, _)| name).collect();
    assert_eq!(csv.lines().next().unwrap(), names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(","));
    assert_eq!(main.get_string(4).unwrap(), "192.0.2.1");
    assert_eq!(main.get_ushort(5).unwrap(), 30303);
    assert_eq!(main.get_long(15).unwrap(), 40);
    assert_eq!(main.get_timestamp_micros(16).unwrap(), 1_788_256_800_000_000);
    assert!(main.get_string(7).is_err(), "no IPv6 address");
}
