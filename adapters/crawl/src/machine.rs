//! The crawler: which nodes are asked when, and what becomes of a visit. The protocols are in `discv4` and `discv5`.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use peerless::contract::{Action, CommandId, ConnId, Context, Cx, DropReason, Input, Machine, SocketId, Stats, Via};
use peerless::crypto::{Crypto, PublicKey, Secp256k1};
use peerless::discv5::Local;
use peerless::kad::budgets::{Budget, Rate};
use peerless::netfilter::{canonical, relay_allowed};
use peerless::rng::{Rng, Seed};
use peerless::time::{Duration, Instant, UnixTime};
use peerless::wire::DecodeError;
use peerless::wire::discv5::Packet;
use peerless::wire::enode::Contact;
use peerless::wire::enr::{Record, RecordBuilder};

use crate::config::{Config, Depth, Limits};
use crate::language::{Crawl, CrawlCommand, CrawlEvent, CrawlRefused, Outcome};
use crate::nodes::{Named, NodeNumber, Nodes, State, index_of};
use crate::pace::Pace;
use crate::progress::{Counts, Progress, Window};
use crate::targets::Targets;
use crate::visits::{Phase, Step, Visit, VisitId, Visits};

/// The protocols.
const PROTOCOLS: [Via; 2] = [Via::Discv4, Via::Discv5];
/// UDP ports up to this belong to other services. A node that another one names at such a port is not asked.
const PRIVILEGED_PORTS: u16 = 1024;
/// Requests for buckets: one for each of the sixteen farthest, one for all others.
pub(crate) const FINDS: u8 = 17;
/// Answers in a row without a new node after which a node is asked no more, at [`Depth::Fresh`].
const STALE_MAX: u8 = 2;
/// Requests in a row without an answer after which a node that has answered before is asked no more.
const FAILURES_MAX: u8 = 2;
/// Nodes in one answer: two discv4 packets of the largest kind.
pub(crate) const NAMED_MAX: u8 = 32;
/// Wait for an opportunity to send to a subnet.
const HOLD: Duration = Duration::from_millis(100);
/// Nodes that are looked at for one whose endpoint is free.
const START_TRIES: usize = 16;
/// Deadlines and requests of one turn.
const TURN_MAX: usize = 1024;
/// Answers to pings of strangers in a second.
const STRANGERS_PER_SECOND: u32 = 50;

/// A crawl.
pub struct Crawler {
    pub(crate) context: Context<Crawl>,
    pub(crate) rng: Rng,
    pub(crate) core: Core,
}

/// All of a crawler but what a [`Cx`] borrows.
pub(crate) struct Core {
    pub(crate) config: Config,
    /// Our identity.
    pub(crate) local: Local,
    pub(crate) nodes: Nodes,
    pub(crate) visits: Visits,
    pub(crate) targets: Targets,
    pub(crate) pace: Pace,
    pub(crate) strangers: Budget,
    /// What is being sealed.
    pub(crate) scratch: Vec<u8>,
    waiting: [VecDeque<NodeNumber>; 2],
    /// The protocol of the last visit that began.
    last_via: Via,
    /// When a visit may begin again after all that were looked at could not.
    next_start: Instant,
    answered: [u64; 2],
    silent: [u64; 2],
    pub(crate) records: u64,
    window: Window,
    is_done: bool,
    not_before: Instant,
}

