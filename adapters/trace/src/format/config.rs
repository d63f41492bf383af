//! The codec of a node's configuration without its secret key, which is a field of the header.
//!
//! Every field is written. The snapshot and the node lists are fields with tags, at the end; a later field is one more of them,
//! or is appended with a higher format version.

use std::collections::BTreeMap;
use std::net::IpAddr;

use peerless::contract::{Addresses, BanRecord, BanTarget, BookRecord, PeerLimits, Snapshot, Source, TalkId};
use peerless::crypto::{NodeId, SecretKey};
use peerless::eth::{Chain, Policy};
use peerless::kad::schedule::Schedule;
use peerless::netfilter::{Extent, NetFilter, Reach};
use peerless::node::{Config, discovery};
use peerless::time::UnixTime;
use peerless::wire::discv5::RequestId;
use peerless::wire::dns::Link;
use peerless::wire::enode::NamedNode;
use peerless::wire::forkid::{Fork, ForkSchedule, Head, Network};
use peerless::wire::p2p::{Capability, CapabilityTable};
use peerless::{discv4, discv5, dns};

use super::codec::{Decoder, Encode, Malformed};
use super::command::{kind, kind_code};

/// Appends `config` without the secret key.
pub(crate) fn encode(config: &Config, out: &mut Vec<u8>) {
    let Config { secret: _, client, addresses, record_entries, discovery, chain, status, .. } = config;
    let Config { capabilities, capability_table, peers, filter, record_seq, snapshot, export_secrets, .. } = config;
    out.text(client);
    encode_addresses(addresses, out);
    out.count(record_entries.len() as u64);
    for (key, value) in record_entries {
        out.bytes(key);
        out.bytes(value);
    }
    out.option(discovery.discv4.as_ref(), |out, settings| encode_discovery(settings, out));
    encode_chain(chain, out);
    out.byte(match status {
        Policy::Announce => 0,
        Policy::Mirror => 1,
    });
    out.count(capabilities.len() as u64);
    for capability in capabilities {
        encode_capability(*capability, out);
    }
    out.count(capability_table.iter().count() as u64);
    for (capability, length) in capability_table.iter() {
        encode_capability(capability, out);
        out.u16(length);
    }
    encode_limits(peers, out);
    encode_filter(filter, out);
    out.count(*record_seq);
    out.flag(*export_secrets);
    encode_tagged(snapshot, discovery, out);
    encode_additions(config, out);
}

/// Decodes what [`encode`] wrote.
pub(crate) fn decode(decoder: &mut Decoder<'_>, secret: SecretKey) -> Result<Config, Malformed> {
    let client = decoder.text()?.to_owned();
    let addresses = decode_addresses(decoder)?;
    let record_entries = decode_entries(decoder)?;
    let discv4 = decoder.option(decode_discovery)?;
    let mut config = Config::new(secret, decode_chain(decoder)?);
    (config.client, config.addresses, config.record_entries) = (client, addresses, record_entries);
    config.discovery.discv4 = discv4;
    config.status = match decoder.byte()? {
        0 => Policy::Announce,
        1 => Policy::Mirror,
        _ => return Err(Malformed("status policy")),
    };
    config.capabilities = decoder.list(decode_capability)?;
    config.capability_table = decode_table(decoder)?;
    config.peers = decode_limits(decoder)?;
    config.filter = decode_filter(decoder)?;
    config.record_seq = decoder.count()?;
    config.export_secrets = decoder.flag()?;
    (config.discovery.discv5, config.discovery.dns) = (None, None);
    config.snapshot = decode_tagged(decoder, &mut config.discovery)?;
    decode_additions(decoder, &mut config)?;
    Ok(config)
}

