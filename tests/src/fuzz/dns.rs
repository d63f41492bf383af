//! Node lists: the text of entries, and the machine that reads lists which may say anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use peerless::contract::{Action, Answer, Input, Machine, Query, QueryFault, QueryId};
use peerless::crypto::{Crypto, SecretKey};
use peerless::dns::{Config, Defect, Reader};
use peerless::limits;
use peerless::rng::Seed;
use peerless::time::{Instant, UnixTime};
use peerless::wire::dns::{Domain, Entry, EntryHash, Link, Plan, Root};
use peerless::wire::enr::{Record, RecordBuilder};

use super::crypto::Cheap;
use super::{Choices, Memory, Reached, Target};

/// Texts of roots, entries, links and domains: what is read is written the same. A link and a record are lent where the text is
/// `LINK` or `RECORD`.
pub const LIST_ENTRY: Target = Target {
    name: "list_entry",
    body: list_entry,
    memory: Memory::DECODER,
    landmarks: &["root", "branch", "link", "record", "domain", "no entry"],
    generated: (20_000, 300),
};

fn list_entry(data: &[u8], reached: &mut Reached) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = &*match text {
        "LINK" => link(0).to_string(),
        "RECORD" => record(3).to_string(),
        other => other.to_owned(),
    };
    if let Ok(root) = text.parse::<Root>() {
        reached.note("root");
        assert_eq!(root.to_string(), text);
    }
    match Entry::parse(&Cheap, text) {
        Ok(entry) => {
            reached.note(match &entry {
                Entry::Branch(_) => "branch",
                Entry::Link(_) => "link",
                Entry::Record(_) => "record",
            });
            // A record's spaces and a domain's case and dot are not kept.
            assert_eq!(Entry::parse(&Cheap, &entry.to_string()), Ok(entry.clone()));
            if let Entry::Branch(children) = &entry {
                assert!(entry.to_string() == text && children.len() <= limits::LIST_ENTRY_BYTES_MAX / 20);
            }
        }
        Err(_) => reached.note("no entry"),
    }
    if let Ok(domain) = text.parse::<Domain>() {
        reached.note("domain");
        assert_eq!(domain.as_str().parse(), Ok(domain.clone()));
        assert!(domain.subdomain(&EntryHash::of(text)).len() <= limits::LIST_DOMAIN_BYTES_MAX + 27);
    }
}

/// The machine under answers of every kind, in any order: bounds, sequence numbers, rate, deadlines.
pub const DNS: Target = Target {
    name: "dns",
    body: dns,
    memory: Memory::machine(2),
    landmarks: &[
        "record kept",
        "root taken",
        "walked",
        "link followed",
        "wrong hash",
        "no answer",
        "malformed",
        "bad signature",
        "rollback",
        "repeated",
        "too deep",
        "candidate",
    ],
    generated: (300, 500),
};

const DOMAINS: [&str; 4] = ["one.example", "two.example", "three.example", "four.example"];

fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes([n + 1; 32]).expect("in range")
}

fn record(n: u8) -> Record {
    let mut builder = RecordBuilder::default();
    if !n.is_multiple_of(5) {
        builder.endpoint(([9, 9, n, 1], 30303).into(), u16::from(n % 3) * 30303);
    }
    builder.sign(&Cheap, &secret(n), u64::from(n)).expect("a small record")
}

fn link(at: usize) -> Link {
    Link { key: Cheap.public_key(&secret(at as u8)), domain: DOMAINS[at].parse().expect("a name") }
}

/// The texts by name; what is published again changes some.
#[derive(Default)]
struct World {
    names: BTreeMap<String, Vec<Vec<u8>>>,
}