impl Crawler {
    /// Creates a crawler with the real primitives. `seed` determines every random draw.
    ///
    /// # Errors
    /// If its record would be larger than 300 bytes.
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: UnixTime) -> Result<Self, DecodeError> {
        let crypto = Secp256k1::blinded(&mut Seed::new(seed).fork("secp256k1"));
        Self::with_crypto(config, seed, now, unix, Arc::new(crypto))
    }

    /// As [`Crawler::new`], with primitives of the caller's choice.
    ///
    /// # Errors
    /// If its record would be larger than 300 bytes.
    pub fn with_crypto(
        mut config: Config,
        seed: [u8; 32],
        now: Instant,
        unix: UnixTime,
        crypto: Arc<dyn Crypto + Send + Sync>,
    ) -> Result<Self, DecodeError> {
        let mut rng = Seed::new(seed).fork("crawl");
        let local = Local::new(&*crypto, config.secret.clone(), record(&config, &*crypto)?);
        let Limits { visits_max, nodes_max, subnet_nodes_max, .. } = config.limits;
        let Limits { datagrams_per_second, subnet_datagrams_per_second, .. } = config.limits;
        let (known, bootnodes) = (std::mem::take(&mut config.known), std::mem::take(&mut config.bootnodes));
        let core = Core {
            local,
            nodes: Nodes::new(&mut rng, nodes_max, subnet_nodes_max),
            visits: Visits::new(visits_max),
            targets: Targets::new(&mut rng),
            pace: Pace::new(&mut rng, datagrams_per_second, subnet_datagrams_per_second),
            strangers: Budget::new(Rate::per_second(STRANGERS_PER_SECOND, STRANGERS_PER_SECOND)),
            scratch: Vec::new(),
            waiting: Default::default(),
            last_via: Via::Discv5,
            next_start: now,
            answered: [0; 2],
            silent: [0; 2],
            records: 0,
            window: Window::default(),
            is_done: false,
            not_before: now,
            config,
        };
        let context = Context::new(now, unix, core.config.filter.clone(), crypto);
        let mut crawler = Self { context, rng, core };
        for known in known {
            crawler.core.restore(&known);
        }
        let Self { context, rng, core } = &mut crawler;
        let mut cx = context.cx(rng);
        for contact in bootnodes {
            // One that is not permitted is not asked.
            let _ = core.add(&mut cx, &contact);
        }
        Ok(crawler)
    }

    /// Our record.
    pub fn record(&self) -> &Record {
        self.core.local.record()
    }

    /// What was done and what is left to do.
    pub fn progress(&self) -> Progress {
        self.core.progress(self.context.now())
    }

    /// Whether the crawl is over.
    pub fn is_done(&self) -> bool {
        self.core.is_done
    }

    /// The key and endpoint of a node.
    pub fn contact(&self, node: NodeNumber) -> Option<Contact> {
        ((node as usize) < self.core.nodes.len()).then(|| self.core.nodes.get(node).contact())
    }

    /// The counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.context.stats
    }

    /// Bytes of memory for each node that was found, without room for growth.
    pub const fn bytes_per_node() -> usize {
        Nodes::bytes_per_node()
    }

    fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Self { context, rng, core } = self;
        context.stats.datagrams_in.add(bytes.len());
        let mut cx = context.cx(rng);
        let result = if from.port() == 0 || !cx.filter.permits(from.ip()) {
            Err(DropReason::Filtered)
        } else {
            let packet = if core.config.discv5 { Packet::unmask(core.local.id(), bytes) } else { Ok(None) };
            match packet {
                Ok(Some(packet)) => core.receive_v5(&mut cx, from, &packet),
                Err(error) => Err(DropReason::Malformed(error)),
                Ok(None) if core.config.discv4 => core.receive_v4(&mut cx, from, bytes),
                Ok(None) => Err(DropReason::Unsolicited),
            }
        };
        if let Err(reason) = result {
            context.stats.drop_datagram(reason);
        }
    }

    fn pump(&mut self) {
        let Self { context, rng, core } = self;
        core.pump(&mut context.cx(rng));
    }
}

impl Core {
    /// The protocols that are on.
    fn protocols(&self) -> impl Iterator<Item = Via> + use<> {
        let is_on = [self.config.discv4, self.config.discv5];
        PROTOCOLS.into_iter().filter(move |via| is_on[index_of(*via)])
    }

    /// Takes over a node of an earlier run.
    fn restore(&mut self, known: &crate::config::Known) {
        let contact = &known.contact;
        let Named::New(number) = self.nodes.add(contact.key(), contact.udp_addr(), contact.tcp()) else { return };
        let may_be_asked = contact.udp() != 0 && self.config.filter.permits(contact.ip());
        self.nodes.get_mut(number).seq = known.seq;
        for via in self.protocols() {
            if known.is_asked[index_of(via)] || !may_be_asked {
                self.nodes.get_mut(number).set_state(via, State::Answered);
            } else {
                self.waiting[index_of(via)].push_back(number);
            }
        }
    }

    /// Adds a node of the application's choice.
    fn add(&mut self, cx: &mut Cx<'_, Crawl>, contact: &Contact) -> Result<(), CrawlRefused> {
        if contact.udp() == 0 || !cx.filter.permits(contact.ip()) || contact.key() == *self.local.key() {
            return Err(CrawlRefused::Address);
        }
        match self.named(cx, &contact.key(), contact.udp_addr(), contact.tcp()) {
            Named::Refused => Err(CrawlRefused::Full),
            _ => Ok(()),
        }
    }

