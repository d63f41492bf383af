//! `--nat`: how the node learns its external address, and who maps its ports.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use peerless::contract::{Addresses, Command};
use peerless::netfilter::NetFilter;
use peerless_mio::Driver;
use peerless_mio::nat::{Mapper, Method, News, Request};

/// Limit for the removal of mappings at the end of the program. They lapse by themselves.
const REMOVAL_LIMIT: Duration = Duration::from_secs(2);

/// One value of `--nat`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Nat {
    /// `none`: other nodes say what they see.
    None,
    /// `extip:IP`: the address is known.
    ExternalIp(IpAddr),
    /// A gateway or a server is asked.
    Method(Method),
}

impl FromStr for Nat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text.eq_ignore_ascii_case("none") => Ok(Self::None),
            Some((kind, ip)) if kind.eq_ignore_ascii_case("extip") => {
                ip.parse().map(Self::ExternalIp).map_err(|_| format!("{ip:?} is not an address"))
            }
            _ => text.parse().map(Self::Method).map_err(|error| match error {
                error if error.ends_with("stun:HOST") => format!("{error}, none, extip:IP"),
                error => error,
            }),
        }
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::ExternalIp(ip) => write!(f, "extip:{ip}"),
            Self::Method(method) => method.fmt(f),
        }
    }
}

/// All values of `--nat` together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Choice {
    /// The addresses that are known, at most one of each family.
    fixed: Vec<IpAddr>,
    method: Option<Method>,
}

impl Choice {
    /// Checks that the values agree.
    pub(crate) fn new(values: &[Nat]) -> Result<Self> {
        let mut choice = Self::default();
        for value in values {
            match value {
                Nat::None => {}
                Nat::ExternalIp(ip) if choice.fixed.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) => {
                    bail!("--nat names two addresses of one family");
                }
                Nat::ExternalIp(ip) => choice.fixed.push(ip.to_canonical()),
                Nat::Method(_) if choice.method.is_some() => bail!("--nat names two methods"),
                Nat::Method(method) => choice.method = Some(method.clone()),
            }
        }
        if choice.method.is_some() && !choice.fixed.is_empty() {
            bail!("--nat names an address and a method to find it");
        }
        Ok(choice)
    }

    /// Sets the known addresses.
    pub(crate) fn configure(&self, addresses: &mut Addresses) {
        self.fixed.iter().for_each(|ip| addresses.set_ip(*ip));
    }

    /// Starts to ask the gateway or server, if one is to be asked. `configured` are the node's ports and known addresses.
    pub(crate) fn start(&self, configured: Addresses, filter: &NetFilter, driver: &Driver) -> Result<Keeper> {
        let start = |method: &Method| {
            let request = Request::new(method.clone(), configured.udp, configured.tcp, filter.clone());
            Mapper::start(request, driver.waker()).context("cannot start the thread for --nat")
        };
        Ok(Keeper { mapper: self.method.as_ref().map(start).transpose()?, configured, is_failing: false })
    }
}

/// Gives the node what the gateway or server tells.
#[derive(Debug)]
pub(crate) struct Keeper {
    mapper: Option<Mapper>,
    configured: Addresses,
    is_failing: bool,
}

impl Keeper {
    /// Takes the news.
    pub(crate) fn poll(&mut self, driver: &mut Driver) {
        let Some(mapper) = &mut self.mapper else { return };
        while let Some(news) = mapper.poll() {
            let addresses = match news {
                News::Known(external) => {
                    self.is_failing = false;
                    let ip = external.ip.map(tracing::field::display);
                    tracing::info!(
                        by = external.by,
                        ip,
                        udp = external.udp,
                        tcp = external.tcp,
                        "reached from outside"
                    );
                    external.apply(self.configured)
                }
                News::Failed(trouble) => {
                    // It is repeated every minute.
                    if std::mem::replace(&mut self.is_failing, true) {
                        tracing::debug!("--nat: {trouble}");
                    } else {
                        tracing::warn!("--nat: {trouble}; other nodes say what they see meanwhile");
                    }
                    self.configured
                }
                _ => continue,
            };
            if let Err(refused) = driver.command(Command::SetAddresses { addresses }) {
                tracing::warn!("the node does not take its address: {refused}");
            }
        }
    }

    /// Removes the mappings.
    pub(crate) fn stop(self) {
        if self.mapper.is_some_and(|mapper| !mapper.stop(REMOVAL_LIMIT)) {
            tracing::warn!("port mappings could not be removed in time; they lapse in ten minutes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(text: &str) -> Result<Choice> {
        let values: Result<Vec<Nat>, String> = text.split(',').map(str::parse).collect();
        Choice::new(&values.map_err(anyhow::Error::msg)?)
    }

    #[test]
    fn values_are_read_as_written_and_must_agree() {
        for text in ["none", "extip:1.2.3.4", "extip:2001:db8::1", "any", "upnp", "pmp:10.0.0.1", "stun:example.org"] {
            assert_eq!(text.parse::<Nat>().unwrap().to_string(), text);
            assert!(choose(text).is_ok());
        }
        let both = choose("extip:1.2.3.4,extip:2001:db8::1").unwrap();
        let mut addresses = Addresses::default();
        both.configure(&mut addresses);
        assert_eq!((addresses.ip4.is_some(), addresses.ip6.is_some()), (true, true));
        for (bad, why) in [
            ("extip:1.2.3.4,extip:5.6.7.8", "two addresses of one family"),
            ("upnp,pmp", "two methods"),
            ("upnp,extip:1.2.3.4", "an address and a method"),
            ("extip:x", "not an address"),
            ("wanted", "is none of any, upnp, pmp, pmp:IP, stun:HOST, none, extip:IP"),
            ("stun", "stun needs a server"),
        ] {
            let error = choose(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
