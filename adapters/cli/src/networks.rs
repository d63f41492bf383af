//! The choice of a network: a public one by name, a private one by its genesis file, or the development network.
//!
//! Bootnodes of public networks are data here (go-ethereum's `params/bootnodes.go` of August 2026) and used only when the
//! user names such a network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use clap::Args;
use peerless::crypto::{Digest, keccak256};
use peerless::wire::enode::Contact;
use peerless::wire::forkid::{Fork, ForkId, ForkSchedule, Head, Network, PUBLIC_NETWORKS};
use serde::Serialize;

use crate::genesis::Genesis;
use crate::target::{Target, resolve_all};

/// Network and chain id of the development network: geth's for `--dev`.
const DEVELOPMENT_NETWORK: u64 = 1337;

/// The choice of a network.
#[derive(Args, Clone, Debug)]
pub(crate) struct Selection {
    /// A public network, with its bootnodes: mainnet, sepolia, holesky or hoodi
    #[arg(long, env = "PEERLESS_NETWORK", value_name = "NAME", conflicts_with = "genesis")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(PUBLIC_NETWORKS))]
    network: Option<String>,
    /// A private network by its geth-style genesis file
    #[arg(long, env = "PEERLESS_GENESIS", value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Network id, if it is not the chain id
    #[arg(long, env = "PEERLESS_NETWORKID", value_name = "ID")]
    networkid: Option<u64>,
    /// The head to announce [default: a public network's forks of today, otherwise the genesis block]
    #[arg(long, env = "PEERLESS_HEAD", value_name = "NUMBER:TIME:HASH")]
    head: Option<HeadArgument>,
}

/// A network with the head to announce and its bootnodes.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Ids and forks.
    pub(crate) network: Network,
    /// The head to announce.
    pub(crate) head: Head,
    /// Its public bootnodes, if the user chose a public network.
    pub(crate) bootnodes: Vec<Contact>,
}

impl Selection {
    /// The files that are read.
    pub(crate) fn files(&self) -> Vec<&Path> {
        self.genesis.as_deref().into_iter().collect()
    }

    /// Returns the chosen network: without arguments, the development network.
    pub(crate) fn choose(&self) -> Result<Choice> {
        let mut choice = match (&self.network, &self.genesis) {
            (Some(name), _) => Choice::public(name)?,
            (None, Some(file)) => {
                let genesis = Genesis::load(file)?;
                tracing::debug!(
                    hash = const_hex::encode(genesis.head.hash),
                    state_root = const_hex::encode(genesis.state_root),
                    "genesis"
                );
                Choice { network: genesis.network, head: genesis.head, bootnodes: Vec::new() }
            }
            (None, None) => Choice::development(),
        };
        if let Some(id) = self.networkid {
            choice.network.network_id = id;
        }
        if let Some(HeadArgument(head)) = self.head {
            choice.head = head;
        }
        Ok(choice)
    }
}

impl Choice {
    /// Returns the network of a node without arguments: private, without forks and without bootnodes.
    pub(crate) fn development() -> Self {
        Self::private("development network", DEVELOPMENT_NETWORK)
    }

    /// Returns a private network whose genesis hash is derived from its name.
    pub(crate) fn private(name: &str, network_id: u64) -> Self {
        let genesis = keccak256(format!("peerless {name}").as_bytes());
        let schedule = ForkSchedule::new(genesis, 0, &[], &[]);
        let network = Network { name: name.to_owned(), network_id, schedule };
        Self { network, head: Head { number: 0, time: 0, hash: genesis }, bootnodes: Vec::new() }
    }

    /// Returns a public network. A node without a chain must present the current forks, or its peers reject it as outdated.
    /// Its head is therefore the earliest one after all of them: the genesis hash, the number of the last fork by number,
    /// and the current time.
    fn public(name: &str) -> Result<Self> {
        let network = Self::public_network(name).ok_or_else(|| anyhow!("{name:?} is not a public network"))?;
        let head = Self::current_head(&network);
        let bootnodes: Vec<Target> = bootnodes(name).iter().map(|url| url.parse()).collect::<Result<_>>()?;
        Ok(Self { network, head, bootnodes: resolve_all(&bootnodes)? })
    }