impl World {
    fn publish(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(DOMAINS.len());
        let (domain, seq): (Domain, u64) = (DOMAINS[at].parse().expect("a name"), choices.number());
        // Sometimes by a key that is not the list's.
        let secret = secret(if choices.once_in(8) { 200 } else { at as u8 });
        let first = choices.byte() % 100;
        let records: Vec<Record> = (first..first + choices.byte() % 20).map(record).collect();
        if choices.once_in(3) {
            return self.publish_chain(choices, &domain, seq, &secret, first);
        }
        let links: Vec<Link> = (0..choices.below(3)).map(|_| link(choices.below(DOMAINS.len()))).collect();
        let tree = Plan::new(seq, &records, &links).expect("distinct nodes").sign(&Cheap, &secret);
        for (name, text) in tree.names(&domain) {
            self.names.insert(name.to_ascii_lowercase(), vec![text.into_bytes()]);
        }
    }

    /// A chain of branches that name later and earlier ones, up to a record.
    fn publish_chain(&mut self, choices: &mut Choices<'_>, domain: &Domain, seq: u64, secret: &SecretKey, leaf: u8) {
        let mut texts = vec![record(leaf).to_string()];
        for _ in 0..choices.below(14) {
            let mut children = vec![EntryHash::of(&texts[texts.len() - 1])];
            children.extend((0..choices.below(3)).map(|_| EntryHash::of(&texts[choices.below(texts.len())])));
            texts.push(Entry::Branch(children).to_string());
        }
        let top = EntryHash::of(&texts[texts.len() - 1]);
        let links = if choices.flag() { top } else { EntryHash::of(&texts[0]) };
        let root = Root::sign(&Cheap, secret, top, links, seq).to_string();
        self.names.insert(domain.to_string(), vec![root.into_bytes()]);
        for text in texts {
            self.names.insert(domain.subdomain(&EntryHash::of(&text)).to_ascii_lowercase(), vec![text.into_bytes()]);
        }
    }
}

fn dns(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut config = Config::new((0..1 + choices.below(3)).map(link).collect());
    config.queries_per_second = 1 + u32::from(choices.byte());
    config.queries_burst = 1 + u32::from(choices.byte());
    config.records_kept = 1 + choices.below(40);
    config.follows_links = !choices.once_in(8);
    let mut now = Instant::from_micros(1_000_000);
    let mut reader = Reader::new(config.clone(), [choices.byte(); 32], now, UnixTime::from_secs(1), Arc::new(Cheap));
    let mut world = World::default();
    for _ in 0..3 {
        world.publish(&mut choices);
    }
    let (mut open, mut asked, mut ids): (Vec<(QueryId, String)>, u128, u64) = Default::default();
    let mut seqs: BTreeMap<String, u64> = BTreeMap::new();
    let mut rng = Seed::new([7; 32]).fork("draw");
    let begun = now;
    for _ in 0..400 {
        match choices.byte() % 8 {
            0 if choices.is_empty() => break,
            0 => world.publish(&mut choices),
            1 => now = now + Duration::from_millis(choices.number() % (1 << 32)),
            2 | 3 => {
                if let Some(due) = reader.poll_timeout() {
                    now = now.max(due);
                }
                reader.handle(now, Input::Timeout);
                let next = reader.poll_timeout();
                assert!(next.is_none_or(|next| next > now), "the next deadline lies in the future");
            }
            _ if open.is_empty() => {}
            _ => {
                let (id, name) = open.swap_remove(choices.below(open.len()));
                answer(&mut reader, now, id, world.names.get(&name.to_ascii_lowercase()), &mut choices);
            }
        }
        while let Some(action) = reader.poll_action() {
            let Action::Query { id, what: Query::Txt(name) } = action else { panic!("{action:?}") };
            assert_eq!(id, QueryId(ids), "ids are not repeated");
            assert!(name.len() <= 253 && DOMAINS.iter().any(|domain| name.ends_with(domain)), "{name}");
            ids += 1;
            asked += 1;
            open.push((id, name.to_owned()));
        }
        check(&reader, &config, &mut seqs, reached);
        let refilled = now.since(begun).as_micros() * u128::from(config.queries_per_second) / 999_000;
        let permitted = u128::from(config.queries_burst) + refilled;
        assert!(asked <= permitted + 1, "{asked} queries, {permitted} permitted");
    }
    let candidates = reader.dns().candidates(&mut rng, 16);
    for (at, candidate) in candidates.iter().enumerate() {
        reached.note("candidate");
        assert!(candidate.contact.tcp() != 0);
        assert!(candidates[..at].iter().all(|other| other.contact.id() != candidate.contact.id()));
    }
}

