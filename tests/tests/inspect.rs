//! Inspection of captures: every form of file and link, whole and broken, and the messages of two nodes in them.
#![allow(missing_docs)]

use std::net::IpAddr;
use std::sync::OnceLock;

use peerless::crypto::SecretKey;
use peerless_tests::memory::{Counting, peak_of};
use peerless_tests::pcap::{Form, LINKS, Packets, Said, wrap};
use peerless_tests::skip;
use peerless_tests::talk::Talk;
use peerless_trace::capture::{Item, Reader};
use peerless_trace::diff::{Difference, compare};
use peerless_trace::inspect::export::Exporter;
use peerless_trace::inspect::{Filter, Finding, Findings, Inspector, Keys, json};
use peerless_trace::keylog::{self, KeyLog};
use proptest::prelude::*;

#[global_allocator]
static COUNTING: Counting = Counting;

const NG: Form = Form::Ng { big_endian: false, nanoseconds: true };
const ETHERNET: u16 = 1;

fn talk() -> &'static Talk {
    static TALK: OnceLock<Talk> = OnceLock::new();
    TALK.get_or_init(|| Talk::new([IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])], true))
}

fn keys(talk: &Talk, with_log: bool, nodes: &[usize]) -> Keys {
    let mut log = KeyLog::default();
    if with_log {
        for secrets in &talk.secrets {
            log.read(keylog::line(secrets).as_bytes()).unwrap();
        }
    }
    Keys::new(log, nodes.iter().map(|i| talk.keys[*i].clone()).collect())
}

fn inspect(file: &[u8], keys: Keys) -> Vec<Finding> {
    let mut findings = Findings::new(file, keys, Vec::new());
    std::iter::from_fn(|| findings.next_finding().unwrap()).collect()
}

/// `protocol message`, one each.
fn names(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{} {}", finding.protocol(), finding.name())).collect()
}

fn said(findings: &[Finding], what: &str) -> usize {
    names(findings).iter().filter(|name| *name == what).count()
}

const SESSION: [&str; 11] = [
    "tcp Begun",
    "rlpx Auth",
    "rlpx Ack",
    "p2p Hello",
    "p2p Hello",
    "eth Status",
    "eth Status",
    "eth GetBlockHeaders",
    "eth BlockHeaders",
    "p2p Disconnect",
    "tcp Ended",
];

