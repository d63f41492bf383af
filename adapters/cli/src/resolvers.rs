//! The resolvers of a node: the system's for host names, name servers for node lists.

use anyhow::{Context as _, Result};
use peerless::contract::{Query, QueryFault, QueryId};
use peerless_mio::{DnsResolver, HostResolver, Resolved, Resolver, Waker};

/// Answers queries for host names as the system does, and those for node lists by name servers, if any are known.
#[derive(Debug)]
pub(crate) struct Resolvers {
    hosts: HostResolver,
    lists: Option<DnsResolver>,
}

impl Resolvers {
    /// Starts the threads.
    pub(crate) fn new(servers: Option<peerless_mio::NameServers>, waker: Waker) -> Result<Self> {
        let hosts = HostResolver::new(waker.clone()).context("cannot start the thread that resolves names")?;
        let lists = servers.map(|servers| DnsResolver::new(servers, waker)).transpose()?;
        Ok(Self { hosts, lists })
    }
}

impl Resolver for Resolvers {
    fn start(&mut self, id: QueryId, query: Query<'_>) -> Result<(), QueryFault> {
        match (query, &mut self.lists) {
            (Query::Host(_), _) => self.hosts.start(id, query),
            (Query::Txt(_), Some(lists)) => lists.start(id, query),
            (Query::Txt(_), None) => Err(QueryFault::Unsupported),
        }
    }

    fn poll(&mut self) -> Option<(QueryId, Result<Resolved, QueryFault>)> {
        self.hosts.poll().or_else(|| self.lists.as_mut()?.poll())
    }
}
