//! A geth-style genesis file: its block's hash and its fork schedule.
//!
//! Follows geth's `core/genesis.go` for the header's fields of every fork up to Amsterdam, and EIP-2124's and EIP-6122's
//! choice of forks. Executes nothing and stores nothing: the core takes the hash.

use std::collections::BTreeMap;
use std::path::Path;

use ::rlp::RlpStream;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use anyhow::{Context as _, Result, anyhow, bail};
use peerless::crypto::Digest;
use peerless::wire::forkid::{ForkSchedule, Head, Network};
use serde::{Deserialize, Deserializer};

/// Keccak-256 of an empty RLP list: no uncles, and no block access list.
const EMPTY_LIST_HASH: Digest = [
    0x1d, 0xcc, 0x4d, 0xe8, 0xde, 0xc7, 0x5d, 0x7a, 0xab, 0x85, 0xb5, 0x67, 0xb6, 0xcc, 0xd4, 0x1a, 0xd3, 0x12, 0x45,
    0x1b, 0x94, 0x8a, 0x74, 0x13, 0xf0, 0xa1, 0x42, 0xfd, 0x40, 0xd4, 0x93, 0x47,
];
/// SHA-256 of nothing: no execution requests (EIP-7685).
const EMPTY_REQUESTS_HASH: Digest = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];
/// Base fee of a genesis block that names none (EIP-1559).
const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// The network and block of a genesis file.
#[derive(Clone, Debug)]
pub(crate) struct Genesis {
    /// Name, network id (the chain id), genesis hash and forks.
    pub(crate) network: Network,
    /// The genesis block as a head.
    pub(crate) head: Head,
    /// Root of its state.
    pub(crate) state_root: Digest,
}

impl Genesis {
    /// Reads a genesis file and computes its block.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a genesis file", path.display()))
    }

    /// Computes the genesis block from a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let file: File = serde_json::from_str(text)?;
        if file.number.0 != 0 {
            bail!("the block number is {}, not 0", file.number.0);
        }
        let state_root = file.state_root()?;
        let hash = file.header(state_root)?;
        let time = file.timestamp.0;
        let schedule = ForkSchedule::new(hash, time, &file.config.blocks(), &file.config.times());
        let network_id = file.config.chain_id;
        let network = Network { name: format!("chain {network_id}"), network_id, schedule };
        Ok(Self { network, head: Head { number: 0, time, hash }, state_root })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    config: ChainConfig,
    #[serde(default)]
    nonce: Number,
    #[serde(default)]
    timestamp: Number,
    #[serde(default, deserialize_with = "bytes")]
    extra_data: Vec<u8>,
    gas_limit: Number,
    difficulty: Wide,
    #[serde(default, rename = "mixHash", alias = "mixhash", deserialize_with = "word")]
    mix_hash: Digest,
    #[serde(default, deserialize_with = "bytes")]
    coinbase: Vec<u8>,
    alloc: BTreeMap<String, Account>,
    #[serde(default)]
    number: Number,
    #[serde(default)]
    gas_used: Number,
    #[serde(default, deserialize_with = "word")]
    parent_hash: Digest,
    base_fee_per_gas: Option<Wide>,
    excess_blob_gas: Option<Number>,
    blob_gas_used: Option<Number>,
    slot_number: Option<Number>,
}

/// The forks that geth knows. Its other settings have no effect on the protocol.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChainConfig {
    chain_id: u64,
    homestead_block: Option<u64>,
    dao_fork_block: Option<u64>,
    eip150_block: Option<u64>,
    eip155_block: Option<u64>,
    eip158_block: Option<u64>,
    byzantium_block: Option<u64>,
    constantinople_block: Option<u64>,
    petersburg_block: Option<u64>,
    istanbul_block: Option<u64>,
    muir_glacier_block: Option<u64>,
    berlin_block: Option<u64>,
    london_block: Option<u64>,
    arrow_glacier_block: Option<u64>,
    gray_glacier_block: Option<u64>,
    merge_netsplit_block: Option<u64>,
    shanghai_time: Option<u64>,
    cancun_time: Option<u64>,
    prague_time: Option<u64>,
    osaka_time: Option<u64>,
    bpo1_time: Option<u64>,
    bpo2_time: Option<u64>,
    bpo3_time: Option<u64>,
    bpo4_time: Option<u64>,
    bpo5_time: Option<u64>,
    amsterdam_time: Option<u64>,
}

