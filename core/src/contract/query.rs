//! Queries: names that a machine asks its driver to resolve, and the answers.
//!
//! A machine emits queries only if its configuration has names to resolve. A driver that cannot resolve names answers
//! [`QueryFault::Unsupported`].

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

/// A name to resolve. The enum is exhaustive: a driver must not overlook a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Query<'a> {
    /// The TXT records of a domain name.
    Txt(&'a str),
    /// The addresses of a host name.
    Host(&'a str),
}

impl Query<'_> {
    /// The name.
    pub const fn name(&self) -> &str {
        match self {
            Self::Txt(name) | Self::Host(name) => name,
        }
    }
}

/// The answer to a query. The slices belong to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// The TXT records.
    Txt {
        /// One item for each record, its strings joined.
        records: &'a [&'a [u8]],
        /// How long the answer may be kept.
        ttl: Duration,
    },
    /// The addresses, in the resolver's order.
    Hosts {
        /// IPv4 and IPv6 addresses.
        addrs: &'a [IpAddr],
        /// How long the answer may be kept.
        ttl: Duration,
    },
}

/// Why a query has no answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum QueryFault {
    /// The driver does not resolve names.
    Unsupported,
    /// The name does not exist, or has no such records.
    NotFound,
    /// The resolver did not answer in time.
    TimedOut,
    /// The resolver failed.
    Failed,
}

impl fmt::Display for QueryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "names are not resolved here",
            Self::NotFound => "no such name",
            Self::TimedOut => "the resolver did not answer in time",
            Self::Failed => "the resolver failed",
        })
    }
}

impl core::error::Error for QueryFault {}
