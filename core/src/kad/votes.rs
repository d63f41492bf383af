//! Our own address as other nodes see it: statements in the answers to our pings, one vote of each subnet, a majority.
//!
//! No protocol has a packet of its own for this: pongs of discv4 and discv5 tell where they came to (`discv4.md`, "Pong
//! Packet"; `discv5-wire.md`, "PONG Response"). A few liars among many nodes change nothing (attack D17): the votes of one IPv4
//! /24 or IPv6 /56 are one, ten that agree settle an answer, and a settled answer gives way to another settled one only, at
//! most every [`limits::ADDRESS_SWITCH_INTERVAL`]. Nodes on loopback and private addresses vote one by one, and only
//! while no answer comes from global ones.
//!
//! It knows nothing of records and sends nothing; what is believed, `node` puts into the record.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Statement;
use crate::limits;
use crate::netfilter::{Subnet, canonical, endpoint_bytes, relay_allowed, scope};
use crate::time::Instant;

/// An address at which other nodes see us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The address.
    pub ip: IpAddr,
    /// The UDP port, if most of those who name the address name the same one: behind a symmetric NAT each names another.
    pub udp: Option<u16>,
}

/// A statement that counts.
#[derive(Clone, Copy, Debug)]
struct Vote {
    /// The subnet of the node that made it, or its endpoint.
    voter: [u8; 19],
    seen_as: SocketAddr,
    at: Instant,
}

/// The result of a count.
#[derive(Clone, Copy, Debug)]
struct Answer {
    seen: Seen,
    /// Whether enough voters agree for a lasting answer.
    is_settled: bool,
}

/// The latest votes, one of each voter.
#[derive(Clone, Debug, Default)]
struct Ballot(Vec<Vote>);

impl Ballot {
    /// Enters a vote; the oldest one leaves if there are too many.
    fn enter(&mut self, vote: Vote) {
        self.0.retain(|other| vote.at.since(other.at) < limits::ADDRESS_VOTE_LIFETIME && other.voter != vote.voter);
        if self.0.len() >= limits::ADDRESS_VOTES_MAX
            && let Some((oldest, _)) = self.0.iter().enumerate().min_by_key(|(_, vote)| vote.at)
        {
            self.0.remove(oldest);
        }
        self.0.push(vote);
    }

    fn recent(&self, now: Instant) -> impl Iterator<Item = &Vote> + Clone {
        self.0.iter().filter(move |vote| now.since(vote.at) < limits::ADDRESS_VOTE_LIFETIME)
    }

    /// The address that a majority names, if enough have voted.
    fn count(&self, now: Instant) -> Option<Answer> {
        let recent = self.recent(now);
        let ip = majority(recent.clone().map(|vote| vote.seen_as.ip()))?;
        let voters = recent.clone().count();
        let named = recent.filter(move |vote| vote.seen_as.ip() == ip).map(|vote| vote.seen_as.port());
        let votes = named.clone().count();
        if votes < limits::ADDRESS_VOTES_MIN || 100 * votes < limits::ADDRESS_MAJORITY_PERCENT * voters {
            return None;
        }
        let seen = Seen { ip, udp: majority(named) };
        Some(Answer { seen, is_settled: votes >= limits::ADDRESS_VOTES_SETTLED })
    }
}

/// The value that more than half of the items have, in linear time: what is left after pairs of different items are crossed
/// out is the only one that can be it (Boyer and Moore's vote).
fn majority<T: PartialEq + Copy>(items: impl Iterator<Item = T> + Clone) -> Option<T> {
    let mut left = None;
    for item in items.clone() {
        left = match left {
            None => Some((item, 1)),
            Some((value, count)) if value == item => Some((value, count + 1)),
            Some((_, 1)) => None,
            Some((value, count)) => Some((value, count - 1)),
        };
    }
    let (value, _) = left?;
    let count = items.clone().filter(|item| *item == value).count();
    (2 * count > items.count()).then_some(value)
}