    /// A node of this key is said to be at an endpoint. The key is on the curve.
    pub(crate) fn named(&mut self, cx: &mut Cx<'_, Crawl>, key: &PublicKey, at: SocketAddr, tcp: u16) -> Named {
        if key == self.local.key() {
            return Named::Refused;
        }
        let named = match self.nodes.find_xy(key.as_bytes()) {
            Some(number) => self.nodes.named_again(number, at, tcp),
            None => self.nodes.add(*key, at, tcp),
        };
        if let Named::New(number) | Named::Moved(number) = named {
            cx.out.emit(CrawlEvent::Found { node: number, contact: self.nodes.get(number).contact() });
            self.enqueue(number, matches!(named, Named::New(_)));
        }
        named
    }

    /// Whether a node may be asked that another one at `teller` has named.
    pub(crate) fn is_relayable(cx: &Cx<'_, Crawl>, teller: IpAddr, at: SocketAddr) -> bool {
        at.port() > PRIVILEGED_PORTS && relay_allowed(teller, at.ip()) && cx.filter.permits(at.ip())
    }

    /// Has a node asked by each protocol, or by each that found it silent.
    fn enqueue(&mut self, number: NodeNumber, is_new: bool) {
        for via in self.protocols() {
            let entry = self.nodes.get_mut(number);
            if entry.state(via) == State::Silent {
                self.silent[index_of(via)] -= 1;
            } else if !is_new {
                continue;
            }
            entry.set_state(via, State::Waiting);
            self.waiting[index_of(via)].push_back(number);
        }
    }

    /// A visit has named a node: a new one, or one that is known.
    pub(crate) fn note_neighbour(&mut self, id: VisitId, named: Named) {
        let tells = self.config.neighbours;
        let Some(visit) = self.visits.get_mut(id) else { return };
        visit.is_fresh |= matches!(named, Named::New(_) | Named::Moved(_));
        if let Named::New(number) | Named::Moved(number) | Named::Known(number) = named
            && tells
            && number != visit.node
            && !visit.neighbours.contains(&number)
        {
            visit.neighbours.push(number);
        }
    }

    /// A node's record was verified: it is told if it is newer than the one that is known.
    pub(crate) fn on_record(&mut self, cx: &mut Cx<'_, Crawl>, number: NodeNumber, record: &Record) {
        let entry = self.nodes.get_mut(number);
        if entry.seq != 0 && record.seq() <= entry.seq {
            return;
        }
        entry.seq = record.seq();
        cx.out.stage(record.as_bytes().len()).copy_from_slice(record.as_bytes());
        let event = CrawlEvent::Record { node: number, seq: record.seq(), record: Default::default() };
        cx.out.emit_staged(event, 0..record.as_bytes().len());
    }

    /// Sends the sealed bytes of the scratch space.
    pub(crate) fn send(&mut self, cx: &mut Cx<'_, Crawl>, to: SocketAddr) {
        cx.out.stage(self.scratch.len()).copy_from_slice(&self.scratch);
        self.scratch.clear();
        self.pace.take(to.ip(), cx.now);
        // A datagram that cannot be sent counts as lost.
        cx.send_staged(SocketId::MAIN, to);
    }

    // Visits

    /// A visit's request was answered. The first answer makes a node a live one.
    pub(crate) fn on_answer(&mut self, cx: &Cx<'_, Crawl>, id: VisitId) {
        let Some(visit) = self.visits.get_mut(id) else { return };
        visit.rtt.get_or_insert(cx.now.since(visit.sent));
        visit.failures = 0;
        if let Step::Find(_) = visit.step {
            // The rest of the answer comes within the pause.
            let until = cx.now + self.config.limits.gap;
            self.visits.set_phase(id, Phase::Settling, Some(until));
        }
    }

