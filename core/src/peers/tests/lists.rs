//! Nodes that only a node list vouches for: their share of the book and of the dials (attack D19).

use super::*;
use crate::contract::{BookRecord, Source};
use crate::limits::{BOOK_ENTRIES_MAX, BOOK_LISTED_MAX};

/// A bench whose book has nodes of a list, from 0 on, and nodes that discovery has verified after them.
fn bench(listed: u64, verified: u64) -> Bench {
    let mut bench = Bench::new(PeerLimits::default());
    let (unix, filter) = (bench.unix(), bench.filter.clone());
    let record = |n| {
        let source = if n < listed { Source::Dns } else { Source::Discv4 };
        BookRecord { contact: contact(n, far(n)), source, first_seen: unix }
    };
    bench.peers.restore_book(bench.now, unix, &filter, (0..listed + verified).map(record).collect());
    bench
}

/// Whether a contact of [`bench`] is of the list.
fn is_listed(listed: u64, contact: &Contact) -> bool {
    (0..listed).any(|n| id(n) == contact.id())
}

/// Whatever becomes of the dials: of each run of dials, a third and one more at most are of the list, which has half of the book.
#[test]
fn d19_a_poisoned_list_has_a_third_of_the_dials() {
    const LISTED: u64 = 300;
    let full = end(Side::Them, Stage::Hello, EndReason::Disconnect(DisconnectReason::TooManyPeers));
    for (of_list, of_others) in [(DEAD, DEAD), (full, full), (DEAD, full), (full, DEAD)] {
        let mut bench = bench(LISTED, 300);
        let mut dialled: Vec<bool> = Vec::new();
        while dialled.len() < 120 {
            let Some((conn, contact)) = bench.dial_next(NO_CANDIDATES) else {
                bench.now = bench.now + secs(1);
                continue;
            };
            let is_listed = is_listed(LISTED, &contact);
            dialled.push(is_listed);
            let _ = bench.end(conn, if is_listed { &of_list } else { &of_others });
        }
        for count in 1..=dialled.len() {
            let listed = dialled[..count].iter().filter(|is_listed| **is_listed).count();
            assert!(3 * listed <= count + 3, "{listed} of the first {count}");
        }
        assert!(dialled.iter().any(|is_listed| *is_listed), "the list is used");
    }
}

/// Listed nodes that always have room do not take the places over, although others seldom have any.
#[test]
fn d19_a_poisoned_list_has_a_third_of_the_places() {
    const LISTED: u64 = 300;
    let mut bench = bench(LISTED, 300);
    let full = end(Side::Them, Stage::Hello, EndReason::Disconnect(DisconnectReason::TooManyPeers));
    let mut dice = rng();
    let until = bench.now + secs(4 * 3600);
    while bench.now < until {
        while let Some((conn, contact)) = bench.dial_next(NO_CANDIDATES) {
            if is_listed(LISTED, &contact) || dice.below(4) == 0 {
                bench.join_dialled(conn);
            } else {
                let _ = bench.end(conn, &full);
            }
        }
        bench.now = bench.now + secs(1);
    }
    let outbound = bench.conns.values().filter(|view| view.place.is_some() && view.direction() == Direction::Outbound);
    let ids: Vec<NodeId> = outbound.filter_map(|view| view.id).collect();
    let listed = ids.iter().filter(|held| (0..LISTED).any(|n| id(n) == **held)).count();
    assert_eq!(ids.len(), 16);
    assert!((2..=7).contains(&listed), "{listed} of 16: a third and a rotation that is under way");
}

#[test]
fn a_list_alone_may_fill_all_places() {
    let mut bench = bench(100, 0);
    let dialled = (0..16).map_while(|_| bench.dial_next(NO_CANDIDATES)).count();
    assert_eq!(dialled, 16, "the limit costs no dial while there is nothing else");
}

#[test]
fn d19_lists_have_a_third_of_the_book() {
    for (verified, expected) in [(0, BOOK_LISTED_MAX), (300, BOOK_LISTED_MAX), (900, BOOK_ENTRIES_MAX - 900)] {
        let bench = bench(2 * BOOK_LISTED_MAX as u64, verified);
        let entries = bench.peers.book().entries();
        let listed = entries.iter().filter(|entry| entry.source() == Source::Dns).count();
        assert_eq!((listed, entries.len()), (expected, expected + verified as usize));
    }
}

#[test]
fn a_verified_node_takes_the_place_of_one_that_a_list_names_and_that_was_not_reached() {
    let mut bench = Bench::new(PeerLimits::default());
    let (unix, filter) = (bench.unix(), bench.filter.clone());
    let near = |n: u64| contact(n, [9, 9, 9, n as u8].into());
    for n in [1, 2, 3] {
        bench.peers.heard(bench.now, unix, &filter, Source::Dns, near(n));
    }
    let known = |bench: &Bench| [1, 2, 3, 4, 5, 6].map(|n| bench.peers.book().get(&id(n)).is_some());
    assert_eq!(known(&bench), [true, true, false, false, false, false], "two of a subnet");
    bench.peers.heard(bench.now, unix, &filter, Source::Discv4, near(4));
    assert_eq!(known(&bench).iter().filter(|is_known| **is_known).count(), 2);
    assert!(known(&bench)[3]);
    let kept = [1, 2].into_iter().find(|n| known(&bench)[*n as usize - 1]).unwrap();
    let conn = bench.dial(&near(kept)).unwrap();
    bench.join_dialled(conn);
    let before = known(&bench);
    bench.peers.heard(bench.now, unix, &filter, Source::Discv4, near(5));
    assert_eq!(known(&bench), before, "one that was reached stays");
}

#[test]
fn a_listed_node_that_is_not_reached_is_dropped_at_once() {
    let mut bench = bench(1, 0);
    let (conn, dialled) = bench.dial_next(NO_CANDIDATES).unwrap();
    let _ = bench.end(conn, &DEAD);
    assert!(bench.peers.book().get(&dialled.id()).is_none());
}
