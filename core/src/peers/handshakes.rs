//! The budget of handshakes: which peers' auths are worth public-key operations (attack C11).
//!
//! An auth can be recorded and repeated, and costs its sender nothing. One that was seen lately is refused by a keyed digest
//! of it, so that no peer can make those of others collide with it. What is left is limited per subnet and in all; a share is kept for
//! our own dials and for the addresses of static and trusted peers. Local addresses pay into neither. Never a reason for a
//! charge: the sender has proven no key.

use alloc::collections::BTreeMap;
use core::fmt;
use core::hash::Hasher as _;
use core::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::contract::{PeerLimits, Refusal};
use crate::limits::{AUTH_MEMORY, AUTHS_REMEMBERED_MAX};
use crate::netfilter::{Subnet, scope};
use crate::rng::Rng;
use crate::time::{Deadlines, Duration, Instant};

/// The share of all handshakes, one in so many, that strangers cannot take.
const KEPT_SHARE: usize = 4;
/// A budget can be used up at once by what it refills in this time.
const BURST: Duration = Duration::from_secs(1);

/// The auths that were seen lately, and what is left of the budgets.
pub struct Handshakes {
    hasher: SipHasher13,
    /// When each auth is forgotten, by its keyed digest.
    seen: Deadlines<u64>,
    all: Budget,
    strangers: Budget,
    /// The budgets of subnets that are not full; as many as strangers' handshakes in the time of a burst.
    subnets: BTreeMap<Subnet, Budget>,
}

/// A budget, by when it is full again.
#[derive(Clone, Copy, Default, Debug)]
struct Budget {
    full_at: Instant,
}

impl Budget {
    /// Whether one more can be taken of `count` per second.
    fn allows(self, now: Instant, count: usize) -> bool {
        self.full_at.since(now) + interval(count) <= BURST
    }

    /// The same, with the probability of what is left once half is taken: first come, first served would give all of it to an
    /// evenly spaced flood. `draw` is any number, each as likely as another.
    fn allows_by_draw(self, now: Instant, count: usize, draw: u64) -> bool {
        let left = BURST.saturating_sub(self.full_at.since(now)).as_micros();
        self.allows(now, count) && u128::from(draw) % (BURST.as_micros() / 2) < left
    }

    fn take(&mut self, now: Instant, count: usize) {
        // What is taken beyond the budget is not owed for longer than a burst.
        let full_at = self.full_at.max(now) + interval(count);
        self.full_at = full_at.min(now + BURST);
    }

    fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// The time that refills one of `count` per second. A `count` of 0 is taken as 1.
fn interval(count: usize) -> Duration {
    BURST / u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

impl Handshakes {
    /// Full budgets, with a secret key from `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        let hasher = SipHasher13::new_with_key(&rng.secret());
        let (all, strangers) = (Budget::default(), Budget::default());
        Self { hasher, seen: Deadlines::default(), all, strangers, subnets: BTreeMap::new() }
    }

    /// A handshake of a dial of ours begins. It is always allowed, and what it takes is not there for strangers.
    pub fn begin(&mut self, now: Instant, limits: &PeerLimits, to: IpAddr) {
        if !scope(to).is_local() {
            self.all.take(now, limits.handshakes);
        }
    }

    /// Decides whether an auth from a canonical address is worth its operations, before the first of them. `is_named` says
    /// whether a static or trusted peer has that address.
    ///
    /// # Errors
    /// The reason to end the connection: `Replayed`, or `Overloaded` if a budget is used up.
    pub fn admit(
        &mut self,
        now: Instant,
        limits: &PeerLimits,
        from: IpAddr,
        is_named: bool,
        auth: &[u8],
    ) -> Result<(), Refusal> {
        while self.seen.pop_due(now).is_some() {}
        let digest = self.digest(auth);
        if self.seen.get(digest).is_some() {
            return Err(Refusal::Replayed);
        }
        if !scope(from).is_local() {
            self.pay(now, limits, from, is_named, digest)?;
        }
        if self.seen.len() >= AUTHS_REMEMBERED_MAX
            && let Some((_, oldest)) = self.seen.next()
        {
            self.seen.set(oldest, None);
        }
        self.seen.set(digest, now + AUTH_MEMORY);
        Ok(())
    }

    /// Takes a handshake from the budgets that the address pays into.
    fn pay(
        &mut self,
        now: Instant,
        limits: &PeerLimits,
        from: IpAddr,
        is_named: bool,
        digest: u64,
    ) -> Result<(), Refusal> {
        let (all, subnet) = (limits.handshakes, limits.handshakes_per_subnet);
        let strangers = all - all / KEPT_SHARE;
        if !self.all.allows(now, all) {
            return Err(Refusal::Overloaded);
        }
        if !is_named {
            self.subnets.retain(|_, budget| !budget.is_full(now));
            let mut own = self.subnets.get(&Subnet::of(from)).copied().unwrap_or_default();
            if !self.strangers.allows_by_draw(now, strangers, digest) || !own.allows(now, subnet) {
                return Err(Refusal::Overloaded);
            }
            own.take(now, subnet);
            self.subnets.insert(Subnet::of(from), own);
            self.strangers.take(now, strangers);
        }
        self.all.take(now, all);
        Ok(())
    }

    fn digest(&self, auth: &[u8]) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(auth);
        hasher.finish()
    }
}