/// Appends what later releases have added, each field with a tag and a length. Earlier traces end before it.
fn encode_additions(config: &Config, out: &mut Vec<u8>) {
    let mut field = |tag, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        out.byte(tag);
        out.bytes(&bytes);
    };
    let Config { addresses, learn_addresses, assumed_addresses, .. } = config;
    field(LEARNING, &|out| {
        out.flag(*learn_addresses);
        out.count(assumed_addresses.len() as u64);
        assumed_addresses.iter().for_each(|ip| out.ip(*ip));
    });
    field(PORTS_IPV6, &|out| encode_ports6(addresses, out));
    field(NAMED_BOOTNODES, &|out| {
        out.count(config.named_bootnodes.len() as u64);
        config.named_bootnodes.iter().for_each(|node| encode_named(node, out));
    });
    field(REACH, &|out| encode_reach(config.reach, out));
    out.byte(END);
}

fn decode_additions(decoder: &mut Decoder<'_>, config: &mut Config) -> Result<(), Malformed> {
    if decoder.is_at_end() {
        // No node of that release learned its address.
        config.learn_addresses = false;
        return Ok(());
    }
    loop {
        let tag = decoder.byte()?;
        if tag == END {
            return Ok(());
        }
        let field = &mut decoder.nested()?;
        match tag {
            LEARNING => {
                config.learn_addresses = field.flag()?;
                config.assumed_addresses = field.list(Decoder::ip)?;
            }
            NAMED_BOOTNODES => config.named_bootnodes = field.list(decode_named)?,
            REACH => config.reach = decode_reach(field)?,
            PORTS_IPV6 => decode_ports6(field, &mut config.addresses)?,
            // A field of a later version.
            _ => continue,
        }
        if !field.is_at_end() {
            return Err(Malformed("configuration"));
        }
    }
}

/// The tags of additions; 0 ends them.
const LEARNING: u8 = 1;
const PORTS_IPV6: u8 = 2;
const REACH: u8 = 3;
const NAMED_BOOTNODES: u8 = 4;

pub(crate) fn encode_named(node: &NamedNode, out: &mut Vec<u8>) {
    out.fixed(node.key.as_bytes());
    out.text(&node.host);
    out.u16(node.udp);
    out.u16(node.tcp);
}

pub(crate) fn decode_named(decoder: &mut Decoder<'_>) -> Result<NamedNode, Malformed> {
    let key = decoder.key()?;
    let host = decoder.text()?;
    let (udp, tcp) = (decoder.u16()?, decoder.u16()?);
    NamedNode::new(key, host, udp, tcp).ok_or(Malformed("host name"))
}

pub(crate) fn encode_reach(reach: Reach, out: &mut Vec<u8>) {
    for extent in [reach.ip4, reach.ip6] {
        out.byte(match extent {
            Extent::None => 0,
            Extent::Local => 1,
            Extent::Global => 2,
        });
    }
}

pub(crate) fn decode_reach(decoder: &mut Decoder<'_>) -> Result<Reach, Malformed> {
    let mut extent = || {
        Ok(match decoder.byte()? {
            0 => Extent::None,
            1 => Extent::Local,
            2 => Extent::Global,
            _ => return Err(Malformed("reach")),
        })
    };
    Ok(Reach { ip4: extent()?, ip6: extent()? })
}

pub(crate) fn encode_ports6(addresses: &Addresses, out: &mut Vec<u8>) {
    out.option(addresses.udp6, Encode::u16);
    out.option(addresses.tcp6, Encode::u16);
}

pub(crate) fn decode_ports6(decoder: &mut Decoder<'_>, addresses: &mut Addresses) -> Result<(), Malformed> {
    addresses.udp6 = decoder.option(Decoder::u16)?;
    addresses.tcp6 = decoder.option(Decoder::u16)?;
    Ok(())
}

pub(crate) fn encode_addresses(addresses: &Addresses, out: &mut Vec<u8>) {
    let Addresses { ip4, ip6, udp, tcp, .. } = *addresses;
    out.option(ip4.map(IpAddr::V4), Encode::ip);
    out.option(ip6.map(IpAddr::V6), Encode::ip);
    out.u16(udp);
    out.u16(tcp);
}

