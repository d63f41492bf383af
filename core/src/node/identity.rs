//! The node's identity: its key, its addresses and its record (EIP-778).
//!
//! What the embedder has said about the addresses holds; the rest is what other nodes see (see
//! [`votes`](crate::kad::votes)). The record always agrees with the other fields: a change of one that the record contains signs a new record with the
//! next sequence number.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::config::ConfigError;
use crate::contract::{Addresses, CommandError};
use crate::crypto::{Crypto, NodeId, PublicKey, SecretKey};
use crate::kad::Statement;
use crate::kad::votes::{AddressVotes, Seen};
use crate::netfilter::canonical;
use crate::time::Instant;
use crate::wire::enode::Contact;
use crate::wire::enr::{RESERVED_KEYS, Record, RecordBuilder};
use crate::wire::forkid::ForkId;
use crate::wire::rlp::{self, Bounds};

/// The address in the node's contact while none is known.
const UNKNOWN_IP: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The key, the addresses and the record that is signed over them.
pub(super) struct Identity {
    pub(super) secret: SecretKey,
    key: PublicKey,
    id: NodeId,
    /// The ports, and the addresses that the embedder has fixed.
    fixed: Addresses,
    learned: Learned,
    /// What others say about our addresses, unless none is learned.
    votes: Option<Box<AddressVotes>>,
    /// `None` for a node without a chain.
    fork_id: Option<ForkId>,
    /// Entries of the embedder's own, as RLP.
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    record: Record,
}

/// The addresses that others see, with their UDP ports if those are known.
#[derive(Clone, Copy, Default)]
struct Learned {
    ip4: Option<(Ipv4Addr, Option<u16>)>,
    ip6: Option<(Ipv6Addr, Option<u16>)>,
}

impl Learned {
    const fn set(&mut self, ip: IpAddr, udp: Option<u16>) {
        match ip {
            IpAddr::V4(ip) => self.ip4 = Some((ip, udp)),
            IpAddr::V6(ip) => self.ip6 = Some((ip, udp)),
        }
    }

    /// The addresses with those that are not fixed filled in.
    fn complete(&self, fixed: &Addresses) -> Addresses {
        let mut all = *fixed;
        if let (None, Some((ip, udp))) = (fixed.ip4, self.ip4) {
            all.ip4 = Some(ip);
            if let Some(udp) = udp.filter(|udp| *udp != fixed.udp) {
                all.udp6.get_or_insert(fixed.udp);
                all.udp = udp;
            }
        }
        if let (None, Some((ip, udp))) = (fixed.ip6, self.ip6) {
            all.ip6 = Some(ip);
            if let Some(udp) = udp.filter(|udp| *udp != all.ports(true).0) {
                all.udp6 = Some(udp);
            }
        }
        all
    }
}

impl Identity {
    /// Signs the first record, with the sequence number `seq`. `fixed` holds in any case, `assumed` until other nodes have said
    /// what they see; see [`Identity::learn_addresses`].
    ///
    /// # Errors
    /// If the record would be larger than 300 bytes, or an entry is reserved or not one RLP value.
    pub(super) fn new(
        crypto: &dyn Crypto,
        secret: SecretKey,
        fixed: Addresses,
        assumed: &[IpAddr],
        fork_id: impl Into<Option<ForkId>>,
        entries: BTreeMap<Vec<u8>, Vec<u8>>,
        seq: u64,
    ) -> Result<Self, ConfigError> {
        if entries.iter().any(|(key, value)| !is_settable(key, value)) {
            return Err(ConfigError::RecordEntry);
        }
        let (key, fork_id) = (crypto.public_key(&secret), fork_id.into());
        let mut learned = Learned::default();
        assumed.iter().for_each(|ip| learned.set(*ip, None));
        let record = builder(&learned.complete(&fixed), fork_id, &entries).sign(crypto, &secret, seq);
        let record = record.map_err(|_| ConfigError::Record)?;
        let votes = None;
        Ok(Self { secret, id: crypto.node_id(&key), key, fixed, learned, votes, fork_id, entries, record })
    }

    /// From here on, what other nodes say about our addresses counts; see [`Identity::hear`].
    pub(super) fn learn_addresses(&mut self) {
        self.votes.get_or_insert_default();
    }

    /// Counts what a node says about our address, unless that is fixed. Returns whether a new record was signed.
    pub(super) fn hear(&mut self, crypto: &dyn Crypto, now: Instant, statement: Statement) -> bool {
        if self.is_fixed(canonical(statement.seen_as).ip()) {
            return false;
        }
        let seen = self.votes.as_mut().and_then(|votes| votes.note(now, statement));
        // A record without room for the address keeps the old one.
        seen.is_some_and(|seen| self.learn(crypto, seen).unwrap_or(false))
    }

    /// The public key.
    pub(super) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The node id.
    pub(super) const fn id(&self) -> &NodeId {
        &self.id
    }

    /// The addresses in the record and in pings.
    pub(super) fn addresses(&self) -> Addresses {
        self.learned.complete(&self.fixed)
    }

