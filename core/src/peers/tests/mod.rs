//! Peers without a node: a table of views takes the place of the node's connections.

mod bans;
mod dialling;
mod eclipse;
mod embedder;
mod inbound;
mod lists;
mod model;
mod outbound_places;
mod places;
mod simultaneous;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::*;
use crate::contract::{ConnTimer, Direction, Fault, IoFault, Side, Stage, StatusRefusal};
use crate::crypto::PublicKey;
use crate::limits::*;
use crate::rng::Seed;
use crate::wire::p2p::DisconnectReason;

const LOCAL: NodeId = NodeId([0x80; 32]);
const NO_CANDIDATES: [Contact; 0] = [];

fn id(n: u64) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = 1 + (n % 251) as u8;
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    NodeId(bytes)
}

fn ip(n: u64) -> IpAddr {
    IpAddr::from((0x0100_0000 + (n as u32 % 0x0600_0000)).to_be_bytes())
}

/// An address in a /16 of its own, for the first 30,000 numbers.
fn far(n: u64) -> IpAddr {
    let [a, b] = [20 + n % 80, n / 80 % 256].map(|byte| byte as u8);
    IpAddr::from([a, b, 1, 1])
}

fn contact(n: u64, ip: IpAddr) -> Contact {
    Contact::with_id(PublicKey::from_xy_unchecked([n as u8; 64]), id(n), ip, 30303, 30303)
}

fn addr(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 40000)
}