pub(crate) fn decode_addresses(decoder: &mut Decoder<'_>) -> Result<Addresses, Malformed> {
    let malformed = Err(Malformed("address family"));
    let mut addresses = Addresses::default();
    addresses.ip4 = match decoder.option(Decoder::ip)? {
        Some(IpAddr::V6(_)) => return malformed,
        Some(IpAddr::V4(ip)) => Some(ip),
        None => None,
    };
    addresses.ip6 = match decoder.option(Decoder::ip)? {
        Some(IpAddr::V4(_)) => return malformed,
        Some(IpAddr::V6(ip)) => Some(ip),
        None => None,
    };
    (addresses.udp, addresses.tcp) = (decoder.u16()?, decoder.u16()?);
    Ok(addresses)
}

fn decode_entries(decoder: &mut Decoder<'_>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Malformed> {
    let entries = decoder.list(|decoder| Ok((decoder.bytes()?.to_vec(), decoder.bytes()?.to_vec())))?;
    Ok(entries.into_iter().collect())
}

pub(crate) fn encode_limits(limits: &PeerLimits, out: &mut Vec<u8>) {
    let PeerLimits { max_peers, dial_ratio, max_pending, inbound_per_subnet, .. } = *limits;
    let PeerLimits { handshakes_per_subnet, handshakes, .. } = *limits;
    for limit in [max_peers, dial_ratio, max_pending, inbound_per_subnet, handshakes_per_subnet, handshakes] {
        out.count(limit as u64);
    }
}

pub(crate) fn decode_limits(decoder: &mut Decoder<'_>) -> Result<PeerLimits, Malformed> {
    let mut limits = PeerLimits::default();
    let PeerLimits { max_peers, dial_ratio, max_pending, inbound_per_subnet, .. } = &mut limits;
    for limit in [max_peers, dial_ratio, max_pending, inbound_per_subnet] {
        *limit = decoder.size()?;
    }
    let PeerLimits { handshakes_per_subnet, handshakes, .. } = &mut limits;
    for limit in [handshakes_per_subnet, handshakes] {
        *limit = decoder.size()?;
    }
    Ok(limits)
}

pub(crate) fn encode_filter(filter: &NetFilter, out: &mut Vec<u8>) {
    out.count(filter.ranges().len() as u64);
    for range in filter.ranges() {
        out.text(&range.to_string());
    }
}

pub(crate) fn decode_filter(decoder: &mut Decoder<'_>) -> Result<NetFilter, Malformed> {
    let ranges = decoder.list(|decoder| decoder.text()?.parse().map_err(|_| Malformed("address range")))?;
    Ok(NetFilter::only(ranges))
}

pub(crate) fn encode_ban_target(target: BanTarget, out: &mut Vec<u8>) {
    match target {
        BanTarget::Id(id) => {
            out.byte(1);
            out.fixed(&id.0);
        }
        BanTarget::Address(ip) => {
            out.byte(2);
            out.ip(ip);
        }
    }
}

pub(crate) fn decode_ban_target(decoder: &mut Decoder<'_>) -> Result<BanTarget, Malformed> {
    Ok(match decoder.byte()? {
        1 => BanTarget::Id(NodeId(decoder.fixed()?)),
        2 => BanTarget::Address(decoder.ip()?),
        _ => return Err(Malformed("target of a ban")),
    })
}

