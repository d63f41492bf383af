//! Places, dials, scores and bans as a list of what happens to connections, against a list of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use peerless::contract::{
    ConnId, ConnTimer, Direction, End, EndReason, Fault, IoFault, PeerKind, Refusal, ScoreReason, Side, Stage,
    StatusRefusal,
};
use peerless::crypto::{Crypto, NodeId};
use peerless::netfilter::NetFilter;
use peerless::peers::score::{BAN_SCORE, CREDIT_MAX};
use peerless::peers::{Admission, Charge, Peers, PeersConfig};
use peerless::rng::{Rng, Seed};
use peerless::time::Instant;
use peerless::wire::enode::Contact;
use peerless::wire::p2p::DisconnectReason;

use super::crypto::secret;
use super::{Cheap, Choices, Memory, Reached, Target};

/// Accepts, dials, proofs, ends, charges, names.
pub const PEERS: Target = Target {
    name: "peers",
    body: peers,
    memory: Memory::machine(2),
    landmarks: &[
        "accepted",
        "not accepted",
        "dialled",
        "welcome",
        "replaces",
        "evicts",
        "refused",
        "established",
        "ended",
        "charged",
        "banned",
        "named",
        "throttled",
        "commanded",
    ],
    generated: (1_500, 400),
};

const IDS: usize = 16;
const OWN: usize = 3;

/// How far a connection is, as its parent knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Pending,
    Placed(NodeId),
    Leaving(NodeId),
    Over,
}

struct World {
    peers: Peers,
    config: PeersConfig,
    rng: Rng,
    now: Instant,
    next: u64,
    conns: BTreeMap<ConnId, (Direction, Phase, Option<NodeId>)>,
    named: BTreeMap<NodeId, PeerKind>,
    contacts: Vec<Contact>,
    /// Those who were ever trusted or dialled on command: they may pass the limits.
    exempt: BTreeSet<NodeId>,
}

fn peers(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let config = PeersConfig {
        max_peers: choices.pick(&[4, 6, 0, 1, 12]),
        dial_ratio: choices.pick(&[3, 2, 0, 1]),
        max_pending: choices.pick(&[3, 6, 50]),
        inbound_per_subnet: choices.pick(&[2, 1]),
    };
    let contacts: Vec<Contact> = (0..IDS)
        .map(|i| {
            Contact::new(Cheap.public_key(&secret(20 + i as u8)), address(i), 30303, if i == 7 { 0 } else { 30303 })
        })
        .collect();
    let own = contacts[OWN].id();
    let mut world = World {
        peers: Peers::new(config, own),
        config,
        rng: Seed::new([choices.byte(); 32]).fork("peers"),
        now: Instant::from_micros(1),
        next: 0,
        conns: BTreeMap::new(),
        named: BTreeMap::new(),
        contacts,
        exempt: BTreeSet::new(),
    };
    let mut steps = 0;
    while !choices.is_empty() && steps < 400 {
        steps += 1;
        world.step(&mut choices, reached);
        world.look();
    }
}

/// A few subnets, one of them local.
fn address(i: usize) -> IpAddr {
    [[8, 8, 8, 1], [8, 8, 8, 2], [8, 8, 8, 3], [9, 9, 9, 1], [127, 0, 0, 1], [1, 1, 1, 1], [8, 8, 4, 4], [5, 5, 5, 5]]
        [i % 8]
        .into()
}

impl World {
    fn conn(&self, choices: &mut Choices<'_>) -> ConnId {
        let at = choices.below(self.conns.len());
        // Sometimes one that does not exist, or never did.
        if choices.once_in(32) {
            ConnId(choices.number())
        } else {
            self.conns.keys().nth(at).copied().unwrap_or(ConnId(0))
        }
    }

    fn begin(&mut self, direction: Direction, dialled: Option<NodeId>) {
        self.conns.insert(ConnId(self.next), (direction, Phase::Pending, dialled));
        self.next += 1;
    }

    fn count(&self, wanted: impl Fn(Direction, Phase) -> bool) -> usize {
        self.conns.values().filter(|(direction, phase, _)| wanted(*direction, *phase)).count()
    }

