//! The command `enr sign`: a record from a key, or a changed one from a record and its key.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use peerless::crypto::{Crypto as _, Secp256k1};
use peerless::wire::enr::{Record, RecordBuilder};
use peerless::wire::rlp::{self, Bounds};
use rlp_encoder::RlpStream;

use super::source;
use crate::eth_network::Chain;
use crate::key::Identity;

use ::rlp as rlp_encoder;

/// Arguments of `enr sign`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The record to change: its entries are kept, its sequence number is raised by one [default: none]
    #[arg(value_name = "TEXT|HEX|FILE")]
    record: Option<String>,
    #[command(flatten)]
    identity: Identity,
    /// Sequence number [default: 1, or the record's and one]
    #[arg(long, env = "PEERLESS_SEQ", value_name = "N")]
    seq: Option<u64>,
    /// IPv4 address
    #[arg(long, env = "PEERLESS_IP", value_name = "IP")]
    ip: Option<Ipv4Addr>,
    /// UDP port of discovery; 0 removes it
    #[arg(long, env = "PEERLESS_UDP", value_name = "PORT")]
    udp: Option<u16>,
    /// TCP port of RLPx; 0 removes it
    #[arg(long, env = "PEERLESS_TCP", value_name = "PORT")]
    tcp: Option<u16>,
    /// IPv6 address
    #[arg(long, env = "PEERLESS_IP6", value_name = "IP")]
    ip6: Option<Ipv6Addr>,
    /// UDP port of the IPv6 address, if it is not that of IPv4; 0 removes it
    #[arg(long, env = "PEERLESS_UDP6", value_name = "PORT")]
    udp6: Option<u16>,
    /// TCP port of the IPv6 address, if it is not that of IPv4; 0 removes it
    #[arg(long, env = "PEERLESS_TCP6", value_name = "PORT")]
    tcp6: Option<u16>,
    /// Another entry, its value in RLP; an empty value removes it
    #[arg(long, env = "PEERLESS_ENTRY", value_name = "KEY=HEX", value_delimiter = ',')]
    entry: Vec<EntryArgument>,
    #[command(flatten)]
    chain: Chain,
}

/// `KEY=HEX`.
#[derive(Clone, Debug)]
struct EntryArgument {
    key: Vec<u8>,
    /// One RLP item; `None` removes the entry.
    value: Option<Vec<u8>>,
}

impl FromStr for EntryArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, hex) = text.split_once('=').ok_or("expected KEY=HEX")?;
        if key.is_empty() {
            return Err("the key is empty".to_owned());
        }
        if ["id", "secp256k1"].contains(&key) {
            return Err(format!("{key} follows from the key that signs"));
        }
        if hex.is_empty() {
            return Ok(Self { key: key.into(), value: None });
        }
        let value = const_hex::decode(hex).map_err(|_| format!("{hex:?} is not hexadecimal"))?;
        match rlp::check(&value, Bounds::SMALL) {
            Ok(read) if read == value.len() => Ok(Self { key: key.into(), value: Some(value) }),
            Ok(_) => Err(format!("{hex:?} is more than one RLP item: put items in a list")),
            Err(error) => {
                Err(format!("{hex:?} is not RLP ({error}): text of up to 55 bytes has 80 and its length before it"))
            }
        }
    }
}

impl Arguments {
    /// Signs the record.
    pub(crate) fn sign(&self) -> Result<Record> {
        let crypto = Secp256k1::new();
        let secret = self.identity.load()?;
        let mut entries = BTreeMap::<Vec<u8>, Vec<u8>>::new();
        let mut seq = self.seq.unwrap_or(1);
        if let Some(argument) = &self.record {
            let raw = source::read(argument)?.raw;
            let record =
                Record::decode(&crypto, &raw).map_err(|error| anyhow!("the record to change is invalid: {error}"))?;
            if *record.key() != crypto.public_key(&secret) {
                bail!("the record is that of node {}, not of this key", record.key().node_id());
            }
            let next = record.seq().checked_add(1).context("the record has the last sequence number there is")?;
            seq = self.seq.unwrap_or(next);
            if seq <= record.seq() {
                bail!("sequence number {seq} does not replace the record's {}", record.seq());
            }
            entries = record.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        }
        let mut set = |key: &str, value: Vec<u8>| entries.insert(key.into(), value);
        if let Some(ip) = self.ip {
            set("ip", ::rlp::encode(&ip.octets().as_slice()).to_vec());
        }
        if let Some(ip) = self.ip6 {
            set("ip6", ::rlp::encode(&ip.octets().as_slice()).to_vec());
        }
        if let Some(id) = self.chain.fork_id()? {
            let mut stream = RlpStream::new_list(1);
            stream.begin_list(2).append(&id.hash.as_slice()).append(&id.next);
            set("eth", stream.out().to_vec());
        }
        for (key, port) in [("udp", self.udp), ("tcp", self.tcp), ("udp6", self.udp6), ("tcp6", self.tcp6)] {
            match port {
                None => {}
                Some(0) => drop(entries.remove(key.as_bytes())),
                Some(port) => drop(entries.insert(key.into(), ::rlp::encode(&port).to_vec())),
            }
        }
        for EntryArgument { key, value } in &self.entry {
            match value {
                None => drop(entries.remove(key)),
                Some(value) => drop(entries.insert(key.clone(), value.clone())),
            }
        }
        let mut builder = RecordBuilder::default();
        for (key, value) in entries {
            builder.entry(&key, value);
        }
        builder.sign(&crypto, &secret, seq).map_err(|error| anyhow!("cannot sign the record: {error}"))
    }
}
