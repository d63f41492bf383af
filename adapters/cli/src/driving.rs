//! Shared by the commands that run a node: its configuration, its driver, and signals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use peerless::contract::Addresses;
use peerless::crypto::SecretKey;
use peerless::eth::Chain;
use peerless::netfilter::NetFilter;
use peerless::node::{Config, Node};
use peerless_mio::{Driver, Listen, Sockets};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::networks::Choice;
use crate::trace::Recording;
use crate::{key, trace};

/// Returns a node's configuration on the chosen network, without listening ports and without discovery.
pub(crate) fn config(secret: SecretKey, choice: &Choice, filter: &NetFilter) -> Result<Config> {
    // Only the head is claimed as a block. Total difficulty is not compared since the merge.
    let chain = Chain::new(choice.network.clone(), choice.head, choice.head.number, [0; 32]);
    let mut config = Config::new(secret, chain);
    config.filter = filter.clone();
    config.discovery.switch_off();
    (config.addresses.udp, config.addresses.tcp) = (0, 0);
    config.record_seq = record_seq();
    Ok(config)
}

/// The sequence number of a run's first record: later runs must have higher ones, and geth takes milliseconds.
pub(crate) fn record_seq() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Binds sockets and sets the ports in the configuration.
pub(crate) fn bind(config: &mut Config, listen: &Listen) -> Result<Sockets> {
    bind_to(&mut config.addresses, listen)
}

/// Binds sockets and sets their ports, and their address if none is known.
pub(crate) fn bind_to(addresses: &mut Addresses, listen: &Listen) -> Result<Sockets> {
    let sockets = Sockets::bind(listen)?;
    addresses.udp = sockets.udp_addr().map_or(0, |addr| addr.port());
    addresses.tcp = sockets.tcp_addr().map_or(0, |addr| addr.port());
    let bound = sockets.udp_addr().or(sockets.tcp_addr()).map(|addr| addr.ip());
    if addresses.ip().is_none()
        && let Some(ip) = bound.filter(|ip| !ip.is_unspecified())
    {
        addresses.set_ip(ip);
    }
    Ok(sockets)
}

/// Returns a driver for a node with a fresh seed, recorded from its first input if there is a recording.
pub(crate) fn start(mut config: Config, sockets: Sockets, recording: Option<&Recording>) -> Result<Driver> {
    let seed = key::entropy()?;
    // A trace that may hold the node's key may hold its session secrets as well.
    config.export_secrets |= recording.is_some_and(Recording::holds_secrets);
    let places = trace::Sockets { udp: sockets.udp_addr(), tcp: sockets.tcp_addr() };
    let mut recorder = None;
    let mut driver = Driver::new(sockets, |now, unix| {
        let node = Node::new(config.clone(), seed, now, unix).context("the node cannot start")?;
        recorder = recording.map(|recording| recording.begin(&config, &seed, (now, unix), places)).transpose()?;
        anyhow::Ok(node)
    })?;
    if let Some(recorder) = recorder {
        driver.set_tap(Box::new(recorder));
    }
    Ok(driver)
}

/// Returns a local address with port 0 of the address family of `peer`.
pub(crate) fn any_port(peer: IpAddr) -> SocketAddr {
    let ip = match peer {
        IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

/// Set by the first SIGINT or SIGTERM. The second one ends the program at once.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on.
    pub(crate) fn listen() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the first signal finds the flag unset.
            signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())
                .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
                .context("cannot listen for signals")?;
        }
        Ok(Self(flag))
    }

    /// Whether a signal has come.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
