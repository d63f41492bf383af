//! Where a node can be reached: the `enode://` text form, and the resolved [`Contact`] that machines use.
//!
//! The text form follows geth's `ParseV4` (`shared` conventions: `enode://<128 hex>@host:port[?discport=N]`). Host names are
//! kept, never resolved: that is the embedder's business, and a privacy risk.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use super::DecodeError;
use crate::crypto::{NodeId, PublicKey};

/// A node that can be reached: its key, its id (hashed once), its address and ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contact {
    /// `keccak256(key)`.
    pub id: NodeId,
    /// The node's public key.
    pub key: PublicKey,
    /// Canonical address.
    pub ip: IpAddr,
    /// discv4 port; 0 if the node has none.
    pub udp: u16,
    /// RLPx port; 0 if the node does not listen.
    pub tcp: u16,
}

impl Contact {
    /// A contact with its id computed and its address canonical.
    pub fn new(key: PublicKey, ip: IpAddr, udp: u16, tcp: u16) -> Self {
        let ip = crate::netfilter::canonical(SocketAddr::new(ip, 0)).ip();
        Self { id: key.node_id(), key, ip, udp, tcp }
    }

    /// Where its discv4 packets go.
    pub const fn udp_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.udp)
    }

    /// Where its sessions are dialled.
    pub const fn tcp_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.tcp)
    }
}

/// As an enode URL.
impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enode://{}@{}", self.key, self.tcp_addr())?;
        if self.udp != self.tcp { write!(f, "?discport={}", self.udp) } else { Ok(()) }
    }
}

/// The host part of an enode URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A name that somebody else must resolve.
    Name(String),
}

/// An enode URL. `endpoint` is `None` for one that names a key only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enode {
    /// The node's public key.
    pub key: PublicKey,
    /// Host, TCP port and UDP port.
    pub endpoint: Option<(Host, u16, u16)>,
}

impl Enode {
    /// The contact, if the host is a literal address.
    pub fn contact(&self) -> Option<Contact> {
        match &self.endpoint {
            Some((Host::Ip(ip), tcp, udp)) => Some(Contact::new(self.key, *ip, *udp, *tcp)),
            _ => None,
        }
    }
}

impl FromStr for Enode {
    type Err = DecodeError;

    fn from_str(_text: &str) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}