    /// Whether the embedder has fixed the address of the family of `ip`.
    pub(super) const fn is_fixed(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(_) => self.fixed.ip4.is_some(),
            IpAddr::V6(_) => self.fixed.ip6.is_some(),
        }
    }

    /// The current record.
    pub(super) const fn record(&self) -> &Record {
        &self.record
    }

    /// The key with its first known address: IPv4 before IPv6, `0.0.0.0` if neither is known.
    pub(super) fn contact(&self) -> Contact {
        let addresses = self.addresses();
        let ip = addresses.ip().unwrap_or(UNKNOWN_IP);
        let (udp, tcp) = addresses.ports(ip.is_ipv6());
        Contact::with_id(self.key, self.id, ip, udp, tcp)
    }

    /// Sets the ports and the fixed addresses. Returns whether a new record was signed.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] if the record would be larger than 300 bytes; nothing has changed then.
    pub(super) fn set_addresses(&mut self, crypto: &dyn Crypto, addresses: Addresses) -> Result<bool, CommandError> {
        let (before, old) = (self.addresses(), core::mem::replace(&mut self.fixed, addresses));
        if self.addresses() == before {
            return Ok(false);
        }
        self.sign(crypto).inspect_err(|_| self.fixed = old)?;
        Ok(true)
    }

    /// Takes an address that others see. Returns whether a new record was signed: not while another one is fixed.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] if the record would be larger than 300 bytes; nothing has changed then.
    pub(super) fn learn(&mut self, crypto: &dyn Crypto, seen: Seen) -> Result<bool, CommandError> {
        let (before, old) = (self.addresses(), self.learned);
        self.learned.set(seen.ip, seen.udp);
        if self.addresses() == before {
            return Ok(false);
        }
        self.sign(crypto).inspect_err(|_| self.learned = old)?;
        Ok(true)
    }

    /// Changes the fork id. Returns whether a new record was signed.
    pub(super) fn set_fork_id(&mut self, crypto: &dyn Crypto, fork_id: ForkId) -> bool {
        if self.fork_id == Some(fork_id) {
            return false;
        }
        let old = self.fork_id.replace(fork_id);
        // The entry's size differs by a few bytes at most; if the record has no room for them, it keeps the old entry.
        self.sign(crypto).inspect_err(|_| self.fork_id = old).is_ok()
    }

    /// Sets, replaces or (with `None`) removes an entry of the embedder's own. Returns whether a new record was signed.
    ///
    /// # Errors
    /// [`CommandError::RecordEntry`] if the node sets that entry itself or the value is not one RLP value,
    /// [`CommandError::TooLarge`] if the record would be larger than 300 bytes; nothing has changed then.
    pub(super) fn set_entry(
        &mut self,
        crypto: &dyn Crypto,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<bool, CommandError> {
        if !is_settable(key, value.unwrap_or(&[0x80])) {
            return Err(CommandError::RecordEntry);
        }
        if self.entries.get(key).map(Vec::as_slice) == value {
            return Ok(false);
        }
        let old = match value {
            Some(value) => self.entries.insert(key.into(), value.into()),
            None => self.entries.remove(key),
        };
        if let Err(error) = self.sign(crypto) {
            match old {
                Some(old) => self.entries.insert(key.into(), old),
                None => self.entries.remove(key),
            };
            return Err(error);
        }
        Ok(true)
    }

    fn sign(&mut self, crypto: &dyn Crypto) -> Result<(), CommandError> {
        let seq = self.record.seq().saturating_add(1);
        let builder = builder(&self.addresses(), self.fork_id, &self.entries);
        self.record = builder.sign(crypto, &self.secret, seq).map_err(|_| CommandError::TooLarge)?;
        Ok(())
    }
}

