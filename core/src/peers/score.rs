//! Scores: a number for each peer's conduct, and the ledger of its changes with their reasons.
//!
//! A score starts at 0; a peer is banned at [`BAN_SCORE`]. One point is one percent of a ban. Against attack P4, integers
//! saturate and a score decays to its baseline, but a fault of the protocol lowers the baseline permanently, so that no
//! schedule of faults can go on without a ban. A request that is left unanswered lowers it until other requests are answered
//! (attack H4). Against attack E8, the credit for service is small and capped.
//!
//! Only what the holder of the key has provably done changes a score.
//!
//! A score by itself refuses no peer: only the list of bans does, so the two cannot disagree (attack P2).

use alloc::collections::VecDeque;

use super::bounded::Bounded;
use crate::contract::{FaultClass, Label, ScoreReason};
use crate::crypto::NodeId;
use crate::limits::{LEDGER_ENTRIES, LEDGERS_MAX};
use crate::time::{Duration, Instant};

/// At this score, or below, a peer is banned.
pub const BAN_SCORE: i32 = -100;
/// The most that a score can rise above its baseline: enough to outweigh one small fault, never a ban.
pub const CREDIT_MAX: i32 = 20;
/// A score moves one point towards its baseline in this time: a whole ban's worth in a hundred minutes.
pub const DECAY_INTERVAL: Duration = Duration::from_secs(60);
/// The points by which each fault of the protocol lowers the baseline.
pub const PERMANENT_PENALTY: i32 = 5;
/// The most faults of the protocol that a peer can commit before a ban, at any pace and whatever it serves in between, as
/// long as its ledger is kept.
pub const FAULTS_BEFORE_BAN_MAX: u32 = 1 + ((CREDIT_MAX - BAN_SCORE - MINOR_FAULT) / PERMANENT_PENALTY) as u32;

/// The points by which an unanswered request lowers the baseline; each answered one raises it again by one. So a peer that
/// leaves more than a third unanswered is banned at any pace.
pub const UNANSWERED_DEBT: i32 = 2;

/// The points of the least severe fault of the protocol.
const MINOR_FAULT: i32 = 20;
/// The lowest score that charges for what is no misbehaviour can lead to.
const BLAMELESS: i32 = -20;

/// The severity of a fault. Decides how long a ban lasts and which one is dropped first when the list is full.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Severity {
    /// Load may be the cause.
    Mild,
    /// A violation of the protocol that a bug can cause.
    Serious,
    /// A violation that no client commits by mistake.
    Fatal,
}

impl Severity {
    /// All of them, mildest first.
    pub const ALL: [Self; 3] = [Self::Mild, Self::Serious, Self::Fatal];

    /// How long a ban lasts. (reth and Lighthouse ban for twelve hours in all cases.)
    pub const fn ban_duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Mild => 15 * 60,
            Self::Serious => 3600,
            Self::Fatal => 12 * 3600,
        })
    }
}

/// The effect of a reason on a score.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weight {
    /// The points to add; negative for a charge.
    pub delta: i32,
    /// The score beyond which this reason changes nothing: absolute for charges, relative to the baseline for credits.
    pub limit: i32,
    /// The severity of a ban that it leads to.
    pub severity: Severity,
}

/// The weight of each reason. `Reported` and `Embedder` have delta 0 here: a report has its own delta, and a ban of the
/// embedder none.
pub const fn weight(reason: &ScoreReason) -> Weight {
    use Severity::Mild;
    let (delta, limit, severity) = match reason {
        ScoreReason::Fault(fault) => of_class(fault.class()),
        ScoreReason::Status(refusal) => of_class(refusal.class()),
        // Load can cause some; a peer that leaves more than a third unanswered is a tar pit (H4).
        ScoreReason::Unanswered => (-4, i32::MIN, Mild),
        // Small and capped: service does not excuse later faults (E8).
        ScoreReason::Served => (1, CREDIT_MAX, Mild),
        ScoreReason::Reported(_) | ScoreReason::Embedder => (0, i32::MIN, Mild),
    };
    Weight { delta, limit, severity }
}

/// The weight of a fault by its class: points, the score beyond which it alone does not lead, and severity.
const fn of_class(class: FaultClass) -> (i32, i32, Severity) {
    match class {
        FaultClass::Own | FaultClass::Unproven => (0, 0, Severity::Mild),
        // It must never add up to a ban; the dial history delays the next dial.
        FaultClass::Blameless => (-2, BLAMELESS, Severity::Mild),
        FaultClass::Minor => (-MINOR_FAULT, i32::MIN, Severity::Serious),
        // Clients sometimes disagree about encodings: the fourth in a row is a ban, as in reth.
        FaultClass::Malformed => (-25, i32::MIN, Severity::Serious),
        // Two within the hour are a ban.
        FaultClass::Costly => (-50, i32::MIN, Severity::Serious),
        // A ban at any credit.
        FaultClass::Attack => (BAN_SCORE - CREDIT_MAX, i32::MIN, Severity::Fatal),
    }
}

