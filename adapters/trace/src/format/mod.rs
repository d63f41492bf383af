//! The file format, version 2: the records of a trace and their encoding.
//!
//! `docs/trace.md` specifies it. Framing, packets and codecs are private; a [`Reader`] returns the records.

mod behaviour;
mod block;
mod codec;
mod command;
mod config;
mod input;
mod language;
mod packet;
mod reader;

use std::fmt;
use std::net::SocketAddr;

use peerless::contract::{ConnId, Devp2p, Input};
use peerless::crypto::{Crypto, SecretKey};
use peerless::node::Config;
use peerless::time::{Instant, UnixTime};
use zeroize::Zeroizing;

pub(crate) use self::behaviour::Behaviour;
pub use self::behaviour::Checkpoint;
pub use self::block::Way;
pub(crate) use self::block::{Blocks, Sealer, record_of};
pub use self::codec::{Decoder, Encode, Malformed};
pub use self::command::OwnedCommand;
pub(crate) use self::input::Payload;
pub use self::input::{OwnedAnswer, OwnedInput};
pub use self::language::{Recordable, Replayable, encode_parts};
pub(crate) use self::packet::{DATAGRAM_BYTES_MAX, SEGMENT_BYTES_MAX, Segment, tcp, udp};
pub use self::reader::{Broken, Reader, part_path};

/// The version that is written, and the only one whose inputs can be decoded. Of earlier versions, headers, packets and
/// session secrets are decoded, which inspection needs.
pub const VERSION: u16 = 2;

/// The name of [`peerless::crypto::Secp256k1`] in a header.
pub const SECP256K1: &str = "secp256k1";

/// The largest length of a block; a command with the largest message is far shorter.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 << 20;
/// The most bytes between two records.
pub(crate) const SEGMENT_MAX: usize = 2 * BLOCK_BYTES_MAX;

/// The first record of every part of a trace.
#[derive(Clone, Debug)]
pub struct Header {
    /// The version of the format that the trace is written in.
    pub version: u16,
    /// The protocol family of the machine: [`Recordable::FAMILY`].
    pub family: String,
    /// The name of the program that wrote it.
    pub software: String,
    /// The primitives of the node: [`SECP256K1`], or a simulator's own.
    pub primitives: String,
    /// 0 for the first part, and so on.
    pub part: u32,
    /// The digest at the end of the part before; 0 in the first.
    pub previous: u64,
    /// The number of inputs in the parts before.
    pub first_input: u64,
    /// The node's first `now`.
    pub start: Instant,
    /// The wall time at the start.
    pub unix: UnixTime,
    /// The machine's public key, `x | y`, if it has one.
    pub key: Option<[u8; 64]>,
    /// The node's address for datagrams in the packets.
    pub udp: Option<SocketAddr>,
    /// The node's address for accepted streams in the packets.
    pub tcp: Option<SocketAddr>,
    /// The secrets that a replay needs; `None` in a trace that can only be inspected.
    pub secrets: Option<Secrets>,
    /// The rest of the configuration, encoded by the machine's family.
    pub config: Vec<u8>,
}

/// The secrets in the header of a trace.
#[derive(Clone)]
pub struct Secrets {
    /// The seed of the machine's run.
    pub seed: Zeroizing<[u8; 32]>,
    /// The machine's secret key, if it has one.
    pub key: Option<SecretKey>,
}

