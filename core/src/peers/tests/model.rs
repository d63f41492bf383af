//! Long random runs against a naive model.

use super::*;
use crate::netfilter::Subnet;

/// What the model knows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Pending,
    Admitted,
    Established,
}

type Model = BTreeMap<ConnId, (Direction, State)>;

/// Long random runs never break a bound, and the counts equal those of a naive model (C9, P2).
#[test]
fn random_runs_keep_every_limit_and_the_counts_of_a_model() {
    let config = PeerLimits { max_peers: 6, max_pending: 6, ..PeerLimits::default() };
    let mut bench = Bench::new(config);
    let mut dice = Seed::new([3; 32]).fork("model");
    let mut model = Model::new();
    let address = |n: u64| if n.is_multiple_of(8) { IpAddr::from([127, 0, 0, 1]) } else { ip(n % 12 * 256 + n) };
    let reasons = [
        EndReason::Disconnect(DisconnectReason::TooManyPeers),
        EndReason::Fault(Fault::PingFlood),
        EndReason::Fault(Fault::Useless),
        EndReason::Fault(Fault::UnsolicitedResponse),
        EndReason::Status(StatusRefusal::Genesis),
        EndReason::Timeout(ConnTimer::Idle),
        EndReason::Io(IoFault::Reset),
        EndReason::Eof,
    ];
    for trusted in 0..3 {
        let contact = contact(trusted, address(trusted));
        bench.peers.add_peer(bench.now, &bench.filter, contact, PeerKind::Trusted).unwrap();
    }
    let (mut evicted, mut replaced, mut banned) = (0, 0, 0);
    for step in 0..200_000u32 {
        bench.now = bench.now + Duration::from_micros(dice.below(20_000_000));
        let any = model.keys().nth(dice.below(model.len() as u64) as usize).copied();
        match dice.below(12) {
            0 | 1 | 10 | 11 => {
                if let Ok(conn) = bench.accept(address(dice.below(40))) {
                    model.insert(conn, (Direction::Inbound, State::Pending));
                }
            }
            2 => {
                let candidates: Vec<_> = (0..8).map(|_| dice.below(40)).map(|n| contact(n, address(n))).collect();
                if let Some((conn, _)) = bench.dial_next(candidates) {
                    model.insert(conn, (Direction::Outbound, State::Pending));
                }
            }
            3 => {
                let n = dice.below(40);
                if let Ok(conn) = bench.dial(&contact(n, address(n))) {
                    model.insert(conn, (Direction::Outbound, State::Pending));
                }
            }
            4..=6 => {
                let Some(conn) = any.filter(|conn| model[conn].1 == State::Pending) else { continue };
                let peer = bench.conns[&conn].id.unwrap_or(id(dice.below(200)));
                let was_banned = bench.peers.is_banned(bench.now, &peer);
                match bench.identify(conn, peer) {
                    Admission::Refused(_) => {
                        let refused = end(Side::Us, Stage::Hello, EndReason::Refused(Refusal::TooManyPeers));
                        assert_eq!(bench.end(conn, &refused), None);
                        model.remove(&conn);
                    }
                    Admission::Admitted { displaced, .. } => {
                        assert!(!was_banned, "a banned peer was admitted at step {step}");
                        model.get_mut(&conn).unwrap().1 = State::Admitted;
                        if let Some((other, refusal)) = displaced {
                            let is_twin = bench.conns[&other].id == Some(peer);
                            assert_eq!(is_twin, refusal == Refusal::AlreadyConnected);
                            *(if is_twin { &mut replaced } else { &mut evicted }) += 1;
                            let _ = bench.end(other, &end(Side::Us, Stage::Established, EndReason::Refused(refusal)));
                            model.remove(&other);
                        }
                    }
                }
            }
            7 => {
                let Some(conn) = any else { continue };
                bench.establish(conn);
                let state = &mut model.get_mut(&conn).unwrap().1;
                *state = if *state == State::Admitted { State::Established } else { *state };
            }
            8 => {
                let Some(conn) = any else { continue };
                if let Some(charge) = bench.charge(conn, ScoreReason::RequestTimeout) {
                    assert!(model[&conn].1 != State::Pending, "charged without proof");
                    banned += carry_out(&mut bench, &mut model, &charge);
                }
            }
            _ => {
                let Some(conn) = any else { continue };
                let is_established = model[&conn].1 == State::Established;
                // Sessions last longer than other connections.
                if is_established && dice.below(8) != 0 {
                    continue;
                }
                let stage = if is_established { Stage::Established } else { Stage::Handshake };
                let why = reasons[dice.below(8) as usize];
                model.remove(&conn);
                if let Some(charge) = bench.end(conn, &end(Side::Us, stage, why)) {
                    banned += carry_out(&mut bench, &mut model, &charge);
                }
            }
        }
        check(&bench, &config, &model, step);
    }
    assert!(evicted > 10 && replaced > 10 && banned > 100, "{evicted} evicted, {replaced} replaced, {banned} banned");

    // No refusal is permanent: when all have left and time has passed, every peer is admitted again.
    for conn in model.into_keys() {
        let _ = bench.end(conn, &BYE);
    }
    assert_eq!(bench.peers.counts(), Counts::default());
    bench.now = bench.now + secs(86_400);
    for n in 0..config.max_inbound() as u64 {
        assert_eq!(displaced(bench.join(10 + n, ip(n * 256)).1), Ok(None), "peer {n}");
    }
}

