//! Sealing and opening of frames (`rlpx.md`, "Framing" and "MAC"): functions over cipher state and bytes.
//!
//! A frame is `header 16 | MAC 16 | body, padded to 16 | MAC 16`. Bodies are encrypted where they were written and
//! decrypted from where they were received straight into the message buffer. What a frame says, and whether it may say
//! nothing, is the session's business.
//!
//! Both directions use one key and one initial counter, so their keystreams are the same: who knows what one side says
//! can read as much of what the other says. The specification lists that among its known issues, and it cannot be mended
//! compatibly: nothing secret belongs in a session.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use aes::Aes256Enc;
use aes::cipher::{BlockEncrypt, KeyInit};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper, StreamCipherSeek};
use ctr::{CtrCore, flavors};
use subtle::ConstantTimeEq;

use crate::contract::reason::Fault;
use crate::crypto::Crypto;
use crate::crypto::mac::Keccak;
use crate::crypto::secrets::Secrets;
use crate::limits;
use crate::wire::rlpx::{FRAME_HEADER_BYTES, frame_body_bytes, frame_header, padded_bytes};

const MAC_BYTES: usize = 16;
/// Header and its MAC.
const HEAD_BYTES: usize = FRAME_HEADER_BYTES + MAC_BYTES;

/// Bytes that a frame adds to its body at most: header, two MACs, padding.
pub const OVERHEAD_BYTES_MAX: usize = HEAD_BYTES + MAC_BYTES + 15;

/// Size of a frame on the wire.
pub const fn frame_bytes(body_bytes: usize) -> usize {
    HEAD_BYTES + padded_bytes(body_bytes) + MAC_BYTES
}

/// A body larger than a frame's 24-bit size can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too large for a frame")
    }
}

impl core::error::Error for TooLarge {}

/// Both directions of a session.
pub struct Frames {
    /// What we send.
    pub sealer: Sealer,
    /// What we receive.
    pub opener: Opener,
}

impl Frames {
    /// The frames of a session with these secrets.
    pub fn new(crypto: &dyn Crypto, secrets: Secrets) -> Self {
        let Secrets { aes, mac, egress, ingress } = secrets;
        let keys =
            Arc::new(Keys { frame: Aes256Enc::new(aes.expose().into()), mac: Aes256Enc::new(mac.expose().into()) });
        Self {
            sealer: Sealer { keys: keys.clone(), position: 0, mac: FrameMac::new(crypto, egress) },
            opener: Opener {
                keys,
                position: 0,
                mac: FrameMac::new(crypto, ingress),
                buffer: Vec::new(),
                state: State::Head(Partial::EMPTY),
            },
        }
    }
}

/// The expanded keys, which both directions share: an AES-256 key takes a kilobyte. Zeroised when dropped.
struct Keys {
    frame: Aes256Enc,
    mac: Aes256Enc,
}

impl Keys {
    /// The keystream (AES-256-CTR from a counter of zero) from its byte `position` on.
    fn keystream(&self, position: u64) -> StreamCipherCoreWrapper<CtrCore<&Aes256Enc, flavors::Ctr128BE>> {
        let core = CtrCore::inner_iv_init(&self.frame, &[0; 16].into());
        let mut keystream = StreamCipherCoreWrapper::from_core(core);
        keystream.seek(position);
        keystream
    }
}

/// A direction's running MAC.
struct FrameMac {
    keccak: Keccak,
    /// The first half of the digest as it is between frames: the last frame's MAC, and the seed of the next header's.
    /// Kept because a digest costs a permutation.
    last: [u8; MAC_BYTES],
}

impl FrameMac {
    fn new(crypto: &dyn Crypto, keccak: Keccak) -> Self {
        let last = half(&crypto.mac_digest(&keccak));
        Self { keccak, last }
    }

    /// Absorbs a header's ciphertext; returns its MAC.
    fn header(&mut self, crypto: &dyn Crypto, keys: &Keys, header: &[u8; FRAME_HEADER_BYTES]) -> [u8; MAC_BYTES] {
        let last = self.last;
        self.absorb_seed(crypto, keys, &last, header)
    }

    /// Absorbs ciphertext of a body.
    fn body(&mut self, crypto: &dyn Crypto, ciphertext: &[u8]) {
        crypto.mac_update(&mut self.keccak, ciphertext);
    }

    /// Ends a frame; returns its MAC.
    fn finish(&mut self, crypto: &dyn Crypto, keys: &Keys) -> [u8; MAC_BYTES] {
        let digest = half(&crypto.mac_digest(&self.keccak));
        self.last = self.absorb_seed(crypto, keys, &digest, &digest);
        self.last
    }

