//! Sealing and opening of frames (`rlpx.md`, "Framing" and "MAC"): functions over cipher state and bytes.
//!
//! A frame is `header 16 | MAC 16 | body, padded to 16 | MAC 16`. Bodies are encrypted in place, and decrypted from the
//! received slice directly into the message buffer. The content of a body, which may be empty, is left to the session.
//!
//! Both directions use one key and one initial counter, so their keystreams are equal: an observer that knows the
//! plaintext of one side can decrypt as many bytes of the other. The specification lists this as a known issue, and it
//! cannot be fixed compatibly: a session must carry no secrets.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use aes::Aes256Enc;
use aes::cipher::{BlockEncrypt, KeyInit};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper, StreamCipherSeek};
use ctr::{CtrCore, flavors};
use subtle::ConstantTimeEq;

use crate::contract::Fault;
use crate::crypto::Crypto;
use crate::crypto::mac::Keccak;
use crate::crypto::secrets::Secrets;
use crate::limits;
use crate::wire::rlpx::{FRAME_HEADER_BYTES, frame_body_bytes, frame_header, padded_bytes};

const MAC_BYTES: usize = 16;
/// Bytes of the longest encoding of a message id.
const PREFIX_BYTES_MAX: usize = 9;
/// Bytes of a header and its MAC.
const HEAD_BYTES: usize = FRAME_HEADER_BYTES + MAC_BYTES;

/// Most bytes that a frame adds to its body: header, two MACs, padding.
pub const OVERHEAD_BYTES_MAX: usize = HEAD_BYTES + MAC_BYTES + 15;

/// Returns the size of a frame on the wire.
pub const fn frame_bytes(body_bytes: usize) -> usize {
    HEAD_BYTES + padded_bytes(body_bytes) + MAC_BYTES
}

/// The error of a body that is larger than a frame's 24-bit size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too large for a frame")
    }
}

impl core::error::Error for TooLarge {}

/// The frames of both directions of a session.
#[derive(Debug)]
pub struct Frames {
    /// Seals frames to send.
    pub sealer: Sealer,
    /// Opens received frames.
    pub opener: Opener,
}

impl Frames {
    /// Makes the initial state of a session with these secrets.
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

/// The expanded keys, which both directions share because an AES-256 key takes a kilobyte. Zeroised when dropped.
struct Keys {
    frame: Aes256Enc,
    mac: Aes256Enc,
}

impl Keys {
    /// Returns the keystream (AES-256-CTR from a counter of zero) from byte `position` on.
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
    /// The first half of the digest between frames: the last frame's MAC, and the seed of the next header's. Stored
    /// because a digest costs a permutation.
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

    /// Absorbs `aes(digest) ^ other`; returns the first half of the new digest.
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

/// The start of an unfinished frame in its buffer.
#[derive(Debug)]
#[must_use = "a frame that is begun must be finished"]
pub struct FrameStart(usize);

/// Seals bodies into frames in place.
pub struct Sealer {
    keys: Arc<Keys>,
    /// Used bytes of the keystream.
    position: u64,
    mac: FrameMac,
}

/// Shows no key.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Begins a frame at the end of `out`. The caller appends the body, and no other bytes, and then calls
    /// [`Sealer::finish`].
    pub fn begin(&self, out: &mut Vec<u8>) -> FrameStart {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        FrameStart(start)
    }

    /// Seals the bytes that were appended to `out` since `start`.
    ///
    /// # Errors
    /// If there are more than [`limits::MESSAGE_BYTES_MAX`]. The frame is removed from `out`, and another can be begun.
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

        // The keystream does not cover the header's MAC, so the header is encrypted next to the body and then moved.
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

/// A buffer that collects `N` bytes.
struct Partial<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Partial<N> {
    const EMPTY: Self = Self { bytes: [0; N], filled: 0 };

