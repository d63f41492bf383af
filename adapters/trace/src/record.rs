//! The recorder: a tap that writes a trace as it happens.
//!
//! It holds back at most a second or 64 KiB, and what belongs to the input that has not come yet. A recorder that
//! cannot write any more says so once and stays silent: the node goes on.

mod conversations;
mod output;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use peerless::contract::{Action, CommandError, CommandId, ConnId, Event, Input, Tap};
use peerless::crypto::Crypto;
use peerless::netfilter::canonical;
use peerless::node::Config;
use peerless::time::{Duration, Instant, UnixTime};
use zeroize::Zeroizing;

use self::conversations::Conversations;
use self::output::Output;
use crate::format::{self, Behaviour, Blocks, DATAGRAM_BYTES_MAX, Header, Payload, SECP256K1, Way};
use crate::keylog;

/// What is held back before it is written.
const BUFFER_BYTES: usize = 64 << 10;
/// How long it is held back at most, as long as the driver turns.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Packets are sealed when so many bytes of them have come without an input between.
const UNSEALED_MAX: usize = 1 << 20;

/// What a node is made of, as its recording has to tell.
pub struct Subject<'a> {
    /// Its configuration.
    pub config: &'a Config,
    /// The seed of its run.
    pub seed: &'a [u8; 32],
    /// The first `now`, as the node was given it.
    pub now: Instant,
    /// The wall time then, as the node was given it.
    pub unix: UnixTime,
    /// The primitives that the node has.
    pub crypto: &'a dyn Crypto,
    /// Their name: [`SECP256K1`] or a simulator's own.
    pub primitives: &'a str,
    /// Where its datagrams are received, if that is known better than from the configuration.
    pub udp: Option<SocketAddr>,
    /// Where its streams are accepted, likewise.
    pub tcp: Option<SocketAddr>,
}

impl<'a> Subject<'a> {
    /// A node with the real primitives, whose addresses are those of its configuration.
    pub fn new(config: &'a Config, seed: &'a [u8; 32], now: Instant, unix: UnixTime, crypto: &'a dyn Crypto) -> Self {
        Self { config, seed, now, unix, crypto, primitives: SECP256K1, udp: None, tcp: None }
    }
}

/// How to record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Leave out the secret key and the seed: the trace can be inspected, and not replayed.
    pub is_redacted: bool,
    /// Begin another part when one has grown to so many bytes.
    pub rotate_bytes: Option<u64>,
}

/// Hears of the failure that ends a recording.
pub type OnFailure = Box<dyn FnOnce(io::Error) + Send>;

/// See the module. Dropping it writes the end mark; [`Recorder::finish`] tells whether that went well.
pub struct Recorder {
    output: Output,
    blocks: Blocks,
    behaviour: Behaviour,
    conversations: Conversations,
    header: Header,
    /// Of the first `now`, in microseconds since 1970.
    epoch: u64,
    inputs: u64,
    now: Instant,
    written_at: Instant,
    on_failure: Option<OnFailure>,
}

impl Recorder {
    /// Records into a new file, which only its owner can read if the trace is one that can be replayed.
    ///
    /// # Errors
    /// If there is such a file already, or it cannot be made.
    pub fn create(path: &Path, subject: &Subject<'_>, options: Options, on_failure: OnFailure) -> io::Result<Self> {
        let output = Output::create(path, !options.is_redacted, options.rotate_bytes)?;
        Ok(Self::new(output, subject, options, on_failure))
    }

    /// Records into anything, in one part.
    pub fn to_writer(
        writer: Box<dyn Write + Send>,
        subject: &Subject<'_>,
        options: Options,
        on_failure: OnFailure,
    ) -> Self {
        Self::new(Output::to_writer(writer), subject, options, on_failure)
    }

    fn new(output: Output, subject: &Subject<'_>, options: Options, on_failure: OnFailure) -> Self {
        let Subject { config, seed, now, unix, crypto, primitives, udp, tcp } = *subject;
        let secrets = (!options.is_redacted).then(|| (config.secret.clone(), Zeroizing::new(*seed)));
        let at_port = |port| config.ip.map(|ip| SocketAddr::new(ip, port));
        let header = Header {
            software: concat!("Peerless ", env!("CARGO_PKG_VERSION")).to_owned(),
            primitives: primitives.to_owned(),
            part: 0,
            previous: 0,
            first_input: 0,
            start: now,
            unix,
            key: *crypto.public_key(&config.secret).as_bytes(),
            udp: udp.map(canonical).or(at_port(config.udp)),
            tcp: tcp.map(canonical).or(at_port(config.tcp)),
            secrets,
            config: Header::encode_config(config),
        };
        let conversations = Conversations::new(header.udp, header.tcp, config.udp, config.tcp);
        let mut recorder = Self {
            output,
            blocks: Blocks::default(),
            behaviour: Behaviour::default(),
            conversations,
            header,
            epoch: unix.as_secs().saturating_mul(1_000_000),
            inputs: 0,
            now,
            written_at: now,
            on_failure: Some(on_failure),
        };
        recorder.begin_part();
        recorder.write();
        recorder
    }

    /// Ends the recording, and says whether all of it was written.
    ///
    /// # Errors
    /// If writing fails now. An earlier failure was told to `on_failure`.
    pub fn finish(mut self) -> io::Result<()> {
        let (sender, receiver) = std::sync::mpsc::channel();
        if self.on_failure.is_some() {
            self.on_failure = Some(Box::new(move |error| drop(sender.send(error))));
        }
        drop(self);
        receiver.try_recv().map_or(Ok(()), Err)
    }

