//! The conversation of two nodes over one TCP connection: handshake packets, then frames, then messages.
//!
//! An observer of `rlpx.md`. Opens the frames of both directions if the session's secrets are known, and counts their
//! bytes if not. A direction with missing or wrong bytes cannot be opened further, since the state of its MAC and the
//! position in its keystream are lost. Addresses and packets are handled elsewhere.

use std::collections::VecDeque;

use peerless::crypto::secrets::Role;
use peerless::crypto::{Digest, NodeId, PublicKey, ecies};
use peerless::limits::{HANDSHAKE_BYTES_MAX, MESSAGE_BYTES_MAX};
use peerless::rlpx::{Frames, Opener};
use peerless::wire::p2p::{self, Capability, CapabilityTable, DisconnectReason, Hello, P2P_VERSION, Shared};
use peerless::wire::snappy;

use super::finding::{Content, Message, What};
use super::keys::{Keys, PREFIX_BYTES, auth_hash};
use crate::keylog::session_id;

/// Bytes of one side that may wait for the other's ack: an initiator sends none before it.
const EARLY_BYTES_MAX: usize = 64 << 10;
/// Unknown bytes that are kept for display.
pub(super) const SHOWN_BYTES_MAX: usize = 256;
/// The first byte of every ECIES packet, after the size: an uncompressed point.
const POINT_TAG: u8 = 4;

/// A side of the connection: 0 sent the SYN, or the first bytes.
pub(super) type Side = usize;

/// A finding of the conversation, with the side that sent it.
pub(super) type Said = (Side, What);

/// The conversation of one connection; see the module.
pub(super) struct Conversation {
    stage: Stage,
    /// The node ids of both sides, where known.
    pub(super) ids: [Option<NodeId>; 2],
    out: VecDeque<Said>,
}

enum Stage {
    /// Auth is expected.
    Auth(Vec<u8>),
    /// Ack is expected; bytes of the initiator are kept meanwhile.
    Ack { auth: Vec<u8>, auth_hash: Digest, ack: Vec<u8>, early: Vec<u8> },
    /// Frames that can be opened.
    Open(Box<Open>),
    /// Frames that cannot be opened, with the bytes of each side.
    Sealed([u64; 2]),
    /// Another protocol, with the bytes of each side.
    Foreign([u64; 2]),
}

struct Open {
    /// The directions by sender.
    lines: [Line; 2],
    hellos: [Option<Box<Hello>>; 2],
    table: CapabilityTable,
    /// The shared capabilities, up to the first of unknown length.
    shared: Vec<Shared>,
    snappy: bool,
}

/// The state of one direction.
enum Line {
    Open(Box<Opener>),
    /// The direction cannot be opened any more; counts the bytes since.
    Lost(u64),
}

impl Default for Conversation {
    fn default() -> Self {
        Self { stage: Stage::Auth(Vec::new()), ids: [None; 2], out: VecDeque::new() }
    }
}

impl Conversation {
    /// Approximate memory in use.
    pub(super) fn memory_bytes(&self) -> usize {
        match &self.stage {
            Stage::Auth(bytes) => bytes.capacity(),
            Stage::Ack { auth, ack, early, .. } => auth.capacity() + ack.capacity() + early.capacity(),
            Stage::Open(open) => size_of::<Open>() + open.lines.iter().map(Line::memory_bytes).sum::<usize>(),
            Stage::Sealed(_) | Stage::Foreign(_) => 0,
        }
    }

    /// The findings that were not polled yet.
    pub(super) fn poll(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    /// Takes the next bytes of `side`.
    pub(super) fn handle_bytes(&mut self, keys: &Keys, side: Side, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.stage {
                Stage::Auth(auth) => {
                    if side != 0 {
                        self.leave(side, "not RLPx: the side that was dialled speaks first", bytes);
                        return;
                    }
                    match take_packet(auth, &mut bytes) {
                        Taken::Part => {}
                        Taken::Whole => self.handle_auth(keys),
                        Taken::None => {
                            let seen = [&auth[..], bytes].concat();
                            self.leave(side, "not RLPx", &seen);
                            return;
                        }
                    }
                }
                Stage::Ack { early, .. } if side == 0 => {
                    early.extend_from_slice(bytes);
                    if early.len() > EARLY_BYTES_MAX {
                        self.give_up_ack("no ack was captured");
                    }
                    return;
                }
                Stage::Ack { ack, .. } => match take_packet(ack, &mut bytes) {
                    Taken::Part => {}
                    Taken::Whole => self.handle_ack(keys),
                    Taken::None => {
                        ack.extend_from_slice(bytes);
                        let ack = std::mem::take(ack);
                        self.say_unknown(side, "not an ack", &ack);
                        self.give_up_ack("sealed, behind no ack");
                        if let Stage::Sealed(counts) = &mut self.stage {
                            counts[side] += ack.len() as u64;
                        }
                        return;
                    }
                },
                Stage::Open(open) => {
                    open.handle_bytes(keys, side, &mut bytes, &mut self.ids, &mut self.out);
                }
                Stage::Sealed(counts) | Stage::Foreign(counts) => {
                    counts[side] += bytes.len() as u64;
                    return;
                }
            }
        }
    }

