//! The scripted ends of connections with the real node: core's own [`Connection`], made when the stream is.
//!
//! A scripted end completes the handshake, Hello and Status, answers pings, and decides once whether it has room. It has no
//! timers: the real node's pings keep the session alive.

use std::collections::BTreeMap;
use std::sync::Arc;

use peerless::contract::{Action, ConnId, Context, EndReason, Refusal, Side};
use peerless::crypto::{Crypto, PublicKey, SecretKey};
use peerless::netfilter::NetFilter;
use peerless::node::connection::{Connection, Local, Verdict};
use peerless::protocols::{self, Chain, Policy};
use peerless::rlpx::LocalHello;
use peerless::rng::{Rng, Seed};
use peerless::time::{Instant, UnixTime};
use peerless::wire::enode::Contact;
use peerless::wire::p2p::{CapabilityTable, DisconnectReason, Hello, P2P_VERSION};

use super::cast::Identity;

/// One scripted end.
struct End {
    secret: SecretKey,
    key: PublicKey,
    hello: LocalHello,
    connection: Connection,
    has_room: bool,
}

/// What a scripted end sends.
#[derive(Default)]
pub(super) struct Said {
    pub(super) bytes: Vec<u8>,
    /// Whether it closes the stream after the bytes.
    pub(super) closes: bool,
}

/// All scripted ends, by the real node's id of the connection.
pub(super) struct Sessions {
    chain: Chain,
    context: Context,
    rng: Rng,
    ends: BTreeMap<ConnId, End>,
}

impl Sessions {
    pub(super) fn new(
        chain: Chain,
        crypto: Arc<dyn Crypto + Send + Sync>,
        seed: [u8; 32],
        (now, unix): (Instant, UnixTime),
    ) -> Self {
        let context = Context::new(now, unix, NetFilter::default(), crypto);
        Self { chain, context, rng: Seed::new(seed).fork("scripted"), ends: BTreeMap::new() }
    }

    /// The real node has dialled a scripted one.
    pub(super) fn accept(&mut self, now: Instant, conn: ConnId, identity: &Identity, real: &Identity, has_room: bool) {
        self.context.advance(now);
        let connection = Connection::accept(&mut self.context.cx(&mut self.rng), conn, real.addr);
        self.ends.insert(conn, End::new(identity, connection, has_room));
    }

    /// A scripted node has dialled the real one, which has accepted the stream.
    pub(super) fn dial(&mut self, now: Instant, conn: ConnId, identity: &Identity, real: &Identity) -> Said {
        self.context.advance(now);
        let crypto = self.context.crypto();
        let contact = Contact::with_crypto(crypto, real.key, real.addr.ip(), real.addr.port(), real.addr.port());
        let connection = Connection::dial(&mut self.context.cx(&mut self.rng), conn, &contact);
        self.ends.insert(conn, End::new(identity, connection, true));
        self.work(now, conn, |end, context, rng, chain| {
            let (connection, local) = end.split(chain);
            connection.handle_connected(&mut context.cx(rng), &local);
        })
    }

    /// The real node has sent bytes.
    pub(super) fn hear(&mut self, now: Instant, conn: ConnId, mut bytes: &[u8]) -> Said {
        self.work(now, conn, |end, context, rng, chain| {
            let has_room = end.has_room;
            let (connection, local) = end.split(chain);
            let cx = &mut context.cx(rng);
            loop {
                let verdict = match connection.handle_bytes(cx, &local, &mut bytes) {
                    Verdict::Pending => return,
                    Verdict::HandshakeReceived => connection.answer_handshake(cx, &local),
                    Verdict::Identified if has_room => connection.admit(cx, &local),
                    Verdict::Identified => {
                        Verdict::End { by: Side::Us, why: EndReason::Refused(Refusal::TooManyPeers) }
                    }
                    verdict => verdict,
                };
                if let Verdict::End { by, why } = verdict {
                    connection.end(cx, by, why);
                }
            }
        })
    }

    /// A scripted end leaves.
    pub(super) fn leave(&mut self, now: Instant, conn: ConnId) -> Said {
        self.work(now, conn, |end, context, rng, _| {
            let why = EndReason::Disconnect(DisconnectReason::ClientQuitting);
            end.connection.end(&mut context.cx(rng), Side::Us, why);
        })
    }

    /// The real node has closed the stream.
    pub(super) fn closed(&mut self, conn: ConnId) {
        self.ends.remove(&conn);
    }

    /// Works on an end, and takes all that it writes.
    fn work(
        &mut self,
        now: Instant,
        conn: ConnId,
        work: impl FnOnce(&mut End, &mut Context, &mut Rng, &Chain),
    ) -> Said {
        let Self { chain, context, rng, ends } = self;
        let Some(end) = ends.get_mut(&conn) else { return Said::default() };
        context.advance(now);
        work(end, context, rng, chain);
        let bytes = end.connection.outbound().to_vec();
        end.connection.handle_wrote(&mut context.cx(rng), bytes.len());
        let mut closes = false;
        while let Some(action) = context.out.pop() {
            closes |= matches!(action, Action::Close { .. });
        }
        Said { bytes, closes }
    }
}

impl End {
    fn new(identity: &Identity, connection: Connection, has_room: bool) -> Self {
        let Identity { secret, key, addr, .. } = identity;
        let hello = Hello {
            version: P2P_VERSION,
            client: String::from("Scripted/v1"),
            capabilities: protocols::offered(),
            port: addr.port().into(),
            key: *key.as_bytes(),
        };
        let hello = LocalHello::new(hello, CapabilityTable::default()).expect("small and registered");
        Self { secret: secret.clone(), key: *key, hello, connection, has_room }
    }

    fn split<'a>(&'a mut self, chain: &'a Chain) -> (&'a mut Connection, Local<'a>) {
        let Self { secret, key, hello, connection, .. } = self;
        let protocols = protocols::Local { chain, status: Policy::Announce };
        (connection, Local { secret, key, hello, protocols, export_secrets: false })
    }
}
