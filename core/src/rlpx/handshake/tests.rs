//! EIP-8's messages, handshakes in memory, and everything that must fail alike.

use alloc::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::contract::cx::Context;
use crate::crypto::testing::{Counting, array, field, hex, rlpx_handshake, rows, secret, text};
use crate::crypto::{Secp256k1, keccak256};
use crate::netfilter::NetFilter;
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};

/// One side of a handshake, with the parts of its `Cx`.
struct Side {
    context: Context,
    rng: Rng,
    secret: SecretKey,
    key: PublicKey,
    out: Outbound,
}

impl Side {
    fn new(label: &str, crypto: Arc<dyn Crypto + Send + Sync>) -> Self {
        let mut rng = Seed::new([11; 32]).fork(label);
        let secret = SecretKey::generate(&mut rng);
        let key = crypto.public_key(&secret);
        let context = Context::new(Instant::ZERO, UnixTime::from_secs(0), NetFilter::default(), crypto);
        Self { context, rng, secret, key, out: Outbound::default() }
    }

    fn initiate(&mut self, remote: PublicKey) -> Handshake {
        let mut cx = self.context.cx(&mut self.rng);
        Handshake::initiate(&mut cx, &self.secret, &self.key, remote, &mut self.out)
    }

    fn handle(&mut self, handshake: &mut Handshake, bytes: &mut &[u8]) -> Progress {
        let mut cx = self.context.cx(&mut self.rng);
        handshake.handle_bytes(&mut cx, &self.secret, bytes, &mut self.out)
    }

    /// Gives the bytes in chunks; what the handshake did not take is returned.
    fn handle_chunks<'a>(&mut self, mut handshake: Handshake, bytes: &'a [u8], chunk: usize) -> (Progress, &'a [u8]) {
        let mut progress = Progress::Pending;
        let mut taken = 0;
        for part in bytes.chunks(chunk) {
            let Progress::Pending = progress else { break };
            let mut rest = part;
            progress = self.handle(&mut handshake, &mut rest);
            taken += part.len() - rest.len();
        }
        (progress, &bytes[taken..])
    }

    fn sent(&mut self) -> Vec<u8> {
        let bytes = self.out.as_slice().to_vec();
        self.out.consume(usize::MAX);
        bytes
    }
}

fn real() -> Arc<Secp256k1> {
    Arc::new(Secp256k1::new())
}

fn done(progress: Progress) -> Agreed {
    match progress {
        Progress::Done(agreed) => *agreed,
        Progress::Pending => panic!("pending"),
        Progress::Failed(fault) => panic!("failed: {fault}"),
    }
}

/// Whether each side opens the frames that the other seals.
fn understand_each_other(crypto: &dyn Crypto, a: &mut Frames, b: &mut Frames) -> bool {
    let one_way = |from: &mut Frames, to: &mut Frames| {
        let mut out = Vec::new();
        let start = from.sealer.begin(&mut out);
        out.extend_from_slice(b"across");
        from.sealer.finish(crypto, &mut out, start).unwrap();
        to.opener.handle_bytes(crypto, &mut &out[..], 100) == Ok(Some(b"across"))
    };
    one_way(a, b) && one_way(b, a)
}

fn packet(bytes: Vec<u8>) -> Packet {
    let mut packet = Packet::default();
    let mut rest = &bytes[..];
    assert!(matches!(packet.handle_bytes(&mut rest), Ok(Arrival::Complete)));
    assert!(rest.is_empty());
    packet
}

/// The bytes of `name`, a message of EIP-8.
fn message(name: &str) -> (serde_json::Value, Vec<u8>) {
    let vectors = rlpx_handshake();
    let row = rows(&vectors, "messages").iter().find(|row| text(row, "name") == name).unwrap();
    (row.clone(), hex(row, "packet"))
}