/// One entry of a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerEntry {
    /// When the score changed.
    pub at: Instant,
    /// By how many points.
    pub delta: i32,
    /// The reason.
    pub reason: ScoreReason,
    /// The score after it.
    pub score: i32,
}

/// One peer's score and its last changes.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The score at `at`; the decay since then is computed when it is asked for.
    score: i32,
    at: Instant,
    /// The permanent penalties. The score decays to 0 less these and the debt.
    penalty: i32,
    /// The points that unanswered requests have cost and answered ones have not made good.
    debt: i32,
    entries: VecDeque<LedgerEntry>,
}

impl Ledger {
    fn new(now: Instant) -> Self {
        Self { score: 0, at: now, penalty: 0, debt: 0, entries: VecDeque::new() }
    }

    /// The score at `now`.
    pub fn score(&self, now: Instant) -> i32 {
        let points = now.since(self.at).as_micros() / DECAY_INTERVAL.as_micros();
        let points = i32::try_from(points).unwrap_or(i32::MAX);
        let baseline = self.baseline();
        if self.score < baseline {
            self.score.saturating_add(points).min(baseline)
        } else {
            self.score.saturating_sub(points).max(baseline)
        }
    }

    /// The score that it decays to.
    fn baseline(&self) -> i32 {
        0i32.saturating_sub(self.penalty).saturating_sub(self.debt)
    }

    /// The last changes, oldest first; consecutive credits for one reason are one entry.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &LedgerEntry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Applies the decay up to `now` and keeps the started interval, so that frequent charges do not change the speed of the
    /// decay.
    fn decay_to(&mut self, now: Instant) {
        let score = self.score(now);
        let whole = now.since(self.at).as_micros() / DECAY_INTERVAL.as_micros();
        self.at = match u32::try_from(whole) {
            Ok(whole) if score != self.baseline() => self.at + DECAY_INTERVAL.saturating_mul(whole),
            _ => self.at.max(now),
        };
        self.score = score;
    }

    fn apply(&mut self, now: Instant, reason: ScoreReason, weight: Weight) -> Option<Change> {
        self.decay_to(now);
        match reason {
            ScoreReason::Unanswered => self.debt = self.debt.saturating_add(UNANSWERED_DEBT),
            ScoreReason::Served => self.debt = self.debt.saturating_sub(1).max(0),
            _ => {}
        }
        let before = self.score;
        let moved = before.saturating_add(weight.delta);
        let score = if weight.delta > 0 {
            moved.min(self.baseline().saturating_add(weight.limit)).max(before)
        } else {
            moved.max(weight.limit).min(before)
        };
        if weight.delta < 0 && weight.severity > Severity::Mild {
            self.penalty = self.penalty.saturating_add(PERMANENT_PENALTY);
        }
        self.score = score;
        let delta = score.saturating_sub(before);
        if delta == 0 {
            return None;
        }
        match self.entries.back_mut() {
            Some(last) if delta > 0 && last.delta > 0 && last.reason == reason => {
                *last = LedgerEntry { at: now, delta: last.delta.saturating_add(delta), reason, score };
            }
            _ => {
                if self.entries.len() >= LEDGER_ENTRIES {
                    self.entries.pop_front();
                }
                self.entries.push_back(LedgerEntry { at: now, delta, reason, score });
            }
        }
        let ban = (score <= BAN_SCORE && delta < 0).then_some(weight.severity);
        if ban.is_some() {
            // A score that stayed low would punish the same faults again after the ban.
            (self.score, self.penalty, self.debt, self.at) = (0, 0, 0, now);
        }
        Some(Change { delta, score, ban })
    }

    /// Its rank in the bounded memory: the further from 0 and the younger, the higher.
    fn rank(&self) -> (u32, Instant) {
        (self.score.unsigned_abs().saturating_add(self.baseline().unsigned_abs()), self.at)
    }
}

/// The effect of a charge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Change {
    /// By how many points the score moved.
    pub delta: i32,
    /// The score after it.
    pub score: i32,
    /// The severity of the ban that the charge has led to, if it has.
    pub ban: Option<Severity>,
}

/// The ledgers of at most [`LEDGERS_MAX`] peers. When full, drops the one nearest to 0, of equal ones the oldest.
#[derive(Clone, Debug)]
pub struct Ledgers(Bounded<NodeId, (u32, Instant), Ledger>);

