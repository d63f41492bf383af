//! Inspects the messages of nodes in a capture.
//!
//! An [`Inspector`] takes the items of a capture ([`crate::capture`]) and returns [`Finding`]s: discv4 packets on any
//! port, recognised by their hash; discv5 headers to nodes whose key is known; the packets of RLPx handshakes,
//! decrypted as far as [`Keys`] permit; and every message of the sessions in a key log. Unknown or malformed bytes are
//! findings too. The memory in use does not grow with the capture.

mod conversation;
pub mod export;
pub mod filter;
pub mod finding;
mod flows;
pub mod json;
mod keys;
mod message;
pub mod text;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;

use peerless::crypto::{NodeId, Secp256k1};
use peerless::wire::DecodeError;
use peerless::wire::discv4::Datagram;

pub use self::filter::Filter;
pub use self::finding::{Finding, Place, What};
use self::flows::Flows;
pub use self::keys::Keys;
use crate::capture::packet::{Content, Dissector};
use crate::capture::{Item, Packet, Reader, SECRETS_TYPE_RLPX, Stamp};
use crate::format::session_line;
use crate::keylog::KeyLog;

/// The counts of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Packets that carry neither UDP nor TCP.
    pub other_packets: u64,
    /// Fragments of packets, including reassembled ones.
    pub fragments: u64,
    /// Fragmented packets that were never complete.
    pub fragmented_lost: u64,
    /// UDP datagrams.
    pub datagrams: u64,
    /// TCP segments.
    pub segments: u64,
    /// TCP connections.
    pub connections: u64,
    /// Messages of sessions.
    pub messages: u64,
    /// Findings of unknown bytes.
    pub unknown: u64,
    /// Findings of malformed bytes.
    pub broken: u64,
    /// Blocks of a capture without a packet.
    pub other_blocks: u64,
}

/// An inspector of a capture; see the module.
pub struct Inspector {
    keys: Keys,
    dissector: Dissector,
    flows: Flows,
    found: VecDeque<Finding>,
    /// The findings of a segment; kept for its capacity.
    said: Vec<(Place, What)>,
    totals: Totals,
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").field("keys", &self.keys).field("totals", &self.totals).finish_non_exhaustive()
    }
}

impl Inspector {
    /// Makes an inspector with `keys`.
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            dissector: Dissector::default(),
            flows: Flows::default(),
            found: VecDeque::new(),
            said: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// The counts so far.
    pub fn totals(&self) -> Totals {
        Totals { connections: self.flows.begun(), fragmented_lost: self.dissector.fragmented_lost(), ..self.totals }
    }

    /// Takes the next item of a capture. All findings must be polled before the next item.
    pub fn handle_item(&mut self, item: &Item<'_>) {
        match item {
            Item::Packet(packet) => self.handle_packet(packet),
            Item::Secrets { kind: SECRETS_TYPE_RLPX, bytes } => {
                self.totals.other_blocks += 1;
                // Reading from memory does not fail.
                let _ = self.keys.log_mut().read(*bytes);
            }
            Item::Custom { bytes, .. } => {
                self.totals.other_blocks += 1;
                if let Some(line) = session_line(bytes, &*self.keys.crypto) {
                    self.keys.log_mut().read_line(line.as_bytes());
                }
            }
            Item::Secrets { .. } | Item::Other { known: true, .. } => self.totals.other_blocks += 1,
            Item::Other { known: false, bytes, .. } => {
                self.totals.other_blocks += 1;
                self.find(0, None, None, conversation::unknown("a block of unknown type", bytes));
            }
            Item::Broken { why, bytes, .. } => {
                let total = bytes.len() as u64;
                self.find(0, None, None, What::Broken { why, bytes: bytes.to_vec(), total });
            }
        }
    }

    /// Ends the capture: reports pending bytes.
    pub fn finish(&mut self) {
        let mut said = std::mem::take(&mut self.said);
        self.flows.finish(&self.keys, &mut said);
        self.tell(0, None, &mut said);
    }

    /// Returns the next finding.
    pub fn poll_finding(&mut self) -> Option<Finding> {
        self.found.pop_front()
    }

    fn handle_packet(&mut self, packet: &Packet<'_>) {
        self.totals.packets += 1;
        let (number, at) = (packet.number, packet.at);
        let broken =
            |why| What::Broken { why, bytes: conversation::shown(packet.bytes), total: packet.bytes.len() as u64 };
        match self.dissector.dissect(packet) {
            Content::Datagram { from, to, payload, is_cut } => {
                self.totals.datagrams += 1;
                let (from_id, to_id, what) = read_datagram(&self.keys, payload, is_cut);
                let place = Place { conn: None, from, to, from_id, to_id };
                self.find(number, at, Some(place), what);
            }
            Content::Segment(segment) => {
                self.totals.segments += 1;
                let mut said = std::mem::take(&mut self.said);
                self.flows.handle_segment(&self.keys, number, &segment, &mut said);
                self.tell(number, at, &mut said);
            }
            Content::Fragment => self.totals.fragments += 1,
            Content::Other { .. } => self.totals.other_packets += 1,
            Content::Broken { why } => self.find(number, at, None, broken(why)),
        }
    }