/// Acts on a charge: ends every connection with a banned peer. The ban is in the list already.
fn carry_out(bench: &mut Bench, model: &mut Model, charge: &Charge) -> u32 {
    assert_eq!(charge.score <= score::BAN_SCORE, charge.ban.is_some());
    assert!(charge.ban.is_none() || bench.peers.is_banned(bench.now, &charge.id));
    if charge.ban.is_none() {
        return 0;
    }
    let is_placed = |conn: &ConnId| model[conn].1 != State::Pending;
    let theirs: Vec<ConnId> = bench.peers.conns(&charge.id).filter(is_placed).collect();
    for conn in theirs {
        let _ = bench.end(conn, &BYE);
        model.remove(&conn);
    }
    1
}

fn check(bench: &Bench, config: &PeerLimits, model: &Model, step: u32) {
    let counts = bench.peers.counts();
    let count = |f: &dyn Fn(Direction, State) -> bool| model.values().filter(|(dir, state)| f(*dir, *state)).count();
    let is_pending = |wanted| count(&|direction, state| direction == wanted && state == State::Pending);
    assert_eq!(counts.pending_inbound, is_pending(Direction::Inbound), "step {step}");
    assert_eq!(counts.pending_outbound, is_pending(Direction::Outbound), "step {step}");
    assert_eq!(counts.limited() + counts.exempt, count(&|_, state| state != State::Pending), "step {step}");
    assert_eq!(counts.established, count(&|_, state| state == State::Established), "step {step}");
    assert_eq!(counts.total(), model.len(), "step {step}");

    assert!(counts.pending_inbound <= config.max_pending && counts.pending_outbound <= config.max_pending);
    assert!(counts.limited() <= config.max_peers, "step {step}: {counts:?}");
    assert!(counts.inbound <= config.max_inbound(), "step {step}: {counts:?}");
    let placed: Vec<_> = bench.placed().collect();
    let ids: BTreeSet<_> = placed.iter().filter_map(|(view, _)| view.id).collect();
    assert_eq!(ids.len(), placed.len(), "step {step}: one place for each peer");
    let banned = ids.iter().find(|id| bench.peers.is_banned(bench.now, id));
    assert!(banned.is_none(), "step {step}: {banned:?}");
    let mut subnets: BTreeMap<Subnet, usize> = BTreeMap::new();
    for (view, _) in placed.iter().filter(|(_, place)| place.is_ordinary_inbound()) {
        // A connection that took a dialled twin's place passed the limit of subnets, as the dial that it replaces would have.
        if !scope(view.addr.ip()).is_local() && view.direction() == Direction::Inbound {
            *subnets.entry(Subnet::of(view.addr.ip())).or_default() += 1;
        }
    }
    assert!(subnets.values().all(|n| *n <= config.inbound_per_subnet), "step {step}: {subnets:?}");
}