/// Appends each field with a tag and a length, so that a reader can skip unknown ones.
fn encode_tagged(snapshot: &Snapshot, discovery: &discovery::Config, out: &mut Vec<u8>) {
    let mut field = |tag, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        out.byte(tag);
        out.bytes(&bytes);
    };
    let Snapshot { record_seq, nodes, bans, peers, book, .. } = snapshot;
    field(RECORD_SEQ, &|out| out.count(*record_seq));
    field(NODES, &|out| {
        out.count(nodes.len() as u64);
        nodes.iter().for_each(|contact| out.contact(contact));
    });
    field(BANS, &|out| {
        out.count(bans.len() as u64);
        for BanRecord { target, until } in bans {
            encode_ban_target(*target, out);
            out.count(until.as_micros());
        }
    });
    field(PEERS, &|out| {
        out.count(peers.len() as u64);
        for (contact, kind) in peers {
            out.contact(contact);
            out.byte(kind_code(*kind));
        }
    });
    field(BOOK, &|out| {
        out.count(book.len() as u64);
        for BookRecord { contact, source, first_seen } in book {
            out.contact(contact);
            out.byte(source_code(*source));
            out.count(first_seen.as_micros());
        }
    });
    if let Some(settings) = &discovery.dns {
        field(LISTS, &|out| encode_lists(settings, out));
    }
    if let Some(settings) = &discovery.discv5 {
        field(DISCV5, &|out| encode_discv5(settings, out));
    }
    out.byte(END);
}

fn decode_tagged(decoder: &mut Decoder<'_>, discovery: &mut discovery::Config) -> Result<Snapshot, Malformed> {
    let mut snapshot = Snapshot::default();
    loop {
        let tag = decoder.byte()?;
        if tag == END {
            return Ok(snapshot);
        }
        let field = &mut decoder.nested()?;
        match tag {
            RECORD_SEQ => snapshot.record_seq = field.count()?,
            NODES => snapshot.nodes = field.list(Decoder::contact)?,
            BANS => {
                snapshot.bans = field.list(|field| {
                    let target = decode_ban_target(field)?;
                    Ok(BanRecord { target, until: UnixTime::from_micros(field.count()?) })
                })?;
            }
            PEERS => snapshot.peers = field.list(|field| Ok((field.contact()?, kind(field.byte()?)?)))?,
            BOOK => {
                snapshot.book = field.list(|field| {
                    let (contact, source) = (field.contact()?, source(field.byte()?)?);
                    Ok(BookRecord { contact, source, first_seen: UnixTime::from_micros(field.count()?) })
                })?;
            }
            LISTS => discovery.dns = Some(decode_lists(field)?),
            DISCV5 => discovery.discv5 = Some(decode_discv5(field)?),
            // A field of a later version.
            _ => continue,
        }
        if !field.is_at_end() {
            return Err(Malformed("snapshot or node lists"));
        }
    }
}

/// The tags of these fields.
const END: u8 = 0;
const RECORD_SEQ: u8 = 1;
const NODES: u8 = 2;
const BANS: u8 = 3;
const PEERS: u8 = 4;
const BOOK: u8 = 5;
const LISTS: u8 = 6;
const DISCV5: u8 = 7;

fn encode_lists(settings: &dns::Config, out: &mut Vec<u8>) {
    let dns::Config { lists, queries_per_second, queries_burst, root_interval, records_kept, .. } = settings;
    out.count(lists.len() as u64);
    lists.iter().for_each(|link| out.text(&link.to_string()));
    out.count((*queries_per_second).into());
    out.count((*queries_burst).into());
    out.duration(*root_interval);
    out.count(*records_kept as u64);
    out.flag(settings.follows_links);
}

fn decode_lists(decoder: &mut Decoder<'_>) -> Result<dns::Config, Malformed> {
    let malformed = Malformed("node lists");
    let crypto = decoder.crypto();
    let list = |decoder: &mut Decoder<'_>| Link::parse(crypto, decoder.text()?).map_err(|_| malformed);
    let mut settings = dns::Config::new(decoder.list(list)?);
    settings.queries_per_second = u32::try_from(decoder.count()?).map_err(|_| malformed)?;
    settings.queries_burst = u32::try_from(decoder.count()?).map_err(|_| malformed)?;
    settings.root_interval = decoder.duration()?;
    settings.records_kept = decoder.size()?;
    settings.follows_links = decoder.flag()?;
    Ok(settings)
}

const fn source_code(source: Source) -> u8 {
    match source {
        Source::Discv4 => 1,
        Source::Embedder => 2,
        Source::Discv5 => 3,
        Source::Dns => 4,
    }
}

