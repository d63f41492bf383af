//! A node's discovery protocols side by side: one socket, one deadline and one stream of candidates for all of them.
//!
//! Each protocol is a machine with a generator of its own. [`Discovery`] offers a datagram to one after the other until one
//! recognises it, merges their deadlines, forwards commands, and takes candidates for the dialler from all in turn. It knows
//! how to call them and nothing of their packets.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::config;
use crate::contract::{CommandError, CommandId, Context, Cx, DiscoveryTimer, Input, Prefetch};
use crate::discv4::{self, Discv4};
use crate::kad::{Candidate, Growth, Received, Verdict};
use crate::netfilter::canonical;
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use crate::wire::discv4::Endpoint;
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

/// The settings of each protocol; `None` switches it off.
#[derive(Clone, Debug)]
pub struct Config {
    /// discv4.
    pub discv4: Option<discv4::Config>,
}

/// Every protocol, with its defaults.
impl Default for Config {
    fn default() -> Self {
        Self { discv4: Some(discv4::Config::default()) }
    }
}

/// The protocol that found a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Source {
    /// discv4.
    Discv4,
}

/// See the module.
pub struct Discovery {
    discv4: Option<Box<Discv4>>,
    discv4_rng: Rng,
}

impl Discovery {
    /// The protocols of `config`, each with a fork of `seed`.
    pub(super) fn new(context: &mut Context, seed: &Seed, config: &config::Config, record: &Record) -> Self {
        let mut discv4_rng = seed.fork("discovery");
        let discv4 = config.discovery.discv4.clone().map(|settings| {
            let endpoint = Endpoint { ip: config.ip, udp: config.udp, tcp: config.tcp };
            let local = discv4::Local::new(context.crypto(), config.secret.clone(), endpoint, Some(record.clone()));
            Box::new(Discv4::new(&mut context.cx(&mut discv4_rng), settings, local))
        });
        Self { discv4, discv4_rng }
    }

    /// discv4, unless it is off.
    pub fn discv4(&self) -> Option<&Discv4> {
        self.discv4.as_deref()
    }

    /// Whether any protocol is on.
    pub fn is_on(&self) -> bool {
        self.discv4.is_some()
    }