    fn step(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let (now, next) = (self.now, ConnId(self.next));
        match choices.below(16) {
            0 | 1 => {
                let ip = address(choices.below(8));
                let result = self.peers.incoming(now, next, SocketAddr::new(ip, 1000 + u16::from(choices.byte())));
                match result {
                    Ok(()) => {
                        reached.note("accepted");
                        assert!(self.peers.bans().addr_until(now, ip).is_none());
                        self.begin(Direction::Inbound, None);
                    }
                    Err(Refusal::Throttled) => reached.note("throttled"),
                    Err(_) => reached.note("not accepted"),
                }
            }
            2 => {
                let contact = choices.pick(&self.contacts);
                let result = self.peers.dial(now, next, &contact);
                let expected = match () {
                    () if contact.id() == self.contacts[OWN].id() => Err(Refusal::ToSelf),
                    () if self.peers.is_banned(now, &contact.id()) => Err(Refusal::Banned),
                    () if self.knows(&contact.id()) => Err(Refusal::AlreadyConnected),
                    () if self.pending(Direction::Outbound) >= self.config.max_pending => Err(Refusal::TooManyPending),
                    () => Ok(()),
                };
                assert_eq!(result, expected);
                if result.is_ok() {
                    reached.note("commanded");
                    self.exempt.insert(contact.id());
                    self.begin(Direction::Outbound, Some(contact.id()));
                }
            }
            3 | 4 => self.dial_next(choices, reached),
            5..=8 => self.identify(choices, reached),
            9 => {
                let conn = self.conn(choices);
                self.peers.established(now, conn);
                if matches!(self.conns.get(&conn), Some((_, Phase::Placed(_), _))) {
                    reached.note("established");
                }
            }
            10 | 11 => {
                let conn = self.conn(choices);
                self.end(conn, end(choices), reached);
                if choices.flag() {
                    self.release(conn);
                }
            }
            12 => {
                let conn = self.conn(choices);
                self.release(conn);
            }
            13 => {
                let conn = self.conn(choices);
                let reason = reason(choices);
                let proven = self.peers.slots().get(conn).and_then(|slot| slot.proven());
                let charge = self.peers.charge(now, conn, reason);
                assert!(
                    charge.is_none_or(|charge| Some(charge.id) == proven),
                    "only who has proven its key is charged"
                );
                self.carry_out(charge, reached);
            }
            14 => {
                let contact = choices.pick(&self.contacts);
                let kind = choices.pick(&[PeerKind::Static, PeerKind::Trusted, PeerKind::Ordinary]);
                match choices.below(3) {
                    0 => {
                        let was = self.named.remove(&contact.id()).is_some();
                        assert_eq!(self.peers.remove_peer(&contact.id()).is_ok(), was);
                    }
                    1 => {
                        let charge = self.peers.charge_embedder(now, contact.id(), i32::from(choices.byte()) - 128);
                        self.carry_out(charge, reached);
                    }
                    _ => {
                        if self.peers.add_peer(now, contact, kind).is_ok() {
                            if kind == PeerKind::Ordinary {
                                self.named.remove(&contact.id());
                            } else {
                                reached.note("named");
                                self.named.insert(contact.id(), kind);
                            }
                            if kind == PeerKind::Trusted {
                                self.exempt.insert(contact.id());
                            }
                        }
                    }
                }
            }
            _ => self.now = now + choices.span(),
        }
    }

    fn dial_next(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let (now, next) = (self.now, ConnId(self.next));
        let candidates: Vec<Contact> = (0..choices.below(10)).map(|_| choices.pick(&self.contacts)).collect();
        let filter = NetFilter::default();
        let dialled = self.peers.dial_next(now, &mut self.rng, &filter, next, candidates.iter().copied());
        let Some(contact) = dialled else {
            let due = self.peers.poll_timeout(true);
            assert!(due.is_none_or(|at| at > now), "deadlines advance");
            return;
        };
        reached.note("dialled");
        assert!(candidates.contains(&contact) || self.named.contains_key(&contact.id()));
        assert!(contact.tcp() != 0 && contact.id() != self.contacts[OWN].id());
        assert!(!self.peers.is_banned(now, &contact.id()) && !self.knows(&contact.id()));
        assert!(self.pending(Direction::Outbound) < self.config.max_pending);
        self.begin(Direction::Outbound, Some(contact.id()));
    }