fn source(code: u8) -> Result<Source, Malformed> {
    match code {
        1 => Ok(Source::Discv4),
        2 => Ok(Source::Embedder),
        3 => Ok(Source::Discv5),
        4 => Ok(Source::Dns),
        _ => Err(Malformed("source of an address")),
    }
}

pub(crate) fn encode_capability(capability: Capability, out: &mut Vec<u8>) {
    out.text(capability.name());
    out.count(capability.version.into());
}

pub(crate) fn decode_capability(decoder: &mut Decoder<'_>) -> Result<Capability, Malformed> {
    let malformed = Malformed("capability");
    let name = decoder.text()?;
    let version = u32::try_from(decoder.count()?).map_err(|_| malformed)?;
    Capability::new(name, version).map_err(|_| malformed)
}

pub(crate) fn encode_head(head: &Head, out: &mut Vec<u8>) {
    out.count(head.number);
    out.count(head.time);
    out.fixed(&head.hash);
}

pub(crate) fn decode_head(decoder: &mut Decoder<'_>) -> Result<Head, Malformed> {
    Ok(Head { number: decoder.count()?, time: decoder.count()?, hash: decoder.fixed()? })
}

/// Decodes a table. Starts from the empty one: the default one may hold capabilities that the node's lacked.
fn decode_table(decoder: &mut Decoder<'_>) -> Result<CapabilityTable, Malformed> {
    let mut table = CapabilityTable::empty();
    for (capability, length) in decoder.list(|decoder| Ok((decode_capability(decoder)?, decoder.u16()?)))? {
        table.register(capability, length);
    }
    Ok(table)
}

fn encode_discovery(settings: &discv4::Config, out: &mut Vec<u8>) {
    let discv4::Config { bootnodes, schedule, .. } = settings;
    out.count(bootnodes.len() as u64);
    for contact in bootnodes {
        out.contact(contact);
    }
    encode_schedule(schedule, out);
}

fn decode_discovery(decoder: &mut Decoder<'_>) -> Result<discv4::Config, Malformed> {
    let mut settings = discv4::Config::default();
    settings.bootnodes = decoder.list(Decoder::contact)?;
    settings.schedule = decode_schedule(decoder)?;
    Ok(settings)
}

fn encode_discv5(settings: &discv5::Config, out: &mut Vec<u8>) {
    let discv5::Config { bootnodes, schedule, talk_protocols, .. } = settings;
    out.count(bootnodes.len() as u64);
    bootnodes.iter().for_each(|contact| out.contact(contact));
    encode_schedule(schedule, out);
    out.count(talk_protocols.len() as u64);
    talk_protocols.iter().for_each(|protocol| out.bytes(protocol));
}

fn decode_discv5(decoder: &mut Decoder<'_>) -> Result<discv5::Config, Malformed> {
    let mut settings = discv5::Config::default();
    settings.bootnodes = decoder.list(Decoder::contact)?;
    settings.schedule = decode_schedule(decoder)?;
    settings.talk_protocols = decoder.list(|decoder| decoder.bytes().map(<[u8]>::to_vec))?.into_iter().collect();
    Ok(settings)
}

pub(crate) fn encode_talk_id(TalkId { node, addr, request }: &TalkId, out: &mut Vec<u8>) {
    out.fixed(&node.0);
    out.addr(*addr);
    out.bytes(request.as_bytes());
}

pub(crate) fn decode_talk_id(decoder: &mut Decoder<'_>) -> Result<TalkId, Malformed> {
    let (node, addr) = (NodeId(decoder.fixed()?), decoder.addr()?);
    let request = RequestId::new(decoder.bytes()?).ok_or(Malformed("request id"))?;
    Ok(TalkId { node, addr, request })
}

