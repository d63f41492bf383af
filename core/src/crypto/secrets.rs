//! The RLPx key schedule (`rlpx.md`, "Initial Handshake"): from an agreement, two nonces and two packets to a session's
//! secrets. It keeps none of its inputs.
//!
//! [`SessionSecrets`] is the intermediate result: the content of a key log, and all that is needed to decrypt a
//! captured session.

use core::fmt;

use zeroize::Zeroizing;

use super::mac::Keccak;
use super::{Crypto, Digest, SecretBytes, SharedSecret, keccak256};

/// The inputs of the key schedule, which both sides know when a handshake ends.
#[derive(Clone)]
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

/// Shows no secret.
impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

/// A session's secrets, from one side's view. Zeroised when dropped; `Debug` shows none.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// AES-256 key of both directions.
    pub aes: SecretBytes,
    /// AES-256 key that encrypts the seeds of the MACs, of both directions.
    pub mac: SecretBytes,
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

/// The secrets that decrypt both directions of one session, given its bytes from the first on: for key logs. They
/// reveal neither side's static or ephemeral key, and no other session. Zeroised when dropped; `Debug` shows none.
#[derive(Clone)]
pub struct SessionSecrets {
    /// The side whose view this is; all other fields are the same for both sides.
    pub role: Role,
    /// Keccak-256 of auth as it was on the wire, size prefix included: the session's id, which an observer can compute.
    pub auth_hash: Digest,
    /// The initiator's nonce.
    pub initiator_nonce: SecretBytes,
    /// The recipient's nonce.
    pub recipient_nonce: SecretBytes,
    /// AES-256 key of both directions.
    pub aes: SecretBytes,
    /// AES-256 key that encrypts the seeds of the MACs, of both directions.
    pub mac: SecretBytes,
}

/// Shows the role, and no secret.
impl fmt::Debug for SessionSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSecrets").field("role", &self.role).finish_non_exhaustive()
    }
}

impl SessionSecrets {
    /// Derives the secrets from `exchange`, in the view of `role`.
    pub fn new(role: Role, exchange: &Exchange<'_>) -> Self {
        let (aes, mac) = keys(exchange);
        Self {
            role,
            auth_hash: keccak256(exchange.auth),
            initiator_nonce: SecretBytes::new(*exchange.initiator_nonce),
            recipient_nonce: SecretBytes::new(*exchange.recipient_nonce),
            aes,
            mac,
        }
    }

    /// The secrets at the start of the session, in the view of [`SessionSecrets::role`]; `auth` and `ack` as they were
    /// on the wire, size prefixes included.
    pub fn secrets(&self, crypto: &dyn Crypto, auth: &[u8], ack: &[u8]) -> Secrets {
        let nonces = (self.initiator_nonce.expose(), self.recipient_nonce.expose());
        assemble(crypto, self.role, (self.aes.clone(), self.mac.clone()), nonces, auth, ack)
    }
}

impl Secrets {
    /// Derives the initiator's view.
    pub fn of_initiator(crypto: &dyn Crypto, exchange: &Exchange<'_>) -> Self {
        let nonces = (exchange.initiator_nonce, exchange.recipient_nonce);
        assemble(crypto, Role::Initiator, keys(exchange), nonces, exchange.auth, exchange.ack)
    }

    /// Derives the recipient's view: the initiator's with the directions exchanged.
    pub fn of_recipient(crypto: &dyn Crypto, exchange: &Exchange<'_>) -> Self {
        let nonces = (exchange.initiator_nonce, exchange.recipient_nonce);
        assemble(crypto, Role::Recipient, keys(exchange), nonces, exchange.auth, exchange.ack)
    }
}

/// The secrets in the view of `role`; `nonces` are the initiator's and the recipient's.
fn assemble(
    crypto: &dyn Crypto,
    role: Role,
    (aes, mac): (SecretBytes, SecretBytes),
    (initiator_nonce, recipient_nonce): (&[u8; 32], &[u8; 32]),
    auth: &[u8],
    ack: &[u8],
) -> Secrets {
    let of_initiator = mac_state(crypto, mac.expose(), recipient_nonce, auth);
    let of_recipient = mac_state(crypto, mac.expose(), initiator_nonce, ack);
    let (egress, ingress) = match role {
        Role::Initiator => (of_initiator, of_recipient),
        Role::Recipient => (of_recipient, of_initiator),
    };
    Secrets { aes, mac, egress, ingress }
}

fn keys(exchange: &Exchange<'_>) -> (SecretBytes, SecretBytes) {
    let agreement = exchange.agreement.expose();
    let nonces = keccak_of_pair(exchange.recipient_nonce, exchange.initiator_nonce);
    let shared = keccak_of_pair(agreement, nonces.expose());
    let aes = keccak_of_pair(agreement, shared.expose());
    let mac = keccak_of_pair(agreement, aes.expose());
    (aes, mac)
}

fn keccak_of_pair(a: &[u8; 32], b: &[u8; 32]) -> SecretBytes {
    let mut pair = Zeroizing::new([0; 64]);
    pair[..32].copy_from_slice(a);
    pair[32..].copy_from_slice(b);
    SecretBytes::new(keccak256(&*pair))
}

/// The initial MAC state of a direction: it absorbs the mac key XOR the receiver's nonce, then the sender's packet.
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
    fn the_key_schedule_matches_the_vectors_of_eip_8() {
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
                assert_eq!(*secrets.aes.expose(), array(row, "aes_secret"));
                assert_eq!(*secrets.mac.expose(), array(row, "mac_secret"));
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
    fn the_key_schedule_matches_the_published_plain_session() {
        let vectors = rlpx_handshake();
        let row = field(&vectors, "plain_session");
        let exchange = Exchange {
            agreement: &SharedSecret::from_x(array(row, "ecdhe_shared_secret")),
            initiator_nonce: &array(row, "initiator_nonce"),
            recipient_nonce: &array(row, "receiver_nonce"),
            auth: &hex(row, "auth_ciphertext"),
            ack: &hex(row, "authresp_ciphertext"),
        };
        let secrets = Secrets::of_initiator(&Secp256k1::new(), &exchange);
        assert_eq!(*secrets.aes.expose(), array(row, "aes_secret"));
        assert_eq!(*secrets.mac.expose(), array(row, "mac_secret"));
        assert_eq!(secrets.egress.digest(), array(row, "initial_egress_MAC"));
        assert_eq!(secrets.ingress.digest(), array(row, "initial_ingress_MAC"));
    }
}
