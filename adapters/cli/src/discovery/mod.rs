//! The commands `discv4 ..`, `discv5 ..`, `ping` and `bootnode`: discovery alone, without sessions.
//!
//! Each runs the one machine that it needs.

pub(crate) mod bootnode;
mod listen;
pub(crate) mod ping;
mod records;
mod test;

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use peerless::contract::Via;
use peerless::crypto::SecretKey;
use peerless::netfilter::NetFilter;
use peerless::node::Discoverer;
use peerless::node::discoverer::Config;
use peerless::wire::enode::Contact;
use peerless_mio::{Driver, Listen};

use crate::output::Output;
use crate::target::Target;
use crate::{Outcome, driving, key};

/// A discovery protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// discv4.
    Discv4,
    /// discv5.1.
    Discv5,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Discv4 => "discv4",
            Self::Discv5 => "discv5",
        }
    }

    fn via(self) -> Via {
        match self {
            Self::Discv4 => Via::Discv4,
            Self::Discv5 => Via::Discv5,
        }
    }

    /// Leaves this protocol alone on.
    fn select(self, config: &mut Config) {
        match self {
            Self::Discv4 => config.discovery.discv5 = None,
            Self::Discv5 => config.discovery.discv4 = None,
        }
    }
}

/// What to do by one protocol.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ping a node
    Ping(ping::Arguments),
    /// Ask a node for its record
    Requestenr(records::Request),
    /// Find a node's newest record: ask the node, or look it up by way of bootnodes
    Resolve(records::Resolve),
    /// Run a node that only discovers, and print what comes
    Listen(listen::Arguments),
    /// Find every node of a network, and make lists, a graph and statistics
    Crawl(crate::crawl::Arguments),
    /// Put a node to the cases of the specification
    Test(test::Arguments),
}

/// Runs `discv4 ..` or `discv5 ..`.
pub(crate) fn run(output: &Output, filter: &NetFilter, protocol: Protocol, command: &Command) -> Result<Outcome> {
    match command {
        Command::Ping(arguments) => ping::run(output, filter, protocol, arguments),
        Command::Requestenr(arguments) => records::request(output, filter, protocol, arguments),
        Command::Resolve(arguments) => records::resolve(output, filter, protocol, arguments),
        Command::Listen(arguments) => listen::run(output, filter, protocol, arguments),
        Command::Crawl(arguments) => crate::crawl::run(output, filter, &[protocol.via()], arguments),
        Command::Test(arguments) => test::run(output, filter, protocol, arguments),
    }
}

/// The contact of a node that may be asked.
fn permitted(target: &Target, filter: &NetFilter) -> Result<Contact> {
    let contact = target.resolve()?;
    if contact.udp() == 0 {
        bail!("the node has no discovery port");
    }
    if !filter.permits(contact.ip()) {
        bail!("{} is outside of --netrestrict", contact.ip());
    }
    Ok(contact)
}

/// A configuration of discovery alone.
fn config(secret: SecretKey, filter: &NetFilter) -> Config {
    let mut config = Config::new(secret);
    config.filter = filter.clone();
    config.record_seq = driving::record_seq();
    config
}

/// Binds sockets and starts discovery alone.
fn start(mut config: Config, listen: &Listen) -> Result<Driver<Discoverer>> {
    let (sockets, assumed) = driving::bind_to(&mut config.addresses, listen)?;
    assumed.into_iter().for_each(|ip| config.addresses.set_ip(ip));
    let seed = key::entropy()?;
    Driver::new(sockets, |now, unix| Discoverer::new(config, seed, now, unix).context("the node cannot start"))
}

/// Starts a machine that sends only what commands demand, for nodes of the address family of `to`.
fn start_passive(
    secret: SecretKey,
    filter: &NetFilter,
    protocol: Protocol,
    to: IpAddr,
    bootnodes: &[Contact],
) -> Result<Driver<Discoverer>> {
    let mut config = config(secret, filter);
    config.is_passive = true;
    protocol.select(&mut config);
    config.discovery.set_bootnodes(bootnodes);
    start(config, &Listen::default().and_udp(driving::any_port(to)))
}