#[test]
fn published_messages_decode() {
    let vectors = rlpx_handshake();
    let crypto = Secp256k1::new();
    let keys = field(&vectors, "keys");
    let of = |name: &str| if name.starts_with("auth") { "static_b" } else { "static_a" };
    for row in rows(&vectors, "messages") {
        let (name, bytes) = (text(row, "name"), hex(row, "packet"));
        let secret = secret(keys, of(name));
        if text(row, "form") == "plain" {
            // The plain form is not supported; its encryption is the same without a prefix.
            let plain = ecies::open(&crypto, &secret, b"", &bytes).unwrap();
            let (nonce, flag) = plain[plain.len() - 33..].split_at(32);
            assert_eq!((nonce, flag), (&hex(row, "nonce")[..], &[0][..]));
            continue;
        }
        let plain = packet(bytes).open(&crypto, &secret).unwrap();
        assert_eq!(Some(plain.len() as u64), field(row, "plain_bytes").as_u64());
        if name.starts_with("auth") {
            let auth = Auth::decode(&plain).unwrap();
            assert_eq!(auth.signature.0, array(row, "signature"));
            assert_eq!(auth.key, array(row, "key"));
            assert_eq!(auth.nonce, array(row, "nonce"));
            assert_eq!(Some(auth.version), field(row, "version").as_u64());
            let digest =
                signed_digest(&crypto.ecdh(&secret, &PublicKey::from_xy(&crypto, &auth.key).unwrap()), &auth.nonce);
            assert_eq!(
                *crypto.recover(&digest, &auth.signature).unwrap().as_bytes(),
                array(row, "recovered_ephemeral_key")
            );
        } else {
            let ack = Ack::decode(&plain).unwrap();
            assert_eq!(ack.ephemeral_key, array(row, "ephemeral_key"));
            assert_eq!(ack.nonce, array(row, "nonce"));
            assert_eq!(Some(ack.version), field(row, "version").as_u64());
        }
    }
}

/// Both sides with EIP-8's random values, from its packets.
#[test]
fn published_handshakes_agree() {
    let vectors = rlpx_handshake();
    let crypto = Secp256k1::new();
    let keys = field(&vectors, "keys");
    for (auth, ack) in [("auth2", "ack2"), ("auth3", "ack3"), ("auth2", "ack3")] {
        let (auth, ack) = (message(auth).1, message(ack).1);
        let accepted = Accepted::new(&crypto, &secret(keys, "static_b"), &packet(auth.clone())).unwrap();
        assert_eq!(*accepted.remote.as_bytes(), array(keys, "static_pub_a"));
        assert_eq!(*accepted.remote_ephemeral.as_bytes(), array(keys, "ephemeral_pub_a"));
        let mut recipient =
            accepted.agree(&crypto, &secret(keys, "ephemeral_b"), array(keys, "nonce_b").into(), ack.clone());
        let initiator = Initiator {
            remote: PublicKey::from_xy(&crypto, &array(keys, "static_pub_b")).unwrap(),
            ephemeral: secret(keys, "ephemeral_a"),
            nonce: array(keys, "nonce_a").into(),
            auth,
            ack: packet(ack),
        };
        let mut initiator = initiator.finish(&crypto, &secret(keys, "static_a")).unwrap();
        assert!(understand_each_other(&crypto, &mut initiator.frames, &mut recipient.frames));
    }
}

/// With the published keys and nonce, auth decrypts to the published fields.
#[test]
fn auth_decrypts_to_the_published_fields() {
    let vectors = rlpx_handshake();
    let crypto = Secp256k1::new();
    let keys = field(&vectors, "keys");
    let key = |name| PublicKey::from_xy(&crypto, &array(keys, name)).unwrap();
    let initiator = Initiator::new(
        &crypto,
        &mut Seed::new([1; 32]).fork("test"),
        &secret(keys, "static_a"),
        &key("static_pub_a"),
        key("static_pub_b"),
        secret(keys, "ephemeral_a"),
        array(keys, "nonce_a").into(),
    );
    let plain = packet(initiator.auth).open(&crypto, &secret(keys, "static_b")).unwrap();
    let auth = Auth::decode(&plain).unwrap();
    // The published signature is not of RFC 6979, so only the signer can be compared.
    let digest = signed_digest(&crypto.ecdh(&secret(keys, "static_b"), &key("static_pub_a")), &auth.nonce);
    assert_eq!(crypto.recover(&digest, &auth.signature), Some(key("ephemeral_pub_a")));
    assert_eq!(auth.key, array(keys, "static_pub_a"));
    assert_eq!((auth.nonce, auth.version), (array(keys, "nonce_a"), 4));
}

