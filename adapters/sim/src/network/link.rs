//! Links: the latency of a packet from one host to another, and whether it arrives once, twice or never.
//!
//! A pair's latency is half the round-trip time of its regions, scaled by a factor of the pair within
//! [`Quality::spread_percent`]; each packet adds jitter, by the second in which it leaves, and its transmission time.
//! Every draw is a hash of the seed, the sender and the number of the sender's packet, so links need no state.

use peerless::time::{Duration, Instant};

use super::conditions::Tamper;
use super::region::{Region, Regions};
use crate::mix::{Mix, Stream};

/// The quality of all links; faults worsen some of them for a time. Probabilities in millionths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quality {
    /// Lost datagrams. Streams lose nothing: a lost segment arrives one retransmission later.
    pub loss: u32,
    /// Datagrams that arrive twice.
    pub duplication: u32,
    /// Datagrams that are delayed by up to twice the pair's latency, so that later ones overtake them.
    pub reordering: u32,
    /// Largest jitter, in percent of the pair's latency. Queues grow and shrink slowly, so packets stay in order.
    pub jitter_percent: u32,
    /// Largest difference of a pair's latency from its regions', in percent; below 100.
    pub spread_percent: u32,
}

impl Default for Quality {
    /// No loss; latencies vary noticeably.
    fn default() -> Self {
        Self { loss: 0, duplication: 0, reordering: 0, jitter_percent: 10, spread_percent: 25 }
    }
}

impl Quality {
    /// A poor home connection: 1 % lost, 0.1 % doubled, 1 % reordered, jitter of a fifth.
    pub fn lossy() -> Self {
        Self { loss: 10_000, duplication: 1_000, reordering: 10_000, jitter_percent: 20, spread_percent: 25 }
    }
}

/// The fate of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fate {
    /// The delays of all copies; none if the packet is lost.
    pub copies: [Option<Duration>; 2],
}

/// The links between hosts; see the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Links {
    /// The regions.
    pub regions: Regions,
    /// The quality of all links.
    pub quality: Quality,
}

/// One end of a link: a host and its region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// The host.
    pub host: u32,
    /// Its region.
    pub region: Region,
}

impl Links {
    /// The shortest latency between two regions.
    pub fn floor(&self, a: Region, b: Region) -> Duration {
        let spread = u64::from(self.quality.spread_percent.min(99));
        Duration::from_micros((self.half_rtt(a, b) * (100 - spread) / 100).max(1))
    }

    /// The latency between two hosts without jitter and size; the same in both directions.
    pub fn latency(&self, seed: u64, a: Site, b: Site) -> Duration {
        let (low, high) = (a.host.min(b.host), a.host.max(b.host));
        let spread = u64::from(self.quality.spread_percent.min(99));
        let percent = 100 - spread
            + Stream::new(seed, (u64::from(low) << 32) | u64::from(high), 0x6c69_6e6b).below(2 * spread + 1);
        Duration::from_micros((self.half_rtt(a.region, b.region) * percent / 100).max(1))
    }

    /// The transmission time of `bytes` through the slower of the sender's and the receiver's access.
    pub fn transmission(&self, from: Region, to: Region, bytes: usize) -> Duration {
        let up = self.regions.up_mbits.get(usize::from(from.0)).copied().unwrap_or(1);
        let down = self.regions.down_mbits.get(usize::from(to.0)).copied().unwrap_or(1);
        Duration::from_micros(bytes as u64 * 8 / up.min(down).max(1))
    }

    /// Returns the fate of a datagram that leaves at `now`. `extra` are the effects of faults.
    pub fn datagram(
        &self,
        seed: u64,
        now: Instant,
        ends: (Site, Site),
        packet: u64,
        bytes: usize,
        extra: Extra,
    ) -> Fate {
        let (from, to) = ends;
        let mut draws = draws(seed, from.host, packet);
        let quality = &self.quality;
        if draws.happens(quality.loss.saturating_add(extra.loss)) {
            return Fate { copies: [None, None] };
        }
        let latency = self.latency(seed, from, to) + extra.delay;
        let rest = latency + self.transmission(from.region, to.region, bytes);
        let jitter = latency.as_micros() as u64 * u64::from(quality.jitter_percent) / 100;
        let mut first = rest + queueing(seed, now, from, to, jitter);
        if draws.happens(quality.reordering.saturating_add(extra.reordering)) {
            first += Duration::from_micros(draws.below(2 * latency.as_micros() as u64));
        }
        let is_doubled = draws.happens(quality.duplication.saturating_add(extra.duplication));
        let second = is_doubled.then(|| rest + Duration::from_micros(draws.below(latency.as_micros() as u64 + 1)));
        Fate { copies: [Some(first), second] }
    }

    /// Returns the delay of a stream's packet; the caller keeps the order. A loss costs a retransmission.
    pub fn segment(&self, seed: u64, from: Site, to: Site, packet: u64, bytes: usize, extra: Extra) -> Duration {
        let mut draws = draws(seed, from.host, packet);
        let latency = self.latency(seed, from, to) + extra.delay;
        let jitter = latency.as_micros() as u64 * u64::from(self.quality.jitter_percent) / 100;
        let mut time = latency + self.transmission(from.region, to.region, bytes);
        time += Duration::from_micros(draws.below(jitter + 1));
        if draws.happens(self.quality.loss.saturating_add(extra.loss)) {
            time += RETRANSMISSION_MIN.max(2 * latency);
        }
        time
    }

