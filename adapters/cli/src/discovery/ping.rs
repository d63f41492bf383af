//! The commands `ping`, `discv4 ping` and `discv5 ping`: pings, with loss and percentiles of the round trip.
//!
//! A ping of discv4 is one datagram, the first of discv5 two, for its session. Other nodes get none.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use peerless::contract::{Command, CommandId, Event};
use peerless::limits::CALL_TIMEOUT;
use peerless::netfilter::NetFilter;
use peerless::wire::enode::Contact;
use serde::Serialize;

use super::{Protocol, permitted, start_passive};
use crate::key::Identity;
use crate::output::{Output, millis};
use crate::target::Target;
use crate::{Outcome, driving};

/// Arguments of `ping`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The node, as an enode URL or a record
    #[arg(env = "PEERLESS_TARGET", value_name = "ENODE|ENR")]
    target: Target,
    /// Number of pings
    #[arg(short, long, env = "PEERLESS_COUNT", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Time between two pings
    #[arg(short, long, env = "PEERLESS_INTERVAL", default_value = "200ms", value_name = "TIME")]
    interval: humantime::Duration,
    #[command(flatten)]
    identity: Identity,
}

/// Runs `ping`.
pub(crate) fn run(output: &Output, filter: &NetFilter, protocol: Protocol, arguments: &Arguments) -> Result<Outcome> {
    let contact = permitted(&arguments.target, filter)?;
    let secret = arguments.identity.load_or_create()?;
    let mut driver = start_passive(secret, filter, protocol, contact.ip(), &[])?;
    let interrupt = driving::Interrupt::listen()?;

    output.say(format_args!("PING {} at {} ({})", short(&contact), contact.udp_addr(), protocol.name()));
    let mut tally = Tally::default();
    let mut pending: BTreeMap<CommandId, u32> = BTreeMap::new();
    let mut sent = 0;
    let mut next = Instant::now();
    while (sent < arguments.count && !interrupt.is_set()) || !pending.is_empty() {
        if sent < arguments.count && !interrupt.is_set() && Instant::now() >= next {
            let command = driver.command(Command::Ping { via: protocol.via(), contact }).context("cannot ping")?;
            pending.insert(command, sent);
            sent += 1;
            next += *arguments.interval;
        }
        let wait = if sent < arguments.count { next.saturating_duration_since(Instant::now()) } else { CALL_TIMEOUT };
        driver.turn(Some(wait.min(CALL_TIMEOUT)), |event| match event {
            Event::Pong { command, contact, rtt, enr_seq, seen_as } => {
                let Some(seq) = pending.remove(&command) else { return };
                tally.rtts.push(rtt);
                let from = contact.udp_addr();
                output.report(&Pong { event: "pong", from, seq, rtt_ms: millis(rtt), enr_seq, seen_as });
            }
            Event::CallFailed { command, why } => {
                let Some(seq) = pending.remove(&command) else { return };
                output.report(&Lost { event: "lost", seq, why: why.to_string() });
            }
            _ => {}
        })?;
    }
    let summary = tally.summary(&contact, sent);
    output.report(&summary);
    Ok(if summary.received > 0 { Outcome::Success } else { Outcome::Failure })
}

fn short(contact: &Contact) -> String {
    format!("{:?}", contact.id())
}

#[derive(Serialize)]
struct Pong {
    event: &'static str,
    from: SocketAddr,
    seq: u32,
    rtt_ms: f64,
    enr_seq: Option<u64>,
    seen_as: Option<SocketAddr>,
}

impl fmt::Display for Pong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pong from {}: seq={} time={:.3} ms", self.from, self.seq, self.rtt_ms)?;
        if let Some(seq) = self.enr_seq {
            write!(f, " enr-seq={seq}")?;
        }
        if let Some(seen_as) = self.seen_as {
            write!(f, " seen-as={seen_as}")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Lost {
    event: &'static str,
    seq: u32,
    why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no pong: seq={} {}", self.seq, self.why)
    }
}

/// The replies so far.
#[derive(Default)]
struct Tally {
    rtts: Vec<Duration>,
}

#[derive(Serialize)]
struct Summary {
    event: &'static str,
    node_id: String,
    addr: SocketAddr,
    sent: u32,
    received: u32,
    loss_percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<Percentiles>,
}

#[derive(Serialize)]
struct Percentiles {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Tally {
    fn summary(mut self, contact: &Contact, sent: u32) -> Summary {
        self.rtts.sort_unstable();
        let received = u32::try_from(self.rtts.len()).unwrap_or(u32::MAX);
        Summary {
            event: "summary",
            node_id: contact.id().to_string(),
            addr: contact.udp_addr(),
            sent,
            received,
            loss_percent: if sent == 0 { 0.0 } else { 100.0 * f64::from(sent - received) / f64::from(sent) },
            rtt_ms: (received > 0).then(|| Percentiles {
                min: self.percentile(0),
                p50: self.percentile(50),
                p90: self.percentile(90),
                p99: self.percentile(99),
                max: self.percentile(100),
            }),
        }
    }

    /// The percentile by nearest rank.
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.rtts.len() * percent).div_ceil(100).max(1);
        self.rtts.get(rank - 1).map_or(0.0, |rtt| millis(*rtt))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{} sent, {} received, {:.0}% lost", self.sent, self.received, self.loss_percent)?;
        if let Some(Percentiles { min, p50, p90, p99, max }) = &self.rtt_ms {
            write!(f, "\nround trip min/p50/p90/p99/max = {min:.3}/{p50:.3}/{p90:.3}/{p99:.3}/{max:.3} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let tally = Tally { rtts: (1..=10).map(Duration::from_millis).collect() };
        let at = |percent| tally.percentile(percent);
        assert_eq!([at(0), at(50), at(90), at(91), at(99), at(100)], [1.0, 5.0, 9.0, 10.0, 10.0, 10.0]);
    }
}
