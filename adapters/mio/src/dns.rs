//! A resolver that asks name servers itself: TXT records and host addresses, over UDP, and over TCP where an answer is cut.
//!
//! [`DnsResolver`] has a few threads of its own, which block on sockets of their own and wake the driver. `message` makes
//! questions and reads answers, `exchange` asks one server one question, `lookup` goes through servers and aliases.

mod exchange;
mod lookup;
mod message;
mod servers;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use peerless::contract::{Query, QueryFault, QueryId};

use crate::resolver::{Resolved, Resolver};
use crate::sockets::Waker;
use lookup::Lookup;
pub use servers::{NameServers, NameServersError};

/// Threads, and so queries that are asked at the same time: three a second, each up to its whole limit, are fifteen at worst.
const THREADS: usize = 8;
/// Queries that wait for a thread.
const QUEUE_MAX: usize = 256;
/// Time for a query, through all servers and aliases: a machine waits no longer.
const QUERY_LIMIT: Duration = Duration::from_secs(5);

/// What is to be looked up.
#[derive(Clone, Debug)]
enum Job {
    Txt(String),
    Host(String),
}

type Done = (QueryId, Result<Resolved, QueryFault>);

/// Answers queries by asking name servers.
///
/// 256 queries may wait for its threads; further ones are answered as [`QueryFault::TimedOut`]. The threads end once the resolver
/// is dropped, after what they do then.
///
/// ```no_run
/// # fn with(driver: &mut peerless_mio::Driver) -> Result<(), Box<dyn std::error::Error>> {
/// use peerless::netfilter::NetFilter;
/// use peerless_mio::{DnsResolver, NameServers};
///
/// let servers = NameServers::of_system(&NetFilter::default())?;
/// driver.set_resolver(Box::new(DnsResolver::new(servers, driver.waker())?));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DnsResolver {
    jobs: SyncSender<(QueryId, Job)>,
    answers: Receiver<Done>,
}

impl DnsResolver {
    /// Starts the threads, which wake a driver after each answer.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn new(servers: NameServers, waker: Waker) -> io::Result<Self> {
        let (jobs, todo) = sync_channel::<(QueryId, Job)>(QUEUE_MAX);
        let (done, answers) = channel();
        let (servers, todo) = (Arc::new(servers), Arc::new(Mutex::new(todo)));
        for _ in 0..THREADS {
            let (servers, todo, done, waker) = (servers.clone(), todo.clone(), done.clone(), waker.clone());
            std::thread::Builder::new().name("dns".into()).spawn(move || {
                loop {
                    let next = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((id, job)) = next else { return };
                    let lookup = Lookup::new(&servers, Instant::now() + QUERY_LIMIT);
                    let result = match job {
                        Job::Txt(name) => lookup.txt(&name),
                        Job::Host(name) => lookup.host(&name),
                    };
                    if done.send((id, result)).is_err() {
                        return;
                    }
                    // Without it, the answer waits for the next turn.
                    let _ = waker.wake();
                }
            })?;
        }
        Ok(Self { jobs, answers })
    }
}

impl Resolver for DnsResolver {
    fn start(&mut self, id: QueryId, query: Query<'_>) -> Result<(), QueryFault> {
        let job = match query {
            Query::Txt(name) => Job::Txt(name.to_owned()),
            Query::Host(name) => Job::Host(name.to_owned()),
        };
        self.jobs.try_send((id, job)).map_err(|error| match error {
            TrySendError::Full(_) => QueryFault::TimedOut,
            TrySendError::Disconnected(_) => QueryFault::Failed,
        })
    }

    fn poll(&mut self) -> Option<Done> {
        self.answers.try_recv().ok()
    }
}
