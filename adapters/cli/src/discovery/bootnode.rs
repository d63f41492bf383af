//! The command `bootnode`: a node that introduces others to each other and has no sessions.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use peerless::netfilter::NetFilter;

use super::listen::{Numbers, Place, Started};
use super::{config, start};
use crate::output::Output;
use crate::protocols::Protocols;
use crate::target::{Target, resolve_all};
use crate::{Outcome, driving};

/// Longest sleep of a turn, after which the program checks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Arguments of `bootnode`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// External address of this node, for its record and enode URL
    #[arg(long = "ext-addr", env = "PEERLESS_EXT_ADDR", value_name = "IP")]
    ext_addr: Option<IpAddr>,
    /// Other bootnodes, from which the table is filled
    #[arg(long, env = "PEERLESS_BOOTNODES", value_name = "ENODE|ENR,...", value_delimiter = ',')]
    bootnodes: Vec<Target>,
    #[command(flatten)]
    protocols: Protocols,
    /// Time between two lines of numbers
    #[arg(long, env = "PEERLESS_INTERVAL", default_value = "60s", value_name = "TIME")]
    interval: humantime::Duration,
}

/// Runs `bootnode`.
pub(crate) fn run(output: &Output, filter: &NetFilter, arguments: &Arguments) -> Result<Outcome> {
    let mut config = config(arguments.place.identity.load_or_create()?, filter);
    if let Some(ip) = arguments.ext_addr {
        config.addresses.set_ip(ip);
    }
    arguments.protocols.configure(&mut config.discovery, &resolve_all(&arguments.bootnodes)?);
    if config.discovery.discv4.is_none() && config.discovery.discv5.is_none() {
        bail!("both protocols are off");
    }
    let mut driver = start(config, &arguments.place.listen())?;
    output.report(&Started::new(driver.machine()));
    let interrupt = driving::Interrupt::listen()?;
    let begun = Instant::now();
    let mut next = begun + *arguments.interval;
    while !interrupt.is_set() {
        driver.turn(Some(LOOK_INTERVAL), |_| {})?;
        if Instant::now() >= next {
            next += *arguments.interval;
            output.report(&Numbers::new(driver.machine(), begun.elapsed()));
        }
    }
    output.report(&Numbers::new(driver.machine(), begun.elapsed()));
    Ok(Outcome::Success)
}
