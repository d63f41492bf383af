//! The handshake: for any change of its packets, two sides that both complete it have the same secrets, and a side that does
//! not has one uniform fault.

use std::sync::Arc;

use ::rlp::RlpStream;
use peerless::contract::{Context, Cx, Fault, Outbound};
use peerless::crypto::secrets::{Exchange, Secrets};
use peerless::crypto::{Crypto, PublicKey, SecretKey, ecies};
use peerless::netfilter::NetFilter;
use peerless::rlpx::{Agreed, Frames, Handshake, Progress};
use peerless::rng::{Rng, Seed};
use peerless::time::{Instant, UnixTime};
use peerless::wire::rlpx::{Ack, Auth};

use super::crypto::secret;
use super::{Cheap, Choices, Memory, Reached, Target};

/// Two sides and the bytes between them.
pub const HANDSHAKE: Target = Target {
    name: "handshake",
    body: handshake,
    memory: Memory::machine(1),
    landmarks: &[
        "agreed",
        "auth refused",
        "ack refused",
        "pending",
        "crafted accepted",
        "crafted refused",
        "followed by frames",
    ],
    generated: (2_000, 60),
};

fn handshake(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    match choices.below(3) {
        0 => crafted(&mut choices, reached),
        _ => tampered(&mut choices, reached),
    }
}

/// A context for one machine alone.
pub fn context() -> Context {
    Context::new(Instant::ZERO, UnixTime::from_secs(1_750_000_000), NetFilter::default(), Arc::new(Cheap))
}

fn take(
    mut handshake: Handshake,
    secret: &SecretKey,
    cx: &mut Cx<'_>,
    bytes: &[u8],
    out: &mut Outbound,
    choices: &mut Choices<'_>,
) -> (Progress, usize) {
    let mut progress = Progress::Pending;
    let mut at = 0;
    while matches!(progress, Progress::Pending) && at < bytes.len() {
        let end = (at + 1 + choices.below(700)).min(bytes.len());
        let mut chunk = &bytes[at..end];
        progress = handshake.handle_bytes(cx, secret, &mut chunk, out);
        at = end - chunk.len();
    }
    (progress, at)
}

/// Changes some bytes; returns whether they are still the same.
fn tamper(packet: &mut Vec<u8>, choices: &mut Choices<'_>) -> bool {
    let before = packet.clone();
    match choices.below(6) {
        0 => {
            let at = choices.below(packet.len() * 8);
            packet[at / 8] ^= 1 << (at % 8);
        }
        1 => packet.truncate(choices.below(packet.len())),
        2 => {
            let at = choices.below(packet.len());
            packet.insert(at, choices.byte());
        }
        3 => {
            let at = choices.below(packet.len());
            packet.remove(at);
        }
        4 => packet[0] = choices.byte(),
        _ => {}
    }
    *packet == before
}

fn tampered(choices: &mut Choices<'_>, reached: &mut Reached) {
    let (ours, theirs) = (secret(1), secret(2));
    let (our_key, their_key) = (Cheap.public_key(&ours), Cheap.public_key(&theirs));
    let mut context = context();
    let seed = Seed::new([choices.byte(); 32]);
    let (mut our_rng, mut their_rng) = (seed.fork("ours"), seed.fork("theirs"));
    // Sometimes a node with another key than the dialled one answers.
    let dialled = if choices.once_in(8) { Cheap.public_key(&secret(3)) } else { their_key };
    let [mut our_out, mut their_out] = [Outbound::default(), Outbound::default()];

    let initiator = Handshake::initiate(&mut context.cx(&mut our_rng), &ours, &our_key, dialled, &mut our_out);
    let mut auth = our_out.as_slice().to_vec();
    let auth_is_whole = tamper(&mut auth, choices);
    let genuine = auth.len();
    let follows = choices.bytes(20);
    auth.extend_from_slice(follows);
    let recipient = Handshake::receive();
    let (recipient, taken) = take(recipient, &theirs, &mut context.cx(&mut their_rng), &auth, &mut their_out, choices);
    let recipient = match recipient {
        Progress::Done(agreed) => {
            assert!(auth_is_whole && dialled == their_key, "nothing else is taken for genuine");
            assert_eq!((agreed.key, taken), (our_key, genuine), "and nothing of what follows is touched");
            if !follows.is_empty() {
                reached.note("followed by frames");
            }
            agreed
        }
        Progress::Failed(fault) => {
            reached.note("auth refused");
            assert_eq!(fault, Fault::Handshake, "the fault is uniform");
            assert!(their_out.is_empty(), "and nothing is said");
            assert!(!auth_is_whole || dialled != their_key);
            return;
        }
        Progress::Pending => {
            reached.note("pending");
            assert!(their_out.is_empty() && !auth_is_whole);
            return;
        }
    };
    let mut ack = their_out.as_slice().to_vec();
    let ack_is_whole = tamper(&mut ack, choices);
    let genuine = ack.len();
    ack.extend_from_slice(choices.bytes(20));
    match take(initiator, &ours, &mut context.cx(&mut our_rng), &ack, &mut our_out, choices) {
        (Progress::Done(agreed), taken) => {
            assert!(ack_is_whole, "nothing else is taken for genuine");
            assert_eq!((agreed.key, taken), (their_key, genuine));
            same_secrets(*agreed, *recipient);
            reached.note("agreed");
        }
        (Progress::Failed(fault), _) => {
            reached.note("ack refused");
            assert_eq!((fault, ack_is_whole), (Fault::Handshake, false));
        }
        (Progress::Pending, _) => {
            reached.note("pending");
            assert!(!ack_is_whole);
        }
    }
}

