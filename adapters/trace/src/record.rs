//! The recorder: a tap that writes a trace as it happens.
//!
//! On the node's thread, packets and records are only laid out; another thread computes checksums and digests, and writes.
//! What the driver has drained is in the file within a second. A process that is killed loses what was not written; one that
//! panics or returns loses nothing. A node that is faster than its disk waits once 16 MiB are queued, for at most five
//! seconds. A recorder that cannot write reports that once and stops: the node goes on.

mod conversations;
mod output;
mod writer;

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::Path;

use peerless::contract::{Action, CommandId, ConnId, Devp2p, Input, Tap};
use peerless::crypto::{Crypto, SecretKey};
use peerless::netfilter::canonical;
use peerless::node::Config;
use peerless::time::{Duration, Instant, UnixTime};
use zeroize::Zeroizing;

use self::conversations::Conversations;
use self::output::Output;
use self::writer::{BUFFER_BYTES, Background, Patience, Writer};
use crate::format::{
    self, Behaviour, Blocks, DATAGRAM_BYTES_MAX, Header, Payload, Recordable, SECP256K1, Secrets, Way,
};

/// How long a recorder without a thread keeps bytes in its buffer while the driver drains.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The origin of a machine: what its trace's header needs.
pub struct Subject<'a> {
    /// The machine's configuration without its secret key, encoded by its family.
    pub config: Vec<u8>,
    /// The machine's secret key, if it has one.
    pub secret: Option<SecretKey>,
    /// The machine's public key, if it has one.
    pub key: Option<[u8; 64]>,
    /// The seed of its run.
    pub seed: &'a [u8; 32],
    /// The machine's first `now`.
    pub now: Instant,
    /// The machine's first wall time.
    pub unix: UnixTime,
    /// The name of the machine's primitives: [`SECP256K1`] or a simulator's own.
    pub primitives: &'a str,
    /// Its address for datagrams, if known.
    pub udp: Option<SocketAddr>,
    /// Its address for accepted streams, if known.
    pub tcp: Option<SocketAddr>,
    /// The ports in packets while the address is not known: UDP and TCP.
    pub ports: (u16, u16),
}

/// Omits key, seed and configuration.
impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Subject");
        debug.field("now", &self.now).field("unix", &self.unix).field("primitives", &self.primitives);
        debug.field("udp", &self.udp).field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl<'a> Subject<'a> {
    /// A node with the real primitives, whose addresses are those of its configuration.
    pub fn new(config: &'a Config, seed: &'a [u8; 32], now: Instant, unix: UnixTime, crypto: &'a dyn Crypto) -> Self {
        let at_port = |port| config.addresses.ip().map(|ip| SocketAddr::new(ip, port));
        Self {
            secret: Some(config.secret.clone()),
            key: Some(*crypto.public_key(&config.secret).as_bytes()),
            udp: at_port(config.addresses.udp),
            tcp: at_port(config.addresses.tcp),
            ports: (config.addresses.udp, config.addresses.tcp),
            ..Self::of_family(Header::encode_config(config), seed, now, unix)
        }
    }

    /// A machine of any family, without a key of its own and at no known address.
    pub const fn of_family(config: Vec<u8>, seed: &'a [u8; 32], now: Instant, unix: UnixTime) -> Self {
        let primitives = SECP256K1;
        Self { config, secret: None, key: None, seed, now, unix, primitives, udp: None, tcp: None, ports: (0, 0) }
    }
}

/// The settings of a recorder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Whether to omit the secret key and the seed: the trace can then be inspected, and not replayed.
    pub is_redacted: bool,
    /// The size of a part in bytes after which the next one begins.
    pub rotate_bytes: Option<u64>,
}

/// Called with the failure that ends a recording.
pub type OnFailure = Box<dyn FnOnce(io::Error) + Send>;

/// The thread that completes and writes blocks.
enum Sink {
    /// The thread that records.
    Here(Box<Writer>),
    /// Another thread.
    Background(Background),
}

/// A tap that writes a trace. Dropping it writes the end mark; [`Recorder::finish`] returns whether that succeeded.
pub struct Recorder<L: Recordable = Devp2p> {
    sink: Sink,
    blocks: Blocks,
    /// Whether the blocks are parked at the sink.
    is_parked: bool,
    behaviour: Behaviour,
    conversations: Conversations,
    holds_secrets: bool,
    start: Instant,
    /// The wall time of the first `now`, in microseconds since 1970.
    epoch: u64,
    inputs: u64,
    written_at: Instant,
    is_over: bool,
    on_failure: Option<OnFailure>,
    language: PhantomData<fn() -> L>,
}