    /// Moves a visit to its next step, or ends it.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId) {
        let Some(visit) = self.visits.get_mut(id) else { return };
        if let Step::Find(_) = visit.step
            && visit.phase == Phase::Settling
        {
            visit.stale = if visit.is_fresh { 0 } else { visit.stale + 1 };
        }
        let is_exhausted = self.config.depth == Depth::Fresh && visit.stale >= STALE_MAX;
        let next = match visit.step {
            Step::Hello | Step::Proof => self.step_after_contact(id),
            Step::Record => Some(Step::Find(0)),
            Step::Find(n) => (n + 1 < FINDS && !is_exhausted).then_some(Step::Find(n + 1)),
        };
        match next {
            Some(Step::Proof) => {
                let until = cx.now + self.config.limits.timeout;
                if let Some(visit) = self.visits.get_mut(id) {
                    visit.step = Step::Proof;
                }
                self.visits.set_phase(id, Phase::Sent, Some(until));
            }
            Some(step) => self.visits.set_step(id, step),
            None => self.end(cx, id),
        }
    }

    fn expire(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId) {
        let attempts_max = self.config.limits.attempts;
        let Some(visit) = self.visits.get_mut(id) else { return };
        match (visit.phase, visit.step) {
            (Phase::Ready | Phase::Held, _) => self.visits.set_phase(id, Phase::Ready, None),
            (Phase::Settling, _) | (Phase::Sent, Step::Proof) => self.advance(cx, id),
            (Phase::Sent, _) if visit.attempts < attempts_max => self.visits.set_phase(id, Phase::Ready, None),
            (Phase::Sent, Step::Hello) if visit.rtt.is_none() => self.end(cx, id),
            (Phase::Sent, _) => {
                visit.failures += 1;
                if visit.failures >= FAILURES_MAX { self.end(cx, id) } else { self.advance(cx, id) }
            }
        }
    }

    fn end(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId) {
        let Some(visit) = self.visits.end(id) else { return };
        let (at, via) = (index_of(visit.via), visit.via);
        let (outcome, state) = match visit.rtt {
            Some(rtt) => (Outcome::Answered { rtt }, State::Answered),
            None => (Outcome::Silent, State::Silent),
        };
        match outcome {
            Outcome::Answered { .. } => self.answered[at] += 1,
            Outcome::Silent => self.silent[at] += 1,
        }
        self.nodes.get_mut(visit.node).set_state(via, state);
        self.window.note(cx.now);
        let neighbours = visit.neighbours.into_boxed_slice();
        cx.out.emit(CrawlEvent::Visited { node: visit.node, via, outcome, neighbours });
    }

    // Turns

    /// Handles the deadlines that have passed, up to the budget of one turn.
    fn handle_timeout(&mut self, cx: &mut Cx<'_, Crawl>) {
        self.not_before = cx.now + Duration::from_micros(1);
        for _ in 0..TURN_MAX {
            let Some(id) = self.visits.pop_due(cx.now) else { break };
            self.expire(cx, id);
        }
    }

    /// Sends what may be sent now, and begins visits while there is room.
    fn pump(&mut self, cx: &mut Cx<'_, Crawl>) {
        if self.is_done {
            return;
        }
        for _ in 0..TURN_MAX {
            if cx.out.is_full() || self.pace.next() > cx.now {
                break;
            }
            let Some(id) = self.visits.pop_ready() else {
                if self.start(cx) {
                    continue;
                }
                break;
            };
            let Some(visit) = self.visits.get(id) else { continue };
            if self.pace.allows(visit.addr.ip(), cx.now) {
                self.send_request(cx, id);
            } else {
                self.visits.set_phase(id, Phase::Held, Some(cx.now + HOLD));
            }
        }
        if self.is_exhausted() {
            self.is_done = true;
            cx.out.emit(CrawlEvent::Done { is_complete: true });
        }
    }

    fn send_request(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId) {
        let Some(visit) = self.visits.get_mut(id) else { return };
        let timeout = self.config.limits.timeout * (1 << visit.attempts.min(8));
        visit.attempts += 1;
        visit.sent = cx.now;
        let via = visit.via;
        self.visits.set_phase(id, Phase::Sent, Some(cx.now + timeout));
        match via {
            Via::Discv4 => self.request_v4(cx, id),
            Via::Discv5 => self.request_v5(cx, id),
        }
    }

    /// Begins a visit, of both protocols in turn. Returns whether one began.
    fn start(&mut self, cx: &mut Cx<'_, Crawl>) -> bool {
        if !self.visits.has_room() || cx.now < self.next_start {
            return false;
        }
        for _ in 0..START_TRIES {
            let vias = [PROTOCOLS[1 - index_of(self.last_via)], self.last_via];
            let next = vias.into_iter().find_map(|via| Some((via, self.waiting[index_of(via)].pop_front()?)));
            let Some((via, node)) = next else { return false };
            self.last_via = via;
            let entry = self.nodes.get_mut(node);
            let addr = entry.addr();
            if entry.state(via) != State::Waiting {
                continue;
            }
            if self.visits.find(via, addr).is_some() || !self.pace.allows(addr.ip(), cx.now) {
                self.waiting[index_of(via)].push_back(node);
                continue;
            }
            entry.set_state(via, State::Asked);
            let visit = Visit {
                node,
                via,
                key: entry.key,
                id: cx.crypto.node_id(&entry.key),
                addr,
                step: Step::Hello,
                phase: Phase::Ready,
                thread: Self::thread(via),
                attempts: 0,
                sent: cx.now,
                rtt: None,
                named: 0,
                is_fresh: false,
                stale: 0,
                failures: 0,
                neighbours: Vec::new(),
            };
            self.visits.start(visit);
            return true;
        }
        self.next_start = cx.now + HOLD;
        false
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.is_done {
            return None;
        }
        let can_start = self.visits.has_room() && self.waiting.iter().any(|queue| !queue.is_empty());
        let start = can_start.then(|| self.next_start.max(self.pace.next()));
        let ready = self.visits.has_ready().then(|| self.pace.next());
        let end = self.is_exhausted().then_some(self.not_before);
        [self.visits.next_due(), start, ready, end].into_iter().flatten().min().map(|at| at.max(self.not_before))
    }

    /// Whether nothing is left to ask.
    fn is_exhausted(&self) -> bool {
        self.visits.len() == 0 && self.waiting.iter().all(VecDeque::is_empty)
    }

    fn stop(&mut self, cx: &mut Cx<'_, Crawl>) {
        for visit in self.visits.end_all() {
            self.nodes.get_mut(visit.node).set_state(visit.via, State::Waiting);
        }
        self.is_done = true;
        cx.out.emit(CrawlEvent::Done { is_complete: false });
    }

    fn progress(&self, now: Instant) -> Progress {
        let counts = PROTOCOLS.map(|via| {
            let at = index_of(via);
            Counts {
                answered: self.answered[at],
                silent: self.silent[at],
                asking: self.visits.count(via) as u64,
                waiting: self.waiting[at].len() as u64,
            }
        });
        let rate = self.window.rate(now);
        let left: u64 = counts.iter().map(|counts| counts.asking + counts.waiting).sum();
        let estimate = left.checked_mul(1000).and_then(|left| left.checked_div(rate)).map(Duration::from_millis);
        let found = self.nodes.len() as u64;
        Progress { found, records: self.records, protocols: counts, rate, estimate }
    }
}