#[test]
fn two_sides_agree_with_the_fewest_operations() {
    let (ours, theirs) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let (mut a, mut b) = (Side::new("a", ours.clone()), Side::new("b", theirs.clone()));
    let before = [ours.curve_operations(), theirs.curve_operations()];
    let mut initiator = a.initiate(b.key);
    let b_done = b.handle(&mut Handshake::receive(), &mut &a.sent()[..]);
    let a_done = a.handle(&mut initiator, &mut &b.sent()[..]);
    let operations = core::array::from_fn::<_, 4, _>(|i| {
        ours.curve_operations()[i] + theirs.curve_operations()[i] - before[0][i] - before[1][i]
    });
    assert_eq!(operations, [3, 1, 1, 8]);
    let (mut a_agreed, mut b_agreed) = (done(a_done), done(b_done));
    assert_eq!((a_agreed.key, b_agreed.key), (b.key, a.key));
    assert!(understand_each_other(&Secp256k1::new(), &mut a_agreed.frames, &mut b_agreed.frames));
}

/// The two packets and one side's exported secrets give both sides' frames.
#[test]
fn exported_secrets_open_the_session() {
    let (mut a, mut b) = (Side::new("a", real()), Side::new("b", real()));
    let mut initiator = a.initiate(b.key);
    let auth = a.sent();
    let b_agreed = done(b.handle(&mut Handshake::receive(), &mut &auth[..]));
    let ack = b.sent();
    let mut a_agreed = done(a.handle(&mut initiator, &mut &ack[..]));
    let crypto = Secp256k1::new();
    let (a_secrets, b_secrets) = (a_agreed.secrets().unwrap(), b_agreed.secrets().unwrap());
    assert_eq!((a_secrets.role, b_secrets.role), (Role::Initiator, Role::Recipient));
    assert_eq!(a_secrets.auth_hash, keccak256(&auth));
    assert_eq!(b_secrets.auth_hash, keccak256(&auth));
    let mut observer = Frames::new(&crypto, b_secrets.secrets(&crypto, &auth, &ack));
    assert!(understand_each_other(&crypto, &mut a_agreed.frames, &mut observer));
    assert_eq!(std::format!("{a_secrets:?}"), "SessionSecrets { role: Initiator, .. }");
}

/// Sizes vary, and are never below the 307 and 210 bytes that some implementations expect.
#[test]
fn packets_are_padded() {
    let (mut a, mut b) = (Side::new("a", real()), Side::new("b", real()));
    let mut sizes = alloc::collections::BTreeSet::new();
    for _ in 0..30 {
        let _ = a.initiate(b.key);
        let auth = a.sent();
        let _ = b.handle(&mut Handshake::receive(), &mut &auth[..]);
        let ack = b.sent();
        assert!((284 + 100..=284 + 300).contains(&auth.len()), "{}", auth.len());
        assert!((217 + 100..=217 + 300).contains(&ack.len()), "{}", ack.len());
        sizes.insert(auth.len());
    }
    assert!(sizes.len() > 15);
}

/// Any chunking, with frames in the same bytes: none of their bytes is taken.
#[test]
fn a_handshake_takes_its_own_bytes_only() {
    for chunk in [1, 2, 3, 7, 100, 384, 10_000] {
        let (mut a, mut b) = (Side::new("a", real()), Side::new("b", real()));
        let initiator = a.initiate(b.key);
        let auth = [a.sent(), b"what follows auth".to_vec()].concat();
        let (b_done, rest) = b.handle_chunks(Handshake::receive(), &auth, chunk);
        assert_eq!(rest, b"what follows auth", "chunks of {chunk}");
        let ack = [b.sent(), b"what follows ack".to_vec()].concat();
        let (a_done, rest) = a.handle_chunks(initiator, &ack, chunk);
        assert_eq!(rest, b"what follows ack", "chunks of {chunk}");
        assert!(understand_each_other(&Secp256k1::new(), &mut done(a_done).frames, &mut done(b_done).frames));
    }
}

/// Attack C6: the size is checked with its second byte, before memory is held.
#[test]
fn sizes_are_checked_as_soon_as_received() {
    let mut side = Side::new("a", real());
    for size in 0..=u16::MAX {
        let [high, low] = size.to_be_bytes();
        let mut handshake = Handshake::receive();
        let progress = side.handle(&mut handshake, &mut &[high][..]);
        assert!(matches!(progress, Progress::Pending), "judged by one byte");
        let possible = (113..=2048).contains(&size);
        match side.handle(&mut handshake, &mut &[low][..]) {
            Progress::Pending => assert!(possible, "{size}"),
            Progress::Failed(fault) => assert!(!possible && fault == Fault::Handshake, "{size}"),
            Progress::Done(_) => panic!("{size}"),
        }
    }
}

