//! Known answers of the primitives, through [`Crypto`] and as the machines use them.

use super::testing::{array, field, hex, kats, rlpx_handshake, rows, secret, text};
use super::*;

#[test]
fn keccak_matches_the_vectors() {
    for row in rows(&kats(), "keccak256") {
        let input = hex(row, "in");
        assert_eq!(keccak256(&input), array(row, "out"));
        let mut mac = Keccak::new();
        Secp256k1::new().mac_update(&mut mac, &input);
        assert_eq!(mac.digest(), array(row, "out"));
    }
    let (crypto, mut mac) = (Secp256k1::new(), Keccak::new());
    let vectors = kats();
    let digests = rows(field(&vectors, "running_keccak"), "digests");
    for (byte, digest) in (1u8..).zip(digests) {
        crypto.mac_update(&mut mac, &[byte]);
        assert_eq!(const_hex::encode(crypto.mac_digest(&mac)), digest.as_str().unwrap());
    }
}

#[test]
fn keys_match_the_vectors() {
    let crypto = Secp256k1::new();
    let (kats, ecies) = (kats(), rlpx_handshake());
    for row in rows(&kats, "keys").iter().chain(rows(field(&ecies, "ecies"), "public_key")) {
        assert_eq!(*crypto.public_key(&secret(row, "private_key")).as_bytes(), array(row, "public_key"));
    }
    for row in rows(&kats, "bad_private_keys") {
        assert!(SecretKey::from_bytes(array(row, "private_key")).is_err(), "{}", text(row, "why"));
    }
    for row in rows(&kats, "bad_public_keys") {
        let bytes = hex(row, "public_key");
        let key = match <&[u8; 33]>::try_from(&bytes[..]) {
            Ok(compressed) => crypto.public_key_from_compressed(compressed),
            Err(_) => crypto.public_key_from_xy(bytes[1..].try_into().unwrap()),
        };
        assert_eq!(key, None, "{}", text(row, "why"));
    }
}

#[test]
fn signatures_match_the_vectors() {
    let crypto = Secp256k1::new();
    for row in rows(&kats(), "sign") {
        let (secret, digest) = (secret(row, "private_key"), array(row, "digest"));
        let key = crypto.public_key(&secret);
        assert_eq!(*key.as_bytes(), array(row, "public_key"));
        assert_eq!(key.compressed(), array(row, "compressed"));
        assert_eq!(crypto.public_key_from_compressed(&key.compressed()), Some(key));
        let signature = crypto.sign(&secret, &digest);
        assert_eq!(signature.0, array(row, "signature"));
        assert_eq!(crypto.recover(&digest, &signature), Some(key));
        assert!(crypto.verify(&key, &digest, &signature.without_recovery_id()));
        assert!(!crypto.verify(&key, &[1; 32], &signature.without_recovery_id()));
    }
}

#[test]
fn agreements_match_the_vectors() {
    let crypto = Secp256k1::new();
    for row in rows(field(&rlpx_handshake(), "ecies"), "agreement") {
        let key = PublicKey::from_xy(&crypto, &array(row, "public_key")).unwrap();
        assert_eq!(*crypto.ecdh(&secret(row, "private_key"), &key).expose(), array(row, "output"));
    }
}

#[test]
fn aes_matches_the_vectors() {
    use aes::cipher::{BlockEncrypt, KeyInit};
    use ctr::cipher::{KeyIvInit, StreamCipher};
    for row in rows(&kats(), "aes") {
        let mut bytes = hex(row, "pt");
        match text(row, "mode") {
            "aes-128-ctr" => {
                let (key, iv) = (array::<16>(row, "key"), array::<16>(row, "iv"));
                ctr::Ctr128BE::<aes::Aes128Enc>::new(&key.into(), &iv.into()).apply_keystream(&mut bytes);
            }
            "aes-256-ctr" => {
                let (key, iv) = (array::<32>(row, "key"), array::<16>(row, "iv"));
                ctr::Ctr128BE::<aes::Aes256Enc>::new(&key.into(), &iv.into()).apply_keystream(&mut bytes);
            }
            "aes-256-ecb" => {
                let key = array::<32>(row, "key");
                aes::Aes256Enc::new(&key.into()).encrypt_block(bytes.as_mut_slice().into());
            }
            mode => panic!("{mode}"),
        }
        assert_eq!(bytes, hex(row, "ct"));
    }
    for row in rows(field(&rlpx_handshake(), "ecies"), "aes_256_ctr") {
        let mut bytes = hex(row, "plaintext");
        let key = array::<32>(row, "key");
        ctr::Ctr128BE::<aes::Aes256Enc>::new(&key.into(), &[0; 16].into()).apply_keystream(&mut bytes);
        assert_eq!(bytes, hex(row, "ciphertext"));
    }
}