/// Omits what is recorded.
impl<L: Recordable> fmt::Debug for Recorder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Recorder");
        debug.field("start", &self.start).field("inputs", &self.inputs).field("is_over", &self.is_over);
        debug.finish_non_exhaustive()
    }
}

impl Recorder {
    /// As [`Recorder::create_as`], for a node.
    ///
    /// # Errors
    /// As [`Recorder::create_as`].
    pub fn create(path: &Path, subject: &Subject<'_>, options: Options, on_failure: OnFailure) -> io::Result<Self> {
        Self::create_as(path, subject, options, on_failure)
    }

    /// As [`Recorder::to_writer_as`], for a node.
    pub fn to_writer(
        writer: Box<dyn Write + Send>,
        subject: &Subject<'_>,
        options: Options,
        on_failure: OnFailure,
    ) -> Self {
        Self::to_writer_as(writer, subject, options, on_failure)
    }
}

impl<L: Recordable> Recorder<L> {
    /// Records into a new file, which only its owner can read if the trace can be replayed. Starts a thread that writes it.
    ///
    /// # Errors
    /// If the file exists, or cannot be created or written.
    pub fn create_as(path: &Path, subject: &Subject<'_>, options: Options, on_failure: OnFailure) -> io::Result<Self> {
        let output = Output::create(path, !options.is_redacted, options.rotate_bytes)?;
        let mut writer = Writer::new(output, header::<L>(subject, options));
        writer.begin_part()?;
        let background = Background::start(writer, Patience::default())?;
        Ok(Self::new(Sink::Background(background), subject, options, on_failure))
    }

    /// Records into any writer, in one part, and writes on the recording thread: for memory, and for virtual time, since the
    /// same inputs then give the same bytes.
    pub fn to_writer_as(
        writer: Box<dyn Write + Send>,
        subject: &Subject<'_>,
        options: Options,
        on_failure: OnFailure,
    ) -> Self {
        let mut writer = Box::new(Writer::new(Output::to_writer(writer), header::<L>(subject, options)));
        let begun = writer.begin_part();
        let mut recorder = Self::new(Sink::Here(writer), subject, options, on_failure);
        recorder.check(begun);
        recorder
    }

    fn new(sink: Sink, subject: &Subject<'_>, options: Options, on_failure: OnFailure) -> Self {
        let Subject { now, unix, udp, tcp, ports, .. } = *subject;
        Self {
            sink,
            blocks: Blocks::default(),
            is_parked: false,
            behaviour: Behaviour::default(),
            conversations: Conversations::new(udp.map(canonical), tcp.map(canonical), ports),
            holds_secrets: !options.is_redacted,
            start: now,
            epoch: unix.as_micros(),
            inputs: 0,
            written_at: now,
            is_over: false,
            on_failure: Some(on_failure),
            language: PhantomData,
        }
    }

    /// Ends the recording, and returns whether all of it was written.
    ///
    /// # Errors
    /// If writing fails now. An earlier failure was reported to `on_failure`.
    pub fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    /// Records the secrets of a session, as a line of the key log.
    fn session_secrets(&mut self, conn: ConnId, line: &str) {
        if !self.resume() {
            return;
        }
        self.blocks.record(|out| format::encode_secrets(conn, line, out));
    }

    /// The stamp of a packet in microseconds since 1970: the wall time at the start plus the monotonic time since.
    fn stamp(&self, now: Instant) -> u64 {
        self.epoch.saturating_add(now.max(self.start).as_micros() - self.start.as_micros())
    }

    /// Appends the packets of an input, and returns where its payload is.
    fn packets_of(&mut self, now: Instant, input: &Input<'_, L::Command<'_>>) -> Payload {
        let stamp = self.stamp(now);
        let Self { blocks, conversations, .. } = self;
        match *input {
            Input::Datagram { from, bytes, .. } if bytes.len() <= DATAGRAM_BYTES_MAX => {
                let from = canonical(from);
                let to = conversations.udp_of(from.ip());
                blocks.packet(Way::In, stamp, |out| format::udp(from, to, bytes, out));
                return Payload::InPackets;
            }
            Input::Bytes { conn, bytes } if !bytes.is_empty() => {
                let is_shown = conversations.received(conn, bytes, stamp, blocks);
                return if is_shown { Payload::InPackets } else { Payload::Here };
            }
            Input::Incoming { from, .. } => conversations.incoming(canonical(from), stamp, blocks),
            Input::Connected { conn, local } => conversations.connected(conn, local.map(canonical), stamp, blocks),
            Input::Eof { conn } => conversations.eof(conn, stamp, blocks),
            Input::Broken { conn, why } => conversations.broken(conn, why, stamp, blocks),
            _ => {}
        }
        Payload::Here
    }