#[test]
fn receiving_allocates_nothing_before_the_first_bytes() {
    let Handshake::Recipient(recipient) = Handshake::receive() else { panic!("not a recipient") };
    assert_eq!(recipient.auth.bytes.capacity(), 0);
}

#[test]
fn published_malformed_packets_are_refused() {
    let vectors = rlpx_handshake();
    let mut side = Side::new("a", real());
    side.secret = secret(field(&vectors, "keys"), "static_b");
    // A prefix that is too large, and a missing byte: the handshake waits and does not complete.
    for row in rows(&vectors, "refused") {
        let bytes = hex(row, "packet");
        let mut handshake = Handshake::receive();
        let progress = side.handle(&mut handshake, &mut &bytes[..]);
        assert!(matches!(progress, Progress::Pending), "{}", text(row, "name"));
        assert!(matches!(side.handle(&mut handshake, &mut &[0][..]), Progress::Failed(Fault::Handshake)));
    }
    // The form before EIP-8: its first bytes are read as a size.
    for name in ["auth1", "ack1"] {
        let mut bytes = message(name).1;
        bytes.resize(3000, 0);
        assert!(matches!(side.handle(&mut Handshake::receive(), &mut &bytes[..]), Progress::Failed(Fault::Handshake)));
    }
    assert!(side.sent().is_empty());
}

/// Attack C10: many malformed handshakes do not affect the next one.
#[test]
fn failed_handshakes_do_not_affect_the_next() {
    let (mut a, mut b) = (Side::new("a", real()), Side::new("b", real()));
    for _ in 0..20 {
        assert!(matches!(
            b.handle(&mut Handshake::receive(), &mut &[0xff; 307][..]),
            Progress::Failed(Fault::Handshake)
        ));
    }
    let mut initiator = a.initiate(b.key);
    let b_done = b.handle(&mut Handshake::receive(), &mut &a.sent()[..]);
    let a_done = a.handle(&mut initiator, &mut &b.sent()[..]);
    assert!(understand_each_other(&Secp256k1::new(), &mut done(a_done).frames, &mut done(b_done).frames));
}

/// Encrypts `plain` as a packet.
fn sealed(to: &PublicKey, plain: &[u8]) -> Vec<u8> {
    let prefix = ((plain.len() + ecies::OVERHEAD_BYTES) as u16).to_be_bytes();
    let mut packet = prefix.to_vec();
    ecies::seal(&Secp256k1::new(), &mut Seed::new([2; 32]).fork("test"), to, &prefix, plain, &mut packet);
    packet
}

/// Attacks C1 to C4 inside of a decrypted packet: all failures are equal, no byte is sent, and the secret key is
/// multiplied with no point but the packet's own.
#[test]
fn every_fault_inside_a_decrypted_packet_fails_equally() {
    let crypto = Arc::new(Counting::default());
    let mut b = Side::new("b", crypto.clone());
    let mut good = Vec::new();
    Auth {
        signature: crate::crypto::RecoverableSignature([1; 65]),
        key: *b.key.as_bytes(),
        nonce: [7; 32],
        version: 4,
    }
    .encode(&mut good);
    let key = 2 + 67 + 2;
    let changed = |at: usize, bytes: &[u8]| {
        let mut plain = good.clone();
        plain[at..at + bytes.len()].copy_from_slice(bytes);
        plain
    };
    let mut cases = alloc::vec![
        (1, changed(key, &[0; 64])),
        (1, changed(key, &[0xff; 64])),
        (1, changed(key + 63, &[good[key + 63] ^ 1])),
        // A recovery id that does not exist, an s and an r out of range: found only with the static agreement.
        (2, changed(4 + 64, &[4])),
        (2, changed(4, &[0xff; 32])),
        (2, changed(4 + 32, &[0; 32])),
        // A string instead of a list, and a version with a leading zero.
        (1, changed(0, &[0x80])),
        (1, changed(good.len() - 1, &[0])),
    ];
    cases.extend((0..good.len()).map(|end| (1, good[..end].to_vec())));
    for (i, (agreements, plain)) in cases.iter().enumerate() {
        let before = crypto.curve_operations();
        let progress = b.handle(&mut Handshake::receive(), &mut &sealed(&b.key.clone(), plain)[..]);
        assert!(matches!(progress, Progress::Failed(Fault::Handshake)), "case {i}");
        assert_eq!(crypto.curve_operations()[3] - before[3], *agreements, "case {i}");
    }
    assert!(b.sent().is_empty());

    // The same for ack.
    let mut a = Side::new("a", crypto.clone());
    let mut ack = Vec::new();
    Ack { ephemeral_key: [1; 64], nonce: [0; 32], version: 4 }.encode(&mut ack);
    let mut initiator = a.initiate(b.key);
    let before = crypto.curve_operations();
    let progress = a.handle(&mut initiator, &mut &sealed(&a.key.clone(), &ack)[..]);
    assert!(matches!(progress, Progress::Failed(Fault::Handshake)));
    assert_eq!(crypto.curve_operations()[3] - before[3], 1);
}