/// What one side seals, the other opens.
fn same_secrets(mut a: Agreed, mut b: Agreed) {
    talk(&mut a.frames, &mut b.frames);
    talk(&mut b.frames, &mut a.frames);
}

fn talk(from: &mut Frames, to: &mut Frames) {
    let mut stream = Vec::new();
    let start = from.sealer.begin(&mut stream);
    stream.extend_from_slice(b"a frame");
    from.sealer.finish(&Cheap, &mut stream, start).expect("small");
    assert_eq!(to.opener.handle_bytes(&Cheap, &mut &stream[..], 100), Ok(Some(&b"a frame"[..])));
}

/// Any node that knows our key can encrypt any content as an auth, so the checks behind the decryption must suffice.
fn crafted(choices: &mut Choices<'_>, reached: &mut Reached) {
    let (ours, theirs, ephemeral) = (secret(1), secret(2), secret(4));
    let their_key = Cheap.public_key(&theirs);
    let nonce = [choices.byte(); 32];
    let agreement = Cheap.ecdh(&ours, &their_key);
    let digest = std::array::from_fn(|i| agreement.expose()[i] ^ nonce[i]);
    let mut auth = Auth {
        signature: Cheap.sign(&ephemeral, &digest),
        key: *Cheap.public_key(&ours).as_bytes(),
        nonce,
        version: choices.number(),
    };
    let breakage = choices.below(6);
    let mut ends = 0;
    match breakage {
        0 => auth.key[choices.below(64)] ^= 1 << choices.below(8),
        1 => auth.signature.0[choices.below(65)] ^= 1 << choices.below(8),
        2 => auth.nonce[choices.below(32)] ^= 1 << choices.below(8),
        3 => ends = choices.byte(),
        _ => {}
    }
    let mut plain = Vec::new();
    if breakage == 4 {
        // Further elements, as EIP-8 foresees.
        let mut list = RlpStream::new_list(5);
        list.append(&&auth.signature.0[..]).append(&&auth.key[..]).append(&&auth.nonce[..]).append(&auth.version);
        list.append(&choices.bytes(30));
        plain.extend_from_slice(&list.out());
    } else {
        auth.encode(&mut plain);
    }
    plain.truncate(plain.len().saturating_sub(usize::from(ends)));
    plain.extend_from_slice(choices.bytes(60));
    let mut rng = Seed::new([9; 32]).fork("crafted");
    let packet = seal(&mut rng, &their_key, &plain);

    let mut context = context();
    let mut out = Outbound::default();
    let (progress, taken) = take(Handshake::receive(), &theirs, &mut context.cx(&mut rng), &packet, &mut out, choices);
    match progress {
        Progress::Done(agreed) => {
            reached.note("crafted accepted");
            assert_eq!((agreed.key.as_bytes(), taken), (&auth.key, packet.len()));
            assert_ne!(breakage, 0, "another key has another agreement");
            // The sender has the secrets only if the signature is of the ephemeral key.
            let ack = out.as_slice();
            let opened = ecies::open(&Cheap, &ours, &ack[..2], &ack[2..]).expect("for us");
            let Ack { ephemeral_key, nonce: theirs, .. } = Ack::decode(&opened).expect("well-formed");
            let exchange = Exchange {
                agreement: &Cheap.ecdh(&ephemeral, &PublicKey::from_xy(&Cheap, &ephemeral_key).expect("a key")),
                initiator_nonce: &auth.nonce,
                recipient_nonce: &theirs,
                auth: &packet,
                ack,
            };
            if !(1..=3).contains(&breakage) {
                let frames = Frames::new(&Cheap, Secrets::of_initiator(&Cheap, &exchange));
                same_secrets(Agreed::new(agreed.key, frames), *agreed);
            }
        }
        Progress::Failed(fault) => {
            reached.note("crafted refused");
            assert_eq!(fault, Fault::Handshake, "the fault is uniform");
            assert!(out.is_empty());
            assert!(breakage < 4 && breakage != 3 || ends > 0, "breakage {breakage}");
        }
        Progress::Pending => panic!("the packet was whole"),
    }
}

fn seal(rng: &mut Rng, to: &PublicKey, plain: &[u8]) -> Vec<u8> {
    let prefix = ((plain.len() + ecies::OVERHEAD_BYTES) as u16).to_be_bytes();
    let mut packet = prefix.to_vec();
    ecies::seal(&Cheap, rng, to, &prefix, plain, &mut packet);
    packet
}