    /// Takes a gap of `side`: the number of bytes that were not captured.
    pub(super) fn handle_gap(&mut self, side: Side, bytes: u64) {
        self.out.push_back((side, What::Gap { bytes }));
        match &mut self.stage {
            // A part of the handshake is missing, so no frame can be opened.
            Stage::Auth(_) | Stage::Ack { .. } => self.give_up_ack("the handshake was not captured whole"),
            Stage::Open(open) => open.lines[side] = Line::Lost(0),
            Stage::Sealed(_) | Stage::Foreign(_) => {}
        }
    }

    /// Ends the conversation: reports the bytes that could not be opened.
    pub(super) fn finish(&mut self) {
        let counts = match &mut self.stage {
            Stage::Auth(auth) if auth.is_empty() => return,
            Stage::Auth(auth) => {
                let auth = std::mem::take(auth);
                self.say_unknown(0, "cut off before a handshake was whole", &auth);
                return;
            }
            Stage::Ack { .. } => {
                self.give_up_ack("cut off before a handshake was whole");
                return self.finish_sealed();
            }
            Stage::Open(open) => open.lines.each_mut().map(|line| match line {
                Line::Open(_) => 0,
                Line::Lost(bytes) => std::mem::take(bytes),
            }),
            Stage::Sealed(_) => return self.finish_sealed(),
            Stage::Foreign(_) => return,
        };
        self.say_sealed(counts);
    }

    fn finish_sealed(&mut self) {
        if let Stage::Sealed(counts) = &mut self.stage {
            let counts = std::mem::take(counts);
            self.say_sealed(counts);
        }
    }

    fn say_sealed(&mut self, counts: [u64; 2]) {
        let told = counts.into_iter().enumerate().filter(|(_, bytes)| *bytes > 0);
        self.out.extend(told.map(|(side, bytes)| (side, What::Sealed { bytes })));
    }

    fn say_unknown(&mut self, side: Side, why: &'static str, bytes: &[u8]) {
        self.out.push_back((side, unknown(why, bytes)));
    }

    /// Gives up on RLPx: the first bytes are kept for display, the others counted.
    fn leave(&mut self, side: Side, why: &'static str, bytes: &[u8]) {
        self.say_unknown(side, why, bytes);
        let mut counts = [0; 2];
        counts[side] = bytes.len() as u64;
        self.stage = Stage::Foreign(counts);
    }

    /// Gives up on bytes that wait for an ack.
    fn give_up_ack(&mut self, why: &'static str) {
        let stage = std::mem::replace(&mut self.stage, Stage::Sealed([0; 2]));
        let (side, bytes) = match stage {
            Stage::Auth(auth) => (0, auth),
            Stage::Ack { ack, early, .. } => {
                if let Stage::Sealed(counts) = &mut self.stage {
                    counts[0] = early.len() as u64;
                }
                (1, ack)
            }
            other => return self.stage = other,
        };
        self.say_unknown(side, why, &bytes);
    }

    fn handle_auth(&mut self, keys: &Keys) {
        let Stage::Auth(auth) = &mut self.stage else { return };
        let auth = std::mem::take(auth);
        let auth_hash = auth_hash(&auth);
        let opened = keys.open_auth(&auth);
        if let Some(opened) = opened {
            self.ids = [Some(opened.initiator), Some(opened.recipient)];
        }
        self.out.push_back((0, What::Auth { session: session_id(&auth_hash), bytes: auth.len(), opened }));
        self.stage = Stage::Ack { auth, auth_hash, ack: Vec::new(), early: Vec::new() };
    }

    fn handle_ack(&mut self, keys: &Keys) {
        let Stage::Ack { auth, auth_hash, ack, early } = &mut self.stage else { return };
        let opened = keys.open_ack(ack);
        if let Some(opened) = opened {
            self.ids[0] = Some(opened.initiator);
        }
        // The bytes that one side seals are opened with the other's view.
        let line = |reader| {
            let secrets = keys.secrets(reader, auth_hash, auth, ack)?;
            Some(Line::Open(Box::new(Frames::new(&*keys.crypto, secrets).opener)))
        };
        let lines = line(Role::Recipient).zip(line(Role::Initiator));
        let early = std::mem::take(early);
        self.out.push_back((1, What::Ack { bytes: ack.len(), opened, has_secrets: lines.is_some() }));
        self.stage = match lines {
            Some((initiator, recipient)) => Stage::Open(Box::new(Open::new([initiator, recipient]))),
            None => Stage::Sealed([0; 2]),
        };
        self.handle_bytes(keys, 0, &early);
    }
}

impl Line {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Open(opener) => opener.buffer_bytes(),
            Self::Lost(_) => 0,
        }
    }
}

impl Open {
    fn new(lines: [Line; 2]) -> Self {
        Self { lines, hellos: [None, None], table: CapabilityTable::default(), shared: Vec::new(), snappy: false }
    }