    /// Moves the missing bytes from the front of `bytes`; returns whether the buffer is full.
    fn take(&mut self, bytes: &mut &[u8]) -> bool {
        let missing = &mut self.bytes[self.filled..];
        let (taken, rest) = bytes.split_at(missing.len().min(bytes.len()));
        missing[..taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        *bytes = rest;
        self.filled == N
    }
}

/// The part of a frame that an [`Opener`] expects.
enum State {
    /// A header and its MAC.
    Head(Partial<HEAD_BYTES>),
    /// A body: `received` of its padded bytes are in the buffer, decrypted.
    Body { body_bytes: usize, received: usize },
    /// The MAC of a frame whose body is in the buffer.
    Tail { body_bytes: usize, mac: Partial<MAC_BYTES> },
    /// None: a MAC was wrong or a frame too large, and no later byte can be trusted.
    Broken(Fault),
}

/// A frame that has begun to arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arriving<'a> {
    /// Where its body begins in the keystream; no other frame of the stream has the same.
    pub start: u64,
    /// Bytes of its body; 0 while its header arrives.
    pub body_bytes: usize,
    /// Bytes of it that have been received: of its header, and then of its body with padding.
    pub received: usize,
    /// The first bytes of its body, not verified yet; a message id's worth at most.
    pub prefix: &'a [u8],
}

/// Opens received frames into bodies.
pub struct Opener {
    keys: Arc<Keys>,
    /// Used bytes of the keystream.
    position: u64,
    mac: FrameMac,
    /// The current or the last body. Its length is that of the longest body so far, so that it is not cleared for every
    /// frame.
    buffer: Vec<u8>,
    state: State,
}

/// Shows no key.
impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Opener {
    /// Takes bytes from the front of `bytes` up to the end of one frame, and returns that frame's body without its
    /// padding, which may be empty. `None` if the frame is incomplete; all bytes are taken then.
    ///
    /// A header's size is used only after its MAC is verified, and is compared with `body_bytes_max`; a body is
    /// returned only after the frame's MAC is verified. Memory grows with the received bytes, and is released when they
    /// run out.
    ///
    /// # Errors
    /// [`Fault::HeaderMac`], [`Fault::FrameMac`], [`Fault::TooLarge`]; every later call returns the same error.
    pub fn handle_bytes(
        &mut self,
        crypto: &dyn Crypto,
        bytes: &mut &[u8],
        body_bytes_max: usize,
    ) -> Result<Option<&[u8]>, Fault> {
        match self.advance(crypto, bytes, body_bytes_max) {
            Ok(Some(body_bytes)) => Ok(self.buffer.get(..body_bytes)),
            Ok(None) => {
                self.release_memory();
                Ok(None)
            }
            Err(fault) => {
                self.state = State::Broken(fault);
                self.buffer = Vec::new();
                Err(fault)
            }
        }
    }

    /// Bytes of memory that the body buffer holds.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The frame that has begun to arrive; `None` between two frames, and if no later byte can be trusted.
    pub fn arriving(&self) -> Option<Arriving<'_>> {
        let (body_bytes, received) = match &self.state {
            State::Head(head) if head.filled > 0 => {
                return Some(Arriving { start: self.position, body_bytes: 0, received: head.filled, prefix: &[] });
            }
            State::Head(_) | State::Broken(_) => return None,
            State::Body { body_bytes, received } => (*body_bytes, *received),
            State::Tail { body_bytes, .. } => (*body_bytes, padded_bytes(*body_bytes)),
        };
        let prefix = &self.buffer[..received.min(body_bytes).min(PREFIX_BYTES_MAX)];
        Some(Arriving { start: self.position - received as u64, body_bytes, received, prefix })
    }

    /// Gives up the frame that is arriving, and all later ones: every later call of [`Opener::handle_bytes`] returns
    /// [`Fault::TooLarge`].
    pub fn abandon(&mut self) {
        self.state = State::Broken(Fault::TooLarge);
        self.buffer = Vec::new();
    }

    /// Takes bytes up to the end of one frame, and returns the size of its body.
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
                    self.open_body(crypto, ciphertext, start, padded_bytes(body_bytes));
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

    /// Verifies a header's MAC and returns the announced size.
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

    /// Absorbs a part of a body and decrypts it to position `start` of the buffer. The buffer grows by half, but never
    /// beyond the size of the body.
    fn open_body(&mut self, crypto: &dyn Crypto, ciphertext: &[u8], start: usize, padded_bytes: usize) {
        let end = start + ciphertext.len();
        if self.buffer.len() < end {
            let held = self.buffer.capacity();
            if held < end {
                let wanted = padded_bytes.min(held + held / 2).max(end);
                self.buffer.reserve_exact(wanted - self.buffer.len());
            }
            self.buffer.resize(end, 0);
        }
        self.mac.body(crypto, ciphertext);
        let plain = &mut self.buffer[start..end];
        self.keys.keystream(self.position).apply_keystream_b2b(ciphertext, plain).expect("of one length");
        self.position += ciphertext.len() as u64;
    }

    /// Releases memory beyond the current need, such as that of an earlier large frame.
    fn release_memory(&mut self) {
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
