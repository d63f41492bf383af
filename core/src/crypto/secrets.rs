//! The RLPx key schedule (`rlpx.md`, "Initial Handshake"): from an agreement, two nonces and two packets to a session's
//! secrets. It knows nothing of who sent what, and keeps nothing of what it was given.
//!
//! [`SessionSecrets`] is the schedule's middle: what a key log holds, and all that a reader of the wire needs.

use core::fmt;

use zeroize::Zeroizing;

use super::mac::Keccak;
use super::{Crypto, Digest, SharedSecret, keccak256};

/// What both sides know when a handshake ends; the same twice, whichever side derives it.
pub struct Exchange<'a> {
    /// The agreement of the two ephemeral keys.
    pub agreement: &'a SharedSecret,
    /// The initiator's nonce.
    pub initiator_nonce: &'a [u8; 32],
    /// The recipient's nonce.
    pub recipient_nonce: &'a [u8; 32],
    /// The initiator's packet as it was on the wire, size prefix included.
    pub auth: &'a [u8],
    /// The recipient's packet as it was on the wire, size prefix included.
    pub ack: &'a [u8],
}

/// A session's secrets, as one side has them. Zeroised when dropped; never shown.
pub struct Secrets {
    /// AES-256 key of both directions.
    pub aes: Zeroizing<[u8; 32]>,
    /// AES-256 key that the seeds of the MACs go through, of both directions.
    pub mac: Zeroizing<[u8; 32]>,
    /// MAC state of what this side sends.
    pub egress: Keccak,
    /// MAC state of what this side receives.
    pub ingress: Keccak,
}

/// A side of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// It dialled, and sent auth.
    Initiator,
    /// It accepted, and sent ack.
    Recipient,
}

/// What opens one session, both ways, to whoever has its bytes from the first on: for key logs. It tells nothing of
/// either side's static or ephemeral key, nor of any other session. Zeroised when dropped; never shown.
#[derive(Clone)]
pub struct SessionSecrets {
    /// Whose view it is; the rest is the same for both.
    pub role: Role,
    /// Keccak-256 of auth as it was on the wire, size prefix included: the session's name, which an observer can compute.
    pub auth_hash: Digest,
    /// The initiator's nonce.
    pub initiator_nonce: Zeroizing<[u8; 32]>,
    /// The recipient's nonce.
    pub recipient_nonce: Zeroizing<[u8; 32]>,
    /// AES-256 key of both directions.
    pub aes: Zeroizing<[u8; 32]>,
    /// AES-256 key that the seeds of the MACs go through, of both directions.
    pub mac: Zeroizing<[u8; 32]>,
}

/// Shows which session it is, and no secret.
impl fmt::Debug for SessionSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSecrets").field("role", &self.role).finish_non_exhaustive()
    }
}

impl SessionSecrets {
    /// What `exchange` comes to, as `role` has it.
    pub fn new(role: Role, exchange: &Exchange<'_>) -> Self {
        let (aes, mac) = keys(exchange);
        Self {
            role,
            auth_hash: keccak256(exchange.auth),
            initiator_nonce: Zeroizing::new(*exchange.initiator_nonce),
            recipient_nonce: Zeroizing::new(*exchange.recipient_nonce),
            aes,
            mac,
        }
    }

    /// The secrets that the session begins with, as [`SessionSecrets::role`] has them; `auth` and `ack` as they were on
    /// the wire, size prefixes included.
    pub fn secrets(&self, crypto: &dyn Crypto, auth: &[u8], ack: &[u8]) -> Secrets {
        let nonces = (&*self.initiator_nonce, &*self.recipient_nonce);
        assemble(crypto, self.role, (self.aes.clone(), self.mac.clone()), nonces, auth, ack)
    }
}

impl Secrets {
    /// The initiator's view.
    pub fn of_initiator(crypto: &dyn Crypto, exchange: &Exchange<'_>) -> Self {
        let nonces = (exchange.initiator_nonce, exchange.recipient_nonce);
        assemble(crypto, Role::Initiator, keys(exchange), nonces, exchange.auth, exchange.ack)
    }

    /// The recipient's view: the same with the directions exchanged.
    pub fn of_recipient(crypto: &dyn Crypto, exchange: &Exchange<'_>) -> Self {
        let nonces = (exchange.initiator_nonce, exchange.recipient_nonce);
        assemble(crypto, Role::Recipient, keys(exchange), nonces, exchange.auth, exchange.ack)
    }
}

/// The secrets as `role` has them; `nonces` are the initiator's and the recipient's.
fn assemble(
    crypto: &dyn Crypto,
    role: Role,
    (aes, mac): (Zeroizing<Digest>, Zeroizing<Digest>),
    (initiator_nonce, recipient_nonce): (&[u8; 32], &[u8; 32]),
    auth: &[u8],
    ack: &[u8],
) -> Secrets {
    let of_initiator = mac_state(crypto, &mac, recipient_nonce, auth);
    let of_recipient = mac_state(crypto, &mac, initiator_nonce, ack);
    let (egress, ingress) = match role {
        Role::Initiator => (of_initiator, of_recipient),
        Role::Recipient => (of_recipient, of_initiator),
    };
    Secrets { aes, mac, egress, ingress }
}