    /// Opens a frame, or takes all bytes.
    fn handle_bytes(
        &mut self,
        keys: &Keys,
        side: Side,
        bytes: &mut &[u8],
        ids: &mut [Option<NodeId>; 2],
        out: &mut VecDeque<Said>,
    ) {
        let opener = match &mut self.lines[side] {
            Line::Open(opener) => opener,
            Line::Lost(count) => {
                *count += bytes.len() as u64;
                *bytes = &[];
                return;
            }
        };
        let before = *bytes;
        match opener.handle_bytes(&*keys.crypto, bytes, MESSAGE_BYTES_MAX) {
            Ok(None) => {}
            Ok(Some(body)) => {
                let what = match read(body, self.snappy, &self.shared) {
                    Ok(message) => What::Message(message),
                    Err(why) => unknown(why, body),
                };
                if let What::Message(Message { content: Content::Hello(hello), capability: None, .. }) = &what {
                    ids[side] =
                        PublicKey::from_xy(&*keys.crypto, &hello.key).ok().map(|key| key.node_id()).or(ids[side]);
                    self.hellos[side] = Some(hello.clone());
                    self.agree();
                }
                out.push_back((side, what));
            }
            Err(_) => {
                out.push_back((side, unknown("a frame whose MAC is wrong", before)));
                self.lines[side] = Line::Lost(bytes.len() as u64);
                *bytes = &[];
            }
        }
    }

    /// Computes the message id ranges when both sides have sent Hello.
    fn agree(&mut self) {
        let [Some(ours), Some(theirs)] = &self.hellos else { return };
        self.snappy = ours.version.min(theirs.version) >= P2P_VERSION;
        self.shared = self.table.share(&ours.capabilities, &theirs.capabilities);
        // A shared capability of unknown length takes ids too, which moves the ranges after it.
        let both = ours.capabilities.iter().filter(|capability| theirs.capabilities.contains(capability));
        let stranger = both.filter(|capability| self.table.length(**capability).is_none()).map(Capability::name).min();
        if let Some(stranger) = stranger {
            self.shared.retain(|shared| shared.capability.name() < stranger);
        }
    }
}

/// Reads the body of a frame.
fn read(body: &[u8], compressed: bool, shared: &[Shared]) -> Result<Message, &'static str> {
    let (id, payload) = p2p::split_message(body).map_err(|_| "a frame without a message id")?;
    let inflate = || {
        let mut out = vec![0; snappy::inflated_len(payload, MESSAGE_BYTES_MAX).ok()?];
        snappy::inflate(payload, &mut out).ok()?;
        Some(out)
    };
    if id < p2p::id::CAPABILITIES {
        // Hello is never compressed. Some clients compress Disconnect. All other messages are compressed after both
        // Hellos.
        let readable = DisconnectReason::decode(payload) != DisconnectReason::Unreadable;
        let plain = match id {
            p2p::id::HELLO => payload.to_vec(),
            p2p::id::DISCONNECT if readable => payload.to_vec(),
            p2p::id::DISCONNECT => inflate().unwrap_or_else(|| payload.to_vec()),
            _ if compressed => inflate().unwrap_or_else(|| payload.to_vec()),
            _ => payload.to_vec(),
        };
        return Ok(Message::base(id, plain, body.len()));
    }
    let plain = if compressed { inflate().ok_or("a message that does not inflate")? } else { payload.to_vec() };
    let place = shared.iter().find_map(|shared| Some((shared.capability, shared.relative(id)?)));
    Ok(match place {
        Some((capability, relative)) => Message::of(capability, relative, plain, body.len()),
        None => Message::unknown(id, plain, body.len()),
    })
}

pub(super) fn unknown(why: &'static str, bytes: &[u8]) -> What {
    What::Unknown { why, bytes: shown(bytes), total: bytes.len() as u64 }
}

pub(super) fn shown(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes).to_vec()
}

enum Taken {
    /// All bytes were taken; more are needed.
    Part,
    /// The packet is complete.
    Whole,
    /// The bytes are no handshake packet.
    None,
}

/// Moves a handshake packet's bytes from the front of `bytes` to `packet`.
fn take_packet(packet: &mut Vec<u8>, bytes: &mut &[u8]) -> Taken {
    loop {
        let wanted = match packet[..] {
            [a, b, POINT_TAG, ..] => PREFIX_BYTES + usize::from(u16::from_be_bytes([a, b])),
            [_, _, _, ..] => return Taken::None,
            _ => PREFIX_BYTES + 1,
        };
        if wanted > PREFIX_BYTES + HANDSHAKE_BYTES_MAX
            || packet.len() > PREFIX_BYTES && wanted < PREFIX_BYTES + ecies::OVERHEAD_BYTES
        {
            return Taken::None;
        }
        if packet.len() > PREFIX_BYTES && packet.len() == wanted {
            return Taken::Whole;
        }
        let (now, rest) = bytes.split_at(bytes.len().min(wanted - packet.len()));
        packet.extend_from_slice(now);
        *bytes = rest;
        if packet.len() < wanted {
            return Taken::Part;
        }
    }
}