    /// Draws what a man in the middle does to a stream's packet, if anything, and where in it: a number for its bit.
    pub fn tampering(&self, seed: u64, from: Site, packet: u64, extra: &Extra) -> Option<(Tamper, u64)> {
        let mut draws = Stream::new(Mix::new(seed).word(u64::from(from.host)).finish(), packet, 0x7461_6d70);
        let drawn = Tamper::ALL.into_iter().find(|how| draws.happens(extra.tamper[*how as usize]));
        drawn.map(|how| (how, draws.u64()))
    }

    fn half_rtt(&self, a: Region, b: Region) -> u64 {
        let row = self.regions.rtt_micros.get(usize::from(a.0));
        row.and_then(|row| row.get(usize::from(b.0))).copied().unwrap_or(2) / 2
    }
}

/// Time in which queues change from one length to the next. Longer than any jitter, so packets arrive in their order.
const QUEUE_MICROS: u64 = 1_000_000;

/// The queueing delay between two hosts: linear from one length to the next.
fn queueing(seed: u64, now: Instant, from: Site, to: Site, max: u64) -> Duration {
    let (step, micros) = (now.as_micros() / QUEUE_MICROS, now.as_micros() % QUEUE_MICROS);
    let pair = Mix::new(seed).words(u64::from(from.host), u64::from(to.host)).finish();
    let length = |step| Stream::new(pair, step, 0).below(max.min(QUEUE_MICROS - 1) + 1);
    Duration::from_micros((length(step) * (QUEUE_MICROS - micros) + length(step + 1) * micros) / QUEUE_MICROS)
}

/// The shortest retransmission timeout of a stream, as in common kernels.
const RETRANSMISSION_MIN: Duration = Duration::from_millis(200);

/// The effects of faults on a link at one time. Probabilities in millionths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extra {
    /// No packet passes.
    pub is_cut: bool,
    /// Lost datagrams.
    pub loss: u32,
    /// Doubled datagrams.
    pub duplication: u32,
    /// Delayed datagrams.
    pub reordering: u32,
    /// Additional latency.
    pub delay: Duration,
    /// Changed segments of streams, by [`Tamper`].
    pub tamper: [u32; Tamper::ALL.len()],
}

fn draws(seed: u64, sender: u32, packet: u64) -> Stream {
    Stream::new(Mix::new(seed).word(u64::from(sender)).finish(), packet, 0x6472_6177)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Site = Site { host: 1, region: Region::NA };
    const B: Site = Site { host: 2, region: Region::EU };

    #[test]
    fn latency_is_constant_for_a_pair_and_symmetric() {
        let links = Links::default();
        let there = links.latency(7, A, B);
        assert_eq!(there, links.latency(7, B, A));
        let mut seen = std::collections::BTreeSet::new();
        for host in 2..100 {
            let latency = links.latency(7, A, Site { host, region: Region::EU });
            assert!(latency >= links.floor(Region::NA, Region::EU), "{latency:?}");
            assert!((46_500..=77_500).contains(&latency.as_micros()), "{latency:?}");
            seen.insert(latency);
        }
        assert!(seen.len() > 30);
    }

    /// A request that overtakes the pong before it finds no endpoint proof.
    #[test]
    fn only_reordered_packets_overtake() {
        let links = Links { quality: Quality { jitter_percent: 100, ..Quality::default() }, ..Links::default() };
        let mut last = Instant::ZERO;
        let mut waits = std::collections::BTreeSet::new();
        for packet in 0..100_000 {
            let now = Instant::from_micros(packet * 61);
            let fate = links.datagram(7, now, (A, B), packet, 100, Extra::default());
            let arrives = now + fate.copies[0].unwrap();
            assert!(arrives >= last, "{now}");
            last = arrives;
            waits.insert(arrives.since(now).as_micros() / 10_000);
        }
        assert!(waits.len() >= 4, "{waits:?}");
    }

    #[test]
    fn segments_are_tampered_with_at_the_given_rates() {
        let links = Links::default();
        let none = Extra::default();
        assert!((0..1000).all(|packet| links.tampering(7, A, packet, &none).is_none()));
        let extra = Extra { tamper: [100_000, 50_000, 20_000, 0], ..none };
        let drawn: Vec<Tamper> =
            (0..10_000).filter_map(|packet| links.tampering(7, A, packet, &extra)).map(|(how, _)| how).collect();
        let counts = Tamper::ALL.map(|how| drawn.iter().filter(|drawn| **drawn == how).count());
        assert!(counts[0].abs_diff(1000) < 120 && counts[1].abs_diff(450) < 80, "{counts:?}");
        assert!(counts[2].abs_diff(171) < 50 && counts[3] == 0, "{counts:?}");
    }

    #[test]
    fn packets_are_lost_doubled_and_delayed_at_the_given_rates() {
        let quality = Quality { loss: 100_000, duplication: 50_000, reordering: 200_000, ..Quality::default() };
        let links = Links { quality, ..Links::default() };
        let fates: Vec<Fate> =
            (0..10_000).map(|packet| links.datagram(7, Instant::ZERO, (A, B), packet, 100, Extra::default())).collect();
        let lost = fates.iter().filter(|fate| fate.copies[0].is_none()).count();
        let doubled = fates.iter().filter(|fate| fate.copies[1].is_some()).count();
        let usual = links.latency(7, A, B) * 11 / 10 + links.transmission(A.region, B.region, 100);
        let late = fates.iter().filter(|fate| fate.copies[0].is_some_and(|time| time > usual)).count();
        assert!(lost.abs_diff(1000) < 120 && doubled.abs_diff(450) < 80, "{lost} {doubled}");
        assert!(late.abs_diff(1750) < 180, "{late}");
        let floor = links.floor(A.region, B.region);
        assert!(fates.iter().flat_map(|fate| fate.copies).flatten().all(|time| time >= floor));
    }
}