    fn knows(&self, id: &NodeId) -> bool {
        self.conns.values().any(|(_, phase, dialled)| match phase {
            Phase::Pending => *dialled == Some(*id),
            Phase::Placed(peer) | Phase::Leaving(peer) => peer == id,
            Phase::Over => false,
        })
    }

    fn pending(&self, wanted: Direction) -> usize {
        self.count(|direction, phase| direction == wanted && !matches!(phase, Phase::Placed(_)))
    }

    fn placed(&self, id: &NodeId) -> Option<ConnId> {
        self.conns.iter().find(|(_, (_, phase, _))| *phase == Phase::Placed(*id)).map(|(conn, _)| *conn)
    }

    fn identify(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let conn = self.conn(choices);
        let Some((_, phase, dialled)) = self.conns.get(&conn).copied() else { return };
        // Whom we dialled proves the key that we dialled.
        let id = dialled.unwrap_or_else(|| choices.pick(&self.contacts).id());
        let twin = self.placed(&id);
        let admission = self.peers.identified(self.now, conn, id);
        if phase != Phase::Pending {
            assert!(matches!(admission, Admission::Refused(_)), "a key is proven once");
            return;
        }
        match admission {
            Admission::Welcome => {
                reached.note("welcome");
                assert_eq!(twin, None);
            }
            Admission::Replaces(other) => {
                reached.note("replaces");
                assert_eq!(twin, Some(other));
                self.leave(other, DisconnectReason::AlreadyConnected, reached);
            }
            Admission::Evicts(other) => {
                reached.note("evicts");
                assert_eq!(twin, None);
                let Some((_, Phase::Placed(evicted), _)) = self.conns.get(&other).copied() else {
                    panic!("nobody to evict")
                };
                assert!(!self.named.contains_key(&evicted), "nobody goes whom the embedder has named");
                self.leave(other, DisconnectReason::TooManyPeers, reached);
            }
            Admission::Refused(refusal) => {
                reached.note("refused");
                let own = id == self.contacts[OWN].id();
                match refusal {
                    Refusal::Banned => assert!(self.peers.is_banned(self.now, &id)),
                    Refusal::ToSelf => assert!(own),
                    Refusal::AlreadyConnected => assert!(twin.is_some()),
                    Refusal::TooManyPeers | Refusal::TooManyFromSubnet => assert!(!own && twin.is_none()),
                    other => panic!("{other:?}"),
                }
                self.end(conn, End { by: Side::Us, stage: Stage::Hello, why: EndReason::Refused(refusal) }, reached);
                return;
            }
        }
        assert!(!self.peers.is_banned(self.now, &id) && id != self.contacts[OWN].id());
        self.set(conn, Phase::Placed(id));
    }

