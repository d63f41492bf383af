//! The filter of findings: `--filter`.
//!
//! A filter is `NAME=VALUE[,VALUE...]`; a finding passes if one of its values matches. With several filters it must
//! pass all of them. `node` is the beginning of a node id, `addr` an address with or without its port, `proto` a
//! protocol, `message` a message name in any letter case, `conn` a connection number.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::finding::{Finding, Place};

/// A filter `NAME=VALUE,..`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    any_of: Vec<Term>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    /// The beginning of a node id, in lower case.
    Node(String),
    Addr(SocketAddr),
    Ip(IpAddr),
    Port(u16),
    Protocol(String),
    Message(String),
    Conn(u64),
}

impl Filter {
    /// Whether `finding` passes.
    pub fn passes(&self, finding: &Finding) -> bool {
        self.any_of.iter().any(|term| term.passes(finding))
    }
}

impl Term {
    fn passes(&self, finding: &Finding) -> bool {
        let mut ends = super::ends(finding);
        match self {
            Self::Node(start) => ends.any(|(_, id)| id.is_some_and(|id| id.to_string().starts_with(start))),
            Self::Addr(addr) => ends.any(|(end, _)| end == *addr),
            Self::Ip(ip) => ends.any(|(end, _)| end.ip() == *ip),
            Self::Port(port) => ends.any(|(end, _)| end.port() == *port),
            Self::Protocol(protocol) => finding.protocol() == protocol,
            Self::Message(name) => finding.name().eq_ignore_ascii_case(name),
            Self::Conn(number) => matches!(finding.place, Some(Place { conn: Some(conn), .. }) if conn == *number),
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        let term = |value: &str| -> Result<Term, String> {
            let value = value.trim();
            let wrong = || format!("{value:?} is no {name}");
            Ok(match name.trim() {
                "node" => {
                    let digits = value.strip_prefix("0x").unwrap_or(value).to_ascii_lowercase();
                    if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
                    {
                        return Err(wrong());
                    }
                    Term::Node(digits)
                }
                "addr" => match (value.parse(), value.parse()) {
                    (Ok(addr), _) => Term::Addr(addr),
                    (_, Ok(ip)) => Term::Ip(ip),
                    _ => return Err(wrong()),
                },
                "port" => Term::Port(value.parse().map_err(|_| wrong())?),
                "proto" => Term::Protocol(value.to_ascii_lowercase()),
                "message" => Term::Message(value.to_owned()),
                "conn" => Term::Conn(value.trim_start_matches('#').parse().map_err(|_| wrong())?),
                other => return Err(format!("{other:?} is none of node, addr, port, proto, message, conn")),
            })
        };
        Ok(Self { any_of: values.split(',').map(term).collect::<Result<_, _>>()? })
    }
}