#[test]
fn a_session_is_read_in_every_link_and_every_form() {
    let mut expected = None;
    for (link, name) in LINKS {
        let is_v6 = link == 229;
        let ips: [IpAddr; 2] = if is_v6 {
            ["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()]
        } else {
            [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()]
        };
        let v6;
        let talk = if is_v6 {
            v6 = Talk::new(ips, true);
            &v6
        } else {
            talk()
        };
        let packets = Packets::of(&talk.said, 1448);
        for form in Form::all() {
            let findings = inspect(&packets.file(link, form), keys(talk, true, &[]));
            let mut names = names(&findings);
            let session: Vec<&String> = names.iter().filter(|name| !name.starts_with("discv4")).collect();
            assert_eq!(session, SESSION, "{name}, {form:?}");
            for packet in ["Ping", "Pong", "ENRRequest", "ENRResponse"] {
                assert!(said(&findings, &format!("discv4 {packet}")) >= 1, "{packet} in {name}, {form:?}");
            }
            let at = findings[0].at.unwrap().0;
            assert_eq!(at, 1_750_000_000_000_000_000, "{form:?}");
            names.sort();
            if !is_v6 {
                assert_eq!(&names, expected.get_or_insert_with(|| names.clone()));
            }
        }
    }
}

#[test]
fn a_line_tells_who_said_what() {
    let file = Packets::of(&talk().said, 100).file(ETHERNET, NG);
    let findings = inspect(&file, keys(talk(), true, &[]));
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let has = |part: &str| assert!(lines.iter().any(|line| line.contains(part)), "{part} in\n{}", lines.join("\n"));
    has("#1 192.0.2.1:50000 > 192.0.2.2:30303  p2p Hello Peerless/v");
    has("eth/69 Status network 1337, genesis 07070707.., fork ");
    has("eth/69 GetBlockHeaders request ");
    has(": 3 from 5 (");
    has(": 2 items (");
    has("p2p Disconnect 0x00, disconnect requested");
    has("discv4 Ping, version 4");
    let hello = findings.iter().position(|finding| finding.name() == "Hello").unwrap();
    let object = json::object(&findings[hello]);
    assert_eq!(object["protocol"], "p2p");
    assert_eq!(object["public_key"].as_str().unwrap().len(), 128);
    assert_eq!(object["from_id"].as_str().unwrap().len(), 64);
}

#[test]
fn nothing_opens_without_secrets_and_a_static_key_opens_its_handshake_packet() {
    let file = Packets::of(&talk().said, 1448).file(ETHERNET, NG);
    for (nodes, auth, ack) in
        [(&[][..], false, false), (&[1][..], true, false), (&[0][..], false, true), (&[0, 1], true, true)]
    {
        let findings = inspect(&file, keys(talk(), false, nodes));
        let objects: Vec<_> = findings.iter().map(json::object).collect();
        let opened = |name: &str| {
            let object = objects.iter().find(|object| object["message"] == name).unwrap();
            !object["opened"].is_null()
        };
        assert_eq!((opened("Auth"), opened("Ack")), (auth, ack), "{nodes:?}");
        assert_eq!(said(&findings, "p2p Hello"), 0);
        assert_eq!(said(&findings, "rlpx Sealed"), 2, "each direction is told");
        let sealed: u64 = objects
            .iter()
            .filter(|object| object["message"] == "Sealed")
            .map(|object| object["total"].as_u64().unwrap())
            .sum();
        let handshake: u64 = ["Auth", "Ack"]
            .iter()
            .map(|name| objects.iter().find(|object| object["message"] == *name).unwrap()["total"].as_u64().unwrap())
            .sum();
        let streamed: usize =
            talk().said.iter().map(|said| if let Said::Bytes { bytes, .. } = said { bytes.len() } else { 0 }).sum();
        assert_eq!(sealed + handshake, streamed as u64, "no byte is dropped silently");
    }
    // Without being asked, nodes tell nothing.
    assert!(Talk::new([[192, 0, 2, 1].into(), [192, 0, 2, 2].into()], false).secrets.is_empty());
}

#[test]
fn a_log_opens_its_session_and_no_other() {
    let file = Packets::of(&talk().said, 1448).file(ETHERNET, NG);
    let stranger = Talk::new([[192, 0, 2, 7].into(), [192, 0, 2, 8].into()], true);
    let mut secrets = talk().secrets[0].clone();
    secrets.auth_hash[15] ^= 1;
    let mut log = KeyLog::default();
    stranger.secrets.iter().for_each(|secrets| log.insert(secrets));
    log.insert(&secrets);
    // The stranger's session is of the same keys and seeds: other addresses, the same bytes.
    assert_eq!(stranger.secrets[0].auth_hash, talk().secrets[0].auth_hash);
    let findings = inspect(&file, Keys::new(log, Vec::new()));
    assert_eq!(said(&findings, "p2p Hello"), 2);
    let mut log = KeyLog::default();
    log.insert(&secrets);
    assert_eq!(said(&inspect(&file, Keys::new(log, Vec::new())), "p2p Hello"), 0);
    // The right name and wrong secrets: the MAC says so.
    let mut secrets = talk().secrets[0].clone();
    let mut mac = *secrets.mac.expose();
    mac[0] ^= 1;
    secrets.mac = mac.into();
    let mut log = KeyLog::default();
    log.insert(&secrets);
    let findings = inspect(&file, Keys::new(log, Vec::new()));
    assert!(findings.iter().any(|finding| finding.to_string().contains("a frame whose MAC is wrong")));
}

#[test]
fn secrets_in_the_capture_count() {
    let mut file = Packets::of(&[], 1448).file(ETHERNET, NG);
    let line = keylog::line(&talk().secrets[0]);
    let mut block = peerless_trace::capture::SECRETS_TYPE_RLPX.to_le_bytes().to_vec();
    block.extend((line.len() as u32).to_le_bytes());
    block.extend(line.as_bytes());
    NG.block(&mut file, 10, &block);
    for packet in Packets::of(&talk().said, 1448).packets {
        NG.append(&mut file, 0, &wrap(ETHERNET, &packet));
    }
    assert_eq!(said(&inspect(&file, Keys::default()), "p2p Hello"), 2);
    let mut log = KeyLog::default();
    peerless_trace::inspect::collect_secrets(&file[..], &mut log).unwrap();
    assert_eq!(log.len(), 1);
}

#[test]
fn segments_may_come_in_any_order_and_twice() {
    let whole = Packets::of(&talk().said, 60);
    let expected = names(&inspect(&whole.file(ETHERNET, NG), keys(talk(), true, &[])));
    let mut shuffled = whole.clone();
    // Neighbours swap, and every third comes again later.
    let again: Vec<Vec<u8>> = shuffled.packets.iter().step_by(3).cloned().collect();
    for pair in shuffled.packets[..].chunks_mut(2) {
        pair.reverse();
    }
    let middle = shuffled.packets.len() - 4;
    shuffled.packets.splice(middle..middle, again);
    let mut got = names(&inspect(&shuffled.file(ETHERNET, NG), keys(talk(), true, &[])));
    let mut expected: Vec<String> = expected.into_iter().filter(|name| !name.starts_with("discv4")).collect();
    got.retain(|name| !name.starts_with("discv4"));
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
}

#[test]
fn a_lost_segment_is_told_with_what_it_costs() {
    let mut packets = Packets::of(&talk().said, 200);
    let file = packets.file(ETHERNET, NG);
    let whole = inspect(&file, keys(talk(), true, &[]));
    let status = whole.iter().find(|finding| finding.name() == "Status").unwrap().packet as usize;
    packets.packets.remove(status - 1);
    let findings = inspect(&packets.file(ETHERNET, NG), keys(talk(), true, &[]));
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(said(&findings, "tcp Gap"), 1, "{}", lines.join("\n"));
    assert_eq!(said(&findings, "rlpx Sealed"), 1, "{}", lines.join("\n"));
    assert_eq!(said(&findings, "p2p Hello"), 2);
}

#[test]
fn fragments_are_put_together() {
    for ips in [["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]] {
        let ips = ips.map(|ip| ip.parse::<IpAddr>().unwrap());
        let talk = Talk::new(ips, true);
        let packets = Packets::of(&talk.said, 1448);
        let expected = names(&inspect(&packets.file(101, NG), keys(&talk, true, &[])));
        let mut fragmented = packets.clone();
        fragmented.packets =
            packets.packets.iter().enumerate().flat_map(|(i, packet)| fragments(packet, i as u16)).collect();
        assert!(fragmented.packets.len() > packets.packets.len() + 10);
        let findings = inspect(&fragmented.file(101, NG), keys(&talk, true, &[]));
        assert_eq!(names(&findings), expected, "{ips:?}");
    }
}

/// A packet in fragments of 64 bytes, the last first.
fn fragments(packet: &[u8], id: u16) -> Vec<Vec<u8>> {
    let is_v6 = packet[0] >> 4 == 6;
    let (header, payload) = packet.split_at(if is_v6 { 40 } else { 20 });
    let count = payload.len().div_ceil(64);
    if count == 1 {
        return vec![packet.to_vec()];
    }
    let mut fragments = Vec::new();
    for (i, part) in payload.chunks(64).enumerate().rev() {
        let offset = (i * 8) as u16;
        let more = i + 1 < count;
        let mut header = header.to_vec();
        if is_v6 {
            let next = std::mem::replace(&mut header[6], 44);
            header[4..6].copy_from_slice(&(part.len() as u16 + 8).to_be_bytes());
            let place = (offset << 3 | u16::from(more)).to_be_bytes();
            header.extend([next, 0, place[0], place[1], 0, 0]);
            header.extend(id.to_be_bytes());
        } else {
            header[2..4].copy_from_slice(&(part.len() as u16 + 20).to_be_bytes());
            header[4..6].copy_from_slice(&id.to_be_bytes());
            header[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
        }
        fragments.push([&header[..], part].concat());
    }
    fragments
}

#[test]
fn filters_choose() {
    let file = Packets::of(&talk().said, 1448).file(ETHERNET, NG);
    let count = |filters: &[&str]| {
        let filters = filters.iter().map(|text| text.parse::<Filter>().unwrap()).collect();
        let mut findings = Findings::new(&file[..], keys(talk(), true, &[]), filters);
        std::iter::from_fn(|| findings.next_finding().unwrap()).count()
    };
    let all = count(&[]);
    assert_eq!(count(&["conn=1"]), SESSION.len());
    assert_eq!(count(&["proto=eth"]), 4);
    assert_eq!(count(&["proto=eth,p2p"]), 7);
    assert_eq!(count(&["proto=eth", "message=status"]), 2);
    assert_eq!(count(&["addr=192.0.2.1:50000"]), SESSION.len());
    assert_eq!(count(&["addr=192.0.2.1"]), all);
    assert_eq!(count(&["port=50000"]), SESSION.len());
    assert_eq!(count(&["addr=192.0.2.3"]), 0);
    let id = inspect(&file, keys(talk(), true, &[])).iter().find_map(|finding| finding.place?.from_id).unwrap();
    assert!(count(&[&format!("node={}", &id.to_string()[..9])]) > 7);
    for wrong in ["", "node", "node=xyz", "colour=red", "port=70000", "conn=", "addr=1.2.3"] {
        assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
    }
}

#[test]
fn a_cut_capture_is_read_to_its_last_whole_packet() {
    let file = Packets::of(&talk().said, 300).file(ETHERNET, NG);
    let whole: Vec<String> = inspect(&file, keys(talk(), true, &[])).iter().map(ToString::to_string).collect();
    for end in (0..file.len()).step_by(61) {
        let findings = inspect(&file[..end], keys(talk(), true, &[]));
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let common = lines.iter().zip(&whole).take_while(|(a, b)| a == b).count();
        // Beyond what both have: that the capture is broken, and what waited for more.
        for line in &lines[common..] {
            let is_end = ["broken: ", "unknown: ", " sealed", "tcp open when", "not captured"]
                .iter()
                .any(|end| line.contains(end));
            assert!(is_end, "{end}: {line}");
        }
    }
    // A block whose second length lies is passed over, and shown.
    let mut broken = file.clone();
    let at = NG.header(ETHERNET).len();
    let length = u32::from_le_bytes(broken[at + 4..at + 8].try_into().unwrap()) as usize;
    broken[at + length - 1] ^= 0xff;
    let findings = inspect(&broken, keys(talk(), true, &[]));
    assert_eq!(said(&findings, "capture Broken"), 1);
    assert_eq!(said(&findings, "p2p Hello"), 2);
}

#[test]
fn what_is_not_ours_is_shown_as_such() {
    let (a, b) = ("192.0.2.1:5000".parse().unwrap(), "192.0.2.2:80".parse().unwrap());
    let bytes = |from, to, bytes: &[u8]| Said::Bytes { from, to, bytes: bytes.to_vec() };
    let said_ = [
        Said::Opened { from: a, to: b },
        bytes(a, b, b"GET / HTTP/1.1\r\n\r\n"),
        bytes(b, a, b"HTTP/1.1 200 OK\r\n\r\n"),
        Said::Closed { from: a, to: b },
        Said::Datagram { from: a, to: b, bytes: vec![9; 40] },
        Said::Datagram { from: a, to: b, bytes: vec![9; 400] },
    ];
    let packets = Packets::of(&said_, 1448);
    let lines: Vec<String> =
        inspect(&packets.file(ETHERNET, NG), Keys::default()).iter().map(Finding::timeless).collect();
    assert_eq!(
        lines,
        [
            "#1 192.0.2.1:5000 > 192.0.2.2:80  tcp begins",
            "#1 192.0.2.1:5000 > 192.0.2.2:80  tcp unknown: not RLPx: 18 bytes 474554202f20485454502f312e310d0a0d0a",
            "#1 192.0.2.1:5000 > 192.0.2.2:80  tcp closed, after 37 bytes",
            &format!(
                "192.0.2.1:5000 > 192.0.2.2:80  udp unknown: neither discv4 nor discv5 to a known node: 40 bytes {}..",
                "09".repeat(32)
            ),
            &format!(
                "192.0.2.1:5000 > 192.0.2.2:80  udp unknown: neither discv4 nor discv5 to a known node: 400 bytes {}..",
                "09".repeat(32)
            ),
        ]
    );
}

#[test]
fn exported_messages_are_a_capture() {
    let file = Packets::of(&talk().said, 1448).file(ETHERNET, NG);
    let mut exporter = Exporter::new(Vec::new()).unwrap();
    let findings = inspect(&file, keys(talk(), true, &[]));
    findings.iter().for_each(|finding| exporter.add(finding).unwrap());
    let exported = exporter.finish().unwrap();
    let mut reader = Reader::new(&exported[..]);
    let mut messages = 0;
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Packet(packet) => {
                assert_eq!(packet.link, 252);
                assert!(packet.at.is_some_and(|at| at.0 > 1_750_000_000_000_000_000));
                messages += 1;
            }
            Item::Other { known: true, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(messages, 7);
    tshark(&exported, &["-T", "fields", "-e", "frame.comment", "-e", "ip.src"], &["eth/69 BlockHeaders", "p2p Hello"]);
}

/// Has tshark read a file, where it is installed, and looks for what it should say; CI installs it.
fn tshark(file: &[u8], arguments: &[&str], expected: &[&str]) {
    use std::process::Command;
    let path = std::env::temp_dir().join(format!("peerless-inspect-{}.pcapng", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let output = Command::new("tshark").arg("-r").arg(&path).args(arguments).output();
    std::fs::remove_file(&path).unwrap();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            for part in expected {
                assert!(text.contains(part), "{part} in\n{text}");
            }
        }
        Err(error) => {
            skip::skip_without_tshark(&error);
        }
    }
}

#[test]
fn captures_part_where_one_says_something_else() {
    let file = Packets::of(&talk().said, 1448).file(ETHERNET, NG);
    let findings = |file: &'static [u8]| Findings::new(file, keys(talk(), true, &[]), Vec::new());
    let file: &'static [u8] = file.leak();
    let same = compare(&mut findings(file), &mut findings(file)).unwrap();
    assert!(matches!(same, Difference::None(n) if n as usize == inspect(file, keys(talk(), true, &[])).len()));
    // The same session in other segments, later, says the same.
    let other: &'static [u8] = Packets::of(&talk().said, 10_000).file(ETHERNET, NG).leak();
    assert!(matches!(compare(&mut findings(file), &mut findings(other)).unwrap(), Difference::None(_)));
    let mut packets = Packets::of(&talk().said, 1448);
    let all = inspect(file, keys(talk(), true, &[]));
    let goodbye = all.iter().find(|finding| finding.name() == "Disconnect").unwrap().packet as usize;
    packets.packets.remove(goodbye - 1);
    let shorter: &'static [u8] = packets.file(ETHERNET, NG).leak();
    let Difference::At(parting) = compare(&mut findings(file), &mut findings(shorter)).unwrap() else {
        panic!("they part")
    };
    assert_eq!(parting.before.len(), 8);
    assert_eq!(parting.left.unwrap().name(), "Disconnect");
    assert!(parting.right.is_some());
}

/// A capture that is made while it is read.
struct Generated {
    packets: u64,
    of: u64,
    block: Vec<u8>,
    at: usize,
    pattern: Vec<Vec<u8>>,
}

impl std::io::Read for Generated {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() && self.packets < self.of {
            self.block.clear();
            self.at = 0;
            // Ever new addresses, so that tables that only grew would.
            let mut packet = self.pattern[self.packets as usize % self.pattern.len()].clone();
            let round = (self.packets / self.pattern.len() as u64) as u16;
            packet[14..16].copy_from_slice(&round.to_be_bytes());
            packet[18..20].copy_from_slice(&round.to_be_bytes());
            NG.append(&mut self.block, self.packets * 1000, &wrap(ETHERNET, &packet));
            self.packets += 1;
        }
        let taken = out.len().min(self.block.len() - self.at);
        out[..taken].copy_from_slice(&self.block[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// Sessions that never end, half of them with a hole: what could pile up does not. `PEERLESS_PACKETS` sets how many packets.
#[test]
fn memory_does_not_grow_with_the_capture() {
    let packets = std::env::var("PEERLESS_PACKETS").map_or(100_000, |count| count.parse().unwrap());
    let mut streamed = 0;
    let is_first = |said: &&Said| {
        streamed += usize::from(matches!(said, Said::Bytes { .. }));
        match said {
            Said::Datagram { .. } => false,
            Said::Opened { .. } => true,
            Said::Bytes { .. } => streamed <= 4,
            Said::Closed { .. } => false,
        }
    };
    let first: Vec<Said> = talk().said.iter().filter(is_first).cloned().collect();
    let mut pattern = Packets::of(&first, 300).packets;
    let mut holed = pattern.clone();
    holed.iter_mut().for_each(|packet| (packet[13], packet[17]) = (1, 1));
    holed.remove(holed.len() - 2);
    pattern.extend(holed);
    let run = |of: u64| {
        let mut findings = 0;
        let start = std::time::Instant::now();
        let peak = peak_of(|| {
            let generated = Generated { packets: 0, of, block: NG.header(ETHERNET), at: 0, pattern: pattern.clone() };
            let mut inspected = Findings::new(generated, keys(talk(), true, &[]), Vec::new());
            while inspected.next_finding().unwrap().is_some() {
                findings += 1;
            }
            assert_eq!(inspected.inspector().totals().packets, of);
        });
        let rate = of as f64 / start.elapsed().as_secs_f64();
        eprintln!("{of} packets, {findings} findings, {rate:.0} packets/s, {peak} bytes at most");
        peak
    };
    // By then the table of connections is full.
    let few = run(packets / 2);
    let many = run(packets);
    assert!(many < few + few / 4, "{few} bytes became {many}");
}

#[test]
fn recorded_sessions_are_read() {
    let Some(folder) = skip::recordings() else { return };
    let text = std::fs::read_to_string(folder.join("recorded_privnet.json")).unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hex = |value: &serde_json::Value| const_hex::decode(value.as_str().unwrap()).unwrap();
    let addr = |name: &serde_json::Value, port| {
        let number = ["boot", "node1", "node2", "node3"].iter().position(|node| name == node).unwrap();
        std::net::SocketAddr::new([10, 0, 0, number as u8 + 1].into(), port)
    };
    let sessions = recorded["rlpx_sessions"].as_array().unwrap();
    let (mut all, mut log, mut expected) = (Vec::new(), String::new(), Vec::new());
    for (i, session) in sessions.iter().enumerate() {
        let (from, to) = (addr(&session["initiator"], 40_000 + i as u16), addr(&session["recipient"], 30303));
        let auth = hex(&session["auth"]);
        all.push(Said::Opened { from, to });
        all.push(Said::Bytes { from, to, bytes: auth.clone() });
        all.push(Said::Bytes { from: to, to: from, bytes: hex(&session["ack"]) });
        for frame in session["frames"].as_array().unwrap() {
            let (from, to) = if frame["from"] == session["initiator"] { (from, to) } else { (to, from) };
            all.push(Said::Bytes { from, to, bytes: hex(&frame["frame"]) });
            expected.push((frame["message_id"].as_u64().unwrap(), hex(&frame["payload"])));
        }
        all.push(Said::Closed { from, to });
        let id = const_hex::encode(&peerless::crypto::keccak256(&auth)[..16]);
        let field = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        log += &format!(
            "RLPX1 {id} {} {} {} {}\n",
            field(&session["auth_decoded"]["nonce"]),
            field(&session["ack_decoded"]["nonce"]),
            field(&session["aes_secret"]),
            field(&session["mac_secret"])
        );
    }
    for packet in recorded["discv5_packets"].as_array().unwrap() {
        let (from, to) = (addr(&packet["from"], 30303), addr(&packet["to"], 30303));
        all.push(Said::Datagram { from, to, bytes: hex(&packet["hex"]) });
    }
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors/discv4.json")).unwrap();
    let discv4: Vec<Vec<u8>> = packets_in(&vectors);
    assert!(!discv4.is_empty());
    for bytes in &discv4 {
        all.push(Said::Datagram {
            from: addr(&"boot".into(), 30303),
            to: addr(&"node1".into(), 30303),
            bytes: bytes.clone(),
        });
    }
    let statics: Vec<SecretKey> = recorded["static_keys"]
        .as_object()
        .unwrap()
        .values()
        .map(|key| SecretKey::from_bytes(hex(key).try_into().unwrap()).unwrap())
        .collect();
    let mut keylog = KeyLog::default();
    keylog.read(log.as_bytes()).unwrap();
    let file = Packets::of(&all, 1448).file(ETHERNET, Form::Pcap { big_endian: false, nanoseconds: false });
    let findings = inspect(&file, Keys::new(keylog, statics));

    let messages: Vec<&peerless_trace::inspect::finding::Message> = findings
        .iter()
        .filter_map(|finding| match &finding.what {
            peerless_trace::inspect::What::Message(message) => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(messages.len(), expected.len());
    for (message, (id, payload)) in messages.iter().zip(&expected) {
        let offset = message.capability.map_or(0, |capability| if capability.is_eth() { 16 } else { 33 });
        assert_eq!((message.id + offset, &message.payload), (*id, payload), "{message}");
        assert!(message.name.is_some(), "{message}");
    }
    for (what, count) in [("p2p Hello", 6), ("eth Status", 6), ("eth NewBlock", 2), ("eth BlockHeaders", 2)] {
        assert_eq!(said(&findings, what), count, "{what}");
    }
    assert_eq!((said(&findings, "snap GetAccountRange"), said(&findings, "snap AccountRange")), (1, 1));
    assert_eq!(findings.iter().filter(|finding| finding.protocol() == "discv5").count(), 17);
    assert!(findings.iter().filter(|finding| finding.protocol() == "discv4").count() > 0);
    assert_eq!(said(&findings, "tcp Unknown"), 0);
}

/// Every hexadecimal string in the vectors that is a discv4 datagram.
fn packets_in(value: &serde_json::Value) -> Vec<Vec<u8>> {
    match value {
        serde_json::Value::Object(object) => object.values().flat_map(packets_in).collect(),
        serde_json::Value::Array(array) => array.iter().flat_map(packets_in).collect(),
        serde_json::Value::String(text) => const_hex::decode(text)
            .ok()
            .filter(|bytes| {
                (98..=1280).contains(&bytes.len()) && peerless::crypto::keccak256(&bytes[32..])[..] == bytes[..32]
            })
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A file with any content is read to its end.
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2000), ng in any::<bool>(), link in prop::sample::select(LINKS.to_vec())) {
        inspect(&bytes, Keys::default());
        let form = if ng { NG } else { Form::Pcap { big_endian: true, nanoseconds: false } };
        inspect(&[&form.header(link.0)[..], &bytes].concat(), Keys::default());
        let mut file = form.header(link.0);
        for part in bytes.chunks(90) {
            form.append(&mut file, 0, part);
        }
        let findings = inspect(&file, Keys::default());
        prop_assert!(findings.iter().all(|finding| !finding.to_string().is_empty() && json::object(finding).is_object()));
    }

    /// A sound capture with bytes changed anywhere, behind sound link headers or not.
    #[test]
    fn damaged_captures_are_read(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let mut file = Packets::of(&talk().said, 500).file(ETHERNET, NG);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let findings = inspect(&file, keys(talk(), true, &[0, 1]));
        prop_assert!(findings.iter().all(|finding| !finding.to_string().is_empty()));
    }
}

/// The totals add up to the packets.
#[test]
fn every_packet_is_counted() {
    let file = Packets::of(&talk().said, 1448).file(ETHERNET, NG);
    let mut inspector = Inspector::new(Keys::default());
    let mut reader = Reader::new(&file[..]);
    while let Some(item) = reader.next_item().unwrap() {
        inspector.handle_item(&item);
    }
    inspector.finish();
    let totals = inspector.totals();
    assert_eq!(totals.packets, totals.datagrams + totals.segments + totals.other_packets + totals.fragments);
    assert_eq!((totals.connections, totals.other_blocks), (1, 4));
    assert!(totals.to_string().starts_with(&format!("{} packets: ", totals.packets)));
}
