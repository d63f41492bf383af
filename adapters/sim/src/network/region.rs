//! Regions of hosts: six regions with SimBlock's figures of 2019 by default, or any others.

use peerless::time::Duration;

use crate::mix::{Mix, scale};

/// A region's number in [`Regions`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Region(pub u8);

impl Region {
    /// North America.
    pub const NA: Self = Self(0);
    /// Europe.
    pub const EU: Self = Self(1);
    /// South America.
    pub const SA: Self = Self(2);
    /// Asia and the Pacific.
    pub const AP: Self = Self(3);
    /// Japan.
    pub const JP: Self = Self(4);
    /// Australia.
    pub const AU: Self = Self(5);
}

/// Round-trip times, bandwidths and shares of hosts by region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Regions {
    /// Median round-trip time in microseconds; one row per region, symmetric.
    pub rtt_micros: Vec<Vec<u64>>,
    /// Bits per microsecond (Mbit/s) towards a host.
    pub down_mbits: Vec<u64>,
    /// Bits per microsecond (Mbit/s) from a host.
    pub up_mbits: Vec<u64>,
    /// Relative numbers of hosts.
    pub shares: Vec<u64>,
}

impl Default for Regions {
    fn default() -> Self {
        let rtt = [
            [32, 124, 184, 198, 151, 189],
            [124, 11, 227, 237, 252, 294],
            [184, 227, 88, 325, 301, 322],
            [198, 237, 325, 85, 58, 198],
            [151, 252, 301, 58, 12, 126],
            [189, 294, 322, 198, 126, 16],
        ];
        Self {
            rtt_micros: rtt.iter().map(|row| row.iter().map(|millis| millis * 1000).collect()).collect(),
            down_mbits: vec![52, 40, 18, 23, 23, 30],
            up_mbits: vec![19, 21, 6, 16, 10, 11],
            shares: vec![33, 50, 1, 12, 2, 2],
        }
    }
}

impl Regions {
    /// Makes one region: hosts `rtt` apart, with a gigabit each.
    pub fn single(rtt: Duration) -> Self {
        Self {
            rtt_micros: vec![vec![rtt.as_micros() as u64]],
            down_mbits: vec![1000],
            up_mbits: vec![1000],
            shares: vec![1],
        }
    }

    /// Number of regions.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether there are no regions.
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Draws the region of a host without a given one.
    pub fn draw(&self, seed: u64, host: u32) -> Region {
        let total: u64 = self.shares.iter().sum();
        let mut drawn = scale(Mix::new(seed).words(u64::from(host), 0x7265_6769_6f6e).finish(), total);
        for (region, share) in (0..).zip(&self.shares) {
            if drawn < *share {
                return Region(region);
            }
            drawn -= share;
        }
        Region(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_and_times_symmetric() {
        let regions = Regions::default();
        let mut counts = [0u64; 6];
        for host in 0..100_000 {
            counts[usize::from(regions.draw(7, host).0)] += 1;
        }
        for (count, share) in counts.iter().zip(&regions.shares) {
            assert!(count.abs_diff(share * 1000) < 600, "{counts:?}");
        }
        for a in 0..6 {
            for b in 0..6 {
                assert_eq!(regions.rtt_micros[a][b], regions.rtt_micros[b][a]);
            }
        }
    }
}
