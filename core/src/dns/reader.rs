//! The reader of node lists alone under a driver: for programs that want lists and no node.

use alloc::sync::Arc;
use core::net::SocketAddr;

use super::{Config, Dns};
use crate::contract::{Action, Command, CommandError, CommandId, ConnId, Context, Devp2p, Input, Machine, SocketId};
use crate::crypto::Crypto;
use crate::netfilter::NetFilter;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant, UnixTime};

/// A [`Dns`] with what it borrows, as a [`Machine`]: it asks for names, and does nothing else. Every command is refused.
#[derive(Debug)]
pub struct Reader {
    context: Context,
    rng: Rng,
    dns: Dns,
}

impl Reader {
    /// Creates a reader with primitives of the caller's choice.
    pub fn new(
        config: Config,
        seed: [u8; 32],
        now: Instant,
        unix: UnixTime,
        crypto: Arc<dyn Crypto + Send + Sync>,
    ) -> Self {
        let mut rng = Seed::new(seed).fork("dns");
        let mut context = Context::new(now, unix, NetFilter::default(), crypto);
        let dns = Dns::new(&context.cx(&mut rng), config);
        Self { context, rng, dns }
    }

    /// The lists and what was read of them.
    pub const fn dns(&self) -> &Dns {
        &self.dns
    }
}

impl Machine for Reader {
    type Language = Devp2p;

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.context.advance(now);
        let Self { context, rng, dns } = self;
        let cx = &mut context.cx(rng);
        let _ = match input {
            Input::Answer { id, result } => dns.handle_answer(cx, id, result),
            Input::Timeout => dns.handle_timeout(cx),
            _ => return,
        };
    }

    fn accept(&mut self, _: Instant, _: SocketId, _: SocketAddr) -> Option<ConnId> {
        None
    }

    fn command(&mut self, _: Instant, _: Command<'_>) -> Result<CommandId, CommandError> {
        Err(CommandError::NoDiscovery)
    }

    fn poll_action(&mut self) -> Option<Action<'_>> {
        self.context.out.pop()
    }

    /// Strictly later than the last call; `None` at the end of time.
    fn poll_timeout(&self) -> Option<Instant> {
        let soon = self.context.now() + Duration::from_micros(1);
        self.dns.poll_timeout().map(|(at, _)| at.max(soon)).filter(|at| *at != Instant::NEVER)
    }

    fn outbound(&self, _: ConnId) -> &[u8] {
        &[]
    }

    fn wants_read(&self, _: ConnId) -> bool {
        false
    }
}