    /// Returns a public network by its name.
    pub(crate) fn public_network(name: &str) -> Option<Network> {
        Network::public(name)
    }

    /// Returns the earliest head after all forks by number, at the current time, with the genesis hash.
    pub(crate) fn current_head(network: &Network) -> Head {
        let last = network.schedule.forks().filter_map(|fork| match fork {
            Fork::Block(number) => Some(number),
            Fork::Time(_) => None,
        });
        Head { number: last.max().unwrap_or(0), time: unix_now(), hash: *network.schedule.genesis() }
    }
}

/// Returns the current UNIX time in seconds, or 0 if the clock is set before 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// `NUMBER:TIME:HASH`.
#[derive(Clone, Copy, Debug)]
struct HeadArgument(Head);

impl FromStr for HeadArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [number, time, hash] = parts[..] else { return Err("expected NUMBER:TIME:HASH".to_owned()) };
        Ok(Self(Head {
            number: number.parse().map_err(|_| format!("{number:?} is not a block number"))?,
            time: time.parse().map_err(|_| format!("{time:?} is not a time in UNIX seconds"))?,
            hash: const_hex::decode_to_array(hash).map_err(|_| format!("{hash:?} is not a block hash"))?,
        }))
    }
}

/// A fork id, and what it means on the public networks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct ForkReport {
    hash: String,
    next: u64,
    /// The public network that has this fork id in its schedule.
    network: Option<String>,
    /// The last fork that the node has passed; none at the genesis block.
    fork: Option<String>,
}

impl ForkReport {
    /// The public network that has the fork id in its schedule.
    pub(crate) fn into_network(self) -> Option<String> {
        self.network
    }

    /// Looks a fork id up in the public networks.
    pub(crate) fn new(id: ForkId) -> Self {
        let mut report = Self { hash: const_hex::encode(id.hash), next: id.next, network: None, fork: None };
        for network in PUBLIC_NETWORKS.iter().filter_map(|name| Network::public(name)) {
            let Some((passed, _)) = network.schedule.find(id.hash) else { continue };
            let last = passed.checked_sub(1).and_then(|index| network.schedule.forks().nth(index));
            report.fork = last.and_then(|fork| network.fork_name(fork)).map(str::to_owned);
            report.network = Some(network.name);
            break;
        }
        report
    }
}

impl fmt::Display for ForkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hash)?;
        match (&self.network, &self.fork) {
            (Some(network), Some(fork)) => write!(f, " ({network}, {fork})")?,
            (Some(network), None) => write!(f, " ({network}, before its first fork)")?,
            (None, _) => write!(f, " (no public network's)")?,
        }
        if self.next != 0 { write!(f, ", next fork at {}", self.next) } else { write!(f, ", no next fork") }
    }
}

/// Returns the name of the public network with this genesis block.
pub(crate) fn name_of(genesis: &Digest) -> Option<String> {
    Network::public_by_genesis(genesis).map(|network| network.name)
}