    /// Takes the blocks back from the sink. Returns `false` if the recording is over.
    fn resume(&mut self) -> bool {
        if self.is_parked
            && let Sink::Background(background) = &self.sink
        {
            self.blocks = background.unpark();
            self.is_parked = false;
        }
        !self.is_over
    }

    fn write_if_full(&mut self, now: Instant) {
        if self.blocks.len() >= BUFFER_BYTES {
            self.written_at = now;
            let written = self.write();
            self.check(written);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Here(writer) => {
                let written = writer.write(&mut self.blocks);
                self.blocks.clear();
                written
            }
            Sink::Background(background) => background.hand_over(&mut self.blocks),
        }
    }

    /// Ends the recording if the result is a failure.
    fn check(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.is_over = true;
            if let Some(on_failure) = self.on_failure.take() {
                on_failure(error);
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.resume() {
            return Ok(());
        }
        self.is_over = true;
        let after = self.behaviour.checkpoint();
        let inputs = self.inputs;
        self.blocks.record(|out| format::encode_end(inputs, &after, out));
        self.write()?;
        match &mut self.sink {
            Sink::Here(_) => Ok(()),
            Sink::Background(background) => background.end(),
        }
    }
}

fn header<L: Recordable>(subject: &Subject<'_>, options: Options) -> Header {
    let Subject { config, secret, key, seed, now, unix, primitives, udp, tcp, .. } = subject;
    let secrets = || Secrets { seed: Zeroizing::new(**seed), key: secret.clone() };
    Header {
        version: format::VERSION,
        family: L::FAMILY.to_owned(),
        software: concat!("Peerless ", env!("CARGO_PKG_VERSION")).to_owned(),
        primitives: (*primitives).to_owned(),
        part: 0,
        previous: 0,
        first_input: 0,
        start: *now,
        unix: *unix,
        key: *key,
        udp: udp.map(canonical),
        tcp: tcp.map(canonical),
        secrets: (!options.is_redacted).then(secrets),
        config: config.clone(),
    }
}

impl<L: Recordable> Tap<L> for Recorder<L> {
    fn input(&mut self, now: Instant, input: &Input<'_, L::Command<'_>>) {
        if !self.resume() {
            return;
        }
        let payload = self.packets_of(now, input);
        let before = self.behaviour.checkpoint();
        let index = self.inputs;
        self.blocks.record(|out| format::encode_input::<L>(index, now, &before, input, payload, out));
        self.inputs += 1;
        self.write_if_full(now);
    }

    fn accepted(&mut self, now: Instant, conn: Option<ConnId>) {
        if !self.resume() {
            return;
        }
        self.behaviour.accepted(conn);
        let stamp = self.stamp(now);
        self.conversations.accepted(conn, stamp, &mut self.blocks);
    }

    fn commanded(&mut self, _: Instant, answer: Result<CommandId, L::Refused>) {
        self.behaviour.commanded::<L>(answer);
    }

    fn wrote(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if !self.resume() {
            return;
        }
        self.behaviour.wrote(conn, bytes);
        let stamp = self.stamp(now);
        self.conversations.sent(conn, bytes, stamp, &mut self.blocks);
    }

    fn action(&mut self, now: Instant, action: &Action<'_, L::Event<'_>>) {
        if !self.resume() {
            return;
        }
        self.behaviour.action::<L>(action);
        let stamp = self.stamp(now);
        let Self { blocks, conversations, .. } = self;
        match *action {
            Action::Send { to, bytes, .. } if bytes.len() <= DATAGRAM_BYTES_MAX => {
                let from = conversations.udp_of(to.ip());
                blocks.packet(Way::Out, stamp, |out| format::udp(from, to, bytes, out));
            }
            Action::Dial { conn, to } => conversations.dial(conn, to),
            Action::Close { conn } => conversations.close(conn, stamp, blocks),
            Action::Emit(ref event) if self.holds_secrets => {
                if let Some((conn, line)) = L::session_secrets(event) {
                    self.session_secrets(conn, line.trim_end());
                }
            }
            _ => {}
        }
        self.write_if_full(now);
    }

    fn drained(&mut self, now: Instant) {
        self.behaviour.drained();
        if self.is_over || self.is_parked {
            return;
        }
        let written = match &self.sink {
            Sink::Background(background) => {
                self.is_parked = true;
                background.park(&mut self.blocks)
            }
            Sink::Here(_) if now.since(self.written_at) >= FLUSH_INTERVAL => {
                self.written_at = now;
                self.write()
            }
            Sink::Here(_) => return,
        };
        self.check(written);
    }
}

impl<L: Recordable> Drop for Recorder<L> {
    fn drop(&mut self) {
        let written = self.end();
        self.check(written);
    }
}