/// Omits the secrets.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Header {
    /// The node's configuration.
    ///
    /// # Errors
    /// If there is no secret key, or the encoding is malformed.
    pub fn config(&self, crypto: &dyn Crypto) -> Result<Config, Malformed> {
        let secret = self.secrets.as_ref().and_then(|secrets| secrets.key.as_ref());
        let secret = secret.ok_or(Malformed("header: without the secret key"))?;
        let mut decoder = Decoder::new(&self.config, crypto);
        let config = config::decode(&mut decoder, secret.clone())?;
        decoder.end()?;
        Ok(config)
    }

    /// The seed of the machine's run, unless the trace is redacted.
    pub fn seed(&self) -> Option<&[u8; 32]> {
        self.secrets.as_ref().map(|secrets| &*secrets.seed)
    }

    /// The encoding of a configuration, for a header.
    pub(crate) fn encode_config(config: &Config) -> Vec<u8> {
        let mut bytes = Vec::new();
        config::encode(config, &mut bytes);
        bytes
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Self { version, family, software, primitives, part, previous, first_input, start, unix, .. } = self;
        let Self { key, udp, tcp, secrets, config, .. } = self;
        out.byte(HEADER);
        out.u16(*version);
        out.text(software);
        out.text(primitives);
        out.count((*part).into());
        out.u64(*previous);
        out.count(*first_input);
        out.instant(*start);
        out.count(unix.as_micros());
        out.text(family);
        out.option(key.as_ref(), |out, key| out.fixed(key));
        out.option(*udp, Encode::addr);
        out.option(*tcp, Encode::addr);
        out.option(secrets.as_ref(), |out, Secrets { seed, key }| {
            out.fixed(&**seed);
            out.option(key.as_ref(), |out, key| out.fixed(key.expose()));
        });
        out.bytes(config);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let version = decoder.u16()?;
        if !(1..=VERSION).contains(&version) {
            return Err(Malformed("header: a later version of the format"));
        }
        let secret = |decoder: &mut Decoder<'_>| {
            SecretKey::from_bytes(decoder.fixed()?).map_err(|_| Malformed("header: secret key"))
        };
        let software = decoder.text()?.to_owned();
        let primitives = decoder.text()?.to_owned();
        let part = u32::try_from(decoder.count()?).map_err(|_| Malformed("header: number of the part"))?;
        let (previous, first_input, start) = (decoder.u64()?, decoder.count()?, decoder.instant()?);
        // Version 1 has no family, the time in seconds, and the key before the seed.
        let is_first = version == 1;
        let unix = decoder.count()?;
        let unix = if is_first { UnixTime::from_secs(unix) } else { UnixTime::from_micros(unix) };
        let family = if is_first { Devp2p::FAMILY } else { decoder.text()? }.to_owned();
        let key = if is_first { Some(decoder.fixed()?) } else { decoder.option(Decoder::fixed)? };
        let (udp, tcp) = (decoder.option(Decoder::addr)?, decoder.option(Decoder::addr)?);
        let secrets = decoder.option(|decoder| {
            if is_first {
                let key = Some(secret(decoder)?);
                return Ok(Secrets { seed: Zeroizing::new(decoder.fixed()?), key });
            }
            Ok(Secrets { seed: Zeroizing::new(decoder.fixed()?), key: decoder.option(secret)? })
        })?;
        let config = decoder.bytes()?.to_vec();
        Ok(Self {
            version,
            family,
            software,
            primitives,
            part,
            previous,
            first_input,
            start,
            unix,
            key,
            udp,
            tcp,
            secrets,
            config,
        })
    }
}

/// A recorded input; `C` is the language's command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded<C = OwnedCommand> {
    /// Its number, from 0.
    pub index: u64,
    /// The driver's time at the input.
    pub now: Instant,
    /// What the node did between the previous input and this one.
    pub before: Checkpoint,
    /// The input.
    pub input: OwnedInput<C>,
}

/// A record; `C` is the language's command.
#[derive(Clone)]
#[non_exhaustive]
pub enum Record<C = OwnedCommand> {
    /// The first record of a part.
    Header(Box<Header>),
    /// An input.
    Input(Box<Recorded<C>>),
    /// Covers the packets before it by its digest.
    Seal,
    /// The secrets that decrypt a session.
    Secrets {
        /// The session's connection.
        conn: ConnId,
        /// A line of the key log.
        line: String,
    },
    /// The end of a part: the trace continues in the next one.
    Continued,
    /// The end of the trace.
    End {
        /// The number of inputs.
        inputs: u64,
        /// What the node did after the last input.
        after: Checkpoint,
    },
}