    fn set(&mut self, conn: ConnId, phase: Phase) {
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.1 = phase;
        }
    }

    /// A verdict that a connection is to end is acted upon.
    fn leave(&mut self, conn: ConnId, reason: DisconnectReason, reached: &mut Reached) {
        let Some((_, Phase::Placed(id), _)) = self.conns.get(&conn).copied() else { return };
        self.set(conn, Phase::Leaving(id));
        self.end(conn, End { by: Side::Us, stage: Stage::Established, why: EndReason::Disconnect(reason) }, reached);
    }

    fn end(&mut self, conn: ConnId, end: End, reached: &mut Reached) {
        let ended = self.peers.ended(self.now, &mut self.rng, conn, &end);
        let before = self.conns.get(&conn).map(|(_, phase, _)| *phase).filter(|phase| *phase != Phase::Over);
        assert_eq!(ended.is_some(), before.is_some(), "a connection ends once");
        self.set(conn, Phase::Over);
        if let Some(ended) = ended {
            reached.note("ended");
            self.carry_out(ended.charge, reached);
        }
    }

    fn carry_out(&mut self, charge: Option<Charge>, reached: &mut Reached) {
        let Some(charge) = charge else { return };
        reached.note("charged");
        assert_ne!(charge.delta, 0);
        assert_eq!(charge.ban.is_some(), charge.score <= BAN_SCORE && charge.delta < 0);
        if charge.ban.is_none() {
            return;
        }
        reached.note("banned");
        assert!(self.peers.is_banned(self.now, &charge.id));
        let theirs: Vec<ConnId> = self.peers.conns(charge.id).collect();
        for conn in theirs {
            self.end(
                conn,
                End { by: Side::Us, stage: Stage::Established, why: EndReason::Refused(Refusal::Banned) },
                reached,
            );
        }
    }

    fn release(&mut self, conn: ConnId) {
        self.peers.release(conn);
        if matches!(self.conns.get(&conn), Some((_, Phase::Over, _))) {
            self.conns.remove(&conn);
        }
    }

    /// The counts are those of the connections there are, and within the limits.
    fn look(&self) {
        let counts = self.peers.counts();
        assert_eq!(
            self.peers.slots().iter().map(|slot| slot.conn).collect::<Vec<_>>(),
            self.conns.keys().copied().collect::<Vec<_>>()
        );
        assert_eq!(counts.pending_inbound, self.pending(Direction::Inbound));
        assert_eq!(counts.pending_outbound, self.pending(Direction::Outbound));
        let placed = self.count(|_, phase| matches!(phase, Phase::Placed(_)));
        assert_eq!(counts.inbound + counts.outbound + counts.exempt, placed);
        assert!(counts.inbound + counts.outbound <= self.config.max_peers, "{counts:?}");
        assert!(counts.inbound <= self.config.max_inbound(), "{counts:?}");
        assert!(counts.established <= placed);
        let mut ids: Vec<NodeId> = self.peers.peers(self.now).map(|peer| peer.place.id).collect();
        assert!(self.peers.peers(self.now).all(|peer| (BAN_SCORE + 1..=CREDIT_MAX).contains(&peer.score)));
        ids.sort();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "one place each");
        assert!(ids.iter().all(|id| !self.peers.is_banned(self.now, id)), "nobody who is banned has a place");
        let exempt = self.peers.peers(self.now).filter(|peer| peer.place.exempt);
        assert!(exempt.into_iter().all(|peer| self.exempt.contains(&peer.place.id)));
    }
}

fn reason(choices: &mut Choices<'_>) -> ScoreReason {
    choices.pick(&[
        ScoreReason::Served,
        ScoreReason::Uptime,
        ScoreReason::RequestTimeout,
        ScoreReason::Silent,
        ScoreReason::Unreachable,
        ScoreReason::Fault(Fault::UnsolicitedResponse),
        ScoreReason::Fault(Fault::PingFlood),
        ScoreReason::Fault(Fault::Snappy),
        ScoreReason::Fault(Fault::UnexpectedIdentity),
        ScoreReason::Status(StatusRefusal::Network(7)),
        ScoreReason::Status(StatusRefusal::Range),
    ])
}

fn end(choices: &mut Choices<'_>) -> End {
    End {
        by: choices.pick(&[Side::Us, Side::Them, Side::Network]),
        stage: choices.pick(&[Stage::Established, Stage::Dial, Stage::Handshake, Stage::Hello, Stage::Status]),
        why: choices.pick(&[
            EndReason::Eof,
            EndReason::Io(IoFault::Refused),
            EndReason::Io(IoFault::Exhausted),
            EndReason::Timeout(ConnTimer::Idle),
            EndReason::Timeout(ConnTimer::Closing),
            EndReason::Fault(Fault::Handshake),
            EndReason::Fault(Fault::FrameMac),
            EndReason::Fault(Fault::PingFlood),
            EndReason::Status(StatusRefusal::Genesis),
            EndReason::Disconnect(DisconnectReason::TooManyPeers),
            EndReason::Disconnect(DisconnectReason::Requested),
        ]),
    }
}