/// Omits the hasher, which has a secret key.
impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Handshakes");
        debug.field("seen", &self.seen.len()).field("subnets", &self.subnets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: PeerLimits = PeerLimits::DEFAULT;

    fn handshakes() -> Handshakes {
        Handshakes::new(&mut Seed::new([1; 32]).fork("handshakes"))
    }

    fn ip(n: u32) -> IpAddr {
        let [_, a, b, c] = n.to_be_bytes();
        [50 + a, b, c, 1].into()
    }

    #[test]
    fn a_repeated_auth_is_refused_for_ten_minutes() {
        let mut handshakes = handshakes();
        let at = |seconds| Instant::ZERO + seconds * SECOND;
        let local = IpAddr::from([127, 0, 0, 1]);
        for from in [ip(1), local] {
            let auth = if from == local { b"local" } else { b"other" };
            assert_eq!(handshakes.admit(at(1), &LIMITS, from, false, auth), Ok(()));
            for (second, named) in [(1, false), (2, true), (600, false)] {
                let again = handshakes.admit(at(second), &LIMITS, from, named, auth);
                assert_eq!(again, Err(Refusal::Replayed), "{second}");
            }
        }
        assert_eq!(handshakes.admit(at(601), &LIMITS, ip(1), false, b"other"), Ok(()));
        for n in 0..2 * AUTHS_REMEMBERED_MAX as u32 {
            assert_eq!(handshakes.admit(at(700), &LIMITS, local, false, &n.to_be_bytes()), Ok(()));
        }
        assert_eq!(handshakes.seen.len(), AUTHS_REMEMBERED_MAX);
    }

    #[test]
    fn subnets_and_all_together_have_budgets_and_a_share_is_kept() {
        let mut handshakes = handshakes();
        let now = Instant::ZERO + SECOND;
        let mut sent = 0u32;
        let mut admitted = |handshakes: &mut Handshakes, now, from, is_named, count| {
            (0..count)
                .filter(|_| {
                    sent += 1;
                    handshakes.admit(now, &LIMITS, from, is_named, &sent.to_be_bytes()).is_ok()
                })
                .count()
        };
        assert_eq!(admitted(&mut handshakes, now, ip(1), false, 1000), 10);
        let all: usize = (2..1000).map(|n| admitted(&mut handshakes, now, ip(n << 8), false, 20)).sum();
        assert_eq!(all, 140, "a quarter of 200 is kept");
        assert!(handshakes.subnets.len() <= 200);
        assert_eq!(admitted(&mut handshakes, now, ip(1), true, 20), 20, "addresses of static and trusted peers");
        (0..20).for_each(|_| handshakes.begin(now, &LIMITS, ip(3)));
        assert_eq!(admitted(&mut handshakes, now, ip(1), true, 100), 10);
        assert_eq!(admitted(&mut handshakes, now, [10, 0, 0, 1].into(), false, 500), 500, "local ones pay nothing");
        // Half a second later half is there again.
        let later = now + SECOND / 2;
        assert_eq!(admitted(&mut handshakes, later, ip(1), false, 100), 5);
        let all: usize = (2..1000).map(|n| admitted(&mut handshakes, later, ip(n << 8), false, 20)).sum();
        assert_eq!(all, 70);
        assert_eq!(admitted(&mut handshakes, now + 2 * SECOND, ip(1), false, 100), 10);
        assert_eq!(handshakes.subnets.len(), 1, "full budgets are forgotten");
    }

    /// A caller that tries now and then beside five times the budget, from many subnets, evenly spaced.
    #[test]
    fn a_flood_with_even_spacing_leaves_others_their_share() {
        let mut handshakes = handshakes();
        let (mut flooded, mut passed) = (0, 0);
        for n in 0..100_000u32 {
            let now = Instant::ZERO + SECOND + n * Duration::from_micros(1333);
            let mut admit = |from, auth: &[u8]| u32::from(handshakes.admit(now, &LIMITS, from, false, auth).is_ok());
            flooded += admit(ip((1 + n % 200) << 8), &n.to_be_bytes());
            if n % 500 == 7 {
                passed += admit(ip(7), &[&n.to_be_bytes()[..], b"honest"].concat());
            }
        }
        assert!((19_500..20_200).contains(&flooded), "150 a second: {flooded}");
        assert!((25..60).contains(&passed), "{passed} of 200");
    }

    #[test]
    fn dials_never_wait_and_leave_less_to_strangers() {
        let mut handshakes = handshakes();
        let now = Instant::ZERO + SECOND;
        (0..1000).for_each(|_| handshakes.begin(now, &LIMITS, ip(3)));
        assert_eq!(handshakes.admit(now, &LIMITS, ip(1), true, b"auth"), Err(Refusal::Overloaded));
        assert_eq!(handshakes.admit(now + SECOND, &LIMITS, ip(1), false, b"auth"), Ok(()), "it is not owed for long");
    }
}