fn encode_schedule(schedule: &Schedule, out: &mut Vec<u8>) {
    let Schedule { refresh_interval, young_interval, young_age, young_nodes, .. } = schedule;
    let Schedule { reseed_interval, reseed_interval_max, fast_check_interval_max, .. } = schedule;
    for duration in [refresh_interval.0, refresh_interval.1, young_interval.0, young_interval.1, *young_age] {
        out.duration(duration);
    }
    out.count(*young_nodes as u64);
    let checks = [*fast_check_interval_max, schedule.slow_check_interval_max];
    for duration in [*reseed_interval, *reseed_interval_max].into_iter().chain(checks) {
        out.duration(duration);
    }
}

fn decode_schedule(decoder: &mut Decoder<'_>) -> Result<Schedule, Malformed> {
    let mut schedule = Schedule::default();
    schedule.refresh_interval = (decoder.duration()?, decoder.duration()?);
    schedule.young_interval = (decoder.duration()?, decoder.duration()?);
    schedule.young_age = decoder.duration()?;
    schedule.young_nodes = decoder.size()?;
    schedule.reseed_interval = decoder.duration()?;
    schedule.reseed_interval_max = decoder.duration()?;
    schedule.fast_check_interval_max = decoder.duration()?;
    schedule.slow_check_interval_max = decoder.duration()?;
    Ok(schedule)
}

fn encode_chain(chain: &Chain, out: &mut Vec<u8>) {
    let Network { name, network_id, schedule } = chain.network();
    out.text(name);
    out.count(*network_id);
    out.fixed(schedule.genesis());
    out.count(schedule.forks().count() as u64);
    for fork in schedule.forks() {
        out.flag(matches!(fork, Fork::Time(_)));
        out.count(fork.at());
    }
    encode_head(chain.head(), out);
    out.count(chain.range().earliest);
    out.fixed(chain.total_difficulty());
    // The number of the last announced block, which readers ignore.
    out.count(chain.head().number);
}