#[test]
fn sha256_and_hmac_match_the_vectors() {
    use hmac::Mac;
    use sha2::Digest;
    let vectors = rlpx_handshake();
    for row in rows(field(&vectors, "ecies"), "sha256") {
        assert_eq!(sha2::Sha256::digest(hex(row, "input"))[..], hex(row, "output"));
    }
    for row in rows(field(&vectors, "ecies"), "hmac_sha256") {
        let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&hex(row, "key")).unwrap();
        assert_eq!(mac.chain_update(hex(row, "input")).finalize().into_bytes()[..], hex(row, "output"));
    }
}

/// Only the time and power that the operations take may differ.
#[test]
fn blinding_changes_no_result() {
    let seed = |byte| crate::rng::Seed::new([byte; 32]);
    let (plain, one) = (Secp256k1::new(), Secp256k1::blinded(&mut seed(1).fork("test")));
    let other = Secp256k1::blinded(&mut seed(2).fork("test"));
    let mut rng = seed(3).fork("keys");
    for _ in 0..20 {
        let (secret, digest) = (SecretKey::generate(&mut rng), rng.bytes());
        let key = plain.public_key(&secret);
        let signature = plain.sign(&secret, &digest);
        for blinded in [&one, &other, &one.clone()] {
            assert_eq!(blinded.public_key(&secret), key);
            assert_eq!(blinded.sign(&secret, &digest), signature);
            assert_eq!(blinded.recover(&digest, &signature), Some(key));
            assert!(blinded.verify(&key, &digest, &signature.without_recovery_id()));
            assert_eq!(blinded.ecdh(&secret, &key).expose(), plain.ecdh(&secret, &key).expose());
        }
    }
}

/// C3: x = p + 1 stands for x = 1, which has a point; y + p does not fit. Nothing takes such a key.
#[test]
fn coordinates_beyond_the_prime_are_refused_everywhere() {
    let half = |text: &str| const_hex::decode_to_array::<_, 32>(text).unwrap();
    let x = half("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30");
    let y = half("4218f20ae6c646b363db68605822fb14264ca8d2587fdd6fbc750d587e76a7ee");
    let one = core::array::from_fn(|i| u8::from(i == 31));
    let join = |x: [u8; 32], y: [u8; 32]| core::array::from_fn::<u8, 64, _>(|i| if i < 32 { x[i] } else { y[i - 32] });
    let compressed = |tag: u8, x: [u8; 32]| core::array::from_fn::<u8, 33, _>(|i| if i == 0 { tag } else { x[i - 1] });
    let crypto = Secp256k1::new();
    assert!(crypto.public_key_from_xy(&join(one, y)).is_some(), "x = 1 is a coordinate");
    assert!(crypto.public_key_from_compressed(&compressed(2, one)).is_some());
    assert_eq!(crypto.public_key_from_xy(&join(x, y)), None);
    assert_eq!(PublicKey::from_xy_secp256k1(&join(x, y)), Err(InvalidKey));
    assert!(crypto.identify(&join(x, y)).is_none());
    for tag in [2, 3] {
        assert_eq!(crypto.public_key_from_compressed(&compressed(tag, x)), None);
        assert_eq!(PublicKey::from_compressed_secp256k1(&compressed(tag, x)), Err(InvalidKey));
    }
    let sealed = [&[4][..], &join(x, y), &[0; 64]].concat();
    assert!(ecies::open(&crypto, &SecretKey::from_bytes([7; 32]).unwrap(), b"", &sealed).is_err());
}
