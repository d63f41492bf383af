//! The commands `discv4 test` and `discv5 test`: a node and the cases of the specification.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless::netfilter::NetFilter;
use peerless_conformance::{
    Basis, Case, Report, Settings, Sockets, Step, Tally, Target as Examinee, Verdict, discv4, discv5,
};
use regex::Regex;
use serde::Serialize;

use super::{Protocol, permitted};
use crate::output::{Output, millis};
use crate::target::Target;
use crate::{Outcome, driving, key};

/// Arguments of `test`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The node, as an enode URL or a record
    #[arg(env = "PEERLESS_TARGET", value_name = "ENODE|ENR", required_unless_present = "remote")]
    target: Option<Target>,
    /// The node, as hive names it
    #[arg(long, env = "PEERLESS_REMOTE", value_name = "ENODE|ENR", conflicts_with = "target")]
    remote: Option<Target>,
    /// Only cases whose name matches this regular expression, of any kind
    #[arg(long, env = "PEERLESS_RUN", value_name = "PATTERN")]
    run: Option<Regex>,
    /// Also what the specification leaves open: defences against published attacks, and what other clients send
    #[arg(long, env = "PEERLESS_ALL", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    all: bool,
    /// Print the Test Anything Protocol
    #[arg(long, env = "PEERLESS_TAP", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    #[arg(conflicts_with = "json")]
    tap: bool,
    /// Local address of most cases [default: the one from which this machine sends to the node]
    #[arg(long, env = "PEERLESS_LISTEN1", value_name = "IP")]
    listen1: Option<IpAddr>,
    /// Another local address, for cases about the source address [default: 127.0.0.2 beside 127.0.0.1, else none]
    #[arg(long, env = "PEERLESS_LISTEN2", value_name = "IP")]
    listen2: Option<IpAddr>,
    /// For how long to wait for an answer, and for the absence of one
    #[arg(long, env = "PEERLESS_WAIT", default_value = "500ms", value_name = "TIME")]
    wait: humantime::Duration,
    /// Seed of all keys and targets, as 64 hexadecimal digits; a node remembers keys, so use it once [default: a fresh one]
    #[arg(long, env = "PEERLESS_SEED", value_name = "HEX")]
    seed: Option<String>,
}

impl Protocol {
    fn cases(self) -> &'static [Case] {
        match self {
            Self::Discv4 => discv4::CASES,
            Self::Discv5 => discv5::CASES,
        }
    }
}

/// Runs `test`.
pub(crate) fn run(output: &Output, filter: &NetFilter, protocol: Protocol, arguments: &Arguments) -> Result<Outcome> {
    let target = arguments.target.as_ref().or(arguments.remote.as_ref()).context("name a node")?;
    let contact = permitted(target, filter)?;
    let examinee = Examinee::new(contact, target.record().cloned());
    let mut settings = Settings::new(seed(arguments)?);
    settings.patience = *arguments.wait;
    let mut sockets = Sockets::to(contact.udp_addr(), arguments.listen1, arguments.listen2)
        .with_context(|| format!("cannot send to {}", contact.udp_addr()))?;
    let cases: Vec<&Case> = protocol.cases().iter().filter(|case| arguments.selects(case)).collect();
    if cases.is_empty() {
        bail!("no case matches --run");
    }
    let interrupt = driving::Interrupt::listen()?;
    if arguments.tap {
        output.say(format_args!("1..{}", cases.len()));
    }
    let mut tally = Tally::default();
    for (number, case) in (1..).zip(&cases) {
        if interrupt.is_set() {
            bail!("interrupted");
        }
        let report = case.run(&examinee, &mut sockets, &settings);
        tally.add(&report.verdict);
        if arguments.tap {
            output.say(report.tap(number));
        } else {
            output.report(&Line::new(protocol, &report));
        }
    }
    if !arguments.tap {
        output.report(&Summary::new(protocol, &examinee, &settings, &tally));
    }
    Ok(if tally.failed == 0 { Outcome::Success } else { Outcome::Failure })
}

impl Arguments {
    fn selects(&self, case: &Case) -> bool {
        match &self.run {
            Some(pattern) => pattern.is_match(case.name),
            None => self.all || case.basis != Basis::Practice,
        }
    }
}

fn seed(arguments: &Arguments) -> Result<[u8; 32]> {
    match &arguments.seed {
        Some(digits) => const_hex::decode_to_array(digits).context("a seed is 64 hexadecimal digits"),
        None => key::entropy(),
    }
}

/// One case.
#[derive(Serialize)]
struct Line {
    event: &'static str,
    protocol: &'static str,
    case: &'static str,
    result: &'static str,
    basis: String,
    section: &'static str,
    specification: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    ms: f64,
    steps: Vec<StepLine>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct StepLine {
    at_ms: f64,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<std::net::SocketAddr>,
    bytes: usize,
    text: String,
}

impl Line {
    fn new(protocol: Protocol, report: &Report) -> Self {
        let (result, reason) = match &report.verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Failed(why) => ("failed", Some(why.clone())),
            Verdict::Skipped(why) => ("skipped", Some(why.clone())),
        };
        Self {
            event: "case",
            protocol: protocol.name(),
            case: report.case.name,
            result,
            basis: report.case.basis.to_string(),
            section: report.case.section,
            specification: report.case.says,
            reason,
            ms: millis(report.took),
            steps: report.steps.iter().map(StepLine::new).collect(),
            text: report.to_string(),
        }
    }
}

impl StepLine {
    fn new(step: &Step) -> Self {
        let Step { at, kind, local, bytes, text, .. } = step;
        Self { at_ms: millis(*at), what: kind.to_string(), local: *local, bytes: *bytes, text: text.clone() }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    event: &'static str,
    protocol: &'static str,
    node_id: String,
    addr: std::net::SocketAddr,
    passed: usize,
    failed: usize,
    skipped: usize,
    seed: String,
}

impl Summary {
    fn new(protocol: Protocol, target: &Examinee, settings: &Settings, tally: &Tally) -> Self {
        let Tally { passed, failed, skipped } = *tally;
        Self {
            event: "summary",
            protocol: protocol.name(),
            node_id: target.contact.id().to_string(),
            addr: target.contact.udp_addr(),
            passed,
            failed,
            skipped,
            seed: const_hex::encode(settings.seed),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, passed, failed, skipped, .. } = self;
        write!(f, "\n{protocol}: {passed} passed, {failed} failed, {skipped} skipped")
    }
}