/// An answer that is believed.
#[derive(Clone, Copy, Debug)]
struct Belief {
    answer: Answer,
    since: Instant,
    /// When a vote last named the address.
    supported: Instant,
}

/// The votes on one address family.
#[derive(Clone, Debug, Default)]
struct Family {
    local: Ballot,
    global: Ballot,
    belief: Option<Belief>,
}

impl Family {
    /// Counts again after a vote for `named`. Returns the answer if it differs from what was believed.
    fn decide(&mut self, now: Instant, named: IpAddr) -> Option<Seen> {
        let answer = self.global.count(now).or_else(|| self.local.count(now));
        if let Some(Belief { answer: old, since, supported }) = &mut self.belief {
            if old.seen.ip == named {
                *supported = now;
            }
            let answer = answer?;
            if old.seen == answer.seen {
                old.is_settled |= answer.is_settled;
                return None;
            }
            // After a change of networks no vote names the old address any more.
            let is_fixed = old.is_settled && now.since(*supported) < limits::ADDRESS_VOTE_LIFETIME;
            let interval =
                if is_fixed { limits::ADDRESS_SWITCH_INTERVAL } else { limits::ADDRESS_FIRST_SWITCH_INTERVAL };
            if now.since(*since) < interval || is_fixed && !answer.is_settled {
                return None;
            }
        }
        let answer = answer?;
        self.belief = Some(Belief { answer, since: now, supported: now });
        Some(answer.seen)
    }
}

/// The votes on our addresses, IPv4 and IPv6 apart. At most [`limits::ADDRESS_VOTES_MAX`] votes of each kind, 48 bytes each.
#[derive(Clone, Debug, Default)]
pub struct AddressVotes {
    ip4: Family,
    ip6: Family,
}

