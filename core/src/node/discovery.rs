//! A node's discovery protocols side by side: one socket, one deadline and one stream of candidates for all of them.
//!
//! Each protocol is a machine with a generator of its own. [`Discovery`] offers a datagram to one after the other until one
//! recognises it, merges their deadlines, forwards commands, and takes candidates for the dialler from all in turn. It parses
//! no packet.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use super::identity::Identity;
use crate::contract::{CommandError, CommandId, Context, Cx, DiscoveryTimer, Event, Input, Prefetch, Refusal, Source};
use crate::discv4::{self, Discv4};
use crate::kad::{Candidate, Growth, Received, Verdict};
use crate::netfilter::canonical;
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use crate::wire::discv4::Endpoint;
use crate::wire::enode::Contact;

/// The settings of each protocol; `None` switches it off.
#[derive(Clone, Debug)]
#[non_exhaustive]
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

/// The discovery protocols of a node.
pub struct Discovery {
    discv4: Option<Box<Discv4>>,
    discv4_rng: Rng,
    /// Nodes of an earlier run that no protocol has taken yet, the next one first.
    restored: VecDeque<Contact>,
    /// Whether a command was refused as `Busy`, and `Event::DiscoveryReady` is to follow.
    is_waited_for: bool,
}

impl Discovery {
    /// The protocols of `config`, each with a fork of `seed`.
    pub(super) fn new(context: &mut Context, seed: &Seed, config: Config, identity: &Identity) -> Self {
        let mut discv4_rng = seed.fork("discovery");
        let discv4 = config.discv4.map(|settings| {
            let (secret, record) = (identity.secret.clone(), identity.record().clone());
            let local = discv4::Local::new(context.crypto(), secret, endpoint(identity), Some(record));
            Box::new(Discv4::new(&mut context.cx(&mut discv4_rng), settings, local))
        });
        Self { discv4, discv4_rng, restored: VecDeque::new(), is_waited_for: false }
    }

    /// Queues nodes of an earlier run, which are pinged as there is room and enter a table only if they answer.
    pub(super) fn restore(&mut self, nodes: Vec<Contact>) {
        self.restored = nodes.into();
    }

    /// discv4, unless it is off.
    pub fn discv4(&self) -> Option<&Discv4> {
        self.discv4.as_deref()
    }

    /// Whether any protocol is on.
    pub fn is_on(&self) -> bool {
        self.discv4.is_some()
    }

    /// The next deadline of any protocol. Strictly later than the last timeout.
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
        let Self { discv4, discv4_rng, .. } = self;
        let unrecognised = Verdict { received: Received::Unrecognised, growth: Growth::None };
        let verdict = discv4
            .as_mut()
            .map_or(unrecognised, |discv4| discv4.handle_datagram(&mut context.cx(discv4_rng), from, bytes));
        self.report_ready(context);
        verdict
    }

    /// Handles the deadlines of all protocols that have passed.
    pub(super) fn handle_timeout(&mut self, context: &mut Context) -> Growth {
        let now = context.now();
        let Self { discv4: Some(discv4), discv4_rng, restored, .. } = self else { return Growth::None };
        if discv4.poll_timeout().is_none_or(|(at, _)| at > now) {
            return Growth::None;
        }
        let growth = discv4.handle_timeout(&mut context.cx(discv4_rng));
        while let Some(node) = restored.pop_front() {
            match discv4.add_node(&mut context.cx(discv4_rng), node) {
                // It waits behind the others, one of which is tried with each deadline.
                Err(CommandError::Refused(Refusal::RecentlyPinged)) => {
                    restored.push_back(node);
                    break;
                }
                Err(CommandError::Busy) => {
                    restored.push_front(node);
                    break;
                }
                // Another refusal is final.
                _ => {}
            }
        }
        self.report_ready(context);
        growth
    }

    /// Emits `DiscoveryReady` once after each refusal as `Busy`, when commands are taken again.
    fn report_ready(&mut self, context: &mut Context) {
        if self.is_waited_for && self.discv4.as_ref().is_some_and(|discv4| discv4.has_room()) {
            self.is_waited_for = false;
            context.out.emit(Event::DiscoveryReady);
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

    /// Gives every protocol our changed record and endpoint.
    pub(super) fn set_identity(&mut self, identity: &Identity) {
        if let Some(discv4) = &mut self.discv4 {
            discv4.set_record(identity.record().clone());
            discv4.set_endpoint(endpoint(identity));
        }
    }

    /// See [`Discv4::set_bootnodes`].
    pub(super) fn set_bootnodes(&mut self, nodes: &[Contact]) -> Result<(), CommandError> {
        self.discv4.as_mut().ok_or(CommandError::NoDiscovery)?.set_bootnodes(nodes.into());
        Ok(())
    }

    /// Lets every protocol drop the nodes that the filter no longer permits.
    pub(super) fn filter_changed(&mut self, context: &mut Context) {
        let Self { discv4, discv4_rng, .. } = self;
        if let Some(discv4) = discv4 {
            discv4.filter_changed(&mut context.cx(discv4_rng));
        }
    }

    /// The nodes of all tables that have answered, for a later run.
    pub(super) fn live_nodes(&self) -> Vec<Contact> {
        let entries = self.discv4.iter().flat_map(|discv4| discv4.table().entries());
        entries.filter(|entry| entry.liveness() > 0).map(|entry| *entry.contact()).collect()
    }

    /// Shuts every protocol down.
    pub(super) fn shutdown(&mut self, context: &mut Context) {
        let Self { discv4, discv4_rng, .. } = self;
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
        let result = work(discv4, &mut context.cx(&mut self.discv4_rng));
        self.is_waited_for |= result == Err(CommandError::Busy);
        result
    }
}

/// The endpoint in our pings.
fn endpoint(identity: &Identity) -> Endpoint {
    let addresses = identity.addresses();
    Endpoint { ip: addresses.ip(), udp: addresses.udp, tcp: addresses.tcp }
}

/// Without the generators.
impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("discv4", &self.discv4).finish_non_exhaustive()
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
