//! Targets of discv4's FindNode whose hash lies at a wanted distance from a node.
//!
//! A discv4 node answers with its nearest nodes to the hash of a target, so a bucket of it is read by a target that hashes into
//! that bucket. Hashes cannot be chosen: targets are drawn and remembered by the first bits of their hash, for all nodes of
//! a crawl.

use peerless::crypto::keccak256;
use peerless::rng::Rng;

/// The longest prefix that targets are kept for: distances down to 241.
const BITS: u32 = 16;

/// Targets by the prefixes of their hashes.
#[derive(Debug)]
pub(crate) struct Targets {
    /// What all targets of the run share.
    salt: [u8; 60],
    /// A binary tree: the target of the prefix `p` of `k` bits is at `2^k + p`; 0 stands for none.
    tree: Vec<u32>,
    drawn: u32,
}

impl Targets {
    /// The smallest distance that [`Targets::at`] has targets for.
    pub(crate) const DISTANCE_MIN: u16 = 257 - BITS as u16;

    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { salt: rng.bytes(), tree: vec![0; 2 << BITS], drawn: 0 }
    }

    /// A target whose hash lies at `distance` from the id, from [`Targets::DISTANCE_MIN`] to 256. Costs a few hashes for far
    /// distances and up to a million for the nearest ones, once.
    pub(crate) fn at(&mut self, id: &[u8; 32], distance: u16) -> [u8; 64] {
        let bits = u32::from(257 - distance.clamp(Self::DISTANCE_MIN, 256));
        // The prefix agrees with the id but for its last bit.
        let prefix = (u32::from(u16::from_be_bytes([id[0], id[1]])) >> (BITS - bits)) ^ 1;
        let place = (1 << bits) + prefix as usize;
        while self.tree[place] == 0 {
            self.draw();
        }
        self.target(self.tree[place])
    }

    fn draw(&mut self) {
        self.drawn += 1;
        let hash = keccak256(&self.target(self.drawn));
        let mut place = (1 << BITS) + usize::from(u16::from_be_bytes([hash[0], hash[1]]));
        while place > 0 && self.tree[place] == 0 {
            self.tree[place] = self.drawn;
            place >>= 1;
        }
    }

    fn target(&self, number: u32) -> [u8; 64] {
        let mut target = [0; 64];
        target[..60].copy_from_slice(&self.salt);
        target[60..].copy_from_slice(&number.to_be_bytes());
        target
    }
}

#[cfg(test)]
mod tests {
    use peerless::crypto::NodeId;
    use peerless::rng::Seed;

    use super::*;

    #[test]
    fn a_target_hashes_into_the_wanted_bucket() {
        let mut rng = Seed::new([1; 32]).fork("targets");
        let mut targets = Targets::new(&mut rng);
        for _ in 0..5 {
            let id = NodeId(rng.bytes());
            for distance in Targets::DISTANCE_MIN..=256 {
                let target = targets.at(&id.0, distance);
                assert_eq!(NodeId(keccak256(&target)).log_distance(&id), distance);
            }
        }
    }
}
