//! Elders: outbound places that belong to what was known first.
//!
//! An attack begins some day, and what a node knew before is honest more often than what it hears later. So a quarter of the
//! outbound places belongs to the oldest third of the address book (attacks E1, E4). An attacker with many subnets inflates the
//! book until the newer part of that third is hostile too: then three of four of these places belong to its older half, two of
//! four to the older half of that, and so on.

use alloc::vec::Vec;

use crate::crypto::NodeId;
use crate::time::UnixTime;

/// The nested tiers: the oldest third of the book, sixth, twelfth and twenty-fourth.
pub const TIERS: usize = 4;
/// The fewest entries of a tier but the widest: if there were fewer, everybody would dial the same few nodes.
const TIER_ENTRIES_MIN: usize = 8;

/// What the order by age compares: ids decide between nodes that were seen at the same time.
pub type Age = (UnixTime, NodeId);

/// The number of tiers that a node belongs to: 0 is no elder, [`TIERS`] one of the oldest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seniority(u8);

impl Seniority {
    /// No elder.
    pub const NONE: Self = Self(0);

    /// Of the first so many tiers.
    pub const fn of_tiers(tiers: u8) -> Self {
        Self(tiers)
    }

    /// Whether it is of any tier.
    pub const fn is_elder(self) -> bool {
        self.0 > 0
    }
}

/// The age of the youngest of each tier, the widest tier first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Elders([Option<Age>; TIERS]);

impl Elders {
    /// The tiers of a book, by the ages of all its entries.
    pub fn new(mut ages: Vec<Age>) -> Self {
        let mut tiers = [None; TIERS];
        let third = ages.len() / 3;
        for (tier, youngest) in tiers.iter_mut().enumerate() {
            let size = third >> tier;
            if size == 0 || (tier > 0 && size < TIER_ENTRIES_MIN) {
                break;
            }
            *youngest = Some(*ages.select_nth_unstable(size - 1).1);
            ages.truncate(size);
        }
        Self(tiers)
    }

    /// What belongs to the tiers of so many outbound places, while no peer holds any.
    pub fn vacancies(&self, places: usize) -> Vacancies {
        let mut vacancies = [0; TIERS];
        for (tier, _) in self.0.iter().enumerate().take_while(|(_, youngest)| youngest.is_some()) {
            vacancies[tier] = (places / 4 * (TIERS - tier) / TIERS) as isize;
        }
        Vacancies(vacancies)
    }

    /// How many tiers a node of this age belongs to.
    pub fn seniority(&self, age: Age) -> Seniority {
        let tiers = self.0.iter().take_while(|youngest| youngest.is_some_and(|youngest| age <= youngest)).count();
        Seniority(tiers as u8)
    }
}

/// The places of each tier that its members do not hold: negative if they hold more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vacancies([isize; TIERS]);

impl Vacancies {
    /// Less what further peers hold.
    #[must_use]
    pub fn held_by(mut self, peers: impl IntoIterator<Item = Seniority>) -> Self {
        for Seniority(tiers) in peers {
            self.0.iter_mut().take(usize::from(tiers)).for_each(|vacant| *vacant -= 1);
        }
        self
    }

    /// The places that a node leaves free for those of higher seniority.
    pub fn reserved_from(&self, Seniority(tiers): Seniority) -> usize {
        let higher = self.0[usize::from(tiers).min(TIERS)..].iter().copied();
        higher.max().map_or(0, |vacant| vacant.max(0) as usize)
    }

    /// What a node needs to hold a vacant place of its tier: of the narrowest tier that has one.
    pub fn wanted(&self) -> Seniority {
        let narrowest = self.0.iter().rposition(|vacant| *vacant > 0);
        Seniority(narrowest.map_or(0, |tier| tier as u8 + 1))
    }

    /// Whether a peer can leave its place to another one without leaving a tier with fewer places than belong to it.
    pub fn spare(&self, leaver: Seniority, newcomer: Seniority) -> bool {
        let lost = usize::from(newcomer.0).min(TIERS)..usize::from(leaver.0).min(TIERS);
        lost.is_empty() || self.0[lost].iter().all(|vacant| *vacant < 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(n: u64) -> Vec<Age> {
        (0..n).rev().map(|n| (UnixTime::from_secs(n), NodeId([0; 32]))).collect()
    }

    fn of(tiers: [u8; 3]) -> [Seniority; 3] {
        tiers.map(Seniority)
    }

    #[test]
    fn tiers_are_the_oldest_third_and_halves_of_it_while_they_have_entries() {
        for (entries, sizes) in
            [(2, [0; 4]), (3, [1, 0, 0, 0]), (45, [15, 0, 0, 0]), (48, [16, 8, 0, 0]), (600, [200, 100, 50, 25])]
        {
            let elders = Elders::new(ages(entries));
            let seniorities: Vec<Seniority> = ages(entries).into_iter().map(|age| elders.seniority(age)).collect();
            let in_tier = |tier| seniorities.iter().filter(|seniority| seniority.0 > tier).count();
            assert_eq!([0, 1, 2, 3].map(in_tier), sizes, "{entries}");
            assert!(seniorities.is_sorted(), "the oldest are of the most tiers");
        }
        assert_eq!(Elders::default().seniority((UnixTime::from_secs(0), NodeId([0; 32]))), Seniority::NONE);
    }

    #[test]
    fn a_quarter_of_the_places_belongs_to_the_widest_tier() {
        for (places, vacant) in
            [(3, [0; 4]), (4, [1, 0, 0, 0]), (8, [2, 1, 1, 0]), (16, [4, 3, 2, 1]), (100, [25, 18, 12, 6])]
        {
            assert_eq!(Elders::new(ages(600)).vacancies(places).0, vacant, "{places}");
        }
        assert_eq!(Elders::new(ages(48)).vacancies(16).0, [4, 3, 0, 0], "nothing belongs to a tier without entries");
    }

    #[test]
    fn a_vacant_place_is_for_the_narrowest_tier_that_lacks_one() {
        let vacancies = Elders::new(ages(600)).vacancies(16).held_by(of([4, 1, 0]));
        assert_eq!(vacancies.0, [2, 2, 1, 0]);
        assert_eq!(vacancies.wanted(), Seniority(3));
        assert_eq!([0, 1, 2, 3, 4].map(|tiers| vacancies.reserved_from(Seniority(tiers))), [2, 2, 1, 0, 0]);
        let full = vacancies.held_by([Seniority(3), Seniority(2)]);
        assert_eq!((full.wanted(), full.reserved_from(Seniority::NONE)), (Seniority::NONE, 0));
    }

    #[test]
    fn who_leaves_takes_no_place_of_a_tier_away() {
        let vacancies = Elders::new(ages(600)).vacancies(16).held_by(of([4, 4, 1]));
        assert_eq!(vacancies.0, [1, 1, 0, -1]);
        assert!(vacancies.spare(Seniority(4), Seniority(3)), "the narrowest has one too many");
        assert!(!vacancies.spare(Seniority(4), Seniority(2)));
        assert!(!vacancies.spare(Seniority(1), Seniority::NONE));
        assert!(vacancies.spare(Seniority::NONE, Seniority::NONE) && vacancies.spare(Seniority(1), Seniority(4)));
    }
}
