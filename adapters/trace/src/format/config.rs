//! The codec of a node's configuration, but for its secret key, which the header keeps apart.
//!
//! Every field is written out. A field that a later version adds goes to the end, behind a higher format version.

use peerless::crypto::SecretKey;
use peerless::discv4;
use peerless::eth::{Chain, Policy};
use peerless::netfilter::NetFilter;
use peerless::node::{Config, discovery};
use peerless::peers::PeersConfig;
use peerless::wire::forkid::{Fork, ForkSchedule, Head, Network};
use peerless::wire::p2p::{Capability, CapabilityTable};

use super::codec::{Decoder, Encode, Malformed};

/// Appends everything of `config` but the secret key.
pub(crate) fn encode(config: &Config, out: &mut Vec<u8>) {
    let Config { secret: _, client, ip, udp, tcp, discovery, chain, status, .. } = config;
    let Config { capabilities, capability_table, peers, filter, record_seq, export_secrets, .. } = config;
    out.text(client);
    out.option(*ip, Encode::ip);
    out.u16(*udp);
    out.u16(*tcp);
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
    let PeersConfig { max_peers, dial_ratio, max_pending, inbound_per_subnet } = *peers;
    for limit in [max_peers, dial_ratio, max_pending, inbound_per_subnet] {
        out.count(limit as u64);
    }
    out.count(filter.ranges().len() as u64);
    for range in filter.ranges() {
        out.text(&range.to_string());
    }
    out.count(*record_seq);
    out.byte((*export_secrets).into());
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(decoder: &mut Decoder<'_>, secret: SecretKey) -> Result<Config, Malformed> {
    Ok(Config {
        secret,
        client: decoder.text()?.to_owned(),
        ip: decoder.option(Decoder::ip)?,
        udp: decoder.u16()?,
        tcp: decoder.u16()?,
        discovery: discovery::Config { discv4: decoder.option(decode_discovery)? },
        chain: decode_chain(decoder)?,
        status: match decoder.byte()? {
            0 => Policy::Announce,
            1 => Policy::Mirror,
            _ => return Err(Malformed("status policy")),
        },
        capabilities: decoder.list(decode_capability)?,
        capability_table: decode_table(decoder)?,
        peers: PeersConfig {
            max_peers: decoder.size()?,
            dial_ratio: decoder.size()?,
            max_pending: decoder.size()?,
            inbound_per_subnet: decoder.size()?,
        },
        filter: NetFilter::only(
            decoder.list(|decoder| decoder.text()?.parse().map_err(|_| Malformed("address range")))?,
        ),
        record_seq: decoder.count()?,
        // The first traces do not say: they told none.
        export_secrets: !decoder.is_at_end()
            && match decoder.byte()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed("whether secrets are exported")),
            },
    })
}

fn encode_capability(capability: Capability, out: &mut Vec<u8>) {
    out.text(capability.name());
    out.count(capability.version.into());
}

