//! Offences: the serious faults of each address, under whatever keys.
//!
//! Keys cost nothing, so an address that commits [`HOST_FAULTS_MAX`] serious faults is banned (attack P3). A fault counts if the
//! peer's verified frames prove it; nothing that another node can cause does (P3b).

use core::net::IpAddr;

use super::bounded::{Bounded, host};
use crate::limits::{HOST_FAULTS_LIFETIME, HOST_FAULTS_MAX, HOSTS_AT_FAULT_MAX};
use crate::netfilter::scope;
use crate::time::Instant;

/// At most [`HOSTS_AT_FAULT_MAX`] addresses. When full, drops the one with the fewest faults, of equal ones the oldest.
#[derive(Clone, Debug)]
pub struct Offences(Bounded<IpAddr, (u32, Instant), ()>);

impl Default for Offences {
    fn default() -> Self {
        Self(Bounded::new(HOSTS_AT_FAULT_MAX))
    }
}

impl Offences {
    /// Notes a serious fault of a host. Returns whether it is to be banned now; the count then begins anew. Local hosts have no
    /// count, since many nodes share them.
    #[must_use]
    pub fn note(&mut self, now: Instant, ip: IpAddr) -> bool {
        if scope(ip).is_local() {
            return false;
        }
        let faults = self.count(now, ip) + 1;
        if faults >= HOST_FAULTS_MAX {
            self.0.remove(&host(ip));
            return true;
        }
        self.0.insert(host(ip), (faults, now), ());
        false
    }

    /// The number of a host's faults that count.
    pub fn count(&self, now: Instant, ip: IpAddr) -> u32 {
        let (faults, last) = self.0.rank(&host(ip)).unwrap_or((0, now));
        if now.since(last) < HOST_FAULTS_LIFETIME { faults } else { 0 }
    }

    /// The number of hosts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_eighth_fault_of_a_host_is_the_last() {
        let mut offences = Offences::default();
        for (one, same, neighbour) in [("8.8.8.8", "8.8.8.8", "8.8.8.9"), ("2a00::1", "2a00::ff", "2a00:0:0:1::1")] {
            let mut now = Instant::ZERO;
            for n in 1..HOST_FAULTS_MAX {
                assert!(!offences.note(now, ip(if n % 2 == 0 { one } else { same })), "fault {n}");
                now = now + (HOST_FAULTS_LIFETIME - Duration::from_secs(1));
            }
            assert!(offences.note(now, ip(one)), "at any pace of more than one a day");
            assert!(!offences.note(now, ip(one)), "the count begins anew");
            assert_eq!(offences.count(now, ip(neighbour)), 0);
            assert_eq!(offences.count(now + HOST_FAULTS_LIFETIME, ip(one)), 0, "a day after the last it is forgotten");
        }
    }

    #[test]
    fn local_hosts_are_not_counted_and_memory_is_bounded() {
        let mut offences = Offences::default();
        for local in ["127.0.0.1", "10.0.0.1", "fd00::1"] {
            assert!((0..100).all(|_| !offences.note(Instant::ZERO, ip(local))), "{local}");
        }
        assert!(offences.is_empty());
        for n in 0..100_000u32 {
            let host = IpAddr::from((0x0100_0000 + n).to_be_bytes());
            let _ = offences.note(Instant::ZERO, host);
            let _ = n % 10 == 0 && offences.note(Instant::ZERO, ip("8.8.8.8"));
        }
        assert_eq!(offences.len(), HOSTS_AT_FAULT_MAX);
    }
}