    /// Absorbs `aes(digest) ^ other`; returns the first half of the digest then.
    fn absorb_seed(
        &mut self,
        crypto: &dyn Crypto,
        keys: &Keys,
        digest: &[u8; MAC_BYTES],
        other: &[u8; MAC_BYTES],
    ) -> [u8; MAC_BYTES] {
        let mut block = (*digest).into();
        keys.mac.encrypt_block(&mut block);
        let seed = u128::from_ne_bytes(block.into()) ^ u128::from_ne_bytes(*other);
        crypto.mac_update(&mut self.keccak, &seed.to_ne_bytes());
        half(&crypto.mac_digest(&self.keccak))
    }
}

fn half(digest: &[u8; 32]) -> [u8; MAC_BYTES] {
    let mut half = [0; MAC_BYTES];
    half.copy_from_slice(&digest[..MAC_BYTES]);
    half
}

/// Where an unfinished frame begins in the buffer that it was begun in.
#[must_use = "a frame that is begun must be finished"]
pub struct FrameStart(usize);

/// Turns bodies into frames, in place.
pub struct Sealer {
    keys: Arc<Keys>,
    /// Bytes of keystream used.
    position: u64,
    mac: FrameMac,
}

impl Sealer {
    /// Begins a frame at the end of `out`. The caller appends the body to it, and nothing else, and then calls
    /// [`Sealer::finish`].
    pub fn begin(&self, out: &mut Vec<u8>) -> FrameStart {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        FrameStart(start)
    }

    /// Makes a frame of what has been appended to `out` since `start`.
    ///
    /// # Errors
    /// If that is more than [`limits::MESSAGE_BYTES_MAX`]. The frame is taken back from `out` then, and the next may
    /// follow.
    ///
    /// # Panics
    /// If `out` has become shorter since `start`.
    pub fn finish(&mut self, crypto: &dyn Crypto, out: &mut Vec<u8>, start: FrameStart) -> Result<(), TooLarge> {
        let FrameStart(start) = start;
        let body_bytes = out.len() - start - HEAD_BYTES;
        let Some(header) = frame_header(body_bytes) else {
            out.truncate(start);
            return Err(TooLarge);
        };
        out.reserve(padded_bytes(body_bytes) - body_bytes + MAC_BYTES);
        out.resize(start + HEAD_BYTES + padded_bytes(body_bytes), 0);

        // The keystream does not skip the header's MAC, so the header is encrypted beside the body and moved then.
        let frame = &mut out[start..];
        frame[MAC_BYTES..HEAD_BYTES].copy_from_slice(&header);
        self.keys.keystream(self.position).apply_keystream(&mut frame[MAC_BYTES..]);
        self.position += (frame.len() - MAC_BYTES) as u64;

        let (head, body) = frame.split_at_mut(HEAD_BYTES);
        let mut header = [0; FRAME_HEADER_BYTES];
        header.copy_from_slice(&head[MAC_BYTES..]);
        head[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        head[FRAME_HEADER_BYTES..].copy_from_slice(&self.mac.header(crypto, &self.keys, &header));
        self.mac.body(crypto, body);
        let mac = self.mac.finish(crypto, &self.keys);
        out.extend_from_slice(&mac);
        Ok(())
    }
}

/// Bytes that are collected until there are `N`.
struct Partial<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Partial<N> {
    const EMPTY: Self = Self { bytes: [0; N], filled: 0 };

    /// Takes what is missing from the front of `bytes`; tells whether it is complete.
    fn take(&mut self, bytes: &mut &[u8]) -> bool {
        let missing = &mut self.bytes[self.filled..];
        let (taken, rest) = bytes.split_at(missing.len().min(bytes.len()));
        missing[..taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        *bytes = rest;
        self.filled == N
    }
}

/// What an [`Opener`] waits for.
enum State {
    /// A header and its MAC.
    Head(Partial<HEAD_BYTES>),
    /// A body: `received` of its padded bytes are in the buffer, decrypted.
    Body { body_bytes: usize, received: usize },
    /// The MAC of a frame whose body is in the buffer.
    Tail { body_bytes: usize, mac: Partial<MAC_BYTES> },
    /// Nothing: the stream cannot be trusted any more.
    Broken(Fault),
}

/// Turns bytes into bodies.
pub struct Opener {
    keys: Arc<Keys>,
    /// Bytes of keystream used.
    position: u64,
    mac: FrameMac,
    /// The body that is being received, or was received last. Its length is the longest that it has been, so that it is
    /// not cleared for every frame.
    buffer: Vec<u8>,
    state: State,
}

impl Opener {
    /// Takes bytes from the front of `bytes` up to the end of one frame, and lends that frame's body without its padding;
    /// a body may be empty. `None` if there were not enough bytes; it has taken all of them then.
    ///
    /// A header's size is believed when its MAC is right, and then judged by `body_bytes_max`; a body is lent when the
    /// frame's MAC is right. Memory grows with the bytes that have come, and is given back when they run out.
    ///
    /// # Errors
    /// [`Fault::HeaderMac`], [`Fault::FrameMac`], [`Fault::TooLarge`]; the same again in every later call.
    pub fn handle_bytes(
        &mut self,
        crypto: &dyn Crypto,
        bytes: &mut &[u8],
        body_bytes_max: usize,
    ) -> Result<Option<&[u8]>, Fault> {
        match self.advance(crypto, bytes, body_bytes_max) {
            Ok(Some(body_bytes)) => Ok(self.buffer.get(..body_bytes)),
            Ok(None) => {
                self.give_back();
                Ok(None)
            }
            Err(fault) => {
                self.state = State::Broken(fault);
                self.buffer = Vec::new();
                Err(fault)
            }
        }
    }