    fn tell(&mut self, packet: u64, at: Option<Stamp>, said: &mut Vec<(Place, What)>) {
        for (place, what) in said.drain(..) {
            self.find(packet, at, Some(place), what);
        }
        std::mem::swap(&mut self.said, said);
    }

    fn find(&mut self, packet: u64, at: Option<Stamp>, place: Option<Place>, what: What) {
        match &what {
            What::Message(_) => self.totals.messages += 1,
            What::Unknown { .. } => self.totals.unknown += 1,
            What::Broken { .. } => self.totals.broken += 1,
            _ => {}
        }
        self.found.push_back(Finding { packet, at, place, what });
    }
}

/// Returns the content of a datagram, and the ids of sender and receiver, if they are known.
fn read_datagram(keys: &Keys, payload: &[u8], is_cut: bool) -> (Option<NodeId>, Option<NodeId>, What) {
    let unknown = |why| conversation::unknown(why, payload);
    if is_cut {
        return (None, None, unknown("a datagram that was not captured whole"));
    }
    let discv4 = Datagram::split(payload).and_then(|datagram| {
        datagram.check_hash(&*keys.crypto)?;
        Ok(datagram)
    });
    if let Ok(datagram) = discv4 {
        let signer = datagram.signer(&*keys.crypto);
        let id = signer.ok().map(|key| key.node_id());
        return match signer.and_then(|_| datagram.decode()) {
            Ok(packet) => (id, None, What::Discv4(packet)),
            Err(DecodeError::UnknownType) => (id, None, unknown("discv4 of unknown type")),
            Err(DecodeError::BadSignature) => (id, None, unknown("discv4 with an invalid signature")),
            Err(_) => (id, None, unknown("discv4, malformed")),
        };
    }
    match keys.unmask(payload) {
        Some(keys::Discv5 { to, flag, nonce }) => (None, Some(to), What::Discv5 { flag, nonce, bytes: payload.len() }),
        None => (None, None, unknown("neither discv4 nor discv5 to a known node")),
    }
}

/// An iterator over the findings of one capture, in order.
pub struct Findings<R> {
    reader: Reader<R>,
    inspector: Inspector,
    filters: Vec<Filter>,
    is_over: bool,
}

impl<R> fmt::Debug for Findings<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Findings")
            .field("inspector", &self.inspector)
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Findings<R> {
    /// Makes an iterator over the findings of `capture` that pass all `filters`.
    pub fn new(capture: R, keys: Keys, filters: Vec<Filter>) -> Self {
        Self { reader: Reader::new(capture), inspector: Inspector::new(keys), filters, is_over: false }
    }

    /// The inspector, for its counts.
    pub fn inspector(&self) -> &Inspector {
        &self.inspector
    }

    /// Returns the next finding; `None` at the end.
    ///
    /// # Errors
    /// If the capture cannot be read.
    pub fn next_finding(&mut self) -> io::Result<Option<Finding>> {
        loop {
            while let Some(finding) = self.inspector.poll_finding() {
                if self.filters.iter().all(|filter| filter.passes(&finding)) {
                    return Ok(Some(finding));
                }
            }
            if self.is_over {
                return Ok(None);
            }
            match self.reader.next_item()? {
                Some(item) => self.inspector.handle_item(&item),
                None => {
                    self.is_over = true;
                    self.inspector.finish();
                }
            }
        }
    }
}

/// Adds the key log lines in a capture, from secrets blocks or trace records, to `log`: a first pass over a capture
/// whose secrets may follow their packets.
///
/// # Errors
/// If the capture cannot be read.
pub fn collect_secrets(capture: impl Read, log: &mut KeyLog) -> io::Result<()> {
    let crypto = Secp256k1::new();
    let mut reader = Reader::new(capture);
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Secrets { kind: SECRETS_TYPE_RLPX, bytes } => log.read(bytes)?,
            Item::Custom { bytes, .. } => {
                if let Some(line) = session_line(bytes, &crypto) {
                    log.read_line(line.as_bytes());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the endpoints of a finding, if it has any.
pub(crate) fn ends(finding: &Finding) -> impl Iterator<Item = (SocketAddr, Option<NodeId>)> {
    let ends = finding.place.map(|place| [(place.from, place.from_id), (place.to, place.to_id)]);
    ends.into_iter().flatten()
}
