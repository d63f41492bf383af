//! A chain by its fork ids: a public network by name, or any by its genesis file.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;
use peerless::wire::forkid::{ForkId, ForkSchedule, Head, PUBLIC_NETWORKS};

use crate::genesis::Genesis;
use crate::networks::Choice;

/// Which chain, if any.
#[derive(Args, Clone, Debug)]
pub(crate) struct Chain {
    /// A public network: mainnet, sepolia, holesky or hoodi
    #[arg(long, env = "PEERLESS_ETH_NETWORK", value_name = "NAME", conflicts_with = "genesis")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(PUBLIC_NETWORKS))]
    eth_network: Option<String>,
    /// Another network, by its geth-style genesis file
    #[arg(long, env = "PEERLESS_GENESIS", value_name = "FILE")]
    genesis: Option<PathBuf>,
}

impl Chain {
    /// The files that are read.
    pub(crate) fn files(&self) -> Vec<&Path> {
        self.genesis.as_deref().into_iter().collect()
    }

    /// The forks of the chosen chain and its head: the current time of a public network, the genesis block of another.
    ///
    /// # Errors
    /// If the genesis file cannot be read.
    pub(crate) fn load(&self) -> Result<Option<(ForkSchedule, Head)>> {
        match (&self.eth_network, &self.genesis) {
            (Some(name), _) => {
                let network =
                    Choice::public_network(name).ok_or_else(|| anyhow!("{name:?} is not a public network"))?;
                let head = Choice::current_head(&network);
                Ok(Some((network.schedule, head)))
            }
            (None, Some(file)) => {
                let genesis = Genesis::load(file)?;
                Ok(Some((genesis.network.schedule, genesis.head)))
            }
            (None, None) => Ok(None),
        }
    }

    /// The fork id at the chosen chain's head.
    ///
    /// # Errors
    /// As those of [`Chain::load`].
    pub(crate) fn fork_id(&self) -> Result<Option<ForkId>> {
        Ok(self.load()?.map(|(schedule, head)| schedule.fork_id(&head)))
    }
}