impl ChainConfig {
    fn blocks(&self) -> Vec<u64> {
        let forks = [
            self.homestead_block,
            self.dao_fork_block,
            self.eip150_block,
            self.eip155_block,
            self.eip158_block,
            self.byzantium_block,
            self.constantinople_block,
            self.petersburg_block,
            self.istanbul_block,
            self.muir_glacier_block,
            self.berlin_block,
            self.london_block,
            self.arrow_glacier_block,
            self.gray_glacier_block,
            self.merge_netsplit_block,
        ];
        forks.into_iter().flatten().collect()
    }

    fn times(&self) -> Vec<u64> {
        let forks = [
            self.shanghai_time,
            self.cancun_time,
            self.prague_time,
            self.osaka_time,
            self.bpo1_time,
            self.bpo2_time,
            self.bpo3_time,
            self.bpo4_time,
            self.bpo5_time,
            self.amsterdam_time,
        ];
        forks.into_iter().flatten().collect()
    }
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    balance: Wide,
    #[serde(default)]
    nonce: Number,
    #[serde(default, deserialize_with = "bytes")]
    code: Vec<u8>,
    #[serde(default)]
    storage: BTreeMap<String, String>,
}

impl File {
    fn state_root(&self) -> Result<Digest> {
        let mut accounts = Vec::with_capacity(self.alloc.len());
        for (address, account) in &self.alloc {
            let address: [u8; 20] =
                const_hex::decode_to_array(address).map_err(|_| anyhow!("{address:?} is not an address"))?;
            let mut storage = Vec::with_capacity(account.storage.len());
            for (slot, value) in &account.storage {
                let value = U256::from_be_bytes(parse_word(value)?);
                // The trie has no slots that hold zero.
                if !value.is_zero() {
                    storage.push((B256::from(parse_word(slot)?), value));
                }
            }
            let root = if storage.is_empty() { EMPTY_ROOT_HASH } else { storage_root_unhashed(storage) };
            let state = TrieAccount::new(account.nonce.0, account.balance.0, root, keccak256(&account.code));
            accounts.push((Address::from(address), state));
        }
        Ok(if accounts.is_empty() { EMPTY_ROOT_HASH } else { state_root_unhashed(accounts) }.0)
    }

    /// The hash of the block's header.
    fn header(&self, state_root: Digest) -> Result<Digest> {
        let config = &self.config;
        let coinbase: [u8; 20] = match self.coinbase.as_slice() {
            [] => [0; 20],
            bytes => bytes.try_into().map_err(|_| anyhow!("the coinbase is not an address"))?,
        };
        let is_active =
            |time: Option<u64>| config.london_block == Some(0) && time.is_some_and(|at| at <= self.timestamp.0);

        let mut rlp = RlpStream::new();
        rlp.begin_unbounded_list();
        rlp.append(&self.parent_hash.as_slice());
        rlp.append(&EMPTY_LIST_HASH.as_slice());
        rlp.append(&coinbase.as_slice());
        rlp.append(&state_root.as_slice());
        rlp.append(&EMPTY_ROOT_HASH.as_slice());
        rlp.append(&EMPTY_ROOT_HASH.as_slice());
        rlp.append(&[0u8; 256].as_slice());
        append_wide(&mut rlp, self.difficulty.0);
        rlp.append(&self.number.0);
        rlp.append(&self.gas_limit.0);
        rlp.append(&self.gas_used.0);
        rlp.append(&self.timestamp.0);
        rlp.append(&self.extra_data.as_slice());
        rlp.append(&self.mix_hash.as_slice());
        rlp.append(&self.nonce.0.to_be_bytes().as_slice());
        if config.london_block == Some(0) {
            append_wide(&mut rlp, self.base_fee_per_gas.as_ref().map_or(U256::from(INITIAL_BASE_FEE), |fee| fee.0));
        }
        if is_active(config.shanghai_time) {
            rlp.append(&EMPTY_ROOT_HASH.as_slice());
        }
        if is_active(config.cancun_time) {
            rlp.append(&self.blob_gas_used.as_ref().map_or(0, |gas| gas.0));
            rlp.append(&self.excess_blob_gas.as_ref().map_or(0, |gas| gas.0));
            rlp.append(&[0u8; 32].as_slice());
        }
        if is_active(config.prague_time) {
            rlp.append(&EMPTY_REQUESTS_HASH.as_slice());
        }
        if is_active(config.amsterdam_time) {
            rlp.append(&EMPTY_LIST_HASH.as_slice());
            rlp.append(&self.slot_number.as_ref().map_or(0, |slot| slot.0));
        }
        rlp.finalize_unbounded_list();
        Ok(keccak256(rlp.out()).0)
    }
}