impl Default for Ledgers {
    fn default() -> Self {
        Self(Bounded::new(LEDGERS_MAX))
    }
}

impl Ledgers {
    /// The score of a peer; 0 if it has no ledger.
    pub fn score(&self, now: Instant, id: &NodeId) -> i32 {
        self.get(id).map_or(0, |ledger| ledger.score(now))
    }

    /// A peer's ledger, if it has one.
    pub fn get(&self, id: &NodeId) -> Option<&Ledger> {
        self.0.get(id)
    }

    /// All ledgers, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Ledger)> {
        self.0.iter()
    }

    /// The number of ledgers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no ledger.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enters a reason. Returns `None` if the score did not change.
    pub fn charge(&mut self, now: Instant, id: NodeId, reason: ScoreReason) -> Option<Change> {
        self.apply(now, id, reason, weight(&reason))
    }

    /// Enters a report of the embedder. One report may lead to a ban; credits are capped as all credits are. Returns `None` if
    /// the score did not change.
    pub fn report(&mut self, now: Instant, id: NodeId, delta: i32, label: Label) -> Option<Change> {
        let severity = Self::report_severity(delta);
        let limit = if delta > 0 { CREDIT_MAX } else { i32::MIN };
        self.apply(now, id, ScoreReason::Reported(label), Weight { delta, limit, severity })
    }

    /// The severity of a report of the embedder.
    pub const fn report_severity(delta: i32) -> Severity {
        match delta {
            _ if delta <= BAN_SCORE => Severity::Fatal,
            _ if delta <= -MINOR_FAULT => Severity::Serious,
            _ => Severity::Mild,
        }
    }

    fn apply(&mut self, now: Instant, id: NodeId, reason: ScoreReason, weight: Weight) -> Option<Change> {
        let mut ledger = self.0.remove(&id).unwrap_or_else(|| Ledger::new(now));
        let change = ledger.apply(now, reason, weight);
        // A ledger without entries is not worth keeping.
        if !ledger.entries.is_empty() {
            self.0.insert(id, ledger.rank(), ledger);
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Fault, StatusRefusal};
    use crate::rng::Seed;
    use crate::wire::DecodeError;
    use proptest::prelude::*;

    const ID: NodeId = NodeId([1; 32]);
    const LABEL: Label = Label::new("test").unwrap();
    const UNANSWERED: ScoreReason = ScoreReason::Unanswered;
    const UNSOLICITED: ScoreReason = ScoreReason::Fault(Fault::UnsolicitedResponse);

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_score_decays_to_its_baseline() {
        let mut ledgers = Ledgers::default();
        let change = ledgers.charge(at(0), ID, UNANSWERED).unwrap();
        assert_eq!(change, Change { delta: -4, score: -4, ban: None });
        let scores = [0, 59, 60, 119, 120, 100_000].map(|t| ledgers.score(at(t), &ID));
        assert_eq!(scores, [-4, -4, -3, -3, -2, -2], "half of it stays");
        for _ in 0..UNANSWERED_DEBT {
            let _ = ledgers.charge(at(1000), ID, ScoreReason::Served);
        }
        assert_eq!(ledgers.score(at(1000), &ID), 0, "until it is made good");
        let _ = ledgers.charge(at(1000), ID, ScoreReason::Served);
        assert_eq!([1000, 1059, 1060].map(|t| ledgers.score(at(t), &ID)), [1, 1, 0], "credits decay too");
    }

    #[test]
    fn charging_often_does_not_stop_the_decay() {
        let mut often = Ledgers::default();
        let mut start = Ledgers::default();
        let _ = often.charge(at(0), ID, ScoreReason::Fault(Fault::TooLarge));
        let _ = start.charge(at(0), ID, ScoreReason::Fault(Fault::TooLarge));
        for t in 1..=1200 {
            let _ = often.report(at(t), ID, 0, LABEL);
            assert_eq!(often.score(at(t), &ID), start.score(at(t), &ID), "at {t} s");
        }
        assert_eq!(often.score(at(1200), &ID), -30);
    }

    #[test]
    fn fatal_faults_ban_at_any_credit() {
        let mut ledgers = Ledgers::default();
        for _ in 0..1000 {
            let _ = ledgers.charge(at(1), ID, ScoreReason::Served);
        }
        assert_eq!(ledgers.score(at(1), &ID), CREDIT_MAX);
        let fatal = ScoreReason::Fault(Fault::ForbiddenMessage);
        assert_eq!(ledgers.charge(at(1), ID, fatal).unwrap().ban, Some(Severity::Fatal));
        assert_eq!(ledgers.score(at(1), &ID), 0, "the ban resets the score");
    }

    /// What a router on the path can cause is entered in no ledger (attack P3b).
    #[test]
    fn unproven_faults_change_no_score() {
        let mut ledgers = Ledgers::default();
        for fault in [Fault::Handshake, Fault::HeaderMac, Fault::FrameMac, Fault::ConnectedToSelf] {
            assert_eq!(ledgers.charge(at(0), ID, ScoreReason::Fault(fault)), None, "{fault}");
        }
        assert!(ledgers.is_empty());
    }

    /// H4: a peer that leaves one of five requests unanswered, and whose other answers are empty and so earn nothing, is banned
    /// at any pace; one that serves the other four is not.
    #[test]
    fn a_peer_that_answers_with_nothing_and_sometimes_not_at_all_is_banned_at_any_pace() {
        for pace in [1, 10, 60, 600, 3600] {
            let banned_after = |serves: bool| {
                let mut ledgers = Ledgers::default();
                (1..=500u64).find(|n| {
                    let now = at(n * 5 * pace);
                    if serves {
                        (0..4).for_each(|_| {
                            assert!(ledgers.charge(now, ID, ScoreReason::Served).is_none_or(|c| c.delta > 0))
                        });
                    }
                    ledgers.charge(now, ID, UNANSWERED).is_some_and(|change| change.ban.is_some())
                })
            };
            let count = banned_after(false).expect("it is banned");
            assert!((25..=49).contains(&count), "{count} unanswered requests at one request in {pace} s");
            assert_eq!(banned_after(true), None, "one request in {pace} s");
        }
    }

    #[test]
    fn blameless_reasons_never_ban() {
        let foreign = ScoreReason::Status(StatusRefusal::Network(5));
        for reason in [foreign, ScoreReason::Fault(Fault::UnexpectedIdentity)] {
            let mut ledgers = Ledgers::default();
            assert!((0..1000).filter_map(|_| ledgers.charge(at(0), ID, reason)).all(|change| change.ban.is_none()));
            assert_eq!(ledgers.score(at(0), &ID), BLAMELESS);
        }
        let mut ledgers = Ledgers::default();
        let _ = ledgers.charge(at(0), ID, ScoreReason::Fault(Fault::Snappy));
        assert_eq!(ledgers.charge(at(0), ID, foreign), None, "they do not raise a lower score");
    }

    #[test]
    fn every_serious_fault_costs_at_least_the_stated_minimum() {
        let all = [Fault::EmptyFrame, Fault::Snappy, Fault::Message(DecodeError::BadValue), Fault::StatusTwice];
        for fault in all.into_iter().chain([Fault::UnsolicitedResponse, Fault::HelloExpected, Fault::Overrun]) {
            let weight = weight(&ScoreReason::Fault(fault));
            assert!(weight.severity > Severity::Mild && weight.delta <= -MINOR_FAULT, "{fault}");
        }
    }

    #[test]
    fn ledgers_keep_the_last_changes_and_the_score_after_each() {
        let mut ledgers = Ledgers::default();
        for t in 0..40 {
            let _ = ledgers.charge(at(t), ID, if t % 2 == 0 { UNANSWERED } else { ScoreReason::Served });
        }
        let entries: std::vec::Vec<_> = ledgers.get(&ID).unwrap().entries().collect();
        assert_eq!(entries.len(), LEDGER_ENTRIES);
        assert_eq!(entries[15].at, at(39));
        assert!(entries.windows(2).all(|pair| pair[1].score == pair[0].score + pair[1].delta));
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_kept() {
        let mut ledgers = Ledgers::default();
        let worst = NodeId([0xff; 32]);
        let _ = ledgers.charge(at(0), worst, ScoreReason::Fault(Fault::Snappy));
        let mut rng = Seed::new([1; 32]).fork("ledgers");
        for _ in 0..100_000 {
            let _ = ledgers.charge(at(1), NodeId(rng.bytes()), UNANSWERED);
        }
        assert_eq!(ledgers.len(), LEDGERS_MAX);
        assert_eq!(ledgers.score(at(1), &worst), -50);
    }

    #[test]
    fn a_report_changes_the_score_by_its_delta_and_enters_its_reason_in_the_ledger() {
        let mut ledgers = Ledgers::default();
        let label = Label::new("bad block").unwrap();
        assert_eq!(ledgers.report(at(0), ID, -30, label), Some(Change { delta: -30, score: -30, ban: None }));
        let change = ledgers.report(at(0), ID, 1000, LABEL).unwrap();
        assert_eq!(change.score, CREDIT_MAX - PERMANENT_PENALTY, "credits are capped relative to the baseline");
        let reasons: std::vec::Vec<_> = ledgers.get(&ID).unwrap().entries().map(|entry| entry.reason).collect();
        assert_eq!(reasons, [ScoreReason::Reported(label), ScoreReason::Reported(LABEL)]);
        assert_eq!(ledgers.report(at(0), ID, 0, label), None);
        // The ban is as severe as the report that leads to it.
        for (delta, severity) in [
            (-200, Severity::Fatal),
            (BAN_SCORE, Severity::Fatal),
            (BAN_SCORE + 1, Severity::Serious),
            (-MINOR_FAULT, Severity::Serious),
            (1 - MINOR_FAULT, Severity::Mild),
        ] {
            let mut ledgers = Ledgers::default();
            let ban = core::iter::repeat_with(|| ledgers.report(at(0), ID, delta, label))
                .flatten()
                .find_map(|change| change.ban);
            assert_eq!(ban, Some(severity), "{delta}");
        }
    }

    #[test]
    fn consecutive_credits_for_one_reason_are_one_entry_and_charges_are_not() {
        let mut ledgers = Ledgers::default();
        let served: i32 =
            (0..3).filter_map(|t| ledgers.charge(at(t), ID, ScoreReason::Served)).map(|change| change.delta).sum();
        assert!(served > 0);
        for delta in [-1, -1, 1, 1] {
            let _ = ledgers.report(at(3), ID, delta, LABEL);
        }
        let entries: std::vec::Vec<_> =
            ledgers.get(&ID).unwrap().entries().map(|entry| (entry.at, entry.delta)).collect();
        assert_eq!(entries, [(at(2), served), (at(3), -1), (at(3), -1), (at(3), 2)]);
    }

    #[test]
    fn integers_saturate() {
        let mut ledgers = Ledgers::default();
        let change = ledgers.report(at(0), ID, i32::MIN, LABEL).unwrap();
        assert_eq!((change.score, change.ban), (i32::MIN, Some(Severity::Fatal)));
        let change = ledgers.report(Instant::from_micros(u64::MAX), ID, i32::MAX, LABEL).unwrap();
        assert_eq!(change, Change { delta: CREDIT_MAX, score: CREDIT_MAX, ban: None });
        let _ = ledgers.report(at(0), ID, -1, LABEL);
        assert_eq!(ledgers.score(at(0), &ID), CREDIT_MAX - 1, "a clock that steps back causes no decay");
    }

    proptest! {
        /// P4: at any pace and with any service in between, the number of faults before a ban is bounded.
        #[test]
        fn faults_before_a_ban_are_bounded(steps in proptest::collection::vec((0u64..1 << 40, 0u8..40), 1..40)) {
            let (mut ledgers, mut now, mut faults) = (Ledgers::default(), Instant::ZERO, 0);
            for (wait, served) in steps.into_iter().cycle().take(100) {
                now = now + Duration::from_micros(wait);
                for _ in 0..served {
                    let _ = ledgers.charge(now, ID, ScoreReason::Served);
                }
                faults += 1;
                let banned = ledgers.charge(now, ID, UNSOLICITED).is_some_and(|change| change.ban.is_some());
                prop_assert!(faults <= FAULTS_BEFORE_BAN_MAX);
                faults = if banned { 0 } else { faults };
            }
        }

        /// A score equals that of a naive model with a tick each second.
        #[test]
        fn lazy_decay_equals_ticking(steps in proptest::collection::vec((0u64..400, any::<bool>()), 1..30)) {
            let (mut ledgers, mut t, mut score, mut since, mut baseline) = (Ledgers::default(), 0u64, 0i32, 0u64, 0i32);
            for (wait, good) in steps {
                for _ in 0..wait {
                    t += 1;
                    since = if score == baseline { 0 } else { since + 1 };
                    if since == 60 {
                        (score, since) = (score - (score - baseline).signum(), 0);
                    }
                }
                let change = ledgers.charge(at(t), ID, if good { ScoreReason::Served } else { UNANSWERED });
                since = if score == baseline { 0 } else { since };
                baseline = if good { (baseline + 1).min(0) } else { baseline - UNANSWERED_DEBT };
                score = if good { (score + 1).min(baseline + CREDIT_MAX).max(score) } else { score - 4 };
                if score <= BAN_SCORE {
                    prop_assert!(change.unwrap().ban.is_some());
                    (score, since, baseline) = (0, 0, 0);
                }
                prop_assert_eq!(ledgers.score(at(t), &ID), score);
            }
        }
    }
}
