//! When the reader asks: rate, retries, pauses, shares.

use super::*;
use crate::limits::{LIST_QUERIES_OPEN_MAX, LIST_ROOT_INTERVAL};

#[test]
fn queries_keep_to_three_a_second_after_a_burst_of_ten() {
    let mut world = World::new([list("l")].into());
    world.publish("l", 1, &records(0..169), &[]);
    world.walk();
    let asked = world.asked();
    assert_eq!(asked.len(), 2 + 169 + 13 + 1);
    for (from, (start, _)) in asked.iter().enumerate() {
        let within = asked[from..].iter().take_while(|(at, _)| at.since(*start) < secs(10)).count();
        assert!(within <= 10 + 31, "{within} in ten seconds");
    }
    assert!(asked.last().unwrap().0.since(asked[0].0) < secs(70));
}

#[test]
fn two_lists_share_the_queries_evenly() {
    let mut world = World::new([list("large"), list("small")].into());
    world.publish("large", 1, &records(0..170), &[list("more"), list("again")]);
    world.publish("more", 1, &records(170..300), &[]);
    world.publish("again", 1, &records(170..300), &[]);
    world.publish("small", 1, &records(300..400), &[]);
    let host = world.host;
    let is_walked = |net: &Net<Reader>| net.machine(host).dns().tree(TreeId(1)).unwrap().is_walked();
    assert!(world.net.run_until(secs(600), is_walked));
    let of_small = world.asked().iter().filter(|(_, name)| name.ends_with("small")).count();
    assert!((35..65).contains(&(100 * of_small / world.asked().len())), "{of_small} of {}", world.asked().len());
}

#[test]
fn a_query_without_an_answer_is_given_up_and_asked_again() {
    let mut world = World::new([list("l")].into());
    world.publish("l", 1, &records(0..5), &[]);
    let slow = format!("{}.l", EntryHash::of(&record(3).to_string()));
    world.net.zone.fail(&slow, None);
    world.walk();
    let asked = world.asked().iter().filter(|(_, name)| *name == slow.as_str()).count();
    assert_eq!((asked, world.tree(0).records_kept()), (3, 4));
    assert_eq!(world.defects(0), [(Defect::NoAnswer(QueryFault::TimedOut), 3)].into());
    world.net.zone.fail(&slow, Some(QueryFault::Failed));
    world.run(LIST_ROOT_INTERVAL);
    assert_eq!(world.tree(0).entries_given_up(), 1, "it is walked again with the next look at the root");
}

#[test]
fn a_resolver_that_is_away_is_not_asked_for_every_entry() {
    let mut world = World::new([list("l")].into());
    world.publish("l", 1, &records(0..170), &[]);
    world.run(secs(10));
    world.net.zone.is_silent = true;
    let before = world.asked().len();
    world.run(secs(3600));
    let asked = world.asked().len() - before;
    assert!((5..50).contains(&asked), "{asked} in an hour");
    world.net.zone.is_silent = false;
    world.run(secs(3600));
    assert!(world.tree(0).is_walked() && world.tree(0).records_found() >= 150, "{:?}", world.tree(0));
}

#[test]
fn a_driver_that_resolves_nothing_is_asked_ever_less_often() {
    let mut world = World::new([list("l")].into());
    world.net.zone = Default::default();
    world.run(secs(6 * 3600));
    assert_eq!(world.defects(0).keys().next(), Some(&Defect::NoAnswer(QueryFault::Unsupported)));
    let count = world.defects(0).values().sum::<u64>();
    assert!((10..20).contains(&count), "{count}");
}

#[test]
fn several_failures_bring_the_next_look_at_the_root_forward_but_not_below_a_minute() {
    let mut world = World::new([list("l")].into());
    world.net.zone.ttl = Duration::ZERO;
    world.publish("l", 1, &records(0..13), &[]);
    world.run(secs(1));
    for record in records(0..13) {
        world.net.zone.remove(&format!("{}.l", EntryHash::of(&record.to_string())));
    }
    world.publish("l", 2, &records(20..25), &[]);
    world.run(secs(600));
    let asked = world.roots_asked("l");
    assert_eq!(world.tree(0).root().unwrap().seq, 2);
    let pause = asked[1].since(asked[0]);
    assert!((secs(60)..secs(300)).contains(&pause), "{pause:?}");
    assert!(asked.windows(2).all(|pair| pair[1].since(pair[0]) >= secs(60)));
}

#[test]
fn open_queries_are_bounded() {
    let mut config = Config::new([list("l")].into());
    (config.queries_per_second, config.queries_burst) = (1000, 1000);
    let mut world = World::with(config);
    world.publish("l", 1, &records(0..169), &[]);
    world.net.run_until(secs(2), |net| net.zone.asked().len() > 16);
    world.net.zone.is_silent = true;
    world.run(secs(4));
    assert!(world.dns().open_queries() <= LIST_QUERIES_OPEN_MAX);
}

#[test]
fn deadlines_lie_in_the_future_after_a_timeout() {
    let mut world = World::new([list("l"), list("m")].into());
    world.publish("l", 1, &records(0..30), &[]);
    for _ in 0..3000 {
        let now = world.net.now();
        let due = world.net.machine(world.host).poll_timeout();
        assert!(due.is_none_or(|due| due >= now));
        world.run(Duration::from_millis(37));
    }
}