    /// The next deadline of any protocol. Strictly later than the last [`Discovery::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, DiscoveryTimer)> {
        self.discv4.as_ref()?.poll_timeout()
    }

    /// At most `max` nodes for the dialler, one of each protocol in turn, in the random order in which the protocol drew
    /// them. A node that two protocols found comes once.
    pub fn candidates(&self, rng: &mut Rng, max: usize) -> Vec<(Source, Candidate)> {
        let discv4 = self.discv4.as_ref().map_or(Vec::new(), |discv4| discv4.candidates(rng, max));
        round_robin([(Source::Discv4, discv4)], max)
    }

    /// Offers a datagram to the protocols until one recognises it.
    pub(super) fn handle_datagram(&mut self, context: &mut Context, from: SocketAddr, bytes: &[u8]) -> Verdict {
        let Self { discv4, discv4_rng } = self;
        let unrecognised = Verdict { received: Received::Unrecognised, growth: Growth::None };
        discv4.as_mut().map_or(unrecognised, |discv4| discv4.handle_datagram(&mut context.cx(discv4_rng), from, bytes))
    }

    /// Has every protocol do what is due.
    pub(super) fn handle_timeout(&mut self, context: &mut Context) -> Growth {
        let now = context.now();
        let Self { discv4, discv4_rng } = self;
        match discv4 {
            Some(discv4) if discv4.poll_timeout().is_some_and(|(at, _)| at <= now) => {
                discv4.handle_timeout(&mut context.cx(discv4_rng))
            }
            _ => Growth::None,
        }
    }

    /// See [`Discv4::add_node`].
    pub(super) fn add_node(&mut self, context: &mut Context, contact: Contact) -> Result<(), CommandError> {
        self.with_discv4(context, |discv4, cx| discv4.add_node(cx, contact))
    }

    /// See [`Discv4::ping`].
    pub(super) fn ping(&mut self, context: &mut Context, id: CommandId, contact: Contact) -> Result<(), CommandError> {
        self.with_discv4(context, |discv4, cx| discv4.ping(cx, id, contact))
    }

    /// See [`Discv4::request_record`].
    pub(super) fn request_record(
        &mut self,
        context: &mut Context,
        id: CommandId,
        contact: Contact,
    ) -> Result<(), CommandError> {
        self.with_discv4(context, |discv4, cx| discv4.request_record(cx, id, contact))
    }

    /// See [`Discv4::find_node`].
    pub(super) fn find_node(
        &mut self,
        context: &mut Context,
        id: CommandId,
        contact: Contact,
        target: [u8; 64],
    ) -> Result<(), CommandError> {
        self.with_discv4(context, |discv4, cx| discv4.find_node(cx, id, contact, target))
    }

    /// See [`Discv4::lookup`].
    pub(super) fn lookup(
        &mut self,
        context: &mut Context,
        id: CommandId,
        target: [u8; 64],
    ) -> Result<(), CommandError> {
        self.with_discv4(context, |discv4, cx| discv4.lookup(cx, Some(id), target))
    }

    /// Replaces our record in every protocol.
    pub(super) fn set_record(&mut self, record: &Record) {
        if let Some(discv4) = &mut self.discv4 {
            discv4.set_record(record.clone());
        }
    }

    /// Shuts every protocol down.
    pub(super) fn shutdown(&mut self, context: &mut Context) {
        let Self { discv4, discv4_rng } = self;
        if let Some(discv4) = discv4 {
            discv4.shutdown(&mut context.cx(discv4_rng));
        }
    }

    /// Shows what handling `input` will read. See [`Node::prefetch`](super::Node::prefetch).
    pub(super) fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        let Some(depth) = depth.checked_sub(1) else {
            memory.prefetch(&self.discv4);
            if matches!(input, Input::Timeout) {
                memory.prefetch(&self.discv4_rng);
            }
            return;
        };
        match (input, &self.discv4) {
            (Input::Datagram { from, bytes, .. }, Some(discv4)) => {
                discv4.prefetch(canonical(*from), bytes, depth, memory)
            }
            (Input::Timeout, Some(discv4)) => discv4.prefetch_timeout(depth, memory),
            _ => {}
        }
    }

    fn with_discv4(
        &mut self,
        context: &mut Context,
        work: impl FnOnce(&mut Discv4, &mut Cx<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let discv4 = self.discv4.as_mut().ok_or(CommandError::NoDiscovery)?;
        work(discv4, &mut context.cx(&mut self.discv4_rng))
    }
}

/// One candidate of each source in turn, no node twice.
fn round_robin<const N: usize>(sources: [(Source, Vec<Candidate>); N], max: usize) -> Vec<(Source, Candidate)> {
    let rounds = sources.iter().map(|(_, candidates)| candidates.len()).max().unwrap_or(0);
    let mut taken: Vec<(Source, Candidate)> = Vec::new();
    for round in 0..rounds {
        for (source, candidates) in &sources {
            if let Some(candidate) = candidates.get(round)
                && taken.len() < max
                && taken.iter().all(|(_, other)| other.contact.id() != candidate.contact.id())
            {
                taken.push((*source, *candidate));
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PublicKey;

    fn candidate(n: u8) -> Candidate {
        let contact = Contact::new(PublicKey::from_xy_unchecked([n; 64]), [8, 8, 8, n].into(), 30303, 30303);
        Candidate { contact, fork_id: None }
    }

    #[test]
    fn candidates_come_from_each_source_in_turn_and_once() {
        let of = |numbers: &[u8]| (Source::Discv4, numbers.iter().map(|n| candidate(*n)).collect());
        let taken = |max| {
            let taken = round_robin([of(&[1, 2, 3, 4]), of(&[]), of(&[2, 5])], max);
            taken.into_iter().map(|(_, candidate)| candidate.contact.ip()).collect::<Vec<_>>()
        };
        let expected = [1, 2, 5, 3, 4].map(|n| core::net::IpAddr::from([8, 8, 8, n]));
        assert_eq!(taken(9), expected);
        assert_eq!(taken(3), expected[..3]);
    }

    #[test]
    fn one_source_keeps_its_order() {
        let candidates: Vec<Candidate> = [3, 1, 2].map(candidate).into();
        let taken = round_robin([(Source::Discv4, candidates.clone())], 16);
        assert!(taken.into_iter().eq(candidates.into_iter().map(|candidate| (Source::Discv4, candidate))));
    }
}
