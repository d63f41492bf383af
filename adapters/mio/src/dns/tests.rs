//! The resolver against a name server of the test, which misbehaves as told.

use std::net::SocketAddr;
use std::time::Duration;

use peerless::contract::{Query, QueryFault, QueryId};
use peerless::netfilter::NetFilter;
use peerless_tests::nameserver::{Conduct, NameServer, Zone};

use super::{DnsResolver, NameServers, NameServersError};
use crate::{Listen, Resolved, Resolver as _, Sockets};

/// A resolver that asks these servers, with a shorter patience than the default.
fn resolver(servers: &[&NameServer]) -> DnsResolver {
    let addrs: Vec<SocketAddr> = servers.iter().map(|server| server.addr()).collect();
    let mut servers = NameServers::new(&addrs, &NetFilter::default()).unwrap();
    servers.timeout = Duration::from_millis(300);
    DnsResolver::new(servers, Sockets::bind(&Listen::default()).unwrap().waker()).unwrap()
}

fn ask(resolver: &mut DnsResolver, query: Query<'_>) -> Result<Resolved, QueryFault> {
    resolver.start(QueryId(7), query).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some((id, result)) = resolver.poll() {
            assert_eq!(id, QueryId(7));
            return result;
        }
        assert!(std::time::Instant::now() < end, "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn txt(server: &NameServer, name: &str) -> Result<Vec<String>, QueryFault> {
    match ask(&mut resolver(&[server]), Query::Txt(name))? {
        Resolved::Txt { records, .. } => Ok(records.into_iter().map(|text| String::from_utf8(text).unwrap()).collect()),
        other => panic!("{other:?}"),
    }
}

fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.txt("short.example", 77, &["v=1"]);
    zone.txt("several.example", 60, &["one", "two"]);
    zone.txt("long.example", 60, &[&"0123456789".repeat(70)]);
    zone.txt("huge.example", 60, &[&"a".repeat(2000), &"b".repeat(1500)]);
    zone.alias("alias.example", 30, "Short.Example");
    zone.alias("far.example", 30, "alias.example");
    zone.alias("loop.example", 30, "back.example");
    zone.alias("back.example", 30, "loop.example");
    zone.alias("dangling.example", 30, "nowhere.example");
    for n in 0..12 {
        zone.alias(&format!("a{n}.example"), 30, &format!("a{}.example", n + 1));
    }
    zone.txt("a12.example", 30, &["deep"]);
    zone.addresses("host.example", 50, &["10.1.2.3", "10.1.2.4", "2001:db8::1"]);
    zone.addresses("six.example", 50, &["2001:db8::2"]);
    zone
}

#[test]
fn texts_are_resolved_and_their_strings_joined() {
    let server = NameServer::start(zone(), Conduct::default());
    assert_eq!(txt(&server, "short.example"), Ok(vec!["v=1".into()]));
    assert_eq!(txt(&server, "SHORT.example."), Ok(vec!["v=1".into()]), "names have no case");
    assert_eq!(txt(&server, "several.example"), Ok(vec!["one".into(), "two".into()]));
    assert_eq!(txt(&server, "long.example"), Ok(vec!["0123456789".repeat(70)]));
    assert_eq!(txt(&server, "nowhere.example"), Err(QueryFault::NotFound));
    assert_eq!(txt(&server, "host.example"), Err(QueryFault::NotFound), "it has no texts");
    let mut resolver = resolver(&[&server]);
    let Ok(Resolved::Txt { ttl, .. }) = ask(&mut resolver, Query::Txt("short.example")) else { panic!() };
    assert_eq!(ttl, Duration::from_secs(77));
    let Ok(Resolved::Txt { ttl, .. }) = ask(&mut resolver, Query::Txt("far.example")) else { panic!() };
    assert_eq!(ttl, Duration::from_secs(30), "the least on the way");
}

