//! A node's reader of node lists, with the generator that it draws from.

use alloc::boxed::Box;
use core::fmt;

use crate::contract::{Answer, Context, DiscoveryTimer, QueryFault, QueryId};
use crate::dns::{self, Dns};
use crate::kad::Growth;
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use crate::wire::enode::Contact;

/// The reader of node lists; without lists it does nothing.
pub(super) struct Lists {
    dns: Option<Box<Dns>>,
    rng: Rng,
}

impl Lists {
    /// A reader with a fork of `seed`.
    pub(super) fn new(context: &mut Context, seed: &Seed, config: Option<dns::Config>) -> Self {
        let mut rng = seed.fork("dns");
        let dns = config.filter(|config| !config.lists.is_empty());
        let dns = dns.map(|config| Box::new(Dns::new(&context.cx(&mut rng), config)));
        Self { dns, rng }
    }

    /// The reader, if there are lists.
    pub(super) fn dns(&self) -> Option<&Dns> {
        self.dns.as_deref()
    }

    /// See [`Dns::poll_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<(Instant, DiscoveryTimer)> {
        self.dns.as_ref()?.poll_timeout()
    }

    /// See [`Dns::handle_timeout`].
    pub(super) fn handle_timeout(&mut self, context: &mut Context) -> Growth {
        let Self { dns: Some(dns), rng } = self else { return Growth::None };
        match dns.poll_timeout() {
            Some((at, _)) if at <= context.now() => dns.handle_timeout(&mut context.cx(rng)),
            _ => Growth::None,
        }
    }

    /// See [`Dns::handle_answer`].
    pub(super) fn handle_answer(
        &mut self,
        context: &mut Context,
        id: QueryId,
        result: Result<Answer<'_>, QueryFault>,
    ) -> Growth {
        let Self { dns: Some(dns), rng } = self else { return Growth::None };
        dns.handle_answer(&mut context.cx(rng), id, result)
    }

    /// A node from which discovery can start, at random.
    pub(super) fn seed(&mut self) -> Option<Contact> {
        let Self { dns: Some(dns), rng } = self else { return None };
        dns.seeds(rng, 1).first().and_then(|record| record.contact())
    }

    /// See [`Dns::shutdown`].
    pub(super) fn shutdown(&mut self) {
        if let Some(dns) = &mut self.dns {
            dns.shutdown();
        }
    }
}

/// Without the generator.
impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dns.fmt(f)
    }
}