fn record(config: &Config, crypto: &dyn Crypto) -> Result<Record, DecodeError> {
    let mut builder = RecordBuilder::default();
    let addresses = &config.addresses;
    for ip in addresses.ip4.map(IpAddr::V4).into_iter().chain(addresses.ip6.map(IpAddr::V6)) {
        builder.endpoint(SocketAddr::new(ip, addresses.udp), addresses.tcp);
    }
    builder.sign(crypto, &config.secret, config.record_seq)
}

impl Machine for Crawler {
    type Language = Crawl;

    fn handle(&mut self, now: Instant, input: Input<'_, CrawlCommand>) {
        self.context.advance(now);
        match input {
            Input::Datagram { from, bytes, .. } => {
                if self.core.is_done {
                    return self.context.stats.drop_datagram(DropReason::ShuttingDown);
                }
                self.receive(canonical(from), bytes);
            }
            Input::Timeout => {
                let Self { context, rng, core } = self;
                core.handle_timeout(&mut context.cx(rng));
            }
            Input::WallClock { unix } => self.context.set_wall_clock(unix),
            // Misuse changes nothing; `command` returns the error.
            Input::Command(command) => drop(self.command(now, command)),
            // It has no streams, and emits no queries.
            _ => return,
        }
        self.pump();
    }

    fn accept(&mut self, now: Instant, _: SocketId, _: SocketAddr) -> Option<ConnId> {
        self.context.advance(now);
        self.context.stats.accepts_refused += 1;
        None
    }

    /// No event carries the returned id.
    fn command(&mut self, now: Instant, command: CrawlCommand) -> Result<CommandId, CrawlRefused> {
        self.context.advance(now);
        let Self { context, rng, core } = self;
        if core.is_done {
            return Err(CrawlRefused::Done);
        }
        let mut cx = context.cx(rng);
        match command {
            CrawlCommand::Add { contact } => core.add(&mut cx, &contact)?,
            CrawlCommand::Stop => core.stop(&mut cx),
        }
        Ok(CommandId(0))
    }

    fn poll_action(&mut self) -> Option<Action<'_, CrawlEvent<'_>>> {
        self.context.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let at = self.core.poll_timeout()?;
        Some(at.max(self.context.now() + Duration::from_micros(1)))
    }

    fn outbound(&self, _: ConnId) -> &[u8] {
        &[]
    }

    fn wants_read(&self, _: ConnId) -> bool {
        false
    }
}

/// Omits key and primitives.
impl fmt::Debug for Crawler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Crawler");
        debug.field("now", &self.context.now()).field("progress", &self.progress()).finish_non_exhaustive()
    }
}