fn keys(exchange: &Exchange<'_>) -> (Zeroizing<Digest>, Zeroizing<Digest>) {
    let agreement = exchange.agreement.expose();
    let nonces = keccak_of_pair(exchange.recipient_nonce, exchange.initiator_nonce);
    let shared = keccak_of_pair(agreement, &nonces);
    let aes = keccak_of_pair(agreement, &shared);
    let mac = keccak_of_pair(agreement, &aes);
    (aes, mac)
}

fn keccak_of_pair(a: &[u8; 32], b: &[u8; 32]) -> Zeroizing<Digest> {
    let mut pair = Zeroizing::new([0; 64]);
    pair[..32].copy_from_slice(a);
    pair[32..].copy_from_slice(b);
    Zeroizing::new(keccak256(&*pair))
}

/// A direction's MAC begins with the mac key XOR its reader's nonce, and its sender's packet.
fn mac_state(crypto: &dyn Crypto, mac: &[u8; 32], nonce: &[u8; 32], packet: &[u8]) -> Keccak {
    let mut seed = Zeroizing::new(*mac);
    for (byte, other) in seed.iter_mut().zip(nonce) {
        *byte ^= other;
    }
    let mut state = Keccak::new();
    crypto.mac_update(&mut state, &*seed);
    crypto.mac_update(&mut state, packet);
    state
}

#[cfg(test)]
mod tests {
    use super::super::testing::{array, field, hex, rlpx_handshake};
    use super::super::{PublicKey, Secp256k1, SecretKey};
    use super::*;

    /// All three pairs of messages of EIP-8, plain ones included, from both sides.
    #[test]
    fn published_schedules() {
        let vectors = rlpx_handshake();
        let crypto = Secp256k1::new();
        let keys = field(&vectors, "keys");
        let packet = |name: &serde_json::Value| {
            let mut messages = field(&vectors, "messages").as_array().unwrap().iter();
            hex(messages.find(|message| field(message, "name") == name).unwrap(), "packet")
        };
        let secret = |name| SecretKey::from_bytes(array(keys, name)).unwrap();
        let point = |name| PublicKey::from_xy(&crypto, &array(keys, name)).unwrap();
        let schedules = field(&vectors, "secrets").as_array().unwrap();
        assert_eq!(schedules.len(), 3);
        for row in schedules {
            let agreement = crypto.ecdh(&secret("ephemeral_a"), &point("ephemeral_pub_b"));
            assert_eq!(*agreement.expose(), array(row, "ephemeral_shared_secret"));
            assert_eq!(
                *crypto.ecdh(&secret("static_b"), &point("static_pub_a")).expose(),
                array(row, "static_shared_secret")
            );
            let exchange = Exchange {
                agreement: &agreement,
                initiator_nonce: &array(keys, "nonce_a"),
                recipient_nonce: &array(keys, "nonce_b"),
                auth: &packet(field(row, "auth")),
                ack: &packet(field(row, "ack")),
            };
            let mut recipient = Secrets::of_recipient(&crypto, &exchange);
            let initiator = Secrets::of_initiator(&crypto, &exchange);
            for secrets in [&recipient, &initiator] {
                assert_eq!(*secrets.aes, array(row, "aes_secret"));
                assert_eq!(*secrets.mac, array(row, "mac_secret"));
            }
            assert_eq!(recipient.ingress.digest(), array(row, "recipient_ingress_mac_init_digest"));
            assert_eq!(recipient.egress.digest(), array(row, "recipient_egress_mac_init_digest"));
            assert_eq!(initiator.ingress.digest(), recipient.egress.digest());
            assert_eq!(initiator.egress.digest(), recipient.ingress.digest());
            recipient.ingress.update(b"foo");
            recipient.egress.update(b"foo");
            assert_eq!(recipient.ingress.digest(), array(row, "recipient_ingress_mac_after_foo"));
            assert_eq!(recipient.egress.digest(), array(row, "recipient_egress_mac_after_foo"));
        }
    }

    /// A session of the plain form, whose packets have no size prefix.
    #[test]
    fn published_plain_session() {
        let vectors = rlpx_handshake();
        let row = field(&vectors, "plain_session");
        let exchange = Exchange {
            agreement: &SharedSecret::new(array(row, "ecdhe_shared_secret")),
            initiator_nonce: &array(row, "initiator_nonce"),
            recipient_nonce: &array(row, "receiver_nonce"),
            auth: &hex(row, "auth_ciphertext"),
            ack: &hex(row, "authresp_ciphertext"),
        };
        let secrets = Secrets::of_initiator(&Secp256k1::new(), &exchange);
        assert_eq!(*secrets.aes, array(row, "aes_secret"));
        assert_eq!(*secrets.mac, array(row, "mac_secret"));
        assert_eq!(secrets.egress.digest(), array(row, "initial_egress_MAC"));
        assert_eq!(secrets.ingress.digest(), array(row, "initial_ingress_MAC"));
    }
}
