//! ECIES, which opens the handshake: what is sealed opens, and nothing else does.

use peerless::crypto::{Crypto, ecies};
use peerless::rng::Seed;

use super::crypto::{Cheap, secret};
use super::{Choices, Memory, Reached, Target};

/// Seals, tampers, opens.
pub const ECIES: Target = Target {
    name: "ecies",
    body: ecies_body,
    memory: Memory::DECODER,
    landmarks: &["opened", "refused", "cut", "wrong key", "wrong prefix"],
    generated: (5_000, 200),
};

fn ecies_body(data: &[u8], reached: &mut Reached) {
    assert!(ecies::open(&Cheap, &secret(1), &[], data).is_err(), "random bytes are no sealed message");
    let mut choices = Choices::new(data);
    let mut rng = Seed::new([choices.byte(); 32]).fork("ecies");
    let kind = choices.below(5);
    let (prefix, plain) = (choices.bytes(4), choices.rest());
    let mut sealed = Vec::new();
    ecies::seal(&Cheap, &mut rng, &Cheap.public_key(&secret(1)), prefix, plain, &mut sealed);
    assert_eq!(sealed.len(), plain.len() + ecies::OVERHEAD_BYTES);
    let at = rng.below(sealed.len() as u64) as usize;
    let refused = match kind {
        0 => {
            reached.note("opened");
            assert_eq!(ecies::open(&Cheap, &secret(1), prefix, &sealed).as_deref().map(Vec::as_slice), Ok(plain));
            return;
        }
        1 => {
            reached.note("cut");
            ecies::open(&Cheap, &secret(1), prefix, &sealed[..at])
        }
        2 => {
            reached.note("wrong key");
            ecies::open(&Cheap, &secret(2), prefix, &sealed)
        }
        3 => {
            reached.note("wrong prefix");
            ecies::open(&Cheap, &secret(1), &[prefix, &[0]].concat(), &sealed)
        }
        _ => {
            reached.note("refused");
            sealed[at] ^= 1 << rng.below(8);
            ecies::open(&Cheap, &secret(1), prefix, &sealed)
        }
    };
    assert_eq!(refused, Err(ecies::DecryptError), "one error for every cause");
}