    /// Keeps what decrypts a session, as a line of the key log.
    pub fn session_secrets(&mut self, conn: ConnId, line: &str) {
        self.blocks.record(|out| format::encode_secrets(conn, line, out));
    }

    fn begin_part(&mut self) {
        let Self { blocks, header, .. } = self;
        header.previous = blocks.digest();
        header.first_input = self.inputs;
        blocks.begin(&header.software);
        blocks.record(|out| header.encode(out));
    }

    /// The microseconds since 1970 at which a packet was seen: the wall clock of the start, and the monotonic one since.
    fn stamp(&self, now: Instant) -> u64 {
        let since = now.max(self.header.start).as_micros() - self.header.start.as_micros();
        self.epoch.saturating_add(since)
    }

    /// The packets that an input brings with it, and where its payload is.
    fn packets_of(&mut self, now: Instant, input: &Input<'_>) -> Payload {
        let stamp = self.stamp(now);
        let Self { blocks, conversations, .. } = self;
        match *input {
            Input::Datagram { from, bytes } if bytes.len() <= DATAGRAM_BYTES_MAX => {
                let from = canonical(from);
                let to = conversations.udp_of(from.ip());
                blocks.packet(Way::In, stamp, |out| format::udp(from, to, bytes, out));
                return Payload::InPackets;
            }
            Input::Bytes { conn, bytes } if !bytes.is_empty() => {
                let is_shown = conversations.received(conn, bytes, stamp, blocks);
                return if is_shown { Payload::InPackets } else { Payload::Here };
            }
            Input::Incoming { from } => conversations.incoming(canonical(from), stamp, blocks),
            Input::Connected { conn } => conversations.connected(conn, stamp, blocks),
            Input::Eof { conn } => conversations.eof(conn, stamp, blocks),
            Input::Broken { conn, why } => conversations.broken(conn, why, stamp, blocks),
            _ => {}
        }
        Payload::Here
    }

    fn write_if_due(&mut self, now: Instant) {
        if self.blocks.sealed().len() >= BUFFER_BYTES || now.since(self.written_at) >= FLUSH_INTERVAL {
            self.written_at = now;
            self.write();
        }
    }

    fn write(&mut self) {
        if let Err(error) = self.output.write(self.blocks.sealed())
            && let Some(on_failure) = self.on_failure.take()
        {
            on_failure(error);
        }
        self.blocks.take();
    }

    fn is_dead(&self) -> bool {
        self.on_failure.is_none()
    }

    /// Goes on in another part, if this one is large enough.
    fn rotate(&mut self) {
        if !self.output.is_full(self.blocks.sealed().len()) {
            return;
        }
        self.blocks.record(format::encode_continued);
        self.write();
        self.header.part += 1;
        if let Err(error) = self.output.next_part(self.header.part)
            && let Some(on_failure) = self.on_failure.take()
        {
            on_failure(error);
        }
        self.begin_part();
    }
}

impl Tap for Recorder {
    fn input(&mut self, now: Instant, input: &Input<'_>) {
        if self.is_dead() {
            return;
        }
        self.now = self.now.max(now);
        self.rotate();
        let payload = self.packets_of(now, input);
        let before = self.behaviour.checkpoint();
        let index = self.inputs;
        self.blocks.record(|out| format::encode_input(index, now, &before, input, payload, out));
        self.inputs += 1;
        self.write_if_due(now);
    }

    fn accepted(&mut self, now: Instant, conn: Option<ConnId>) {
        if self.is_dead() {
            return;
        }
        self.behaviour.accepted(conn);
        let stamp = self.stamp(now);
        self.conversations.accepted(conn, stamp, &mut self.blocks);
    }

    fn commanded(&mut self, _: Instant, answer: Result<CommandId, CommandError>) {
        self.behaviour.commanded(answer);
    }

    fn wrote(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if self.is_dead() {
            return;
        }
        self.behaviour.wrote(conn, bytes);
        let stamp = self.stamp(now);
        self.conversations.sent(conn, bytes, stamp, &mut self.blocks);
    }

    fn action(&mut self, now: Instant, action: &Action<'_>) {
        if self.is_dead() {
            return;
        }
        self.behaviour.action(action);
        let stamp = self.stamp(now);
        let Self { blocks, conversations, .. } = self;
        match *action {
            Action::Send { to, bytes } if bytes.len() <= DATAGRAM_BYTES_MAX => {
                let from = conversations.udp_of(to.ip());
                blocks.packet(Way::Out, stamp, |out| format::udp(from, to, bytes, out));
            }
            Action::Dial { conn, to } => conversations.dial(conn, to, stamp, blocks),
            Action::Close { conn } => conversations.close(conn, stamp, blocks),
            Action::Emit(Event::Secrets { conn, ref secrets }) if self.header.secrets.is_some() => {
                self.session_secrets(conn, keylog::line(secrets).trim_end());
            }
            _ => {}
        }
        if self.blocks.unsealed() > UNSEALED_MAX {
            self.blocks.record(format::encode_seal);
            self.write_if_due(now);
        }
    }

    fn drained(&mut self, now: Instant) {
        self.behaviour.drained();
        self.now = self.now.max(now);
        if now.since(self.written_at) >= FLUSH_INTERVAL && !self.is_dead() {
            if self.blocks.unsealed() > 0 {
                self.blocks.record(format::encode_seal);
            }
            self.write_if_due(now);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.is_dead() {
            return;
        }
        let after = self.behaviour.checkpoint();
        let inputs = self.inputs;
        self.blocks.record(|out| format::encode_end(inputs, &after, out));
        self.write();
    }
}
