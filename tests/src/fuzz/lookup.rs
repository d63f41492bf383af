//! One lookup in a network that the input describes: nodes that answer, fail, or return invented nodes.

use peerless::crypto::mac::Keccak;
use peerless::crypto::{
    Crypto, Digest, NodeId, PublicKey, RecoverableSignature, SecretKey, SharedSecret, Signature, keccak256,
};
use peerless::kad::lookup::Lookup;
use peerless::limits;
use peerless::rng::Seed;
use peerless::wire::enode::Contact;

use super::crypto::Cheap;
use super::{Choices, Memory, Reached, Target};

/// It ends, asks few nodes at once and none twice, and its results are the nearest that answered.
pub const LOOKUP: Target = Target {
    name: "lookup",
    body: lookup,
    memory: Memory::machine(1),
    landmarks: &["asked", "answered", "failed", "invented", "over", "full"],
    generated: (1_000, 300),
};

fn lookup(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut rng = Seed::new([choices.byte(); 32]).fork("lookup");
    let target = NodeId(keccak256(&[7; 64]));
    let mut contact = |near: bool| {
        let mut xy = rng.bytes();
        if near {
            // As near to the target as any node can be.
            xy[..24].copy_from_slice(&target.0[..24]);
        }
        let key = PublicKey::from_xy(&ChosenIds, &xy).expect("every point is accepted");
        Contact::with_crypto(&ChosenIds, key, [9, 9, 9, 9].into(), 30303, 30303)
    };
    let network: Vec<Contact> = (0..choices.below(60)).map(|_| contact(false)).collect();
    let own = network.first().map_or(NodeId([0; 32]), |contact| contact.id());
    let seeds = choices.below(network.len() + 1);
    let mut lookup = Lookup::new(own, target, network[..seeds].iter().copied());
    let (mut asked, mut in_flight, mut answered): (Vec<PublicKey>, Vec<Contact>, Vec<Contact>) = Default::default();
    loop {
        while let Some(next) = lookup.next() {
            reached.note("asked");
            assert!(!asked.contains(&next.key()) && next.id() != own, "no node twice, and never itself");
            asked.push(next.key());
            lookup.asked(&next.id());
            in_flight.push(next);
            assert!(in_flight.len() <= limits::LOOKUP_PARALLEL);
        }
        assert_eq!(lookup.queries() as usize, asked.len());
        assert!(lookup.queries() <= limits::LOOKUP_QUERIES_MAX);
        if lookup.queries() == limits::LOOKUP_QUERIES_MAX {
            reached.note("full");
        }
        assert_eq!(lookup.is_over(), in_flight.is_empty());
        if in_flight.is_empty() {
            break;
        }
        let node = in_flight.swap_remove(choices.below(in_flight.len()));
        match choices.below(4) {
            0 => {
                reached.note("failed");
                lookup.failed(&node.id());
            }
            1 => {
                reached.note("invented");
                let invented: Vec<Contact> = (0..choices.below(17)).map(|_| contact(true)).collect();
                lookup.answered(&node.id(), &invented);
                answered.push(node);
            }
            _ => {
                reached.note("answered");
                let known: Vec<Contact> =
                    (0..choices.below(17)).filter_map(|_| network.get(choices.below(60))).copied().collect();
                lookup.answered(&node.id(), &known);
                answered.push(node);
            }
        }
        let results = lookup.results();
        assert!(results.len() <= limits::BUCKET_SIZE);
        assert!(
            results.windows(2).all(|pair| target.cmp_distance(&pair[0].id(), &pair[1].id()).is_lt()),
            "nearest first"
        );
        assert!(results.iter().all(|result| answered.contains(result)), "only nodes that answered");
    }
    reached.note("over");
}

/// Primitives under which a node id is the first half of the key, so that the input chooses ids, and every point is a key.
struct ChosenIds;

impl Crypto for ChosenIds {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        Cheap.derive_xy(secret)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        Cheap.recover_xy(digest, signature)
    }

    fn is_on_curve(&self, _: &[u8; 64]) -> bool {
        true
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        Cheap.decompress_xy(compressed)
    }

    fn node_id(&self, key: &PublicKey) -> NodeId {
        NodeId(key.as_bytes().first_chunk().copied().unwrap_or_default())
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        Cheap.sign(secret, digest)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        Cheap.verify(key, digest, signature)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        Cheap.ecdh(secret, key)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        Cheap.datagram_hash(bytes)
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        Cheap.mac_update(mac, bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        Cheap.mac_digest(mac)
    }
}