fn decode_chain(decoder: &mut Decoder<'_>) -> Result<Chain, Malformed> {
    let name = decoder.text()?.to_owned();
    let network_id = decoder.count()?;
    let genesis = decoder.fixed()?;
    let forks = decoder.list(|decoder| Ok((decoder.flag()?, decoder.count()?)))?;
    let of = |timed| forks.iter().filter(|fork| fork.0 == timed).map(|fork| fork.1).collect::<Vec<_>>();
    // The schedule dropped forks at or before its genesis when it was made: with a genesis time of 0 all are kept.
    let schedule = ForkSchedule::new(genesis, 0, &of(false), &of(true));
    let network = Network { name, network_id, schedule };
    let head = decode_head(decoder)?;
    let earliest = decoder.count()?;
    let difficulty = decoder.fixed()?;
    let _ = decoder.count()?;
    Ok(Chain::new(network, head, earliest, difficulty))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use peerless::contract::PeerKind;
    use peerless::crypto::{Crypto, Secp256k1};
    use peerless::wire::enode::Contact;

    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes([byte; 32]).unwrap()
    }

    fn unusual() -> Config {
        let schedule = ForkSchedule::new([9; 32], 5, &[1, 7, 7], &[4, 1_700_000_000]);
        let network = Network { name: "näme".to_owned(), network_id: u64::MAX, schedule };
        let mut chain = Chain::new(network, Head { number: 100, time: 3, hash: [1; 32] }, 20, [3; 32]);
        chain.set_head(Head { number: 110, time: 4, hash: [2; 32] }, 30);
        let mut config = Config::new(key(1), chain);
        let crypto = Secp256k1::new();
        config.client = "x/y".to_owned();
        config.addresses.set_ip("2001:db8::7".parse().unwrap());
        config.record_entries = [(b"opel".to_vec(), vec![0x80]), (b"snap".to_vec(), vec![0xc0])].into();
        (config.addresses.udp, config.addresses.tcp) = (1, 65535);
        (config.addresses.udp6, config.addresses.tcp6) = (Some(2), None);
        (config.learn_addresses, config.assumed_addresses) = (false, vec![[10, 0, 0, 1].into()]);
        config.status = Policy::Mirror;
        config.capabilities = vec![Capability::eth(70), Capability::new("les", 4).unwrap()];
        config.capability_table = CapabilityTable::empty();
        config.capability_table.register(Capability::eth(70), 18);
        config.capability_table.register(Capability::new("les", 4).unwrap(), 21);
        (config.peers.max_peers, config.peers.dial_ratio) = (3, 2);
        (config.peers.max_pending, config.peers.inbound_per_subnet) = (9, 1);
        config.filter = "127.0.0.0/8, ::1/128".parse().unwrap();
        config.reach = Reach { ip4: Extent::None, ip6: Extent::Local };
        config.named_bootnodes = vec![NamedNode::new(crypto.public_key(&key(2)), "boot.example", 1, 2).unwrap()];
        config.record_seq = 1 << 40;
        config.export_secrets = true;
        let contact = Contact::new(crypto.public_key(&key(2)), [10, 0, 0, 1].into(), 30, 0);
        config.snapshot.record_seq = 17;
        config.snapshot.nodes = vec![contact, contact];
        let until = UnixTime::from_micros(1_750_000_000_000_001);
        let targets = [BanTarget::Id(contact.id()), BanTarget::Address([9, 9, 9, 9].into())];
        config.snapshot.bans = targets.map(|target| BanRecord { target, until }).into();
        config.snapshot.peers = vec![(contact, PeerKind::Trusted)];
        let entry = |source| BookRecord { contact, source, first_seen: until };
        config.snapshot.book = [Source::Discv4, Source::Embedder, Source::Dns].map(entry).into();
        let mut settings = discv4::Config::default();
        settings.bootnodes = vec![contact];
        (settings.schedule.young_age, settings.schedule.young_nodes) = (Duration::from_micros(1), 77);
        config.discovery.discv4 = Some(settings);
        let list = Link { key: contact.key(), domain: "nodes.example.org".parse().unwrap() };
        let mut settings = dns::Config::new(vec![list.clone(), Link { domain: "x".parse().unwrap(), ..list }]);
        (settings.queries_per_second, settings.queries_burst) = (7, 1);
        (settings.root_interval, settings.records_kept) = (Duration::from_millis(99), 5);
        settings.follows_links = false;
        config.discovery.dns = Some(settings);
        config
    }

    /// The configuration as text, without the parts that have none.
    fn text(config: &Config) -> String {
        let Config { client, addresses, record_entries, discovery, chain, status, .. } = config;
        let Config { capabilities, capability_table, peers, filter, record_seq, snapshot, export_secrets, .. } = config;
        format!(
            "{client} {addresses:?} {:?} {:?} {:?} {:?} {record_entries:?} {snapshot:?} {discovery:?} {chain:?} {status:?} {capabilities:?} {capability_table:?} \
             {peers:?} {filter:?} {record_seq} {export_secrets}",
            config.learn_addresses, config.assumed_addresses, config.reach, config.named_bootnodes,
        )
    }

    #[test]
    fn every_field_comes_back() {
        let crypto = Secp256k1::new();
        let mut plain = unusual();
        (plain.discovery.discv4, plain.addresses.ip4, plain.addresses.ip6) = (None, None, None);
        plain.discovery.dns = None;
        for config in [unusual(), plain] {
            let mut bytes = Vec::new();
            encode(&config, &mut bytes);
            let mut decoder = Decoder::new(&bytes, &crypto);
            let back = decode(&mut decoder, key(1)).unwrap();
            decoder.end().unwrap();
            assert_eq!(text(&back), text(&config));
            let mut additions = Vec::new();
            encode_additions(&config, &mut additions);
            let first_release = bytes.len() - additions.len();
            for end in (0..bytes.len()).filter(|end| *end != first_release) {
                assert!(decode(&mut Decoder::new(&bytes[..end], &crypto), key(1)).is_err(), "cut at {end}");
            }
            let secret = config.secret.expose();
            assert!(!bytes.windows(32).any(|window| window == secret));
        }
    }
}