#[test]
fn hosts_are_resolved_in_both_families() {
    let server = NameServer::start(zone(), Conduct::default());
    let mut resolver = resolver(&[&server]);
    let mut hosts = |name| match ask(&mut resolver, Query::Host(name)) {
        Ok(Resolved::Hosts { addrs, .. }) => Ok(addrs.iter().map(ToString::to_string).collect::<Vec<_>>()),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
    assert_eq!(hosts("host.example").unwrap(), ["10.1.2.3", "10.1.2.4", "2001:db8::1"]);
    assert_eq!(hosts("six.example").unwrap(), ["2001:db8::2"]);
    assert_eq!(hosts("127.0.0.9").unwrap(), ["127.0.0.9"]);
    assert_eq!(hosts("localhost").unwrap(), ["127.0.0.1", "::1"]);
    assert_eq!(hosts("short.example"), Err(QueryFault::NotFound));
    assert_eq!(hosts("a name"), Err(QueryFault::NotFound));
}

#[test]
fn an_answer_that_is_cut_is_asked_for_over_tcp_in_any_pieces() {
    for pieces in [1, 7, usize::MAX] {
        let server = NameServer::start(zone(), Conduct { tcp_piece: pieces, ..Conduct::default() });
        assert_eq!(txt(&server, "huge.example"), Ok(vec!["a".repeat(2000), "b".repeat(1500)]), "{pieces}");
        assert_eq!(server.asked_over_tcp(), 1);
    }
    let server = NameServer::start(zone(), Conduct { tcp_stops_after: Some(9), ..Conduct::default() });
    assert_eq!(txt(&server, "huge.example"), Err(QueryFault::Failed), "a stream that ends too early");
}

#[test]
fn a_server_without_extensions_is_asked_without() {
    let server = NameServer::start(zone(), Conduct { knows_extensions: false, ..Conduct::default() });
    assert_eq!(txt(&server, "short.example"), Ok(vec!["v=1".into()]));
    assert_eq!(txt(&server, "long.example"), Ok(vec!["0123456789".repeat(70)]), "more than 512 bytes: over TCP");
    assert_eq!(server.asked_over_tcp(), 1);
}

#[test]
fn aliases_are_followed_within_and_across_answers_and_loops_end() {
    for together in [true, false] {
        let server = NameServer::start(zone(), Conduct { follows_aliases: together, ..Conduct::default() });
        assert_eq!(txt(&server, "far.example"), Ok(vec!["v=1".into()]));
        assert_eq!(txt(&server, "a5.example"), Ok(vec!["deep".into()]));
        assert_eq!(txt(&server, "a0.example"), Err(QueryFault::Failed), "twelve aliases");
        assert_eq!(txt(&server, "loop.example"), Err(QueryFault::Failed));
        assert_eq!(txt(&server, "dangling.example"), Err(QueryFault::NotFound));
    }
}

#[test]
fn forged_answers_are_passed_over() {
    for forged in [
        Conduct { forges_id: true, ..Conduct::default() },
        Conduct { forges_question: true, ..Conduct::default() },
        Conduct { forges_source: true, ..Conduct::default() },
        Conduct { sends_garbage: true, ..Conduct::default() },
    ] {
        let server = NameServer::start(zone(), forged.clone());
        assert_eq!(txt(&server, "short.example"), Ok(vec!["v=1".into()]), "{forged:?}");
        assert_eq!(server.asked(), 1);
    }
    let flood = Conduct { forges_id: true, forgeries: 100, ..Conduct::default() };
    let server = NameServer::start(zone(), flood);
    assert_eq!(txt(&server, "short.example"), Err(QueryFault::Failed), "a flood of them is no answer");
}

#[test]
fn a_server_that_fails_or_is_silent_gives_way_to_the_next() {
    let good = NameServer::start(zone(), Conduct::default());
    for bad in [Conduct { fails: true, ..Conduct::default() }, Conduct { is_silent: true, ..Conduct::default() }] {
        let bad = NameServer::start(zone(), bad);
        let mut resolver = resolver(&[&bad, &good]);
        let answer = ask(&mut resolver, Query::Txt("short.example"));
        assert!(matches!(answer, Ok(Resolved::Txt { .. })), "{answer:?}");
    }
    let silent = NameServer::start(zone(), Conduct { is_silent: true, ..Conduct::default() });
    assert_eq!(txt(&silent, "short.example"), Err(QueryFault::TimedOut));
    assert_eq!(silent.asked(), 2, "twice");
    let failing = NameServer::start(zone(), Conduct { fails: true, ..Conduct::default() });
    assert_eq!(txt(&failing, "short.example"), Err(QueryFault::Failed));
    let nothing = NameServer::start(zone(), Conduct { answers_nothing: true, ..Conduct::default() });
    assert_eq!(txt(&nothing, "short.example"), Err(QueryFault::NotFound), "no such name is an answer");
}

#[test]
fn several_queries_are_asked_at_the_same_time() {
    let silent = NameServer::start(zone(), Conduct { is_silent: true, ..Conduct::default() });
    let mut resolver = resolver(&[&silent]);
    let begun = std::time::Instant::now();
    for id in 0..8 {
        resolver.start(QueryId(id), Query::Txt("short.example")).unwrap();
    }
    let mut answers = 0;
    while answers < 8 {
        answers += usize::from(resolver.poll().is_some());
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(begun.elapsed() < Duration::from_millis(8 * 600), "one after another they would take longer");
}

#[test]
fn names_that_are_none_fail() {
    let server = NameServer::start(zone(), Conduct::default());
    for name in [String::new(), "a".repeat(64), ["a".repeat(60).as_str(); 5].join(".")] {
        assert_eq!(txt(&server, &name), Err(QueryFault::Failed), "{name}");
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_server_outside_the_filter_is_not_asked() {
    let (inside, outside) = ("127.0.0.1:53".parse().unwrap(), "9.9.9.9:53".parse().unwrap());
    let filter: NetFilter = "127.0.0.0/8".parse().unwrap();
    assert_eq!(NameServers::new(&[inside, outside], &filter), Err(NameServersError::Forbidden(outside)));
    assert_eq!(NameServers::new(&[], &filter), Err(NameServersError::None));
    assert_eq!(NameServers::new(&[inside], &filter).unwrap().addrs(), [inside]);

    let folder = std::env::temp_dir().join(format!("peerless-resolv-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("resolv.conf");
    let of = |text: &str| {
        std::fs::write(&file, text).unwrap();
        NameServers::of_file(&file, &filter)
    };
    let servers = of("# comment\nnameserver 9.9.9.9\nnameserver 127.0.0.1\nsearch example\n").unwrap();
    assert_eq!(servers.addrs(), [inside], "of the system's, the permitted ones are asked");
    assert_eq!(of("nameserver 9.9.9.9\n"), Err(NameServersError::Forbidden(outside)));
    assert_eq!(of("").unwrap().addrs()[0], inside, "without any, this machine");
    assert!(matches!(of("nameserver nonsense\n"), Err(NameServersError::File(..))));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(NameServers::of_file(&file, &filter), Err(NameServersError::File(..))));
}
