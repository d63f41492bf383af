//! Every mode accepts and refuses the same inputs as the real primitives.

use peerless::crypto::mac::Keccak;
use peerless::crypto::{Crypto, PublicKey, RecoverableSignature, Secp256k1, SecretKey};

use super::*;
use crate::mix::Stream;

fn secret(stream: &mut Stream) -> SecretKey {
    let mut bytes = stream.bytes_32();
    bytes[0] = 1;
    SecretKey::from_bytes(bytes).unwrap()
}

#[test]
fn keys_signatures_and_agreements_are_consistent() {
    let real = Secp256k1::new();
    for mode in [Mode::Real, Mode::Memo, Mode::SimMac] {
        // The second has no room for entries: caches must not affect results.
        for nodes in [100, 0] {
            let crypto = mode.build(5, nodes);
            let mut stream = Stream::new(1, 2, 3);
            for _ in 0..100 {
                let (a, b) = (secret(&mut stream), secret(&mut stream));
                let (key_a, key_b) = (crypto.public_key(&a), crypto.public_key(&b));
                assert_eq!(key_a, real.public_key(&a), "{mode}");
                assert_eq!(crypto.node_id(&key_a), key_a.node_id());
                assert_eq!(crypto.public_key_from_xy(key_a.as_bytes()), Some(key_a));
                assert_eq!(crypto.public_key_from_compressed(&key_a.compressed()), Some(key_a));
                let agreement = crypto.ecdh(&a, &key_b);
                assert_eq!(agreement.expose(), crypto.ecdh(&b, &key_a).expose());
                assert_ne!(agreement.expose(), crypto.ecdh(&a, &key_a).expose());
                let digest = stream.bytes_32();
                let signature = crypto.sign(&a, &digest);
                assert_eq!(crypto.recover(&digest, &signature), Some(key_a), "{mode}");
                assert!(crypto.verify(&key_a, &digest, &signature.without_recovery_id()));
                assert!(!crypto.verify(&key_b, &digest, &signature.without_recovery_id()));
            }
        }
    }
}

#[test]
fn tampered_signatures_are_refused() {
    for mode in [Mode::Real, Mode::Memo, Mode::SimMac] {
        let crypto = mode.build(5, 10);
        let mut stream = Stream::new(9, 2, 3);
        let (secret, digest) = (secret(&mut stream), stream.bytes_32());
        let key = crypto.public_key(&secret);
        let signature = crypto.sign(&secret, &digest);
        let mut recovered_unknown = 0;
        for bit in 0..65 * 8 {
            let mut other = signature;
            other.0[bit / 8] ^= 1 << (bit % 8);
            let recovered = crypto.recover(&digest, &other);
            assert_ne!(recovered, Some(key), "{mode}: bit {bit}");
            recovered_unknown += usize::from(recovered.is_some());
            if bit < 64 * 8 {
                assert!(!crypto.verify(&key, &digest, &other.without_recovery_id()), "{mode}: bit {bit}");
            }
        }
        assert!(recovered_unknown > 100, "{mode}: most forgeries recover an unknown key");
        let mut wrong = digest;
        wrong[3] ^= 1;
        assert_ne!(crypto.recover(&wrong, &signature), Some(key), "{mode}");
        for refused in [[0; 65], [0xff; 65]] {
            assert_eq!(crypto.recover(&digest, &RecoverableSignature(refused)), None, "{mode}");
        }
    }
}

#[test]
fn simmac_is_found_by_its_name() {
    let (crypto, mut stream) = (SimMac::new(77, 10), Stream::new(1, 2, 3));
    let again = SimMac::by_name(&SimMac::name(77), 0).unwrap();
    let (secret, digest) = (secret(&mut stream), stream.bytes_32());
    assert_eq!(again.sign(&secret, &digest).0, crypto.sign(&secret, &digest).0);
    assert_eq!(again.recover(&digest, &crypto.sign(&secret, &digest)), Some(crypto.public_key(&secret)));
    for other in ["secp256k1", "simmac", "simmac ", "simmac x", "simmac +77", "simmac 077", "simmac 77 "] {
        assert!(SimMac::by_name(other, 0).is_none(), "{other:?}");
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    let mut stream = Stream::new(4, 2, 3);
    let real = Secp256k1::new();
    for mode in [Mode::Memo, Mode::SimMac] {
        let crypto = mode.build(5, 10);
        let key = crypto.public_key(&secret(&mut stream));
        for byte in [0, 31, 32, 63] {
            let mut xy = *key.as_bytes();
            xy[byte] ^= 1;
            assert_eq!(crypto.public_key_from_xy(&xy), None, "{mode}");
        }
        for xy in [[0; 64], [0xff; 64]] {
            assert_eq!(crypto.public_key_from_xy(&xy), None, "{mode}");
        }
        for _ in 0..50 {
            let mut compressed = [2; 33];
            compressed[1..].copy_from_slice(&stream.bytes_32());
            let expected: Option<PublicKey> = real.public_key_from_compressed(&compressed);
            assert_eq!(crypto.public_key_from_compressed(&compressed), expected, "{mode}");
        }
    }
}

#[test]
fn a_running_mac_does_not_depend_on_chunks() {
    for mode in [Mode::Real, Mode::Memo, Mode::SimMac] {
        let crypto = mode.build(5, 10);
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let digest = |chunk: usize, bytes: &[u8]| {
            let mut mac = Keccak::new();
            bytes.chunks(chunk).for_each(|chunk| crypto.mac_update(&mut mac, chunk));
            crypto.mac_digest(&mac)
        };
        let whole = digest(1000, &bytes);
        assert!([1, 3, 15, 16, 17, 33, 999].into_iter().all(|chunk| digest(chunk, &bytes) == whole), "{mode}");
        assert_ne!(digest(1000, &bytes[..999]), whole);
        assert_ne!(digest(7, &[&bytes[..], &[0]].concat()), whole, "{mode}: a zero more");
        let mut other = bytes.clone();
        other[500] ^= 1;
        assert_ne!(digest(7, &other), whole, "{mode}");
    }
}