    /// Memory that the buffer of bodies holds.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Up to the end of one frame, whose size it returns.
    fn advance(
        &mut self,
        crypto: &dyn Crypto,
        bytes: &mut &[u8],
        body_bytes_max: usize,
    ) -> Result<Option<usize>, Fault> {
        loop {
            match &mut self.state {
                State::Head(head) => {
                    if !head.take(bytes) {
                        return Ok(None);
                    }
                    let head = head.bytes;
                    let body_bytes = self.open_header(crypto, &head)?;
                    if body_bytes > body_bytes_max {
                        return Err(Fault::TooLarge);
                    }
                    self.state = State::Body { body_bytes, received: 0 };
                }
                State::Body { body_bytes, received } => {
                    let body_bytes = *body_bytes;
                    let (start, end) = (*received, padded_bytes(body_bytes).min(*received + bytes.len()));
                    *received = end;
                    let (ciphertext, rest) = bytes.split_at(end - start);
                    *bytes = rest;
                    self.open_body(crypto, ciphertext, start);
                    if end < padded_bytes(body_bytes) {
                        return Ok(None);
                    }
                    self.state = State::Tail { body_bytes, mac: Partial::EMPTY };
                }
                State::Tail { body_bytes, mac } => {
                    if !mac.take(bytes) {
                        return Ok(None);
                    }
                    let expected = self.mac.finish(crypto, &self.keys);
                    if !bool::from(expected.ct_eq(&mac.bytes)) {
                        return Err(Fault::FrameMac);
                    }
                    let body_bytes = *body_bytes;
                    self.state = State::Head(Partial::EMPTY);
                    return Ok(Some(body_bytes));
                }
                State::Broken(fault) => return Err(*fault),
            }
        }
    }

    /// The size that a header announces, if its MAC is right.
    fn open_header(&mut self, crypto: &dyn Crypto, head: &[u8; HEAD_BYTES]) -> Result<usize, Fault> {
        let (header, mac) = head.split_at(FRAME_HEADER_BYTES);
        let mut header: [u8; FRAME_HEADER_BYTES] = header.try_into().map_err(|_| Fault::HeaderMac)?;
        let expected = self.mac.header(crypto, &self.keys, &header);
        if !bool::from(expected[..].ct_eq(mac)) {
            return Err(Fault::HeaderMac);
        }
        self.keys.keystream(self.position).apply_keystream(&mut header);
        self.position += header.len() as u64;
        Ok(frame_body_bytes(&header))
    }

    /// Absorbs a part of a body and decrypts it to its place, `start`, in the buffer.
    fn open_body(&mut self, crypto: &dyn Crypto, ciphertext: &[u8], start: usize) {
        let end = start + ciphertext.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.mac.body(crypto, ciphertext);
        let plain = &mut self.buffer[start..end];
        self.keys.keystream(self.position).apply_keystream_b2b(ciphertext, plain).expect("of one length");
        self.position += ciphertext.len() as u64;
    }

    /// After a burst, and when little has come of a frame that followed a large one.
    fn give_back(&mut self) {
        let keep = match &self.state {
            State::Head(_) | State::Broken(_) => limits::IDLE_BUFFER_BYTES,
            State::Body { received, .. } => 2 * received + limits::FRAME_BUFFER_SLACK_BYTES,
            State::Tail { body_bytes, .. } => 2 * padded_bytes(*body_bytes) + limits::FRAME_BUFFER_SLACK_BYTES,
        };
        if self.buffer.capacity() > keep {
            self.buffer.truncate(keep);
            self.buffer.shrink_to(keep);
        }
    }
}

#[cfg(test)]
mod tests;