fn bootnodes(network: &str) -> &'static [&'static str] {
    match network {
        "mainnet" => &[
            "enode://d860a01f9722d78051619d1e2351aba3f43f943f6f00718d1b9baa4101932a1f5011f16bb2b1bb35db20d6fe28fa0bf09636d26a87d31de9ec6203eeedb1f666\
             @18.138.108.67:30303",
            "enode://22a8232c3abc76a16ae9d6c3b164f98775fe226f0917b0ca871128a74a8e9630b458460865bab457221f1d448dd9791d24c4e5d88786180ac185df813a68d4de\
             @3.209.45.79:30303",
            "enode://2b252ab6a1d0f971d9722cb839a42cb81db019ba44c08754628ab4a823487071b5695317c8ccd085219c3a03af063495b2f1da8d18218da2d6a82981b45e6ffc\
             @65.108.70.101:30303",
            "enode://4aeb4ab6c14b23e2c4cfdce879c04b0748a20d8e9b59e25ded2a08143e265c6c25936e74cbc8e641e3312ca288673d91f2f93f8e277de3cfa444ecdaaf982052\
             @157.90.35.166:30303",
        ],
        "hoodi" => &[
            "enode://2112dd3839dd752813d4df7f40936f06829fc54c0e051a93967c26e5f5d27d99d886b57b4ffcc3c475e930ec9e79c56ef1dbb7d86ca5ee83a9d2ccf36e5c240c\
             @134.209.138.84:30303",
            "enode://60203fcb3524e07c5df60a14ae1c9c5b24023ea5d47463dfae051d2c9f3219f309657537576090ca0ae641f73d419f53d8e8000d7a464319d4784acd7d2abc41\
             @209.38.124.160:30303",
            "enode://8ae4a48101b2299597341263da0deb47cc38aa4d3ef4b7430b897d49bfa10eb1ccfe1655679b1ed46928ef177fbf21b86837bd724400196c508427a6f41602cd\
             @134.199.184.23:30303",
        ],
        "holesky" => &[
            "enode://ac906289e4b7f12df423d654c5a962b6ebe5b3a74cc9e06292a85221f9a64a6f1cfdd6b714ed6dacef51578f92b34c60ee91e9ede9c7f8fadc4d347326d95e2b\
             @146.190.13.128:30303",
            "enode://a3435a0155a3e837c02f5e7f5662a2f1fbc25b48e4dc232016e1c51b544cb5b4510ef633ea3278c0e970fa8ad8141e2d4d0f9f95456c537ff05fdf9b31c15072\
             @178.128.136.233:30303",
        ],
        "sepolia" => &[
            "enode://4e5e92199ee224a01932a377160aa432f31d0b351f84ab413a8e0a42f4f36476f8fb1cbe914af0d9aef0d51665c214cf653c651c4bbd9d5550a934f241f1682b\
             @138.197.51.181:30303",
            "enode://143e11fb766781d22d92a2e33f8f104cddae4411a122295ed1fdb6638de96a6ce65f5b7c964ba3763bba27961738fef7d3ecc739268f3e5e771fb4c87b6234ba\
             @146.190.1.103:30303",
            "enode://8b61dc2d06c3f96fddcbebb0efb29d60d3598650275dc469c22229d3e5620369b0d3dedafd929835fe7f489618f19f456fe7c0df572bf2d914a9f4e006f783a9\
             @170.64.250.88:30303",
            "enode://10d62eff032205fcef19497f35ca8477bea0eadfff6d769a147e895d8b2b8f8ae6341630c645c30f5df6e67547c03494ced3d9c5764e8622a26587b083b028e8\
             @139.59.49.206:30303",
            "enode://9e9492e2e8836114cc75f5b929784f4f46c324ad01daf87d956f98b3b6c5fcba95524d6e5cf9861dc96a2c8a171ea7105bb554a197455058de185fa870970c7c\
             @138.68.123.152:30303",
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_networks_present_the_forks_of_today() {
        for name in PUBLIC_NETWORKS {
            let choice = Choice::public(name).unwrap();
            assert!(choice.bootnodes.len() >= 2, "{name}");
            let id = choice.network.schedule.fork_id(&choice.head);
            let report = ForkReport::new(id);
            assert_eq!(report.network.as_deref(), Some(name));
            assert!(report.fork.is_some(), "{name}: {report}");
            assert_eq!(choice.network.schedule.validate(&choice.head, id), Ok(()));
        }
    }

    #[test]
    fn fork_ids_in_words() {
        let genesis = ForkId { hash: [0xfc, 0x64, 0xec, 0x04], next: 1_150_000 };
        assert_eq!(
            ForkReport::new(genesis).to_string(),
            "fc64ec04 (mainnet, before its first fork), next fork at 1150000"
        );
        let unknown = ForkId { hash: [0; 4], next: 0 };
        assert_eq!(ForkReport::new(unknown).to_string(), "00000000 (no public network's), no next fork");
    }

    #[test]
    fn heads() {
        let head: HeadArgument = format!("7:8:0x{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!((head.0.number, head.0.time, head.0.hash), (7, 8, [0xab; 32]));
        for bad in ["", "1:2", "1:2:3", "-1:2:00", "1:2:3:4"] {
            assert!(bad.parse::<HeadArgument>().is_err(), "{bad}");
        }
    }

    #[test]
    fn private_networks_differ() {
        let (a, b) = (Choice::development(), Choice::private("other", 1337));
        assert_ne!(a.network.schedule.genesis(), b.network.schedule.genesis());
        assert!(a.bootnodes.is_empty());
    }
}
