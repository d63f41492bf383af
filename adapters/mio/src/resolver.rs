//! Answers to a machine's queries: what an embedder provides, what of it is still open, and a resolver of host names.
//!
//! A driver without a resolver answers every query with [`QueryFault::Unsupported`].

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use peerless::contract::{Answer, Query, QueryFault, QueryId};
use peerless::netfilter::canonical;

use crate::sockets::Waker;

/// Host names that may wait for the thread of a [`HostResolver`].
const HOST_QUERIES_MAX: usize = 64;
/// Addresses of one host name that are answered; the rest is cut off.
const HOST_ADDRS_MAX: usize = 64;
/// How long an answer of the operating system may be kept, which does not tell the records' time to live.
const HOST_TTL: Duration = Duration::from_secs(60);

/// Resolves names for a [`Driver`](crate::Driver), without blocking it.
///
/// A resolver that works on another thread wakes the driver with a [`Waker`] after an answer is ready for
/// [`Resolver::poll`]. Without that, the answer waits for the next turn.
pub trait Resolver {
    /// Starts to resolve. The answer comes from [`Resolver::poll`], with the same id.
    ///
    /// # Errors
    /// If the query is not accepted. The driver answers it with the fault, at once.
    fn start(&mut self, id: QueryId, query: Query<'_>) -> Result<(), QueryFault>;

    /// Takes an answer that is ready. Does not wait for one.
    fn poll(&mut self) -> Option<(QueryId, Result<Resolved, QueryFault>)>;
}

/// An [`Answer`] that owns its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Resolved {
    /// The TXT records of a domain name.
    Txt {
        /// One item for each record, its strings joined.
        records: Vec<Vec<u8>>,
        /// How long the answer may be kept.
        ttl: Duration,
    },
    /// The addresses of a host name, in the resolver's order.
    Hosts {
        /// IPv4 and IPv6 addresses.
        addrs: Vec<IpAddr>,
        /// How long the answer may be kept.
        ttl: Duration,
    },
}

impl Resolved {
    /// Calls `then` with the answer in the contract's form.
    pub(crate) fn lend<T>(&self, then: impl FnOnce(Answer<'_>) -> T) -> T {
        match self {
            Self::Txt { records, ttl } => {
                let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
                then(Answer::Txt { records: &records, ttl: *ttl })
            }
            Self::Hosts { addrs, ttl } => then(Answer::Hosts { addrs, ttl: *ttl }),
        }
    }
}

/// A driver's resolver and the queries that it has not answered.
#[derive(Default)]
pub(crate) struct Queries {
    resolver: Option<Box<dyn Resolver + Send>>,
    open: BTreeSet<QueryId>,
}

impl Queries {
    /// Replaces the resolver. Returns the queries that the earlier one has not answered, and never will.
    pub(crate) fn set_resolver(&mut self, resolver: Box<dyn Resolver + Send>) -> BTreeSet<QueryId> {
        self.resolver = Some(resolver);
        std::mem::take(&mut self.open)
    }

    /// Hands a query to the resolver.
    pub(crate) fn start(&mut self, id: QueryId, query: Query<'_>) -> Result<(), QueryFault> {
        self.resolver.as_mut().ok_or(QueryFault::Unsupported)?.start(id, query)?;
        self.open.insert(id);
        Ok(())
    }

    /// Takes an answer. Passes over answers to queries that are not open.
    pub(crate) fn poll(&mut self) -> Option<(QueryId, Result<Resolved, QueryFault>)> {
        let resolver = self.resolver.as_mut()?;
        loop {
            let (id, result) = resolver.poll()?;
            if self.open.remove(&id) {
                return Some((id, result));
            }
        }
    }
}

/// Resolves host names as the operating system does, on a thread of its own, one after another. 64 names may wait for the
/// thread; further ones are answered as [`QueryFault::TimedOut`].
///
/// TXT records are unsupported: the standard library has no call for them. A name that does not exist is answered as
/// [`QueryFault::Failed`], because the standard library does not tell it from a failure. How long a lookup may take is
/// the operating system's setting. The thread ends after its present lookup once the resolver is dropped.
#[derive(Debug)]
pub struct HostResolver {
    queries: SyncSender<(QueryId, String)>,
    answers: Receiver<(QueryId, Result<Resolved, QueryFault>)>,
}

impl HostResolver {
    /// Starts the thread, which wakes a driver after each answer.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn new(waker: Waker) -> io::Result<Self> {
        let (queries, todo) = sync_channel::<(QueryId, String)>(HOST_QUERIES_MAX);
        let (done, answers) = channel();
        std::thread::Builder::new().name("resolver".into()).spawn(move || {
            for (id, name) in todo {
                if done.send((id, resolve(&name))).is_err() {
                    return;
                }
                // Without it, the answer waits for the next turn.
                let _ = waker.wake();
            }
        })?;
        Ok(Self { queries, answers })
    }
}

impl Resolver for HostResolver {
    fn start(&mut self, id: QueryId, query: Query<'_>) -> Result<(), QueryFault> {
        let Query::Host(name) = query else { return Err(QueryFault::Unsupported) };
        self.queries.try_send((id, name.to_owned())).map_err(|error| match error {
            TrySendError::Full(_) => QueryFault::TimedOut,
            TrySendError::Disconnected(_) => QueryFault::Failed,
        })
    }

    fn poll(&mut self) -> Option<(QueryId, Result<Resolved, QueryFault>)> {
        self.answers.try_recv().ok()
    }
}

/// Asks the operating system, which may block for seconds.
fn resolve(name: &str) -> Result<Resolved, QueryFault> {
    hosts((name, 0).to_socket_addrs().map_err(|_| QueryFault::Failed)?)
}

/// The answer with those addresses: each once, in their order.
fn hosts(found: impl Iterator<Item = SocketAddr>) -> Result<Resolved, QueryFault> {
    let mut addrs = Vec::new();
    for addr in found.map(|addr| canonical(addr).ip()) {
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    addrs.truncate(HOST_ADDRS_MAX);
    if addrs.is_empty() { Err(QueryFault::NotFound) } else { Ok(Resolved::Hosts { addrs, ttl: HOST_TTL }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_canonical_distinct_and_at_most_64() {
        let found = ["[::1]:0", "127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"].map(|addr| addr.parse().unwrap());
        let addrs = vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert_eq!(hosts(found.into_iter()), Ok(Resolved::Hosts { addrs, ttl: Duration::from_secs(60) }));
        let Ok(Resolved::Hosts { addrs, .. }) = hosts((1..=200).map(|n| ([127, 0, 0, n], 0).into())) else { panic!() };
        assert_eq!((addrs.len(), addrs[63]), (64, IpAddr::from([127, 0, 0, 64])));
        assert_eq!(hosts(std::iter::empty()), Err(QueryFault::NotFound));
    }

    #[test]
    fn names_beyond_the_queue_are_answered_as_timed_out() {
        let (queries, todo) = sync_channel(1);
        let mut resolver = HostResolver { queries, answers: channel().1 };
        let mut start = |id| resolver.start(QueryId(id), Query::Host("localhost"));
        assert_eq!((start(1), start(2)), (Ok(()), Err(QueryFault::TimedOut)));
        assert_eq!(todo.recv().unwrap(), (QueryId(1), "localhost".to_owned()));
        drop(todo);
        assert_eq!(start(3), Err(QueryFault::Failed), "the thread is gone");
    }
}