fn rng() -> Rng {
    Seed::new([9; 32]).fork("peers")
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn end(by: Side, stage: Stage, why: EndReason) -> End {
    End { by, stage, why }
}

const BYE: End =
    End { by: Side::Them, stage: Stage::Established, why: EndReason::Disconnect(DisconnectReason::Requested) };
const DEAD: End = End { by: Side::Network, stage: Stage::Dial, why: EndReason::Io(IoFault::Refused) };

/// Peers, and the connections that they decide about.
#[derive(Clone)]
struct Bench {
    peers: Peers,
    conns: BTreeMap<ConnId, View>,
    now: Instant,
    rng: Rng,
    filter: NetFilter,
    next_conn: u64,
    /// Connections with open requests.
    busy: BTreeSet<ConnId>,
    /// Connections that a newcomer has displaced from an outbound place.
    rotated: Vec<ConnId>,
}

impl Bench {
    fn new(config: PeerLimits) -> Self {
        Self::of(config, LOCAL)
    }

    fn of(config: PeerLimits, local: NodeId) -> Self {
        Self {
            peers: Peers::new(config, local),
            conns: BTreeMap::new(),
            now: Instant::ZERO + secs(1),
            rng: rng(),
            filter: NetFilter::default(),
            next_conn: 0,
            busy: BTreeSet::new(),
            rotated: Vec::new(),
        }
    }

    /// Changes a connection and updates the index, as the node does.
    fn set(&mut self, conn: ConnId, after: Option<View>) -> Option<View> {
        let before = match after {
            Some(view) => self.conns.insert(conn, view),
            None => self.conns.remove(&conn),
        };
        self.peers.update(before.as_ref(), after.as_ref());
        before
    }

    fn open(&mut self, addr: SocketAddr, origin: Origin, id: Option<NodeId>) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.set(conn, Some(View::new(conn, addr, origin, id)));
        conn
    }

    /// Hears of candidates, and dials what is due.
    fn dial_next(&mut self, candidates: impl IntoIterator<Item = Contact>) -> Option<(ConnId, Contact)> {
        for candidate in candidates {
            self.heard(candidate);
        }
        let Self { peers, conns, now, rng, filter, .. } = self;
        let contact = peers.dial_next(*now, rng, filter, |conn| conns.get(&conn).copied())?;
        let origin = Origin::Dialled { commanded: false };
        Some((self.open(contact.tcp_addr(), origin, Some(contact.id())), contact))
    }

    fn unix(&self) -> UnixTime {
        UnixTime::from_micros(1_800_000_000_000_000 + self.now.as_micros())
    }

    fn heard(&mut self, contact: Contact) {
        let unix = self.unix();
        self.peers.heard(self.now, unix, &self.filter, Source::Discv4, contact);
    }

    fn offer(&mut self, contact: Contact) -> Result<(), CommandError> {
        let unix = self.unix();
        self.peers.offer(self.now, unix, &self.filter, contact)
    }

    fn dial(&mut self, contact: &Contact) -> Result<ConnId, CommandError> {
        self.peers.dial(self.now, &self.filter, contact)?;
        Ok(self.open(contact.tcp_addr(), Origin::Dialled { commanded: true }, Some(contact.id())))
    }

    fn accept(&mut self, from: IpAddr) -> Result<ConnId, Refusal> {
        self.accept_displacing(from).map(|(conn, _)| conn)
    }

    /// Accepts a stream, and ends the pending connection that it displaces.
    fn accept_displacing(&mut self, from: IpAddr) -> Result<(ConnId, Option<(ConnId, Refusal)>), Refusal> {
        let Accepted { origin, displaced } = self.peers.accept(self.now, &self.filter, addr(from))?;
        if let Some((other, refusal)) = displaced {
            let refused = end(Side::Us, Stage::Handshake, EndReason::Refused(refusal));
            assert_eq!(self.end(other, &refused), None);
        }
        Ok((self.open(addr(from), origin, None), displaced))
    }

    /// Identifies a peer and stores its place; the caller ends the displaced connection.
    fn identify(&mut self, conn: ConnId, id: NodeId) -> Admission {
        let view = View { id: Some(id), ..self.conns[&conn] };
        let admission = self.peers.identified(self.now, &view, id, |conn| self.conns.get(&conn).copied());
        if let Admission::Admitted { place, .. } = admission {
            self.set(conn, Some(View { place: Some(place), stage: Stage::Status, ..view }));
        }
        admission
    }

    fn establish(&mut self, conn: ConnId) {
        let mut view = self.conns[&conn];
        if let Some(place) = &mut view.place
            && view.stage != Stage::Established
        {
            place.since = self.now;
            view.stage = Stage::Established;
            self.set(conn, Some(view));
            self.take_over(conn);
        }
    }

    /// Lets a peer that is in session take a place over, if it is to.
    fn take_over(&mut self, conn: ConnId) {
        let Self { peers, conns, now, rng, busy, .. } = self;
        let view = conns[&conn];
        let is_busy = |conn| busy.contains(&conn);
        match peers.established(*now, rng, &view, |conn| conns.get(&conn).copied(), is_busy) {
            None => {}
            Some(Admission::Refused(refusal)) => {
                let _ = self.end(conn, &end(Side::Us, Stage::Established, EndReason::Refused(refusal)));
            }
            Some(Admission::Admitted { place, displaced }) => {
                if let Some((other, refusal)) = displaced {
                    let _ = self.end(other, &end(Side::Us, Stage::Established, EndReason::Refused(refusal)));
                    self.rotated.push(other);
                }
                self.set(conn, Some(View { place: Some(place), ..view }));
            }
        }
    }

    /// Decides the end of a connection, which is not forgotten yet.
    fn decide_end(&mut self, conn: ConnId, end: &End) -> Option<Charge> {
        let before = self.conns[&conn];
        assert!(!before.is_ending);
        self.set(conn, Some(View { place: None, is_ending: true, ..before }));
        self.peers.ended(self.now, &mut self.rng, &before, end)
    }

    fn forget(&mut self, conn: ConnId) {
        self.set(conn, None);
    }

    fn end(&mut self, conn: ConnId, end: &End) -> Option<Charge> {
        let charge = self.decide_end(conn, end);
        self.forget(conn);
        charge
    }

    fn charge(&mut self, conn: ConnId, reason: ScoreReason) -> Option<Charge> {
        self.peers.charge(self.now, &self.conns[&conn], reason)
    }

    /// Accepts, identifies and establishes.
    fn join(&mut self, n: u64, from: IpAddr) -> (Result<ConnId, Refusal>, Option<Admission>) {
        let conn = match self.accept(from) {
            Ok(conn) => conn,
            refused => return (refused, None),
        };
        let admission = self.identify(conn, id(n));
        match admission {
            Admission::Refused(_) => {
                let _ = self.end(conn, &BYE);
            }
            Admission::Admitted { displaced, .. } => {
                if let Some((other, _)) = displaced {
                    let _ = self.end(other, &BYE);
                }
                self.establish(conn);
            }
        }
        (Ok(conn), Some(admission))
    }

    /// A dialled peer identifies itself and is in session, if it is admitted. Returns whether it is.
    fn join_dialled(&mut self, conn: ConnId) -> bool {
        let Some(id) = self.conns[&conn].id else { return false };
        match self.identify(conn, id) {
            Admission::Refused(refusal) => {
                let _ = self.end(conn, &end(Side::Us, Stage::Hello, EndReason::Refused(refusal)));
                false
            }
            Admission::Admitted { displaced, .. } => {
                if let Some((other, refusal)) = displaced {
                    let _ = self.end(other, &end(Side::Us, Stage::Established, EndReason::Refused(refusal)));
                }
                self.establish(conn);
                true
            }
        }
    }

    /// Connections with a place.
    fn placed(&self) -> impl Iterator<Item = (&View, Place)> {
        self.conns.values().filter_map(|view| Some((view, view.place?)))
    }
}

/// What an admission displaces; `Err` if it is refused.
fn displaced(admission: Option<Admission>) -> Result<Option<(ConnId, Refusal)>, Refusal> {
    match admission.expect("it has asked") {
        Admission::Admitted { displaced, .. } => Ok(displaced),
        Admission::Refused(refusal) => Err(refusal),
    }
}
