//! Two nodes that dial each other keep one session, the same on both sides.

use alloc::collections::VecDeque;

use super::*;

/// Two nodes and two streams between them; each stream's messages keep their order, streams do not.
#[derive(Clone)]
struct Pair {
    nodes: [Bench; 2],
    /// Each node's connection for each stream.
    conns: [[Option<ConnId>; 2]; 2],
    /// By stream and receiver.
    wires: [[VecDeque<Msg>; 2]; 2],
    /// By stream and node: whether its end has been seen there.
    gone: [[bool; 2]; 2],
    dialled: [bool; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Msg {
    Auth,
    Ack,
    Hello,
    Status,
    Bye,
}

const IDS: [NodeId; 2] = [NodeId([1; 32]), NodeId([2; 32])];

impl Pair {
    fn new(config: PeerLimits) -> Self {
        let node = |id| Bench { now: Instant::ZERO + secs(100), ..Bench::of(config, id) };
        Self {
            nodes: IDS.map(node),
            conns: [[None; 2]; 2],
            wires: Default::default(),
            gone: [[false; 2]; 2],
            dialled: [false; 2],
        }
    }

    fn set_time(&mut self, now: Instant) {
        self.nodes.iter_mut().for_each(|node| node.now = now);
    }

    /// Stream `s` is dialled by node `s`.
    fn dial(&mut self, s: usize) {
        self.dialled[s] = true;
        let to = Contact::with_id(PublicKey::from_xy_unchecked([7; 64]), IDS[1 - s], ip(1 - s as u64), 30303, 30303);
        match self.nodes[s].dial(&to) {
            Ok(conn) => {
                self.conns[s][s] = Some(conn);
                self.wires[s][1 - s].push_back(Msg::Auth);
            }
            Err(refusal) => {
                assert_eq!(refusal, CommandError::Refused(Refusal::AlreadyConnected));
                self.gone[s] = [true; 2];
            }
        }
    }

    fn close(&mut self, node: usize, s: usize, by: Side) {
        if !core::mem::replace(&mut self.gone[s][node], true) {
            let why = EndReason::Disconnect(DisconnectReason::AlreadyConnected);
            let _ = self.nodes[node].end(self.conns[node][s].unwrap(), &end(by, Stage::Hello, why));
            if by == Side::Us {
                self.wires[s][1 - node].push_back(Msg::Bye);
            }
        }
    }

    fn deliver(&mut self, s: usize, node: usize) {
        let Some(msg) = self.wires[s][node].pop_front() else { return };
        if self.gone[s][node] {
            return;
        }
        let other = 1 - node;
        if msg == Msg::Auth {
            self.conns[node][s] = Some(self.nodes[node].accept(ip(other as u64)).unwrap());
            self.wires[s][other].extend([Msg::Ack, Msg::Hello]);
            return;
        }
        let conn = self.conns[node][s].unwrap();
        match msg {
            Msg::Auth | Msg::Ack => self.wires[s][other].push_back(Msg::Hello),
            Msg::Hello => match self.nodes[node].identify(conn, IDS[other]) {
                Admission::Admitted { displaced, .. } => {
                    self.wires[s][other].push_back(Msg::Status);
                    if let Some((twin, refusal)) = displaced {
                        assert_eq!(refusal, Refusal::AlreadyConnected);
                        assert_eq!(self.conns[node][1 - s], Some(twin));
                        self.close(node, 1 - s, Side::Us);
                    }
                }
                Admission::Refused(refusal) => {
                    assert_eq!(refusal, Refusal::AlreadyConnected);
                    self.close(node, s, Side::Us);
                }
            },
            Msg::Status => self.nodes[node].establish(conn),
            Msg::Bye => self.close(node, s, Side::Them),
        }
    }

    fn key(&self) -> String {
        let conns = self.nodes.each_ref().map(|node| node.conns.values().copied().collect::<Vec<_>>());
        std::format!("{:?}{:?}{:?}{:?}", self.wires, self.gone, self.dialled, conns)
    }

    fn assert_one_session(&self) {
        let kept = [0, 1].map(|node| {
            let bench = &self.nodes[node];
            assert_eq!(bench.placed().count(), 1, "node {node}");
            assert_eq!(bench.peers.counts().established, 1, "node {node}");
            assert_eq!(bench.conns.len(), 1, "node {node} keeps a loser");
            (0..2).find(|s| self.conns[node][*s].is_some_and(|conn| bench.conns.contains_key(&conn)))
        });
        assert_eq!(kept[0], kept[1], "both keep the same one");
    }
}

/// P7: however the messages of two simultaneous dials interleave, one session stays, and the same on both sides; also when
/// there is room for one peer only.
#[test]
fn simultaneous_dials_leave_exactly_one_session_in_every_interleaving() {
    for max_peers in [1, 50] {
        let mut start = Pair::new(PeerLimits { max_peers, ..PeerLimits::default() });
        // With one place, the second dial must be under way before the first one is answered.
        if max_peers == 1 {
            start.dial(0);
            start.dial(1);
        }
        let (mut todo, mut seen, mut finals) = (Vec::from([start]), BTreeSet::new(), 0);
        while let Some(pair) = todo.pop() {
            if !seen.insert(pair.key()) {
                continue;
            }
            let before = todo.len();
            for s in 0..2 {
                if !pair.dialled[s] {
                    let mut next = pair.clone();
                    next.dial(s);
                    todo.push(next);
                }
                for node in (0..2).filter(|node| !pair.wires[s][*node].is_empty()) {
                    let mut next = pair.clone();
                    next.deliver(s, node);
                    todo.push(next);
                }
            }
            if todo.len() == before {
                pair.assert_one_session();
                finals += 1;
            }
        }
        assert!(seen.len() > 100 && finals > 1, "{} states, {finals} final", seen.len());
    }
}

/// The same with streams as slow as their deadlines allow, so that one may be in session long before the other.
#[test]
fn simultaneous_dials_with_any_delay_leave_exactly_one_session() {
    let mut dice = Seed::new([5; 32]).fork("delays");
    for _ in 0..2000 {
        let mut pair = Pair::new(PeerLimits::default());
        let start = pair.nodes[0].now;
        let mut now = start;
        pair.dial(0);
        pair.dial(1);
        // Up to 15 s until the stream is connected, up to 2 s for each message after that.
        let mut free = [dice.below(15_000_000), dice.below(15_000_000)].map(|at| [at; 2]);
        while let Some((at, s, node)) = (0..4)
            .map(|i| (free[i / 2][i % 2], i / 2, i % 2))
            .filter(|(_, s, node)| !pair.wires[*s][*node].is_empty())
            .min()
        {
            now = now.max(start + Duration::from_micros(at));
            pair.set_time(now);
            pair.deliver(s, node);
            let elapsed = now.since(start).as_micros() as u64;
            for free in &mut free[s] {
                *free = (*free).max(elapsed + dice.below(2_000_000));
            }
        }
        pair.assert_one_session();
    }
}

#[test]
fn an_old_session_outlives_any_newcomer() {
    for n in [1, 250] {
        let mut bench = Bench::new(PeerLimits::default());
        let (conn, _) = bench.join(n, ip(1));
        bench.now = bench.now + SIMULTANEOUS_WINDOW;
        let again = bench.dial(&contact(n, ip(1)));
        assert_eq!(again, Err(CommandError::Refused(Refusal::AlreadyConnected)));
        assert_eq!(displaced(bench.join(n, ip(1)).1), Err(Refusal::AlreadyConnected));
        assert_eq!(bench.placed().next().unwrap().0.conn, conn.unwrap());
    }
    // Lower than ourselves, the peer's dial would win if it were simultaneous with ours.
    for (age, verdict) in [
        (SIMULTANEOUS_WINDOW, Err(Refusal::AlreadyConnected)),
        (secs(29), Ok(Some((ConnId(1), Refusal::AlreadyConnected)))),
    ] {
        let mut bench = Bench::new(PeerLimits::default());
        let (conn, _) = bench.dial_next([contact(1, ip(1))]).unwrap();
        assert_eq!(displaced(Some(bench.identify(conn, id(1)))), Ok(None));
        bench.establish(conn);
        bench.now = bench.now + age;
        let newcomer = bench.accept(ip(1)).unwrap();
        let admission = bench.identify(newcomer, id(1));
        assert_eq!(displaced(Some(admission)), verdict, "after {age:?}");
        if let Admission::Admitted { place, .. } = admission {
            assert_eq!(place.since, bench.now, "the newcomer's place is as old as itself");
        }
    }
}

#[test]
fn a_peer_with_our_own_key_is_refused() {
    let mut bench = Bench::new(PeerLimits::default());
    let conn = bench.accept(ip(1)).unwrap();
    assert_eq!(bench.identify(conn, LOCAL), Admission::Refused(Refusal::ToSelf));
}
