//! Which name servers are asked: those of the system or those that the user names, as far as the address filter permits.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use peerless::netfilter::NetFilter;

/// Name servers that are asked, as in the C library.
const SERVERS_MAX: usize = 3;
/// Rounds through the servers, as in the C library.
const ROUNDS: u32 = 2;
/// Time for the answer of one server. Shorter than the C library's, because a query has five seconds in all.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);
/// Where the system's name servers are named.
const SYSTEM_FILE: &str = "/etc/resolv.conf";
/// The port of name servers.
const PORT: u16 = 53;

/// The name servers to ask, in order; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameServers {
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) rounds: u32,
    pub(super) timeout: Duration,
}

impl NameServers {
    /// The servers at these addresses; the first three are asked.
    ///
    /// # Errors
    /// If there are none, or the filter forbids one of them.
    pub fn new(addrs: &[SocketAddr], filter: &NetFilter) -> Result<Self, NameServersError> {
        if let Some(forbidden) = addrs.iter().find(|addr| !filter.permits(addr.ip())) {
            return Err(NameServersError::Forbidden(*forbidden));
        }
        if addrs.is_empty() {
            return Err(NameServersError::None);
        }
        let addrs = addrs.iter().copied().take(SERVERS_MAX).collect();
        Ok(Self { addrs, rounds: ROUNDS, timeout: SERVER_TIMEOUT })
    }

    /// The servers of `/etc/resolv.conf` that the filter permits; the one of this machine if the file names none.
    ///
    /// # Errors
    /// If the file cannot be read, or the filter forbids all of them.
    pub fn of_system(filter: &NetFilter) -> Result<Self, NameServersError> {
        Self::of_file(Path::new(SYSTEM_FILE), filter)
    }

    /// As [`NameServers::of_system`], of another file of that format.
    ///
    /// # Errors
    /// As those of [`NameServers::of_system`].
    pub fn of_file(file: &Path, filter: &NetFilter) -> Result<Self, NameServersError> {
        let unreadable = |error: &dyn fmt::Display| NameServersError::File(file.to_owned(), error.to_string());
        let text = std::fs::read(file).map_err(|error| unreadable(&error))?;
        let config = resolv_conf::Config::parse(text).map_err(|error| unreadable(&error))?;
        let named: Vec<SocketAddr> =
            config.get_nameservers_or_local().iter().map(|ip| SocketAddr::new(IpAddr::from(ip), PORT)).collect();
        let permitted: Vec<SocketAddr> = named.iter().copied().filter(|addr| filter.permits(addr.ip())).collect();
        match named.first() {
            Some(first) if permitted.is_empty() => Err(NameServersError::Forbidden(*first)),
            _ => Self::new(&permitted, filter),
        }
    }

    /// The servers' addresses.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }
}

/// Why there is no name server to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NameServersError {
    /// None is named.
    None,
    /// The address filter forbids this one, and no other is left.
    Forbidden(SocketAddr),
    /// The file cannot be read.
    File(PathBuf, String),
}

impl fmt::Display for NameServersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no name server is named"),
            Self::Forbidden(addr) => write!(f, "the address filter forbids the name server {addr}"),
            Self::File(file, error) => write!(f, "cannot read the name servers of {}: {error}", file.display()),
        }
    }
}

impl std::error::Error for NameServersError {}
