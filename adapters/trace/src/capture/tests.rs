//! Hand-made blocks: stamps, false lengths, announced sizes without bytes.

use super::*;

fn block(kind: u32, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, content, &length].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]))
}

/// An interface with raw IP, a resolution and an offset in seconds.
fn interface(snap_bytes: u32, resolution: u8, offset: i64) -> Vec<u8> {
    let mut content = words(&[101, snap_bytes]);
    content.extend([9, 0, 1, 0, resolution, 0, 0, 0, 14, 0, 8, 0]);
    content.extend(offset.to_le_bytes());
    content.extend([0; 4]);
    block(1, &content)
}

fn packet(interface: u32, units: u64, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u32;
    let mut content = words(&[interface, (units >> 32) as u32, units as u32, length, length]);
    content.extend(bytes);
    content.resize(content.len().next_multiple_of(4), 0);
    block(6, &content)
}

fn describe(file: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(file);
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        items.push(match item {
            Item::Packet(packet) => format!("{} {:?} {}", packet.number, packet.at.map(|at| at.0), packet.bytes.len()),
            Item::Broken { offset, why, .. } => format!("{offset}: {why}"),
            Item::Custom { pen, bytes } => format!("custom {pen} {}", bytes.len()),
            Item::Secrets { kind, bytes } => format!("secrets {kind} {}", String::from_utf8_lossy(bytes)),
            Item::Other { known, .. } => format!("other {known}"),
        });
    }
    items
}

#[test]
fn stamps_have_their_interfaces_resolution_and_offset() {
    let file = [
        section(),
        interface(0, 6, 0),
        interface(0, 9, 10),
        // A power of two: 2^-10 seconds.
        interface(0, 0x8a, -1),
        packet(0, 1_500_000, b"abc"),
        packet(1, 7, b""),
        packet(2, 2048, b"abcd"),
        packet(2, 0, b""),
        // A broken interface keeps its index.
        interface(0, 0xc0, 0),
        packet(3, 0, b""),
        // A simple packet: no stamp, cut to what the first interface snaps.
        block(3, &[&words(&[3])[..], b"xyz\0"].concat()),
        // Another section has its own interfaces.
        section(),
        packet(0, 0, b""),
    ]
    .concat();
    let items = describe(&file);
    let rest: Vec<&str> = items.iter().map(String::as_str).filter(|item| !item.starts_with("other")).collect();
    assert_eq!(rest.len(), 8, "{items:?}");
    assert_eq!(rest[..4], ["1 Some(1500000000) 3", "2 Some(10000000007) 0", "3 Some(1000000000) 4", "4 Some(0) 0"]);
    assert!(rest[4].ends_with("an interface of impossible link type or resolution of stamps"));
    assert!(rest[5].ends_with("a packet of no known interface") && rest[7].ends_with("a packet of no known interface"));
    assert_eq!(rest[6], "5 None 3");
}

#[test]
fn broken_blocks_are_skipped_by_length_or_end_the_reading() {
    let mut lying = packet(0, 0, b"abcd");
    lying[20] = 200;
    let custom = block(0x4000_0bad, &words(&[32473, 1, 2]));
    let secrets = block(10, &[&words(&[SECRETS_TYPE_RLPX, 3])[..], b"abc\0"].concat());
    let file = [section(), interface(0, 6, 0), lying, custom, secrets, block(0x777, b""), packet(0, 0, b"")].concat();
    let items = describe(&file);
    assert!(items[2].contains(": a block"), "{items:?}");
    assert_eq!(
        items[3..],
        ["custom 32473 24", &format!("secrets {SECRETS_TYPE_RLPX} abc"), "other false", "1 Some(0) 0"]
    );

    for (length, why) in [(8u32, "impossible"), (13, "impossible"), (u32::MAX - 3, "impossible"), (16 << 20, "cut off")]
    {
        let file = [section(), words(&[6, length, 0, 0])].concat();
        let items = describe(&file);
        assert!(items.len() == 2 && items[1].contains(why), "{length}: {items:?}");
    }
    assert!(describe(b"")[..].is_empty());
    assert_eq!(describe(b"neither"), ["0: neither pcap nor pcapng"]);
    let record = [&words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 0, 101])[..], &words(&[0, 0, 1 << 30, 0])].concat();
    assert_eq!(describe(&record), ["24: a record of impossible length"]);
}

#[test]
fn an_announced_length_reserves_no_memory() {
    let file = [section(), words(&[6, 16 << 20, 0, 0])].concat();
    let mut reader = Reader::new(&file[..]);
    while reader.next_item().unwrap().is_some() {}
    assert!(reader.input.buffer.len() <= CHUNK_BYTES);
}

/// Reads one byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let taken = usize::from(!self.0.is_empty() && !out.is_empty());
        out[..taken].copy_from_slice(&self.0[..taken]);
        self.0 = &self.0[taken..];
        Ok(taken)
    }
}

#[test]
fn items_do_not_depend_on_read_sizes() {
    let file = [section(), interface(0, 6, 0), packet(0, 0, &[1; 100]), packet(0, 1, &[2; 77])].concat();
    let mut reader = Reader::new(Trickle(&file));
    let mut bytes = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Packet(packet) = item {
            bytes.push(packet.bytes.to_vec());
        }
    }
    assert_eq!(bytes, [vec![1; 100], vec![2; 77]]);
}
