//! A node's discovery protocols side by side: one socket, one deadline and one stream of candidates for all of them.
//!
//! Each protocol is a machine with a generator of its own. [`Discovery`] offers a datagram to one after the other until one
//! recognises it, merges their deadlines, forwards commands, and takes candidates for the dialler from all in turn. It parses
//! no packet.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use super::identity::Identity;
use super::lists::Lists;
use crate::contract::{
    Answer, Command, CommandError, CommandId, Context, Cx, DiscoveryTimer, DropReason, Event, Input, Prefetch,
    QueryFault, QueryId, Refusal, SocketId, Source, TalkId, Via,
};
use crate::crypto::NodeId;
use crate::discv4::{self, Discv4};
use crate::discv5::{self, Discv5};
use crate::dns::{self, Dns};
use crate::kad::table::Entry;
use crate::kad::{Candidate, Growth, Received, Statement, Verdict};
use crate::limits::LIST_SEEDS;
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
    /// discv5.
    pub discv5: Option<discv5::Config>,
    /// Node lists in DNS.
    pub dns: Option<dns::Config>,
}

/// Every protocol with its defaults, and no node lists.
impl Default for Config {
    fn default() -> Self {
        Self { discv4: Some(discv4::Config::default()), discv5: Some(discv5::Config::default()), dns: None }
    }
}

impl Config {
    /// Switches every protocol and node list off.
    pub fn switch_off(&mut self) {
        (self.discv4, self.discv5, self.dns) = (None, None, None);
    }

    /// The bootnodes that have addresses, each once.
    pub(super) fn bootnodes(&self) -> Vec<Contact> {
        let mut nodes = self.discv4.as_ref().map_or(Vec::new(), |discv4| discv4.bootnodes.clone());
        for node in self.discv5.iter().flat_map(|discv5| &discv5.bootnodes) {
            if !nodes.contains(node) {
                nodes.push(*node);
            }
        }
        nodes
    }

    /// Sets the bootnodes of every protocol that is on.
    pub fn set_bootnodes(&mut self, nodes: &[Contact]) {
        self.discv4.iter_mut().for_each(|discv4| discv4.bootnodes = nodes.into());
        self.discv5.iter_mut().for_each(|discv5| discv5.bootnodes = nodes.into());
    }
}

/// One protocol, if it is on.
struct Slot<M> {
    machine: Option<Box<M>>,
    rng: Rng,
    /// Nodes of an earlier run that it has not taken yet, the next one first.
    restored: VecDeque<Contact>,
}