fn append_wide(rlp: &mut RlpStream, value: U256) {
    rlp.append(&value.to_be_bytes_trimmed_vec().as_slice());
}

/// A number in the forms that geth reads: a JSON number, or a text in decimal or hexadecimal.
#[derive(Default, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Number(u64);

/// As [`Number`], up to 256 bits.
#[derive(Default, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Wide(U256);

impl TryFrom<serde_json::Value> for Wide {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        let text = match &value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) if number.is_u64() => number.to_string(),
            _ => return Err(format!("{value} is not a number")),
        };
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some("") => Ok(U256::ZERO),
            Some(hex) => U256::from_str_radix(hex, 16),
            None => U256::from_str_radix(&text, 10),
        };
        parsed.map(Self).map_err(|_| format!("{text:?} is not a number of at most 256 bits"))
    }
}

impl TryFrom<serde_json::Value> for Number {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        let wide = Wide::try_from(value)?.0;
        u64::try_from(wide).map(Self).map_err(|_| format!("{wide} is beyond 64 bits"))
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    const_hex::decode(&text).map_err(|_| serde::de::Error::custom(format!("{text:?} is not hexadecimal")))
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_word(&text).map_err(serde::de::Error::custom)
}

/// At most 32 bytes of hexadecimal, with leading zeros left out or not.
fn parse_word(text: &str) -> Result<Digest> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.len() > 64 {
        bail!("{text:?} is longer than 32 bytes");
    }
    const_hex::decode_to_array(format!("{digits:0>64}")).map_err(|_| anyhow!("{text:?} is not hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_PEERS: &str = include_str!("../../../tests/peers/genesis.json");

    #[test]
    fn agrees_with_ethrex_and_ethereumjs() {
        let genesis = Genesis::parse(TEST_PEERS).unwrap();
        let hex = |bytes: &[u8]| const_hex::encode(bytes);
        assert_eq!(hex(&genesis.state_root), "4c770794b33e695d20bd02919423ff1e13679267f372be62c39e7604664b6166");
        assert_eq!(hex(&genesis.head.hash), "0232996ca4c0155bc7dff7562825641f8ecdf31ff51f86e72bde646688aed2dd");
        assert_eq!(genesis.network.network_id, 1337);
        let fork_id = genesis.network.schedule.fork_id(&genesis.head);
        assert_eq!((hex(&fork_id.hash).as_str(), fork_id.next), ("3775c229", 4_102_444_800));
    }

    #[test]
    fn agrees_with_geths_test_chain() {
        let Some(folder) = peerless_tests::skip::recordings() else { return };
        let text = std::fs::read_to_string(folder.join("ethtest_chain.json")).unwrap();
        let chain: serde_json::Value = serde_json::from_str(&text).unwrap();
        let genesis = Genesis::parse(&chain["genesis"].to_string()).unwrap();
        assert_eq!(const_hex::encode(genesis.head.hash), chain["genesis_hash"].as_str().unwrap());
        assert_eq!(genesis.network.network_id, 3_503_995_874_084_926);
    }

    /// A chain with every fork at its start has all header fields.
    #[test]
    fn every_fork_adds_its_fields() {
        let with = |forks: &str| {
            let text = TEST_PEERS.replace("\"cancunTime\": 4102444800", forks);
            Genesis::parse(&text).unwrap().head.hash
        };
        let hashes = [
            with("\"cancunTime\": 1700000001"),
            with("\"cancunTime\": 1700000000"),
            with("\"cancunTime\": 0, \"pragueTime\": 0"),
            with("\"cancunTime\": 0, \"pragueTime\": 0, \"amsterdamTime\": 0"),
        ];
        assert_eq!(const_hex::encode(hashes[0]), "0232996ca4c0155bc7dff7562825641f8ecdf31ff51f86e72bde646688aed2dd");
        for (i, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(hash), "fork {i} changed nothing");
        }
    }

    #[test]
    fn what_is_missing_or_impossible_is_named() {
        for (from, to, error) in [
            ("\"gasLimit\"", "\"gasLimits\"", "gasLimit"),
            ("\"nonce\": \"0x1234\"", "\"nonce\": \"0x12345678901234567\"", "64 bits"),
            ("\"0x1000000000000000000000000000000000000001\"", "\"0x10\"", "address"),
            ("0x60005460005260206000f3", "0x6", "hexadecimal"),
            ("\"nonce\": \"0x1234\"", "\"number\": 3", "block number"),
        ] {
            let message = format!("{:#}", Genesis::parse(&TEST_PEERS.replace(from, to)).unwrap_err());
            assert!(message.contains(error), "{message}");
        }
    }
}
