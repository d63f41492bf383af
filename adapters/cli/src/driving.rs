//! Shared by the commands that run a node: its configuration, its driver, and signals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use peerless::contract::Addresses;
use peerless::crypto::SecretKey;
use peerless::eth::Chain;
use peerless::netfilter::{NetFilter, Scope, scope};
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
    let (sockets, assumed) = bind_to(&mut config.addresses, listen)?;
    config.assumed_addresses.extend(assumed);
    Ok(sockets)
}

/// Binds sockets and sets their ports, and their addresses where none are known. Returns those beside, which are to be assumed
/// until other nodes have said what they see.
pub(crate) fn bind_to(addresses: &mut Addresses, listen: &Listen) -> Result<(Sockets, Vec<IpAddr>)> {
    let sockets = Sockets::bind(listen)?;
    addresses.udp = sockets.udp_addr().map_or(0, |addr| addr.port());
    addresses.tcp = sockets.tcp_addr().map_or(0, |addr| addr.port());
    // Without discovery, those of the listeners.
    let addrs: Vec<_> = sockets.udp_addrs().chain(sockets.tcp_addrs()).collect();
    let mut assumed = Vec::new();
    for ip in addrs.into_iter().map(|(_, addr)| addr.ip()).filter(|ip| !ip.is_unspecified()) {
        let is_known = if ip.is_ipv4() { addresses.ip4.is_some() } else { addresses.ip6.is_some() };
        match scope(ip) {
            _ if is_known || assumed.contains(&ip) => {}
            // There may be a router in front of it.
            Scope::Lan | Scope::Shared => assumed.push(ip),
            _ => addresses.set_ip(ip),
        }
    }
    Ok((sockets, assumed))
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