fn builder(addresses: &Addresses, fork_id: Option<ForkId>, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> RecordBuilder {
    let Addresses { ip4, ip6, .. } = *addresses;
    let mut builder = RecordBuilder::default();
    for ip in ip4.map(IpAddr::V4).into_iter().chain(ip6.map(IpAddr::V6)) {
        let (udp, tcp) = addresses.ports(ip.is_ipv6());
        builder.endpoint(SocketAddr::new(ip, udp), tcp);
    }
    if let Some(fork_id) = fork_id {
        builder.fork_id(fork_id);
    }
    for (key, value) in entries {
        builder.entry(key, value.clone());
    }
    builder
}

fn is_settable(key: &[u8], value: &[u8]) -> bool {
    let is_one_value = rlp::check(value, Bounds::MESSAGE) == Ok(value.len());
    !key.is_empty() && !RESERVED_KEYS.contains(&key) && is_one_value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secp256k1;

    fn identity() -> (Secp256k1, Identity) {
        let crypto = Secp256k1::new();
        let addresses = Addresses { udp: 30303, tcp: 30304, ..Addresses::default() };
        let secret = SecretKey::from_bytes([5; 32]).unwrap();
        let fork_id = ForkId { hash: [1; 4], next: 0 };
        let identity = Identity::new(&crypto, secret, addresses, &[], fork_id, BTreeMap::new(), 7).unwrap();
        (crypto, identity)
    }

    #[test]
    fn a_record_holds_both_address_families_and_each_change_increments_its_number() {
        let (crypto, mut identity) = identity();
        assert_eq!((identity.record().seq(), identity.record().ip(), identity.record().udp()), (7, None, None));
        let both = Addresses {
            ip4: Some([10, 0, 0, 1].into()),
            ip6: Some("2001:db8::1".parse().unwrap()),
            ..identity.addresses()
        };
        assert_eq!(identity.set_addresses(&crypto, both), Ok(true));
        let record = identity.record();
        assert_eq!((record.seq(), record.ip(), record.ip6()), (8, both.ip4, both.ip6));
        assert_eq!(
            (record.udp(), record.tcp(), record.udp6(), record.tcp6()),
            (Some(30303), Some(30304), Some(30303), Some(30304))
        );
        assert_eq!(identity.contact().ip(), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(identity.set_addresses(&crypto, both), Ok(false), "no change, no new record");
        assert!(identity.set_fork_id(&crypto, ForkId { hash: [2; 4], next: 9 }));
        assert!(!identity.set_fork_id(&crypto, ForkId { hash: [2; 4], next: 9 }));
        assert_eq!((identity.record().seq(), identity.record().fork_id().unwrap().next), (9, 9));
    }

    #[test]
    fn what_others_see_fills_in_what_is_not_fixed() {
        let (crypto, mut identity) = identity();
        let seen = |ip: &str, udp| Seen { ip: ip.parse().unwrap(), udp };
        assert_eq!(identity.learn(&crypto, seen("5.5.5.5", Some(4000))), Ok(true));
        assert_eq!(identity.learn(&crypto, seen("2a00::5", None)), Ok(true));
        let record = identity.record();
        assert_eq!((record.seq(), record.ip()), (9, Some([5, 5, 5, 5].into())));
        assert_eq!((record.udp(), record.tcp(), record.udp6(), record.tcp6()), {
            (Some(4000), Some(30304), Some(30303), Some(30304))
        });
        assert_eq!(identity.contact().udp_addr(), "5.5.5.5:4000".parse().unwrap());
        let fixed = Addresses { ip4: Some([9, 9, 9, 9].into()), udp: 30303, tcp: 1, ..Addresses::default() };
        assert_eq!(identity.set_addresses(&crypto, fixed), Ok(true));
        assert!(identity.is_fixed([0, 0, 0, 0].into()) && !identity.is_fixed(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(identity.learn(&crypto, seen("6.6.6.6", Some(1))), Ok(false), "fixed");
        assert_eq!(identity.contact().udp_addr(), "9.9.9.9:30303".parse().unwrap());
        assert_eq!(identity.set_addresses(&crypto, Addresses { ip4: None, ..fixed }), Ok(true));
        assert_eq!(identity.contact().udp_addr(), "6.6.6.6:1".parse().unwrap(), "seen meanwhile");
    }

    #[test]
    fn each_family_may_have_ports_of_its_own() {
        let (crypto, mut identity) = identity();
        let addresses = Addresses {
            ip4: Some([10, 0, 0, 1].into()),
            ip6: Some(Ipv6Addr::LOCALHOST),
            udp: 1,
            tcp: 2,
            udp6: Some(3),
            tcp6: Some(4),
        };
        assert_eq!(identity.set_addresses(&crypto, addresses), Ok(true));
        let record = identity.record();
        assert_eq!((record.udp(), record.tcp(), record.udp6(), record.tcp6()), (Some(1), Some(2), Some(3), Some(4)));
        let only6 = Addresses { ip4: None, ..addresses };
        assert_eq!(identity.set_addresses(&crypto, only6), Ok(true));
        assert_eq!((identity.contact().udp(), identity.contact().tcp()), (3, 4));
    }

    #[test]
    fn embedder_entries_are_set_and_removed_and_a_refusal_changes_nothing() {
        let (crypto, mut identity) = identity();
        assert_eq!(identity.set_entry(&crypto, b"snap", Some(&[0xc0])), Ok(true));
        assert_eq!(identity.record().get(b"snap"), Some(&[0xc0][..]));
        assert_eq!(identity.set_entry(&crypto, b"snap", Some(&[0xc0])), Ok(false));
        for (key, value) in [(&b"ip"[..], &[0x80][..]), (b"eth", &[0xc0]), (b"", &[0xc0]), (b"x", &[]), (b"x", &[1, 2])]
        {
            assert_eq!(identity.set_entry(&crypto, key, Some(value)), Err(CommandError::RecordEntry), "{key:?}");
        }
        let seq = identity.record().seq();
        let large = ::rlp::encode(&alloc::vec![1u8; 250]).to_vec();
        assert_eq!(identity.set_entry(&crypto, b"opel", Some(&large)), Err(CommandError::TooLarge));
        assert_eq!((identity.record().seq(), identity.record().get(b"opel")), (seq, None));
        assert_eq!(identity.set_entry(&crypto, b"snap", None), Ok(true));
        assert_eq!((identity.record().seq(), identity.record().get(b"snap")), (seq + 1, None));
    }
}
