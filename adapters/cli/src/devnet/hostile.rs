//! Nodes that break the protocol: each mounts every [`Attack`] in turn, against every honest node in turn.
//!
//! Their keys stay the same, so that honest nodes can recognise and ban them.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use peerless::crypto::{Crypto, keccak256};
use peerless::rng::Rng;
use peerless::time::UnixTime;
use peerless::wire::discv4::{Endpoint, Neighbor, Packet};
use peerless::wire::enode::Contact;
use peerless::wire::{eth, p2p};

use super::liar::{Identity, Liar, dial};
use crate::networks::unix_now;

/// Time between two attacks of one node: short enough for all of them in a short run, long enough to watch.
const PAUSE: Duration = Duration::from_millis(150);
/// A datagram's hash, which comes first, and its signature, which follows.
const HASH_BYTES: usize = 32;
const PING: u8 = p2p::id::PING as u8;

/// A way to break the protocol.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Noise in place of the handshake.
    Noise,
    /// A session, then a frame with a wrong MAC.
    WrongMac,
    /// A session, then a NewBlock message, which the protocol no longer has.
    NewBlock,
    /// A session, then a response without a request.
    UnsolicitedAnswer,
    /// A first message that is not Hello.
    NoHello,
    /// Datagrams: a FindNode without endpoint proof, an expired Ping, unsolicited Neighbors, a forged signature.
    Datagrams,
}

const ATTACKS: [Attack; 6] =
    [Attack::WrongMac, Attack::Datagrams, Attack::NewBlock, Attack::Noise, Attack::UnsolicitedAnswer, Attack::NoHello];

/// Attacks `victims` until `truce` is set; blocks. `turn` chooses the first attack and the first victim.
pub(super) fn run(identity: &Identity, mut rng: Rng, victims: &[Contact], turn: usize, truce: &AtomicBool) {
    // Without a socket, only the attacks over streams run.
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok();
    for turn in turn.. {
        let (Some(attack), Some(victim)) =
            (ATTACKS.get(turn % ATTACKS.len()), victims.get(turn % victims.len().max(1)))
        else {
            return;
        };
        // The victim reports how an attack ends.
        if let Err(error) = mount(*attack, identity, &mut rng, udp.as_ref(), victim) {
            tracing::debug!(?attack, %error, "attack ended");
        }
        std::thread::sleep(PAUSE);
        if truce.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn mount(
    attack: Attack,
    identity: &Identity,
    rng: &mut Rng,
    udp: Option<&UdpSocket>,
    victim: &Contact,
) -> io::Result<()> {
    match attack {
        Attack::Noise => {
            // The prefix is right, and the content does not decrypt.
            let mut noise = rng.bytes::<400>();
            noise[..2].copy_from_slice(&398u16.to_be_bytes());
            let mut tcp = dial(victim)?;
            tcp.write_all(&noise)?;
            let _ = io::Read::read(&mut tcp, &mut [0; 1])?;
        }
        Attack::WrongMac => {
            let mut liar = Liar::connect(identity, rng, victim)?;
            liar.greet()?;
            liar.say_with_wrong_mac(PING, &[0xc0])?;
            liar.await_end();
        }
        Attack::NewBlock => {
            let mut liar = Liar::connect(identity, rng, victim)?;
            let offset = liar.establish()?;
            liar.say(offset + eth::id::NEW_BLOCK as u8, &[0xc2, 0xc0, 0x01])?;
            liar.await_end();
        }
        Attack::UnsolicitedAnswer => {
            let mut liar = Liar::connect(identity, rng, victim)?;
            let offset = liar.establish()?;
            liar.say(offset + eth::id::BLOCK_HEADERS as u8, &[0xc2, 0x2a, 0xc0])?;
            liar.await_end();
        }
        Attack::NoHello => {
            let mut liar = Liar::connect(identity, rng, victim)?;
            liar.say(0x10, &[0xc0])?;
            liar.await_end();
        }
        Attack::Datagrams => {
            let udp = udp.ok_or(ErrorKind::AddrNotAvailable)?;
            for datagram in datagrams(identity, rng, victim, udp.local_addr()?.into()) {
                udp.send_to(&datagram, victim.udp_addr())?;
            }
        }
    }
    Ok(())
}

fn datagrams(identity: &Identity, rng: &mut Rng, victim: &Contact, from: Endpoint) -> Vec<Vec<u8>> {
    let soon = UnixTime::from_secs(unix_now() + 20);
    let ping = |expiration| Packet::Ping { version: 4, from, to: victim.udp_addr().into(), expiration, enr_seq: None };
    let neighbor = Neighbor { ip: victim.ip(), udp: 9, tcp: 9, key: *identity.key.as_bytes() };
    let mut forged = seal(identity, &ping(soon));
    // The first half of the signature is replaced, and the hash computed anew.
    forged[HASH_BYTES..HASH_BYTES + 32].copy_from_slice(&rng.bytes::<32>());
    let hash = keccak256(&forged[HASH_BYTES..]);
    forged[..HASH_BYTES].copy_from_slice(&hash);
    vec![
        seal(identity, &Packet::FindNode { target: rng.bytes(), expiration: soon }),
        seal(identity, &ping(UnixTime::from_secs(1))),
        seal(identity, &Packet::Neighbors { nodes: vec![neighbor], expiration: soon }),
        forged,
    ]
}

fn seal(identity: &Identity, packet: &Packet) -> Vec<u8> {
    let mut datagram = Vec::new();
    let crypto: &dyn Crypto = &*identity.crypto;
    packet.seal(crypto, &identity.secret, &mut datagram);
    datagram
}