/// EIP-8: any version, further elements, any padding.
#[test]
fn extensions_of_eip_8_are_accepted() {
    let crypto = Secp256k1::new();
    let (a, mut b) = (Side::new("a", real()), Side::new("b", real()));
    let ephemeral = SecretKey::from_bytes([3; 32]).unwrap();
    let signature = crypto.sign(&ephemeral, &signed_digest(&crypto.ecdh(&a.secret, &b.key), &[7; 32]));
    for (version, further, padding) in [(0, &[][..], 0), (u64::MAX, &[1, 0xc2, 4, 5][..], 1000), (5, &[0xc0], 100)] {
        let mut list = ::rlp::RlpStream::new_list(4);
        list.append(&&signature.0[..]).append(&&a.key.as_bytes()[..]).append(&&[7; 32][..]).append(&version);
        let mut plain = list.out().to_vec();
        plain.extend_from_slice(further);
        // The list has one byte of length before and after.
        plain[1] += further.len() as u8;
        plain.resize(plain.len() + padding, 0xee);
        assert_eq!(done(b.handle(&mut Handshake::receive(), &mut &sealed(&b.key.clone(), &plain)[..])).key, a.key);
    }
}

/// Every bit of both packets: both sides have the same secrets, or none.
#[test]
fn changed_packets_never_end_in_different_secrets() {
    let (mut a, mut b) = (Side::new("a", real()), Side::new("b", real()));
    let _ = a.initiate(b.key);
    let auth = a.sent();
    for bit in 0..auth.len() * 8 {
        let mut changed = auth.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let progress = b.handle(&mut Handshake::receive(), &mut &changed[..]);
        assert!(!matches!(progress, Progress::Done(_)), "bit {bit} of auth");
    }
    assert!(b.sent().is_empty());

    let (auth, ack) = (message("auth2").1, message("ack2").1);
    let vectors = rlpx_handshake();
    let keys = field(&vectors, "keys");
    a.secret = secret(keys, "static_a");
    for bit in 0..ack.len() * 8 {
        let mut changed = ack.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut initiator = Handshake::Initiator(Box::new(Initiator {
            remote: PublicKey::from_xy(&Secp256k1::new(), &array(keys, "static_pub_b")).unwrap(),
            ephemeral: secret(keys, "ephemeral_a"),
            nonce: array(keys, "nonce_a").into(),
            auth: auth.clone(),
            ack: Packet::default(),
        }));
        let progress = a.handle(&mut initiator, &mut &changed[..]);
        assert!(!matches!(progress, Progress::Done(_)), "bit {bit} of ack");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_fail_or_wait(bytes in proptest::collection::vec(any::<u8>(), 0..3000), chunk in 1usize..500) {
        let (mut a, b) = (Side::new("a", real()), Side::new("b", real()));
        let initiator = a.initiate(b.key);
        for handshake in [initiator, Handshake::receive()] {
            prop_assert!(!matches!(a.handle_chunks(handshake, &bytes, chunk).0, Progress::Done(_)));
        }
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let crypto = Arc::new(Secp256k1::new());
    let [mut a, b] = ["a", "b"].map(|label| Side::new(label, crypto.clone()));
    let shown = alloc::format!("{:?}", a.initiate(b.key));
    assert!(shown.contains("Initiator { remote"), "{shown}");
    let nonce = shown.matches(", ").count();
    assert!(nonce < 100, "no byte strings: {shown}");
}
