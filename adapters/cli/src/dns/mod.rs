//! The commands `dns ..`: node lists (EIP-1459) read from name servers, signed, checked, compared and converted.
//!
//! A list's definition is a folder as geth has it: `enrtree-info.json` and `nodes.json`. Nothing is ever uploaded: what a
//! service imports is written to a file.

mod compare;
mod folder;
mod lint;
mod publish;
mod sign;
mod sync;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use peerless::netfilter::NetFilter;
use peerless_mio::NameServers;

use crate::Outcome;
use crate::output::Output;

/// What to do with a list.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read a whole list from DNS and verify it
    Sync(sync::Arguments),
    /// Sign a list's definition
    Sign(sign::Arguments),
    /// Check a list's definition
    Lint {
        /// The definition's folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Compare two definitions
    Diff {
        /// The first folder
        #[arg(value_name = "A")]
        old: PathBuf,
        /// The second folder
        #[arg(value_name = "B")]
        new: PathBuf,
    },
    /// Write a signed definition's TXT records as a JSON object of names and texts
    ToTxt(publish::Arguments),
    /// Write a signed definition's TXT records as a zone file, which Cloudflare and name servers import
    ToCloudflare(publish::Arguments),
    /// Write a signed definition's TXT records as change batches of Route 53, one JSON object a line
    ToRoute53(publish::Arguments),
}

/// Runs `dns ..`.
pub(crate) fn run(output: &Output, filter: &NetFilter, command: &Command) -> Result<Outcome> {
    match command {
        Command::Sync(arguments) => sync::run(output, filter, arguments),
        Command::Sign(arguments) => sign::run(output, arguments),
        Command::Lint { folder } => lint::run(output, folder),
        Command::Diff { old, new } => compare::run(output, old, new),
        Command::ToTxt(arguments) => publish::run(output, arguments, publish::Format::Txt),
        Command::ToCloudflare(arguments) => publish::run(output, arguments, publish::Format::ZoneFile),
        Command::ToRoute53(arguments) => publish::run(output, arguments, publish::Format::Route53),
    }
}

/// Which name servers to ask.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Servers {
    /// Name servers to ask, at port 53 unless one is named [default: those of /etc/resolv.conf]
    #[arg(long = "dns.server", env = "PEERLESS_DNS_SERVER", value_name = "IP[:PORT],...", value_delimiter = ',')]
    dns_server: Vec<ServerAddr>,
}

impl Servers {
    /// The servers, as far as the filter permits.
    pub(crate) fn choose(&self, filter: &NetFilter) -> Result<NameServers> {
        let servers = if self.dns_server.is_empty() {
            NameServers::of_system(filter)
        } else {
            let addrs: Vec<SocketAddr> = self.dns_server.iter().map(|server| server.0).collect();
            NameServers::new(&addrs, filter)
        };
        servers.context("no name server can be asked: name one by --dns.server, or permit it by --netrestrict")
    }
}

/// The address of a name server.
#[derive(Clone, Copy, Debug)]
struct ServerAddr(SocketAddr);

impl FromStr for ServerAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ip = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let addr = text.parse::<SocketAddr>().or_else(|_| ip.map(|ip| SocketAddr::new(ip, 53)));
        addr.map(Self).map_err(|_| format!("{text:?} is neither an address nor an address with a port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:99", "[::1]:99"),
        ] {
            assert_eq!(text.parse::<ServerAddr>().unwrap().0.to_string(), expected);
        }
        for text in ["", "localhost", "127.0.0.1:", "127.0.0.1:70000"] {
            assert!(text.parse::<ServerAddr>().is_err(), "{text}");
        }
    }
}
