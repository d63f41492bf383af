//! Published and computed messages, and what must be refused before the secret key is touched.

use core::sync::atomic::Ordering::Relaxed;
use std::format;
use std::string::String;

use proptest::prelude::*;
use serde_json::Value;

use super::super::Secp256k1;
use super::super::testing::{Counting, array, field, hex, rlpx_handshake, rows, secret, text};
use super::*;
use crate::rng::{Rng, Seed};

fn rng() -> Rng {
    Seed::new([3; 32]).fork("test")
}

fn ecies_rows(name: &str) -> Vec<Value> {
    rows(field(&rlpx_handshake(), "ecies"), name).to_vec()
}

#[test]
fn published_keys_are_derived() {
    for row in ecies_rows("kdf") {
        let (derived, expected) = (concat_kdf(&hex(&row, "input")), hex(&row, "output"));
        // ECIES takes one block of 32 bytes; longer outputs begin with it.
        let n = expected.len().min(32);
        assert_eq!(derived[..n], expected[..n]);
    }
}

#[test]
fn published_messages_are_opened() {
    for row in ecies_rows("open") {
        let opened =
            open(&Secp256k1::new(), &secret(&row, "private_key"), &hex(&row, "mac_data"), &hex(&row, "ciphertext"));
        assert_eq!(opened, Ok(hex(&row, "plaintext").into()));
    }
}

#[test]
fn sealed_messages_match_the_vectors() {
    let crypto = Secp256k1::new();
    for row in ecies_rows("seal") {
        let recipient = secret(&row, "recipient_private_key");
        let (mac_data, plain) = (hex(&row, "mac_data"), hex(&row, "plaintext"));
        let mut sealed = Vec::new();
        seal_with(
            &crypto,
            &secret(&row, "ephemeral_private_key"),
            array(&row, "iv"),
            &crypto.public_key(&recipient),
            &mac_data,
            &plain,
            &mut sealed,
        );
        assert_eq!(sealed, hex(&row, "ciphertext"));
        assert_eq!(open(&crypto, &recipient, &mac_data, &sealed), Ok(plain.into()));
    }
}

/// All messages but those with a wrong tag are refused before an agreement.
#[test]
fn malformed_vectors_are_refused() {
    for row in ecies_rows("refused") {
        let crypto = Counting::default();
        let opened = open(&crypto, &secret(&row, "private_key"), &hex(&row, "mac_data"), &hex(&row, "ciphertext"));
        assert_eq!(opened, Err(DecryptError), "{}", text(&row, "why"));
        let reaches_tag = ["tag_flipped", "mac_data_wrong"].contains(&text(&row, "name"));
        assert_eq!(crypto.agreements.load(Relaxed), usize::from(reaches_tag), "{}", text(&row, "name"));
    }
}

/// A message with a valid tag over any bytes after the point, which a sender can always compute.
fn message_with_body(crypto: &dyn Crypto, to: &PublicKey, mac_data: &[u8], body: &[u8]) -> Vec<u8> {
    let ephemeral = SecretKey::from_bytes([9; 32]).unwrap();
    let tag = Keys::derive(&crypto.ecdh(&ephemeral, to)).tag(body, mac_data);
    [&[4], &crypto.public_key(&ephemeral).as_bytes()[..], body, &tag].concat()
}

/// Attack C1: bodies too short for an IV, with a valid tag.
#[test]
fn short_bodies_with_a_valid_tag_are_refused() {
    let crypto = Secp256k1::new();
    let secret = SecretKey::from_bytes([5; 32]).unwrap();
    let key = crypto.public_key(&secret);
    for length in 0..=200usize {
        let message = message_with_body(&crypto, &key, b"size", &[0xa5; 200][..length]);
        let opened = open(&crypto, &secret, b"size", &message).map(|plain| plain.len());
        assert_eq!(opened, length.checked_sub(IV_BYTES).ok_or(DecryptError), "a body of {length}");
    }
    for length in 0..OVERHEAD_BYTES {
        assert_eq!(open(&crypto, &secret, b"", &[4; OVERHEAD_BYTES][..length]), Err(DecryptError));
    }
}

/// Attacks C2 to C4: points off the curve, at infinity, or in another encoding. None reaches an agreement.
#[test]
fn invalid_points_reach_no_agreement() {
    let honest = Secp256k1::new();
    let secret = SecretKey::from_bytes([5; 32]).unwrap();
    let message = message_with_body(&honest, &honest.public_key(&secret), b"", &[1; 48]);
    let crypto = Counting::default();
    let refused = |xy: [u8; 64], what: String| {
        let mut message = message.clone();
        message[1..POINT_BYTES].copy_from_slice(&xy);
        assert_eq!(open(&crypto, &secret, b"", &message), Err(DecryptError), "{what}");
    };

    let mut one_one = [0; 64];
    (one_one[31], one_one[63]) = (1, 1);
    refused(one_one, "x = y = 1".into());
    refused([0; 64], "zeros".into());
    refused([0xff; 64], "ones".into());
    // The point with x = 1, encoded as x = p + 1.
    let canonical = "0000000000000000000000000000000000000000000000000000000000000001\
        4218f20ae6c646b363db68605822fb14264ca8d2587fdd6fbc750d587e76a7ee";
    let x_plus_p = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30\
        4218f20ae6c646b363db68605822fb14264ca8d2587fdd6fbc750d587e76a7ee";
    let decode = |hex| const_hex::decode_to_array::<_, 64>(hex).unwrap();
    assert!(PublicKey::from_xy(&honest, &decode(canonical)).is_ok());
    refused(decode(x_plus_p), "x = p + 1".into());
    // Every bit of a valid y: the x may still be that of a point, but the pair is not.
    let genuine: [u8; 64] = message[1..POINT_BYTES].try_into().unwrap();
    for bit in 256..512 {
        let mut xy = genuine;
        xy[bit / 8] ^= 1 << (bit % 8);
        refused(xy, format!("bit {bit}"));
    }
    // Points of other curves, including twists: each random pair is on one.
    let mut rng = rng();
    for i in 0..1000 {
        refused(rng.bytes(), format!("random pair {i}"));
    }
    for prefix in (0..=255).filter(|prefix| *prefix != 4) {
        let mut message = message.clone();
        message[0] = prefix;
        assert_eq!(open(&crypto, &secret, b"", &message), Err(DecryptError), "prefix {prefix}");
    }
    assert_eq!(crypto.agreements.load(Relaxed), 0);
    assert!(open(&crypto, &secret, b"", &message).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_message_survives_and_any_change_is_noticed(
        plain in proptest::collection::vec(any::<u8>(), 0..400),
        mac_data in any::<[u8; 2]>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let crypto = Secp256k1::new();
        let secret = SecretKey::from_bytes([5; 32]).unwrap();
        let mut sealed = Vec::new();
        seal(&crypto, &mut rng(), &crypto.public_key(&secret), &mac_data, &plain, &mut sealed);
        prop_assert_eq!(sealed.len(), plain.len() + OVERHEAD_BYTES);
        prop_assert_eq!(open(&crypto, &secret, &mac_data, &sealed), Ok(plain.into()));
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(open(&crypto, &secret, &mac_data, &sealed), Err(DecryptError));
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let secret = SecretKey::from_bytes([5; 32]).unwrap();
        prop_assert_eq!(open(&Secp256k1::new(), &secret, b"", &bytes), Err(DecryptError));
    }
}