impl AddressVotes {
    /// Counts a statement in the answer to a ping of ours. Returns the address to believe from now on if it changes.
    ///
    /// A statement about another address family, without a port, or about an address that its maker cannot have seen (a
    /// global node names a private one) does not count.
    pub fn note(&mut self, now: Instant, statement: Statement) -> Option<Seen> {
        let (from, seen_as) = (canonical(statement.from), canonical(statement.seen_as));
        if from.is_ipv4() != seen_as.is_ipv4() || seen_as.port() == 0 || !relay_allowed(from.ip(), seen_as.ip()) {
            return None;
        }
        let family = if from.is_ipv4() { &mut self.ip4 } else { &mut self.ip6 };
        let is_local = scope(from.ip()).is_local();
        let voter = if is_local {
            endpoint_bytes(from)
        } else {
            let mut voter = [0; 19];
            voter[..8].copy_from_slice(Subnet::of(from.ip()).as_bytes());
            voter
        };
        let ballot = if is_local { &mut family.local } else { &mut family.global };
        ballot.enter(Vote { voter, seen_as, at: now });
        family.decide(now, seen_as.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const OURS: &str = "5.5.5.5:30303";
    const LIE: &str = "6.6.6.6:30303";

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    /// The address of the n-th node: each in a subnet of its own.
    fn node(n: u8) -> SocketAddr {
        ([20, n, 1, 1], 30303).into()
    }

    fn statement(from: SocketAddr, seen_as: &str) -> Statement {
        Statement { from, seen_as: seen_as.parse().unwrap() }
    }

    fn seen(text: &str) -> Option<Seen> {
        let addr: SocketAddr = text.parse().unwrap();
        Some(Seen { ip: addr.ip(), udp: Some(addr.port()) })
    }

    fn believed(votes: &AddressVotes) -> Option<Seen> {
        votes.ip4.belief.map(|belief| belief.answer.seen)
    }

    #[test]
    fn three_subnets_give_a_first_answer_and_one_subnet_has_one_vote() {
        let mut votes = AddressVotes::default();
        for host in 1..=50 {
            let from = ([20, 1, 1, host], 30303).into();
            assert_eq!(votes.note(at(0), statement(from, OURS)), None, "one /24");
        }
        assert_eq!(votes.note(at(1), statement(node(2), OURS)), None);
        assert_eq!(votes.note(at(2), statement(node(3), OURS)), seen(OURS));
        assert_eq!(votes.note(at(3), statement(node(4), OURS)), None, "no change");
        let mut votes = AddressVotes::default();
        for n in 0..9u16 {
            let from = SocketAddr::new(core::net::Ipv6Addr::new(0x2a00, 1, 2, 0x3300 + n, 0, 0, 0, 1).into(), 1);
            assert_eq!(votes.note(at(0), statement(from, "[2a00:9::9]:7")), None, "one /56");
        }
    }

    #[test]
    fn the_families_have_votes_of_their_own() {
        let mut votes = AddressVotes::default();
        let six = |n: u8| SocketAddr::new(core::net::Ipv6Addr::new(0x2a00, n.into(), 0, 0, 0, 0, 0, 1).into(), 30303);
        for n in 1..=2 {
            assert_eq!(votes.note(at(0), statement(node(n), OURS)), None);
            assert_eq!(votes.note(at(0), statement(six(n), "[2a00:9::9]:7")), None);
        }
        assert_eq!(votes.note(at(0), statement(six(3), OURS)), None, "of another family");
        assert_eq!(votes.note(at(0), statement(six(3), "[2a00:9::9]:7")), seen("[2a00:9::9]:7"));
        assert_eq!(votes.note(at(0), statement(node(3), OURS)), seen(OURS));
    }

    #[test]
    fn statements_that_cannot_be_true_do_not_count() {
        let mut votes = AddressVotes::default();
        for n in 1..=20 {
            for claim in ["127.0.0.1:30303", "10.0.0.1:30303", "0.0.0.0:30303", "224.0.0.1:30303", "5.5.5.5:0"] {
                assert_eq!(votes.note(at(0), statement(node(n), claim)), None, "{claim}");
            }
        }
        assert!(votes.ip4.global.0.is_empty());
    }

    #[test]
    fn local_nodes_vote_one_by_one_and_only_while_no_global_ones_do() {
        let mut votes = AddressVotes::default();
        let local = |port| ([192, 168, 1, 1], port).into();
        let private = "192.168.1.9:30303";
        assert_eq!(votes.note(at(0), statement(local(1), private)), None);
        assert_eq!(votes.note(at(0), statement(local(1), private)), None, "the same endpoint");
        assert_eq!(votes.note(at(0), statement(local(2), private)), None);
        assert_eq!(votes.note(at(0), statement(local(3), private)), seen(private));
        for n in 1..=3 {
            assert_eq!(
                votes.note(at(70 + u64::from(n)), statement(node(n), OURS)),
                (n == 3).then(|| seen(OURS)).flatten()
            );
        }
        for port in 4..50 {
            assert_eq!(votes.note(at(200), statement(local(port), private)), None, "global nodes have answered");
        }
    }

    #[test]
    fn ports_that_differ_are_those_of_a_symmetric_nat() {
        let mut votes = AddressVotes::default();
        let port_of = |n: u8, seen_as: u16, votes: &mut AddressVotes| {
            votes.note(at(0), Statement { from: node(n), seen_as: ([5, 5, 5, 5], seen_as).into() })
        };
        assert_eq!(port_of(1, 1001, &mut votes), None);
        assert_eq!(port_of(2, 1002, &mut votes), None);
        assert_eq!(port_of(3, 1003, &mut votes), Some(Seen { ip: [5, 5, 5, 5].into(), udp: None }));
        let mut votes = AddressVotes::default();
        assert_eq!(port_of(1, 1001, &mut votes), None);
        assert_eq!(port_of(2, 4444, &mut votes), None);
        assert_eq!(port_of(3, 4444, &mut votes), seen("5.5.5.5:4444"), "two of three");
    }

    #[test]
    fn votes_lapse_after_five_minutes() {
        let mut votes = AddressVotes::default();
        assert_eq!(votes.note(at(0), statement(node(1), OURS)), None);
        assert_eq!(votes.note(at(1), statement(node(2), OURS)), None);
        assert_eq!(votes.note(at(300), statement(node(3), OURS)), None, "the first one is too old");
        assert_eq!(votes.note(at(300), statement(node(1), OURS)), seen(OURS));
    }

    #[test]
    fn a_host_that_moves_to_another_network_is_believed_at_once() {
        let mut votes = AddressVotes::default();
        (1..=12).for_each(|n| _ = votes.note(at(u64::from(n)), statement(node(n), OURS)));
        assert_eq!(believed(&votes), seen(OURS));
        let found: Vec<_> = (1..=3).filter_map(|n| votes.note(at(400), statement(node(n), LIE))).collect();
        assert_eq!(found, [seen(LIE).unwrap()], "no vote of the last five minutes names the old address");
    }

    #[test]
    fn memory_is_bounded() {
        let mut votes = AddressVotes::default();
        for n in 0..1000u32 {
            let [_, _, a, b] = n.to_be_bytes();
            _ = votes.note(at(u64::from(n) / 100), statement(([20, a, b, 1], 1).into(), OURS));
        }
        assert_eq!(votes.ip4.global.0.len(), limits::ADDRESS_VOTES_MAX);
        assert!(size_of::<Vote>() <= 64);
    }

    /// Has each of 100 nodes state every 20 s where it sees us, the first `liars` of them a lie. Returns when what is believed
    /// changed, and to what. `is_first` has the liars speak alone for the first 30 s.
    fn changes_among(liars: u8, is_first: bool) -> Vec<(u64, Seen)> {
        let mut votes = AddressVotes::default();
        let mut changes = Vec::new();
        for second in 0..3600u64 {
            for n in 1..=100u8 {
                let is_liar = n <= liars;
                // An order that mixes liars and others.
                let is_turn = u64::from(n) * 37 % 20 == second % 20;
                if !is_turn || !is_liar && is_first && second < 30 {
                    continue;
                }
                let claim = if is_liar { LIE } else { OURS };
                changes.extend(votes.note(at(second), statement(node(n), claim)).map(|seen| (second, seen)));
            }
        }
        changes
    }

    #[test]
    fn d17_nine_ten_or_thirty_liars_of_a_hundred_change_nothing() {
        for liars in [0, 9, 10, 30] {
            assert_eq!(changes_among(liars, false).last().map(|change| change.1), seen(OURS), "{liars} liars");
            assert_eq!(changes_among(liars, false).len(), 1, "{liars} liars: no other address is ever believed");
        }
    }

    #[test]
    fn d17_liars_that_come_first_are_believed_for_ten_minutes_at_most() {
        for (liars, until) in [(9, 100), (10, 640), (30, 640)] {
            let changes = changes_among(liars, true);
            assert_eq!(changes.len(), 2, "{liars} liars: {changes:?}");
            assert_eq!((changes[0].1, changes[1].1), (seen(LIE).unwrap(), seen(OURS).unwrap()));
            assert!(changes[1].0 <= until, "{liars} liars: {changes:?}");
        }
    }

    #[test]
    fn d17_a_settled_answer_changes_every_ten_minutes_at_most() {
        let mut votes = AddressVotes::default();
        let mut changes = Vec::new();
        for second in 0..7200u64 {
            // All nodes agree, and change their minds every minute.
            let claim = if second / 60 % 2 == 0 { OURS } else { LIE };
            for n in 1..=12 {
                changes.extend(votes.note(at(second), statement(node(n), claim)).map(|_| second));
            }
        }
        assert!(changes.len() > 2);
        assert!(changes.windows(2).all(|pair| pair[1] - pair[0] >= 600 || pair[0] < 600), "{changes:?}");
    }
}