/// Omits the secrets of sessions.
impl<C: fmt::Debug> fmt::Debug for Record<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(header) => f.debug_tuple("Header").field(header).finish(),
            Self::Input(input) => f.debug_tuple("Input").field(input).finish(),
            Self::Seal => f.write_str("Seal"),
            Self::Secrets { conn, .. } => f.debug_struct("Secrets").field("conn", conn).finish_non_exhaustive(),
            Self::Continued => f.write_str("Continued"),
            Self::End { inputs, after } => f.debug_struct("End").field("inputs", inputs).field("after", after).finish(),
        }
    }
}

const HEADER: u8 = 0;
const INPUT: u8 = 1;
const SEAL: u8 = 2;
const SECRETS: u8 = 3;
const CONTINUED: u8 = 4;
const END: u8 = 5;

fn encode_checkpoint(checkpoint: &Checkpoint, out: &mut Vec<u8>) {
    out.count(checkpoint.popped << 1 | u64::from(checkpoint.is_drained));
    out.u64(checkpoint.digest);
}

fn decode_checkpoint(decoder: &mut Decoder<'_>) -> Result<Checkpoint, Malformed> {
    let popped = decoder.count()?;
    Ok(Checkpoint { popped: popped >> 1, is_drained: popped & 1 == 1, digest: decoder.u64()? })
}

pub(crate) fn encode_input<L: Recordable>(
    index: u64,
    now: Instant,
    before: &Checkpoint,
    input: &Input<'_, L::Command<'_>>,
    payload: Payload,
    out: &mut Vec<u8>,
) {
    out.byte(INPUT);
    out.count(index);
    out.instant(now);
    encode_checkpoint(before, out);
    input::encode::<L>(input, payload, out);
}

pub(crate) fn encode_seal(out: &mut Vec<u8>) {
    out.byte(SEAL);
}

pub(crate) fn encode_secrets(conn: ConnId, line: &str, out: &mut Vec<u8>) {
    out.byte(SECRETS);
    out.count(conn.0);
    out.text(line);
}

pub(crate) fn encode_continued(out: &mut Vec<u8>) {
    out.byte(CONTINUED);
}

pub(crate) fn encode_end(inputs: u64, after: &Checkpoint, out: &mut Vec<u8>) {
    out.byte(END);
    out.count(inputs);
    encode_checkpoint(after, out);
}

/// The line of the key log in a custom block, if that is a record of kind [`SECRETS`].
pub(crate) fn session_line(block: &[u8], crypto: &dyn Crypto) -> Option<Zeroizing<String>> {
    let record = record_of(block).filter(|record| record.first() == Some(&SECRETS))?;
    match decode_record::<Devp2p>(record, crypto, &mut Vec::new()) {
        Ok(Record::Secrets { line, .. }) => Some(Zeroizing::new(line)),
        _ => None,
    }
}

/// Decodes a record; `packets` holds the payloads of the packets to the node since the last record.
fn decode_record<L: Recordable>(
    bytes: &[u8],
    crypto: &dyn Crypto,
    packets: &mut Vec<u8>,
) -> Result<Record<L::OwnedCommand>, Malformed> {
    let mut decoder = Decoder::new(bytes, crypto);
    let record = match decoder.byte()? {
        HEADER => Record::Header(Box::new(Header::decode(&mut decoder)?)),
        INPUT => Record::Input(Box::new(Recorded {
            index: decoder.count()?,
            now: decoder.instant()?,
            before: decode_checkpoint(&mut decoder)?,
            input: input::decode::<L>(&mut decoder, packets)?,
        })),
        SEAL => Record::Seal,
        SECRETS => Record::Secrets { conn: ConnId(decoder.count()?), line: decoder.text()?.to_owned() },
        CONTINUED => Record::Continued,
        END => Record::End { inputs: decoder.count()?, after: decode_checkpoint(&mut decoder)? },
        _ => return Err(Malformed("record: unknown kind")),
    };
    decoder.end()?;
    Ok(record)
}
