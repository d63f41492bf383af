//! The public networks as data: ids, genesis blocks and fork schedules.
//!
//! Sources: go-ethereum's `params/config.go` of August 2026, and for Sepolia's Amsterdam ethereum/pm#2205. A later fork
//! is one more line here; an embedder with another schedule builds its own [`Network`].

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Fork, ForkSchedule};
use crate::crypto::Digest;

/// Names for which [`Network::public`] has a schedule.
pub const PUBLIC_NETWORKS: [&str; 4] = ["mainnet", "sepolia", "holesky", "hoodi"];

/// A network's identity: its id, genesis block and forks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// The name for display.
    pub name: String,
    /// The id in the eth Status.
    pub network_id: u64,
    /// Genesis and forks.
    pub schedule: ForkSchedule,
}

impl Network {
    /// Returns a public network by name: `mainnet`, `sepolia`, `holesky` or `hoodi`.
    pub fn public(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(Row::network)
    }

    /// Returns the public network with this genesis block.
    pub fn public_by_genesis(genesis: &Digest) -> Option<Self> {
        TABLE.iter().find(|row| row.genesis == *genesis).map(Row::network)
    }

    /// Returns the name of a fork of a public network, such as `Prague`; `None` for other forks and networks.
    pub fn fork_name(&self, fork: Fork) -> Option<&'static str> {
        let row = TABLE.iter().find(|row| row.genesis == *self.schedule.genesis())?;
        let named = match fork {
            Fork::Block(_) => row.blocks,
            Fork::Time(_) => row.times,
        };
        named.iter().find(|(_, at)| *at == fork.at()).map(|(name, _)| *name)
    }
}

/// One public network. Forks in the genesis block are left out; several forks at one point have the best known name.
struct Row {
    name: &'static str,
    network_id: u64,
    genesis: Digest,
    blocks: &'static [(&'static str, u64)],
    times: &'static [(&'static str, u64)],
}

impl Row {
    fn network(&self) -> Network {
        let at = |forks: &[(&str, u64)]| forks.iter().map(|(_, at)| *at).collect::<Vec<_>>();
        Network {
            name: self.name.to_string(),
            network_id: self.network_id,
            schedule: ForkSchedule::new(self.genesis, 0, &at(self.blocks), &at(self.times)),
        }
    }
}

const fn digest(hex: &str) -> Digest {
    match const_hex::const_decode_to_array(hex.as_bytes()) {
        Ok(digest) => digest,
        Err(_) => panic!("64 hexadecimal digits"),
    }
}

static TABLE: [Row; 4] = [
    Row {
        name: "mainnet",
        network_id: 1,
        genesis: digest("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
        blocks: &[
            ("Homestead", 1_150_000),
            ("DAO fork", 1_920_000),
            ("Tangerine Whistle", 2_463_000),
            ("Spurious Dragon", 2_675_000),
            ("Byzantium", 4_370_000),
            ("Petersburg", 7_280_000),
            ("Istanbul", 9_069_000),
            ("Muir Glacier", 9_200_000),
            ("Berlin", 12_244_000),
            ("London", 12_965_000),
            ("Arrow Glacier", 13_773_000),
            ("Gray Glacier", 15_050_000),
        ],
        times: &[
            ("Shanghai", 1_681_338_455),
            ("Cancun", 1_710_338_135),
            ("Prague", 1_746_612_311),
            ("Osaka", 1_764_798_551),
            ("BPO1", 1_765_290_071),
            ("BPO2", 1_767_747_671),
        ],
    },
    Row {
        name: "sepolia",
        network_id: 11_155_111,
        genesis: digest("25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9"),
        blocks: &[("merge netsplit", 1_735_371)],
        times: &[
            ("Shanghai", 1_677_557_088),
            ("Cancun", 1_706_655_072),
            ("Prague", 1_741_159_776),
            ("Osaka", 1_760_427_360),
            ("BPO1", 1_761_017_184),
            ("BPO2", 1_761_607_008),
            ("Amsterdam", 1_791_294_816),
        ],
    },
    Row {
        name: "holesky",
        network_id: 17_000,
        genesis: digest("b5f7f912443c940f21fd611f12828d75b534364ed9e95ca4e307729a4661bde4"),
        blocks: &[],
        times: &[
            ("Shanghai", 1_696_000_704),
            ("Cancun", 1_707_305_664),
            ("Prague", 1_740_434_112),
            ("Osaka", 1_759_308_480),
            ("BPO1", 1_759_800_000),
            ("BPO2", 1_760_389_824),
        ],
    },
    Row {
        name: "hoodi",
        network_id: 560_048,
        genesis: digest("bbe312868b376a3001692a646dd2d7d1e4406380dfd86b98aa8a34d1557c971b"),
        blocks: &[],
        times: &[("Prague", 1_742_999_832), ("Osaka", 1_761_677_592), ("BPO1", 1_762_365_720), ("BPO2", 1_762_955_544)],
    },
];