fn decode_capability(decoder: &mut Decoder<'_>) -> Result<Capability, Malformed> {
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

/// The default table has more than the node was given if some were left out, so it is not started from.
fn decode_table(decoder: &mut Decoder<'_>) -> Result<CapabilityTable, Malformed> {
    let mut table = CapabilityTable::empty();
    for (capability, length) in decoder.list(|decoder| Ok((decode_capability(decoder)?, decoder.u16()?)))? {
        table.register(capability, length);
    }
    Ok(table)
}

fn encode_discovery(settings: &discv4::Config, out: &mut Vec<u8>) {
    let discv4::Config { bootnodes, refresh_interval, young_interval, young_age, young_nodes, .. } = settings;
    let discv4::Config { reseed_interval, reseed_interval_max, fast_check_interval_max, .. } = settings;
    out.count(bootnodes.len() as u64);
    for contact in bootnodes {
        out.contact(contact);
    }
    for duration in [refresh_interval.0, refresh_interval.1, young_interval.0, young_interval.1, *young_age] {
        out.duration(duration);
    }
    out.count(*young_nodes as u64);
    let checks = [*fast_check_interval_max, settings.slow_check_interval_max];
    for duration in [*reseed_interval, *reseed_interval_max].into_iter().chain(checks) {
        out.duration(duration);
    }
}

fn decode_discovery(decoder: &mut Decoder<'_>) -> Result<discv4::Config, Malformed> {
    Ok(discv4::Config {
        bootnodes: decoder.list(Decoder::contact)?,
        refresh_interval: (decoder.duration()?, decoder.duration()?),
        young_interval: (decoder.duration()?, decoder.duration()?),
        young_age: decoder.duration()?,
        young_nodes: decoder.size()?,
        reseed_interval: decoder.duration()?,
        reseed_interval_max: decoder.duration()?,
        fast_check_interval_max: decoder.duration()?,
        slow_check_interval_max: decoder.duration()?,
    })
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
    out.count(chain.announced());
}

fn decode_chain(decoder: &mut Decoder<'_>) -> Result<Chain, Malformed> {
    let name = decoder.text()?.to_owned();
    let network_id = decoder.count()?;
    let genesis = decoder.fixed()?;
    let forks = decoder.list(|decoder| Ok((decoder.flag()?, decoder.count()?)))?;
    let of = |timed| forks.iter().filter(|fork| fork.0 == timed).map(|fork| fork.1).collect::<Vec<_>>();
    // The forks were counted when the schedule was made; nothing is later than the genesis block of time 0.
    let schedule = ForkSchedule::new(genesis, 0, &of(false), &of(true));
    let network = Network { name, network_id, schedule };
    let head = decode_head(decoder)?;
    let earliest = decoder.count()?;
    let difficulty = decoder.fixed()?;
    let announced = decoder.count()?;
    let mut chain = Chain::new(network, Head { number: announced, ..head }, earliest, difficulty);
    chain.set_head(head, earliest);
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        config.ip = Some("2001:db8::7".parse().unwrap());
        (config.udp, config.tcp) = (1, 65535);
        config.status = Policy::Mirror;
        config.capabilities = vec![Capability::eth(70), Capability::new("les", 4).unwrap()];
        config.capability_table = CapabilityTable::empty();
        config.capability_table.register(Capability::eth(70), 18);
        config.capability_table.register(Capability::new("les", 4).unwrap(), 21);
        config.peers = PeersConfig { max_peers: 3, dial_ratio: 2, max_pending: 9, inbound_per_subnet: 1 };
        config.filter = "127.0.0.0/8, ::1/128".parse().unwrap();
        config.record_seq = 1 << 40;
        config.export_secrets = true;
        let contact = Contact::new(crypto.public_key(&key(2)), [10, 0, 0, 1].into(), 30, 0);
        config.discovery.discv4 = Some(discv4::Config {
            bootnodes: vec![contact],
            young_age: Duration::from_micros(1),
            young_nodes: 77,
            ..discv4::Config::default()
        });
        config
    }

    /// As text, with everything that has a text.
    fn text(config: &Config) -> String {
        let Config { client, ip, udp, tcp, discovery, chain, status, .. } = config;
        let Config { capabilities, capability_table, peers, filter, record_seq, export_secrets, .. } = config;
        format!(
            "{client} {ip:?} {udp} {tcp} {discovery:?} {chain:?} {status:?} {capabilities:?} {capability_table:?} \
             {peers:?} {filter:?} {record_seq} {export_secrets}"
        )
    }

    #[test]
    fn every_field_comes_back() {
        let crypto = Secp256k1::new();
        let mut plain = unusual();
        (plain.discovery.discv4, plain.ip) = (None, None);
        for config in [unusual(), plain] {
            let mut bytes = Vec::new();
            encode(&config, &mut bytes);
            let mut decoder = Decoder::new(&bytes, &crypto);
            let back = decode(&mut decoder, key(1)).unwrap();
            decoder.end().unwrap();
            assert_eq!(text(&back), text(&config));
            // The last byte may be missing: it was added to version 1.
            for end in 0..bytes.len() - 1 {
                assert!(decode(&mut Decoder::new(&bytes[..end], &crypto), key(1)).is_err(), "cut at {end}");
            }
            let secret = config.secret.expose();
            assert!(!bytes.windows(32).any(|window| window == secret));
        }
    }
}
