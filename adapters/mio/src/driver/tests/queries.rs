//! Queries: every one is answered, once.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerless::contract::{Query, QueryFault, QueryId};

use super::Driver;
use super::script::{Do, Script, Seen};
use crate::{HostResolver, Listen, Resolved, Resolver};

type Outcome = Result<Resolved, QueryFault>;

/// Answers when the test says so.
#[derive(Clone, Default)]
struct Manual(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    asked: Vec<(QueryId, String)>,
    ready: VecDeque<(QueryId, Outcome)>,
}

impl Manual {
    fn set_for(driver: &mut Driver<Script>) -> Self {
        let manual = Self::default();
        driver.set_resolver(Box::new(manual.clone()));
        manual
    }

    fn answer(&self, id: u64, outcome: Outcome) {
        self.0.lock().unwrap().ready.push_back((QueryId(id), outcome));
    }
}

impl Resolver for Manual {
    fn start(&mut self, id: QueryId, query: Query<'_>) -> Result<(), QueryFault> {
        if query.name() == "refused.example" {
            return Err(QueryFault::NotFound);
        }
        self.0.lock().unwrap().asked.push((id, query.name().to_owned()));
        Ok(())
    }

    fn poll(&mut self) -> Option<(QueryId, Outcome)> {
        self.0.lock().unwrap().ready.pop_front()
    }
}

fn answers(driver: &Driver<Script>) -> Vec<(u64, Outcome)> {
    let answers = driver.seen().into_iter().filter_map(|seen| match seen {
        Seen::Answer(id, outcome) => Some((id.0, outcome.clone())),
        _ => None,
    });
    answers.collect()
}

fn turn(driver: &mut Driver<Script>) {
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
}

#[test]
fn a_driver_without_a_resolver_answers_unsupported_at_once() {
    let mut driver = Driver::scripted(&Listen::default());
    driver.script([Do::Ask(Query::Host("localhost")), Do::Ask(Query::Txt("localhost"))]);
    turn(&mut driver);
    let unsupported = |id| (id, Err(QueryFault::Unsupported));
    assert_eq!(answers(&driver), [unsupported(0), unsupported(1)]);
}

#[test]
fn answers_come_with_the_ids_of_their_queries_in_any_order() {
    let mut driver = Driver::scripted(&Listen::default());
    let manual = Manual::set_for(&mut driver);
    driver.script([Do::Ask(Query::Txt("one.example")), Do::Ask(Query::Host("two.example"))]);
    turn(&mut driver);
    assert_eq!(answers(&driver), []);
    let asked = manual.0.lock().unwrap().asked.clone();
    assert_eq!(asked, [(QueryId(0), "one.example".to_owned()), (QueryId(1), "two.example".to_owned())]);
    let ttl = Duration::from_secs(7);
    let hosts = Ok(Resolved::Hosts { addrs: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], ttl });
    let txt = Ok(Resolved::Txt { records: vec![b"enrtree-root:v1".to_vec(), Vec::new()], ttl });
    manual.answer(1, hosts.clone());
    manual.answer(0, txt.clone());
    turn(&mut driver);
    assert_eq!(answers(&driver), [(1, hosts), (0, txt)]);
}

#[test]
fn a_refused_query_is_answered_at_once() {
    let mut driver = Driver::scripted(&Listen::default());
    let manual = Manual::set_for(&mut driver);
    driver.script([Do::Ask(Query::Host("refused.example"))]);
    turn(&mut driver);
    assert_eq!(answers(&driver), [(0, Err(QueryFault::NotFound))]);
    // It is not open: a later answer to it is passed over.
    manual.answer(0, Err(QueryFault::TimedOut));
    turn(&mut driver);
    assert_eq!(answers(&driver).len(), 1);
}

#[test]
fn answers_to_no_open_query_are_passed_over() {
    let mut driver = Driver::scripted(&Listen::default());
    let manual = Manual::set_for(&mut driver);
    driver.script([Do::Ask(Query::Host("one.example"))]);
    turn(&mut driver);
    manual.answer(5, Err(QueryFault::Failed));
    manual.answer(0, Err(QueryFault::TimedOut));
    manual.answer(0, Err(QueryFault::NotFound));
    turn(&mut driver);
    assert_eq!(answers(&driver), [(0, Err(QueryFault::TimedOut))]);
}

#[test]
fn a_replaced_resolver_leaves_no_query_open() {
    let mut driver = Driver::scripted(&Listen::default());
    let earlier = Manual::set_for(&mut driver);
    driver.script([Do::Ask(Query::Host("one.example")), Do::Ask(Query::Host("two.example"))]);
    turn(&mut driver);
    earlier.answer(1, Err(QueryFault::NotFound));
    turn(&mut driver);
    Manual::set_for(&mut driver);
    assert_eq!(answers(&driver), [(1, Err(QueryFault::NotFound)), (0, Err(QueryFault::Failed))]);
    turn(&mut driver);
    assert_eq!(answers(&driver).len(), 2);
}

#[test]
fn many_answers_are_taken_over_several_turns_without_sleep() {
    let mut driver = Driver::scripted(&Listen::default());
    let manual = Manual::set_for(&mut driver);
    driver.script((0..150).map(|_| Do::Ask(Query::Host("one.example"))));
    turn(&mut driver);
    (0..150).for_each(|id| manual.answer(id, Err(QueryFault::NotFound)));
    turn(&mut driver);
    assert_eq!(answers(&driver).len(), 64);
    driver.busy_turn();
    assert_eq!(answers(&driver).len(), 128);
    driver.busy_turn();
    assert_eq!(answers(&driver).len(), 150);
    assert!(!driver.has_answers, "the next turn would not sleep");
}

#[test]
fn host_names_are_resolved_on_a_thread_that_wakes_the_driver() {
    let mut driver = Driver::scripted(&Listen::default());
    let resolver = HostResolver::new(driver.waker()).unwrap();
    driver.set_resolver(Box::new(resolver));
    driver.script([
        Do::Ask(Query::Host("localhost")),
        Do::Ask(Query::Txt("localhost")),
        Do::Ask(Query::Host("127.0.0.9")),
    ]);
    // One for each answer; the waker ends the sleep.
    while answers(&driver).len() < 3 {
        driver.busy_turn();
    }
    let answers = answers(&driver);
    assert_eq!(answers[0], (1, Err(QueryFault::Unsupported)));
    let (0, Ok(Resolved::Hosts { addrs, ttl })) = &answers[1] else { panic!("{answers:?}") };
    assert!(!addrs.is_empty() && addrs.iter().all(IpAddr::is_loopback), "{addrs:?}");
    assert!(addrs.iter().all(|addr| addrs.iter().filter(|other| *other == addr).count() == 1), "{addrs:?}");
    assert!(*ttl > Duration::ZERO);
    let (2, Ok(Resolved::Hosts { addrs, .. })) = &answers[2] else { panic!("{answers:?}") };
    assert_eq!(*addrs, [IpAddr::from([127, 0, 0, 9])]);
}

#[test]
fn a_name_that_cannot_be_a_host_name_is_a_failure() {
    let driver = Driver::scripted(&Listen::default());
    let mut resolver = HostResolver::new(driver.waker()).unwrap();
    resolver.start(QueryId(3), Query::Host("a\0b")).unwrap();
    let deadline = std::time::Instant::now() + super::PATIENCE;
    let answer = loop {
        assert!(std::time::Instant::now() < deadline, "no answer");
        if let Some(answer) = resolver.poll() {
            break answer;
        }
        std::thread::yield_now();
    };
    assert_eq!(answer, (QueryId(3), Err(QueryFault::Failed)));
}
