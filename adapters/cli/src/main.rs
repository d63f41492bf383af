//! The program `peerless`: run, watch and probe Ethereum's peer-to-peer network.
//!
//! Parses arguments and hands over to one file per command. Every flag is also an environment variable, and with `--json`
//! stdout holds JSON objects, one a line, and nothing else. Exit code 0 is success, 1 failure, 2 misuse.

mod answers;
mod crawl;
mod devnet;
mod diff;
mod discovery;
mod dns;
mod driving;
mod enr;
mod environment;
mod eth_network;
mod files;
mod genesis;
mod identify;
mod inspect;
mod key;
mod keylog;
mod logging;
mod nat;
mod networks;
mod node;
mod nodeset;
mod output;
mod primitives;
mod protocols;
mod replay;
mod resolvers;
mod sim;
mod target;
mod targets;
mod trace;
mod view;

use std::env::args_os;
use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use peerless::contract::Via;
use peerless::netfilter::NetFilter;

use crate::discovery::Protocol;
use crate::output::Output;

#[derive(Parser)]
#[command(name = "peerless", version, about, max_term_width = 110)]
#[command(after_help = "Without --network, --genesis or --bootnodes nothing beyond this machine is contacted.")]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// The flags of every command.
#[derive(Args, Clone)]
pub(crate) struct Globals {
    /// Print JSON objects on stdout, one a line, and nothing else
    #[arg(long, global = true, env = "PEERLESS_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    json: bool,
    /// Log level, as in geth: 0 silent, 1 error, 2 warn, 3 info, 4 debug, 5 trace [default: 3 for node, 2 otherwise]
    #[arg(long, global = true, env = "PEERLESS_VERBOSITY", value_name = "LEVEL")]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=5))]
    verbosity: Option<u8>,
    /// How log lines are written to stderr
    #[arg(
        long = "log.format",
        global = true,
        env = "PEERLESS_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: logging::Format,
    /// Address ranges to communicate with, separated by commas: no other is sent to, dialled or accepted [default: all]
    #[arg(
        long,
        global = true,
        env = "PEERLESS_NETRESTRICT",
        value_name = "CIDR,...",
        default_value = "",
        hide_default_value = true
    )]
    netrestrict: NetFilter,
}

#[derive(Subcommand)]
enum Command {
    /// Run a network on this machine: honest nodes find each other and refuse hostile ones
    Devnet(devnet::Arguments),
    /// Run one node until interrupted
    Node(Box<node::Arguments>),
    /// Ping a node's discovery
    Ping(discovery::ping::Arguments),
    /// Probe and test nodes by discv4
    #[command(subcommand)]
    Discv4(Box<discovery::Command>),
    /// Probe and test nodes by discv5
    #[command(subcommand)]
    Discv5(Box<discovery::Command>),
    /// Find every node of a network by both discovery protocols, and make lists, a graph and statistics
    Crawl(Box<crawl::Arguments>),
    /// Run a node that only introduces other nodes to each other
    Bootnode(discovery::bootnode::Arguments),
    /// Show a peer's Hello and Status, or why it refuses the connection
    Identify(identify::Arguments),
    /// Run a network of real nodes in virtual time: one scenario, or a campaign of many seeds
    Sim(sim::Arguments),
    /// Show what nodes say in a capture or trace
    Inspect(inspect::Arguments),
    /// Compare traces and captures
    #[command(subcommand)]
    Trace(diff::Command),
    /// Run a recorded node again and check that it behaves as recorded
    Replay(replay::Arguments),
    /// Node keys
    #[command(subcommand)]
    Key(key::Command),
    /// Node records
    #[command(subcommand)]
    Enr(enr::Command),
    /// Node lists
    #[command(subcommand)]
    Nodeset(nodeset::Command),
    /// Node lists in DNS: read, sign, check and convert them
    #[command(subcommand)]
    Dns(dns::Command),
}

fn main() -> ExitCode {
    let matches = environment::without_empty(Cli::command()).get_matches_from(nodeset::with_geth_flags(args_os()));
    let Cli { globals, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = Output::new(globals.json);
    let level = globals.verbosity.unwrap_or(if matches!(command, Command::Node(_)) { 3 } else { 2 });
    logging::start(level, globals.log_format);
    let result = match command {
        Command::Devnet(arguments) => devnet::run(&output, &arguments),
        Command::Node(arguments) => node::run(&output, &globals.netrestrict, &arguments),
        Command::Ping(arguments) => discovery::ping::run(&output, &globals.netrestrict, Protocol::Discv4, &arguments),
        Command::Discv4(command) => discovery::run(&output, &globals.netrestrict, Protocol::Discv4, &command),
        Command::Discv5(command) => discovery::run(&output, &globals.netrestrict, Protocol::Discv5, &command),
        Command::Crawl(arguments) => crawl::run(&output, &globals.netrestrict, &[Via::Discv4, Via::Discv5], &arguments),
        Command::Bootnode(arguments) => discovery::bootnode::run(&output, &globals.netrestrict, &arguments),
        Command::Identify(arguments) => identify::run(&output, &globals.netrestrict, &arguments),
        Command::Sim(arguments) => sim::run(&output, &arguments),
        Command::Inspect(arguments) => inspect::run(&output, &arguments),
        Command::Trace(command) => diff::run(&output, &command),
        Command::Replay(arguments) => replay::run(&output, &arguments),
        Command::Key(command) => key::run(&output, &command),
        Command::Enr(command) => enr::run(&output, &command),
        Command::Nodeset(command) => nodeset::run(&output, &command),
        Command::Dns(command) => dns::run(&output, &globals.netrestrict, &command),
    };
    match result {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Failure) => ExitCode::FAILURE,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The result of a command that ran to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The result is as it should be.
    Success,
    /// The report names a failure: no answer, a refusal, a hostile node in session.
    Failure,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
                let name = argument.get_long().unwrap_or_default();
                let expected = match name {
                    // One name for all clients, as SSLKEYLOGFILE is for TLS.
                    "keylog" => "RLPX_KEYLOGFILE".to_owned(),
                    name => format!("PEERLESS_{}", name.to_uppercase().replace(['.', '-'], "_")),
                };
                assert!(
                    matches!(name, "help" | "version") || argument.get_env() == Some(expected.as_ref()),
                    "--{name} of {}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