/// Answers a query: mostly with what is published, otherwise with anything.
fn answer(reader: &mut Reader, now: Instant, id: QueryId, texts: Option<&Vec<Vec<u8>>>, choices: &mut Choices<'_>) {
    let ttl = Duration::from_secs(choices.number());
    let mut texts = texts.cloned().unwrap_or_default();
    let fault = match choices.byte() % 16 {
        0 => [QueryFault::NotFound, QueryFault::TimedOut, QueryFault::Failed, QueryFault::Unsupported]
            .get(choices.below(4))
            .copied(),
        1 => {
            let text = texts.first_mut().and_then(|text| text.last_mut());
            text.into_iter().for_each(|byte| *byte ^= 1 << choices.below(8));
            None
        }
        2 => {
            let any: Vec<u8> = (0..choices.below(600)).map(|_| choices.byte()).collect();
            texts.insert(0, any);
            None
        }
        3 => {
            texts = vec![b"enrtree-root:v1 e=".to_vec(), b"enr:-----".to_vec()];
            None
        }
        _ if texts.is_empty() => Some(QueryFault::NotFound),
        _ => None,
    };
    let records: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let result = match fault {
        Some(fault) => Err(fault),
        None if choices.once_in(32) => Ok(Answer::Hosts { addrs: &[], ttl }),
        None => Ok(Answer::Txt { records: &records, ttl }),
    };
    reader.handle(now, Input::Answer { id, result });
    // A second answer is one to no query.
    reader.handle(now, Input::Answer { id, result: Err(QueryFault::Failed) });
}

fn check(reader: &Reader, config: &Config, seqs: &mut BTreeMap<String, u64>, reached: &mut Reached) {
    let dns = reader.dns();
    assert!(dns.open_queries() <= limits::LIST_QUERIES_OPEN_MAX);
    assert!(dns.trees().len() <= config.lists.len() * limits::LIST_TREES_MAX);
    if dns.trees().len() > config.lists.len() {
        reached.note("link followed");
    }
    let domains: Vec<String> = dns.trees().map(|(_, tree)| tree.link().domain.to_string()).collect();
    seqs.retain(|domain, _| domains.contains(domain));
    for (_, tree) in dns.trees() {
        assert!(tree.records_kept() <= 2 * config.records_kept);
        assert_eq!(tree.records().count(), tree.records_kept());
        assert!(tree.entries_left() <= limits::LIST_ENTRIES_MAX && tree.links().len() <= limits::LIST_TREES_MAX);
        if let Some(root) = tree.root() {
            reached.note("root taken");
            assert!(root.is_signed_by(&Cheap, &tree.link().key));
            let last = seqs.insert(tree.link().domain.to_string(), root.seq);
            assert!(last.is_none_or(|last| last <= root.seq), "a sequence number went back");
        }
        if tree.is_walked() {
            reached.note("walked");
        }
        if tree.records_kept() > 0 {
            reached.note("record kept");
        }
        for (defect, _) in tree.defects() {
            reached.note(match defect {
                Defect::WrongHash => "wrong hash",
                Defect::NoAnswer(_) => "no answer",
                Defect::Malformed => "malformed",
                Defect::BadSignature => "bad signature",
                Defect::SeqRollback => "rollback",
                Defect::Repeated => "repeated",
                Defect::TooDeep => "too deep",
                _ => "another defect",
            });
        }
    }
}
