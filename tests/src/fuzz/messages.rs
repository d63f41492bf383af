//! Decoders of a session's messages: message ids, Hello, Disconnect, capabilities, Status, block ranges, request envelopes.

use peerless::contract::Fault;
use peerless::limits::{CAPABILITIES_MAX, CLIENT_NAME_CHARS_MAX};
use peerless::wire::eth::{self, BlockRange, ChainState, Status};
use peerless::wire::p2p::{self, Capability, CapabilityTable, DisconnectReason, Hello};
use peerless::wire::schema::Role;
use peerless::wire::snappy;

use super::{Choices, Memory, Reached, Target};

const fn decoder(name: &'static str, body: fn(&[u8], &mut Reached), landmarks: &'static [&'static str]) -> Target {
    Target { name, body, memory: Memory::DECODER, landmarks, generated: (20_000, 300) }
}

/// A frame body's message id.
pub const MESSAGE_ID: Target = decoder("message_id", message_id, &["zero", "one byte", "long", "refused"]);

fn message_id(data: &[u8], reached: &mut Reached) {
    let Ok((id, payload)) = p2p::split_message(data) else { return reached.note("refused") };
    reached.note(match id {
        0 => "zero",
        1..0x80 => "one byte",
        _ => "long",
    });
    let mut again = Vec::new();
    p2p::append_message_id(id, &mut again);
    again.extend_from_slice(payload);
    assert!(again == data || data[0] == 0x80 || data[0] == 0, "0 alone has two forms");
    assert_eq!(p2p::split_message(&again), Ok((id, payload)));
}

/// Hello, whose client name is shown on terminals.
pub const HELLO: Target = decoder("hello", hello, &["decoded", "refused", "capability", "escaped"]);

fn hello(data: &[u8], reached: &mut Reached) {
    let Ok(hello) = Hello::decode(data) else { return reached.note("refused") };
    reached.note("decoded");
    assert!(hello.client.chars().count() <= CLIENT_NAME_CHARS_MAX);
    let turns_text =
        |piece| matches!(piece, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_harmless = |piece: char| !piece.is_control() && !turns_text(piece);
    assert!(hello.client.chars().all(is_harmless), "{:?}", hello.client);
    assert!(hello.capabilities.len() <= CAPABILITIES_MAX);
    if hello.client.contains('\\') {
        reached.note("escaped");
    }
    for capability in &hello.capabilities {
        reached.note("capability");
        assert_eq!(capability.to_string().parse(), Ok(*capability));
        assert_eq!(Capability::new(capability.name(), capability.version), Ok(*capability));
    }
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
}

/// Disconnect in every form that clients send.
pub const DISCONNECT: Target = decoder("disconnect", disconnect, &["readable", "unreadable", "other"]);

fn disconnect(data: &[u8], reached: &mut Reached) {
    let reason = DisconnectReason::decode(data);
    reached.note(match reason {
        DisconnectReason::Unreadable => "unreadable",
        DisconnectReason::Other(_) => "other",
        _ => "readable",
    });
    assert!(!reason.to_string().is_empty());
    if reason == DisconnectReason::Unreadable {
        return;
    }
    assert_eq!(DisconnectReason::decode(&reason.encode()), reason);
    assert_eq!(DisconnectReason::from_code(reason.code()), reason);
    // Whatever reads as it stands does not also inflate to something that reads: there is no second meaning.
    let mut inflated = [0; 64];
    if let Ok(len) = snappy::inflated_len(data, inflated.len())
        && snappy::inflate(data, &mut inflated[..len]).is_ok()
    {
        assert_eq!(DisconnectReason::decode(&inflated[..len]), DisconnectReason::Unreadable, "{data:02x?}");
    }
}

/// Both sides compute the same offsets, whichever begins.
pub const CAPABILITIES: Target = decoder("capabilities", capabilities, &["shared", "nothing shared", "several", "own"]);

fn capabilities(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut table = CapabilityTable::default();
    for _ in 0..choices.below(4) {
        let length = choices.number() as u16;
        table.register(capability(&mut choices), length);
        reached.note("own");
    }
    let mut offer = || (0..choices.below(12)).map(|_| capability(&mut choices)).collect::<Vec<_>>();
    let (ours, theirs) = (offer(), offer());
    let shared = table.share(&ours, &theirs);
    assert_eq!(shared, table.share(&theirs, &ours), "both sides agree");
    reached.note(match shared.len() {
        0 => "nothing shared",
        1 => "shared",
        _ => "several",
    });
    let mut next = p2p::id::CAPABILITIES;
    for (index, one) in shared.iter().enumerate() {
        assert_eq!(one.offset, next, "no gap and no overlap");
        next += one.length;
        assert_eq!(Some(one.length), table.length(one.capability));
        assert!(ours.contains(&one.capability) && theirs.contains(&one.capability));
        for id in [one.offset.wrapping_sub(1), one.offset, next - 1, next, u64::MAX] {
            let relative = one.relative(id);
            assert_eq!(relative.is_some(), (one.offset..next).contains(&id));
            assert!(relative.is_none_or(|relative| relative + one.offset == id));
        }
        assert!(
            shared[..index].iter().all(|before| before.capability.name() < one.capability.name()),
            "sorted, once each"
        );
        let best = |known: &&Capability| {
            known.name() == one.capability.name() && theirs.contains(known) && table.length(**known).is_some()
        };
        assert_eq!(ours.iter().filter(best).map(|known| known.version).max(), Some(one.capability.version));
    }
}

fn capability(choices: &mut Choices<'_>) -> Capability {
    match choices.below(12) {
        version @ 0..=6 => Capability::eth(66 + version as u32),
        version @ 7..=8 => Capability::snap(version as u32 - 6),
        9 => Capability::eth(choices.number() as u32),
        _ => Capability::new(choices.pick(&["a", "et", "eth2", "ethethet", "zzz"]), u32::from(choices.byte() & 3))
            .expect("at most eight letters"),
    }
}

/// Status in the shape of any version.
pub const STATUS: Target = decoder("status", status, &["difficulty", "range", "refused"]);

fn status(data: &[u8], reached: &mut Reached) {
    let mut shapes = 0;
    for version in [66, 68, 69, 72] {
        let Ok(status) = Status::decode(version, data) else {
            reached.note("refused");
            continue;
        };
        shapes |= 1 << u32::from(version > 68);
        match status.chain {
            ChainState::Difficulty { .. } => reached.note("difficulty"),
            ChainState::Range(_) => reached.note("range"),
        }
        assert_eq!(matches!(status.chain, ChainState::Range(_)), version > 68);
        assert_eq!(status.encode(), data, "one encoding each");
    }
    assert_ne!(shapes, 3, "no Status has both shapes");
}

/// BlockRangeUpdate.
pub const BLOCK_RANGE: Target = decoder("block_range", block_range, &["decoded", "refused"]);

fn block_range(data: &[u8], reached: &mut Reached) {
    let Ok(range) = BlockRange::decode(data) else { return reached.note("refused") };
    reached.note("decoded");
    assert!(range.is_ordered());
    assert_eq!(range.encode(), data, "one encoding each");
}

/// The envelope of requests and responses, and what each message id is in each version.
pub const ENVELOPE: Target = decoder("envelope", envelope, &["opened", "refused", "request", "made"]);

fn envelope(data: &[u8], reached: &mut Reached) {
    match eth::request_id(data) {
        Ok((id, body)) => {
            reached.note("opened");
            let again = eth::envelope(id, body.rest().len());
            assert_eq!([again.as_slice(), body.rest()].concat(), data, "one encoding each");
        }
        Err(error) => {
            reached.note("refused");
            assert!(Fault::Message(error).disconnect_reason().is_some());
        }
    }
    let mut choices = Choices::new(data);
    let (id, version) = (choices.number(), 60 + u32::from(choices.byte() & 15));
    let (message, body) = (u64::from(choices.byte() & 31), choices.rest());
    let made = [eth::envelope(id, body.len()).as_slice(), body].concat();
    let (read, rest) = eth::request_id(&made).expect("what we make can be read");
    assert_eq!((read, rest.rest()), (id, body));
    reached.note("made");
    match eth::role(version, message) {
        Some(Role::Request { answer }) => {
            reached.note("request");
            assert_eq!(eth::role(version, answer), Some(Role::Response), "eth/{version} {message:#x}");
        }
        Some(_) => {}
        None => assert!(eth::schema(version).is_none_or(|schema| message >= u64::from(schema.message_ids()))),
    }
}
