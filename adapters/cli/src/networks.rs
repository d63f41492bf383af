//! The choice of a network: a public one by name, a private one by its genesis file, or the development network.
//!
//! Bootnodes of public networks are data, in the folder `bootnodes` with their sources, and used only when the user names
//! such a network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use clap::Args;
use peerless::crypto::{Digest, keccak256};
use peerless::wire::enode::Contact;
use peerless::wire::forkid::{Fork, ForkId, ForkSchedule, Head, Network, PUBLIC_NETWORKS};
use serde::{Deserialize, Serialize};

use crate::genesis::Genesis;
use crate::nodeset;
use crate::target::resolve_all;

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
        let bootnodes = nodeset::read(bootnodes(name).as_bytes())?.set.into_nodes().into_iter().map(|node| node.target);
        Ok(Self { network, head, bootnodes: resolve_all(&bootnodes.collect::<Vec<_>>())? })
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ForkReport {
    hash: String,
    next: u64,
    /// The public network that has this fork id in its schedule.
    network: Option<String>,
    /// The last fork that the node has passed; none at the genesis block.
    fork: Option<String>,
}

impl ForkReport {
    /// The fork id itself.
    pub(crate) fn id(&self) -> Option<ForkId> {
        Some(ForkId { hash: const_hex::decode_to_array(&self.hash).ok()?, next: self.next })
    }

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

/// The bootnodes of a public network, as text.
fn bootnodes(network: &str) -> &'static str {
    match network {
        "mainnet" => include_str!("bootnodes/mainnet.txt"),
        "sepolia" => include_str!("bootnodes/sepolia.txt"),
        "holesky" => include_str!("bootnodes/holesky.txt"),
        "hoodi" => include_str!("bootnodes/hoodi.txt"),
        _ => "",
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

    /// The records' signatures and keys are verified in reading; the URLs are those of another client's list.
    #[test]
    fn bootnodes_are_those_that_clients_ship() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../../vectors/bootnodes.json")).unwrap();
        for name in PUBLIC_NETWORKS {
            let reading = nodeset::read(bootnodes(name).as_bytes()).unwrap();
            assert_eq!((reading.problems.len(), reading.repeated), (0, 0), "{name}");
            let rows = vectors["networks"][name].as_array().unwrap();
            assert_eq!(reading.set.nodes().len(), rows.len(), "{name}");
            for (node, row) in reading.set.nodes().iter().zip(rows) {
                assert_eq!(node.enode().unwrap().to_string(), row["enode"].as_str().unwrap());
                assert_eq!(node.record().map(ToString::to_string).as_deref(), row["enr"].as_str());
            }
        }
    }

    #[test]
    fn bootnodes_without_a_tcp_port_are_contacts_of_discovery() {
        let choice = Choice::public("mainnet").unwrap();
        assert_eq!(choice.bootnodes.len(), 5);
        assert!(choice.bootnodes.iter().all(|contact| contact.tcp() == 0 && contact.udp() > 1024));
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