impl<M> Slot<M> {
    /// Gives the protocol the nodes of an earlier run, as it takes them.
    fn restore(
        &mut self,
        context: &mut Context,
        mut add: impl FnMut(&mut M, &mut Cx<'_>, Contact) -> Result<(), CommandError>,
    ) {
        let Self { machine: Some(machine), rng, restored } = self else { return };
        while let Some(node) = restored.pop_front() {
            match add(machine, &mut context.cx(rng), node) {
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
    }
}

/// The discovery protocols of a node.
pub struct Discovery {
    discv4: Slot<Discv4>,
    discv5: Slot<Discv5>,
    lists: Lists,
    /// Whether a command was refused as `Busy`, and `Event::DiscoveryReady` is to follow.
    is_waited_for: bool,
}

impl Discovery {
    /// The protocols of `config`, each with a fork of `seed`.
    pub(super) fn new(context: &mut Context, seed: &Seed, config: Config, identity: &Identity) -> Self {
        let mut rng = seed.fork("discovery");
        let machine = config.discv4.map(|settings| {
            let (secret, record) = (identity.secret.clone(), identity.record().clone());
            let local = discv4::Local::new(context.crypto(), secret, endpoint(identity), Some(record));
            Box::new(Discv4::new(&mut context.cx(&mut rng), settings, local))
        });
        let discv4 = Slot { machine, rng, restored: VecDeque::new() };
        let mut rng = seed.fork("discv5");
        let machine = config.discv5.map(|settings| {
            let (secret, record) = (identity.secret.clone(), identity.record().clone());
            let local = discv5::Local::new(context.crypto(), secret, record);
            Box::new(Discv5::new(&mut context.cx(&mut rng), settings, local))
        });
        let discv5 = Slot { machine, rng, restored: VecDeque::new() };
        let lists = Lists::new(context, seed, config.dns);
        Self { discv4, discv5, lists, is_waited_for: false }
    }

    /// Lets every protocol do nothing by itself; see [`Discv4::set_passive`], [`Discv5::set_passive`].
    pub(super) fn set_passive(&mut self) {
        self.discv4.machine.iter_mut().for_each(|discv4| discv4.set_passive());
        self.discv5.machine.iter_mut().for_each(|discv5| discv5.set_passive());
    }

    /// Queues nodes of an earlier run, which are pinged as there is room and enter a table only if they answer.
    pub(super) fn restore(&mut self, nodes: Vec<Contact>) {
        self.discv4.restored = nodes.clone().into();
        self.discv5.restored = nodes.into();
    }

    /// discv4, unless it is off.
    pub fn discv4(&self) -> Option<&Discv4> {
        self.discv4.machine.as_deref()
    }

    /// discv5, unless it is off.
    pub fn discv5(&self) -> Option<&Discv5> {
        self.discv5.machine.as_deref()
    }

    /// The node lists, unless there are none.
    pub fn dns(&self) -> Option<&Dns> {
        self.lists.dns()
    }

    /// Whether any protocol is on, or node lists are read.
    pub fn is_on(&self) -> bool {
        self.discv4().is_some() || self.discv5().is_some() || self.dns().is_some()
    }

    /// The next deadline of any protocol. Strictly later than the last timeout.
    pub fn poll_timeout(&self) -> Option<(Instant, DiscoveryTimer)> {
        let discv4 = self.discv4().and_then(Discv4::poll_timeout);
        let discv5 = self.discv5().and_then(Discv5::poll_timeout);
        discv4.into_iter().chain(discv5).chain(self.lists.poll_timeout()).min()
    }

    /// At most `max` nodes for the dialler, one of each protocol in turn, in the random order in which the protocol drew
    /// them. A node that two protocols found comes once.
    pub fn candidates(&self, rng: &mut Rng, max: usize) -> Vec<(Source, Candidate)> {
        let discv4 = self.discv4().map_or(Vec::new(), |discv4| discv4.candidates(rng, max));
        let discv5 = self.discv5().map_or(Vec::new(), |discv5| discv5.candidates(rng, max));
        let listed = self.dns().map_or(Vec::new(), |dns| dns.candidates(rng, max));
        round_robin([(Source::Discv4, discv4), (Source::Discv5, discv5), (Source::Dns, listed)], max)
    }

    /// Counts and filters a datagram, offers it to the protocols, and emits it if none recognises it. Returns its effect on the
    /// tables, and what it says about our endpoint.
    pub(super) fn receive(
        &mut self,
        context: &mut Context,
        socket: SocketId,
        from: SocketAddr,
        bytes: &[u8],
    ) -> (Growth, Option<Statement>) {
        context.stats.datagrams_in.add(bytes.len());
        if !context.filter.permits(from.ip()) {
            context.stats.drop_datagram(DropReason::Filtered);
            return (Growth::None, None);
        }
        let verdict =
            if socket == SocketId::MAIN { self.handle_datagram(context, from, bytes) } else { Verdict::UNRECOGNISED };
        match verdict.received {
            Received::Handled => {}
            Received::Dropped(reason) => context.stats.drop_datagram(reason),
            Received::Unrecognised => {
                context.out.stage(bytes.len()).copy_from_slice(bytes);
                let event = Event::Unrecognised { socket, from, bytes: Cow::default() };
                context.out.emit_staged(event, 0..bytes.len());
            }
        }
        (verdict.growth, verdict.statement)
    }

    /// Offers a datagram to the protocols until one recognises it: discv5 first, which tells by two AES blocks.
    fn handle_datagram(&mut self, context: &mut Context, from: SocketAddr, bytes: &[u8]) -> Verdict {
        let mut verdict = Verdict::UNRECOGNISED;
        if let Slot { machine: Some(discv5), rng, .. } = &mut self.discv5 {
            verdict = discv5.handle_datagram(&mut context.cx(rng), from, bytes);
        }
        if verdict.received == Received::Unrecognised
            && let Slot { machine: Some(discv4), rng, .. } = &mut self.discv4
        {
            verdict = discv4.handle_datagram(&mut context.cx(rng), from, bytes);
        }
        self.report_ready(context);
        verdict
    }

    /// Hands an answer to the node lists, the only ones that ask. A table that is small is offered what they name.
    pub(super) fn handle_answer(
        &mut self,
        context: &mut Context,
        id: QueryId,
        result: Result<Answer<'_>, QueryFault>,
    ) -> Growth {
        let growth = self.lists.handle_answer(context, id, result);
        let is_small = self.discv4().is_some_and(|discv4| discv4.table().len() < LIST_SEEDS)
            || self.discv5().is_some_and(|discv5| discv5.table().len() < LIST_SEEDS);
        let restored = [&mut self.discv4.restored, &mut self.discv5.restored];
        if growth == Growth::Grew && is_small && restored.iter().all(|nodes| nodes.is_empty()) {
            let seed = self.lists.seed();
            restored.into_iter().for_each(|nodes| nodes.extend(seed));
        }
        growth
    }

    /// Handles the deadlines of all protocols that have passed.
    pub(super) fn handle_timeout(&mut self, context: &mut Context) -> Growth {
        let now = context.now();
        let is_due = |due: Option<(Instant, DiscoveryTimer)>| due.is_some_and(|(at, _)| at <= now);
        let mut growth = self.lists.handle_timeout(context);
        if let Slot { machine: Some(discv4), rng, .. } = &mut self.discv4
            && is_due(discv4.poll_timeout())
        {
            growth = growth.or(discv4.handle_timeout(&mut context.cx(rng)));
            self.discv4.restore(context, Discv4::add_node);
        }
        if let Slot { machine: Some(discv5), rng, .. } = &mut self.discv5
            && is_due(discv5.poll_timeout())
        {
            growth = growth.or(discv5.handle_timeout(&mut context.cx(rng)));
            self.discv5.restore(context, Discv5::add_node);
        }
        self.report_ready(context);
        growth
    }

    /// Emits `DiscoveryReady` once after each refusal as `Busy`, when commands are taken again.
    fn report_ready(&mut self, context: &mut Context) {
        let is_ready = self.discv4().is_none_or(Discv4::has_room) && self.discv5().is_none_or(Discv5::has_room);
        if self.is_waited_for && is_ready {
            self.is_waited_for = false;
            context.out.emit(Event::DiscoveryReady);
        }
    }

    /// Carries out a command about discovery.
    ///
    /// # Errors
    /// Those of the protocol; [`CommandError::NoDiscovery`] if it is off; [`CommandError::NoSessions`] for other commands.
    pub(super) fn command(
        &mut self,
        context: &mut Context,
        id: CommandId,
        command: Command<'_>,
    ) -> Result<(), CommandError> {
        match command {
            Command::AddNode { contact } => self.add_node(context, contact),
            Command::Ping { via, contact } => self.ping(context, id, via, contact),
            Command::RequestRecord { via, contact } => self.request_record(context, id, via, contact),
            Command::FindNode { contact, target } => self.find_node(context, id, contact, target),
            Command::FindDistances { contact, distances } => self.find_distances(context, id, contact, distances),
            Command::Lookup { target } => self.lookup(context, id, target),
            Command::LookupId { target } => self.lookup_id(context, id, target),
            Command::Talk { contact, protocol, request } => self.talk(context, id, contact, protocol, request),
            Command::TalkRespond { id, response } => self.talk_respond(context, &id, response),
            Command::SetBootnodes { nodes } => self.set_bootnodes(nodes),
            _ => Err(CommandError::NoSessions),
        }
    }

    /// Adds a node to every protocol. Refused if none takes it, with the reason of the first.
    fn add_node(&mut self, context: &mut Context, contact: Contact) -> Result<(), CommandError> {
        let was_waited_for = self.is_waited_for;
        let discv4 = self.with_discv4(context, |discv4, cx| discv4.add_node(cx, contact));
        let discv5 = self.with_discv5(context, |discv5, cx| discv5.add_node(cx, contact));
        let result = match (discv4, discv5) {
            (Err(CommandError::NoDiscovery), only) | (only, Err(CommandError::NoDiscovery)) => only,
            (first, second) => first.or_else(|error| second.map_err(|_| error)),
        };
        // What one of them took has not been refused.
        self.is_waited_for = was_waited_for || result == Err(CommandError::Busy);
        result
    }

    /// See [`Discv4::ping`], [`Discv5::ping`].
    fn ping(&mut self, context: &mut Context, id: CommandId, via: Via, contact: Contact) -> Result<(), CommandError> {
        match via {
            Via::Discv4 => self.with_discv4(context, |discv4, cx| discv4.ping(cx, id, contact)),
            Via::Discv5 => self.with_discv5(context, |discv5, cx| discv5.ping(cx, id, contact)),
        }
    }

    /// See [`Discv4::request_record`], [`Discv5::request_record`].
    fn request_record(
        &mut self,
        context: &mut Context,
        id: CommandId,
        via: Via,
        contact: Contact,
    ) -> Result<(), CommandError> {
        match via {
            Via::Discv4 => self.with_discv4(context, |discv4, cx| discv4.request_record(cx, id, contact)),
            Via::Discv5 => self.with_discv5(context, |discv5, cx| discv5.request_record(cx, id, contact)),
        }
    }

    /// See [`Discv4::find_node`].
    fn find_node(
        &mut self,
        context: &mut Context,
        id: CommandId,
        contact: Contact,
        target: [u8; 64],
    ) -> Result<(), CommandError> {
        self.with_discv4(context, |discv4, cx| discv4.find_node(cx, id, contact, target))
    }

    /// See [`Discv5::find_node`].
    fn find_distances(
        &mut self,
        context: &mut Context,
        id: CommandId,
        contact: Contact,
        distances: &[u16],
    ) -> Result<(), CommandError> {
        self.with_discv5(context, |discv5, cx| discv5.find_node(cx, id, contact, distances))
    }

    /// See [`Discv4::lookup`].
    fn lookup(&mut self, context: &mut Context, id: CommandId, target: [u8; 64]) -> Result<(), CommandError> {
        self.with_discv4(context, |discv4, cx| discv4.lookup(cx, Some(id), target))
    }

    /// See [`Discv5::lookup`].
    fn lookup_id(&mut self, context: &mut Context, id: CommandId, target: NodeId) -> Result<(), CommandError> {
        self.with_discv5(context, |discv5, cx| discv5.lookup(cx, Some(id), target))
    }

    /// See [`Discv5::talk`].
    fn talk(
        &mut self,
        context: &mut Context,
        id: CommandId,
        contact: Contact,
        protocol: &[u8],
        request: &[u8],
    ) -> Result<(), CommandError> {
        self.with_discv5(context, |discv5, cx| discv5.talk(cx, id, contact, protocol, request))
    }

    /// See [`Discv5::respond`].
    fn talk_respond(&mut self, context: &mut Context, id: &TalkId, response: &[u8]) -> Result<(), CommandError> {
        self.with_discv5(context, |discv5, cx| discv5.respond(cx, id, response))
    }

    /// Gives every protocol our changed record and endpoint.
    pub(super) fn set_identity(&mut self, identity: &Identity) {
        if let Some(discv4) = &mut self.discv4.machine {
            discv4.set_record(identity.record().clone());
            discv4.set_endpoint(endpoint(identity));
        }
        if let Some(discv5) = &mut self.discv5.machine {
            discv5.set_record(identity.record().clone());
        }
    }

    /// See [`Discv4::set_bootnodes`], [`Discv5::set_bootnodes`].
    pub(super) fn set_bootnodes(&mut self, nodes: &[Contact]) -> Result<(), CommandError> {
        if !self.is_on() {
            return Err(CommandError::NoDiscovery);
        }
        self.discv4.machine.iter_mut().for_each(|discv4| discv4.set_bootnodes(nodes.into()));
        self.discv5.machine.iter_mut().for_each(|discv5| discv5.set_bootnodes(nodes.into()));
        Ok(())
    }

    /// Lets every protocol drop the nodes that the filter no longer permits.
    pub(super) fn filter_changed(&mut self, context: &mut Context) {
        if let Slot { machine: Some(discv4), rng, .. } = &mut self.discv4 {
            discv4.filter_changed(&mut context.cx(rng));
        }
        if let Slot { machine: Some(discv5), rng, .. } = &mut self.discv5 {
            discv5.filter_changed(&mut context.cx(rng));
        }
    }

    /// The nodes of all tables that have answered, for a later run, each once.
    pub(super) fn live_nodes(&self) -> Vec<Contact> {
        let discv4 = self.discv4().into_iter().flat_map(|discv4| discv4.table().entries());
        let discv5 = self.discv5().into_iter().flat_map(|discv5| discv5.table().entries());
        let live = |entry: &&Entry| entry.is_live();
        let mut nodes: Vec<Contact> = discv4.filter(live).map(|entry| *entry.contact()).collect();
        let known: BTreeSet<NodeId> = nodes.iter().map(Contact::id).collect();
        let further = discv5.filter(live).map(|entry| *entry.contact());
        nodes.extend(further.filter(|contact| !known.contains(&contact.id())));
        nodes
    }

    /// Shuts every protocol down.
    pub(super) fn shutdown(&mut self, context: &mut Context) {
        self.lists.shutdown();
        if let Slot { machine: Some(discv4), rng, .. } = &mut self.discv4 {
            discv4.shutdown(&mut context.cx(rng));
        }
        if let Slot { machine: Some(discv5), rng, .. } = &mut self.discv5 {
            discv5.shutdown(&mut context.cx(rng));
        }
    }

    /// Shows what handling `input` will read. See [`Node::prefetch`](super::Node::prefetch).
    pub(super) fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        let Some(depth) = depth.checked_sub(1) else {
            memory.prefetch(&self.discv4.machine);
            memory.prefetch(&self.discv5.machine);
            if matches!(input, Input::Timeout) {
                memory.prefetch(&self.discv4.rng);
            }
            return;
        };
        match input {
            Input::Datagram { from, bytes, .. } => {
                let from = canonical(*from);
                self.discv4().into_iter().for_each(|discv4| discv4.prefetch(from, bytes, depth, memory));
                self.discv5().into_iter().for_each(|discv5| discv5.prefetch(depth, memory));
            }
            Input::Timeout => {
                self.discv4().into_iter().for_each(|discv4| discv4.prefetch_timeout(depth, memory));
                self.discv5().into_iter().for_each(|discv5| discv5.prefetch_timeout(depth, memory));
            }
            _ => {}
        }
    }

    fn with_discv4(
        &mut self,
        context: &mut Context,
        work: impl FnOnce(&mut Discv4, &mut Cx<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let discv4 = self.discv4.machine.as_mut().ok_or(CommandError::NoDiscovery)?;
        let result = work(discv4, &mut context.cx(&mut self.discv4.rng));
        self.is_waited_for |= result == Err(CommandError::Busy);
        result
    }

    fn with_discv5(
        &mut self,
        context: &mut Context,
        work: impl FnOnce(&mut Discv5, &mut Cx<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let discv5 = self.discv5.machine.as_mut().ok_or(CommandError::NoDiscovery)?;
        let result = work(discv5, &mut context.cx(&mut self.discv5.rng));
        self.is_waited_for |= result == Err(CommandError::Busy);
        result
    }
}

/// The endpoint in our pings.
fn endpoint(identity: &Identity) -> Endpoint {
    let addresses = identity.addresses();
    let (udp, tcp) = addresses.ports(addresses.ip().is_some_and(|ip| ip.is_ipv6()));
    Endpoint { ip: addresses.ip(), udp, tcp }
}

/// Without the generators.
impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("discv4", &self.discv4())
            .field("discv5", &self.discv5())
            .finish_non_exhaustive()
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
