//! One query, through servers, rounds and aliases.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use peerless::contract::QueryFault;

use super::exchange::ask;
use super::message::{ALIASES_MAX, Data, Kind, Reply};
use super::servers::NameServers;
use crate::resolver::Resolved;

/// Bytes of a name that is asked for (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// A query in progress.
pub(super) struct Lookup<'a> {
    servers: &'a NameServers,
    deadline: Instant,
}

impl<'a> Lookup<'a> {
    /// A query that has to end by a deadline.
    pub(super) const fn new(servers: &'a NameServers, deadline: Instant) -> Self {
        Self { servers, deadline }
    }

    /// The TXT records of a name.
    pub(super) fn txt(&self, name: &str) -> Result<Resolved, QueryFault> {
        let (found, ttl) = self.records(name, Kind::Txt)?;
        let text = |data| if let Data::Text(text) = data { Some(text) } else { None };
        Ok(Resolved::Txt { records: found.into_iter().filter_map(text).collect(), ttl })
    }

    /// The addresses of a name, IPv4 first. A literal address is its own; `localhost` is this machine (RFC 6761).
    pub(super) fn host(&self, name: &str) -> Result<Resolved, QueryFault> {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Ok(Resolved::Hosts { addrs: vec![ip.to_canonical()], ttl: Duration::MAX });
        }
        if name.eq_ignore_ascii_case("localhost") {
            let addrs = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
            return Ok(Resolved::Hosts { addrs, ttl: Duration::MAX });
        }
        let (four, six) = (self.records(name, Kind::A), self.records(name, Kind::Aaaa));
        let (found, ttl) = match (four, six) {
            (Ok((four, a)), Ok((six, b))) => ([four, six].concat(), a.min(b)),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => found,
            (Err(QueryFault::NotFound), Err(fault)) | (Err(fault), Err(_)) => return Err(fault),
        };
        let ip = |data| if let Data::Ip(ip) = data { Some(ip) } else { None };
        Ok(Resolved::Hosts { addrs: found.into_iter().filter_map(ip).collect(), ttl })
    }

    fn records(&self, name: &str, kind: Kind) -> Result<(Vec<Data>, Duration), QueryFault> {
        let (mut name, mut lifetime, mut followed) = (name.to_owned(), Duration::MAX, 0);
        loop {
            match self.ask_all(&name, kind)? {
                Reply::Records(found, ttl) => return Ok((found, ttl.min(lifetime))),
                Reply::Alias(target, aliases, ttl) => {
                    followed += aliases;
                    if followed > ALIASES_MAX {
                        return Err(QueryFault::Failed);
                    }
                    (name, lifetime) = (target, lifetime.min(ttl));
                }
                Reply::NotFound => return Err(QueryFault::NotFound),
                Reply::Cut | Reply::NotUnderstood | Reply::Failed => return Err(QueryFault::Failed),
            }
        }
    }

    /// Asks one server after the other until one answers. One that fails is passed over; a name that does not exist is an
    /// answer.
    fn ask_all(&self, name: &str, kind: Kind) -> Result<Reply, QueryFault> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(QueryFault::Failed);
        }
        let mut fault = QueryFault::TimedOut;
        for _ in 0..self.servers.rounds {
            for server in &self.servers.addrs {
                let now = Instant::now();
                if now >= self.deadline {
                    return Err(fault);
                }
                let deadline = self.deadline.min(now + self.servers.timeout);
                match ask(*server, name, kind, deadline)? {
                    None => fault = QueryFault::TimedOut,
                    Some(Reply::Failed | Reply::NotUnderstood | Reply::Cut) => fault = QueryFault::Failed,
                    Some(reply) => return Ok(reply),
                }
            }
        }
        Err(fault)
    }
}
