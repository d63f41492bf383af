//! How fast datagrams go out: all together, and to each subnet.

use std::net::IpAddr;

use peerless::kad::budgets::{Budgets, Rate};
use peerless::netfilter::{Subnet, scope};
use peerless::rng::Rng;
use peerless::time::Instant;

/// Subnets whose budget is in use at once.
const SUBNETS_MAX: usize = 1 << 16;
/// The burst of all datagrams: half of a small socket buffer.
const BURST: u64 = 64;

/// The limits on what is sent.
#[derive(Debug)]
pub(crate) struct Pace {
    interval_nanos: u64,
    /// When everything sent so far is paid for.
    used_until_nanos: u64,
    subnets: Budgets,
    factor: u64,
}

impl Pace {
    pub(crate) fn new(rng: &mut Rng, datagrams_per_second: u32, subnet_datagrams_per_second: u32) -> Self {
        let rate = Rate::per_second(subnet_datagrams_per_second, subnet_datagrams_per_second);
        Self {
            interval_nanos: 1_000_000_000 / u64::from(datagrams_per_second.max(1)),
            used_until_nanos: 0,
            subnets: Budgets::new(rate, SUBNETS_MAX),
            factor: rng.u64() | 1,
        }
    }

    /// When the next datagram may be sent.
    pub(crate) fn next(&self) -> Instant {
        let burst = self.interval_nanos * BURST;
        Instant::from_micros((self.used_until_nanos + self.interval_nanos).saturating_sub(burst).div_ceil(1000))
    }

    /// Whether the subnet of an address may be sent a datagram.
    pub(crate) fn allows(&self, to: IpAddr, now: Instant) -> bool {
        self.key(to).is_none_or(|key| self.subnets.allows(key, now))
    }

    /// Takes a datagram, also one that exceeds the limits: an answer that a node waits for.
    pub(crate) fn take(&mut self, to: IpAddr, now: Instant) {
        let now_nanos = now.as_micros().saturating_mul(1000);
        self.used_until_nanos = self.used_until_nanos.max(now_nanos).saturating_add(self.interval_nanos);
        if let Some(key) = self.key(to) {
            self.subnets.take(key, now);
        }
    }

    /// The keyed hash of a subnet; `None` on this machine or network, where many nodes may live.
    fn key(&self, ip: IpAddr) -> Option<u64> {
        let word = u64::from_be_bytes(*Subnet::of(ip).as_bytes());
        let product = word.wrapping_mul(self.factor);
        (!scope(ip).is_local()).then_some(product ^ (product >> 32))
    }
}

#[cfg(test)]
mod tests {
    use peerless::rng::Seed;
    use peerless::time::Duration;

    use super::*;

    fn pace() -> Pace {
        Pace::new(&mut Seed::new([1; 32]).fork("pace"), 1000, 4)
    }

    #[test]
    fn all_together_have_a_burst_and_then_their_rate() {
        let mut pace = pace();
        let (start, to) = (Instant::from_micros(5_000_000), IpAddr::from([127, 0, 0, 1]));
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(2) {
            if pace.next() <= now {
                pace.take(to, now);
                sent += 1;
            } else {
                now = pace.next();
            }
        }
        assert!((2000..2000 + BURST + 2).contains(&sent), "{sent}");
    }

    #[test]
    fn a_subnet_has_its_own_limit_and_local_ones_have_none() {
        let mut pace = pace();
        let now = Instant::from_micros(5_000_000);
        let send = |pace: &mut Pace, ip: [u8; 4], now| {
            let is_allowed = pace.allows(ip.into(), now);
            if is_allowed {
                pace.take(ip.into(), now);
            }
            is_allowed
        };
        let sent = (0..99).filter(|n| send(&mut pace, [8, 8, 8, *n], now)).count();
        assert_eq!(sent, 4);
        assert!(send(&mut pace, [8, 8, 9, 1], now), "another subnet");
        assert!((0..99).all(|n| send(&mut pace, [10, 0, 0, n], now)));
        assert!(send(&mut pace, [8, 8, 8, 1], now + Duration::from_secs(1)));
    }
}
