//! Challenges, handshakes and sessions.

use peerless::wire::discv5::{CHALLENGE_BYTES, PACKET_BYTES_MIN};

use super::peer::{Came, Peer, Proof};
use crate::trial::{Stop, Trial};
use crate::wire::Address;

/// Positions of protocol id and version in a packet. They are masked by a stream cipher, so that changing a masked bit
/// changes the plain one.
const PROTOCOL_ID_AT: usize = 16;
const VERSION_AT: usize = 22;
/// The bytes of the smallest sealed message: its type, and the tag.
const SEALED_BYTES_MIN: usize = 17;

pub(super) fn ping_multi_ip(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut first = Peer::new(trial)?;
    let mut second = first.at(trial, Address::Second)?;
    first.begin(trial)?;
    // The session of the first endpoint is used at the second one.
    second.session = first.session.clone();
    let ping = second.ping(trial);
    let nonce = second.send(trial, &ping);
    let (challenge, _) = second.challenge(trial)?;
    if *challenge.request_nonce() != nonce {
        return Err(Stop::Failed("WHOAREYOU with the nonce of no packet that was sent".to_owned()));
    }
    let nonce = second.answer(trial, &challenge, &ping, Proof::Right);
    let pong = second.answer_to(trial, &ping, nonce)?;
    second.check_pong(trial, &ping, &pong)?;
    // The session of the second one is used at the first.
    first.session = second.session.clone();
    let ping = first.ping(trial);
    first.send(trial, &ping);
    first.challenge(trial).map(|_| ())
}

pub(super) fn resend(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let peer = Peer::new(trial)?;
    let ping = peer.ping(trial);
    peer.send(trial, &ping);
    let (first, _) = peer.challenge(trial)?;
    let ping = peer.ping(trial);
    peer.send(trial, &ping);
    let (second, _) = peer.challenge(trial)?;
    if second.request_nonce() != first.request_nonce() {
        return Err(Stop::Failed("the second WHOAREYOU has another nonce than the first".to_owned()));
    }
    if second != first {
        return Err(Stop::Failed("the second WHOAREYOU has other challenge data than the first".to_owned()));
    }
    Ok(())
}

pub(super) fn challenge_form(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let peer = Peer::new(trial)?;
    let ping = peer.ping(trial);
    let nonce = peer.send(trial, &ping);
    let (challenge, bytes) = peer.challenge(trial)?;
    if *challenge.request_nonce() != nonce {
        return Err(Stop::Failed("the nonce is not that of the packet".to_owned()));
    }
    if bytes != CHALLENGE_BYTES {
        return Err(Stop::Failed(format!("WHOAREYOU of {bytes} bytes, expected {CHALLENGE_BYTES}")));
    }
    if challenge.enr_seq() != 0 {
        return Err(Stop::Failed(format!("enr-seq is {} for a node that is not known", challenge.enr_seq())));
    }
    Ok(())
}

pub(super) fn fresh_id_nonce(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut challenges = Vec::new();
    for _ in 0..2 {
        let peer = Peer::new(trial)?;
        let ping = peer.ping(trial);
        peer.send(trial, &ping);
        challenges.push(peer.challenge(trial)?.0);
    }
    // The id nonce is followed by the sequence number alone.
    let id_nonces: Vec<&[u8]> =
        challenges.iter().map(|challenge| &challenge.as_bytes()[CHALLENGE_BYTES - 24..CHALLENGE_BYTES - 8]).collect();
    if id_nonces[0] == id_nonces[1] {
        return Err(Stop::Failed("two challenges have the same id-nonce".to_owned()));
    }
    Ok(())
}

pub(super) fn no_record(trial: &mut Trial<'_>) -> Result<(), Stop> {
    refused(trial, Proof::NoRecord)
}

pub(super) fn other_record(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let other = Peer::new(trial)?;
    refused(trial, Proof::Record(&other.record))
}

pub(super) fn wrong_signature(trial: &mut Trial<'_>) -> Result<(), Stop> {
    refused(trial, Proof::WrongSignature)
}

/// A PING in a handshake that proves nothing is not answered.
fn refused(trial: &mut Trial<'_>, proof: Proof<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    let ping = peer.ping(trial);
    peer.send(trial, &ping);
    let (challenge, _) = peer.challenge(trial)?;
    peer.answer(trial, &challenge, &ping, proof);
    peer.silence(trial)
}

pub(super) fn unsolicited(trial: &mut Trial<'_>) -> Result<(), Stop> {
    // The challenge of another node's packet proves nothing for this one.
    let (other, mut peer) = (Peer::new(trial)?, Peer::new(trial)?);
    let ping = other.ping(trial);
    other.send(trial, &ping);
    let (challenge, _) = other.challenge(trial)?;
    peer.answer(trial, &challenge, &ping, Proof::Right);
    peer.silence(trial)
}

pub(super) fn reuse(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    peer.begin(trial)?;
    for _ in 0..2 {
        let ping = peer.ping(trial);
        let nonce = peer.send(trial, &ping);
        let deadline = trial.now() + trial.patience();
        match peer.receive(trial, deadline)? {
            Some(Came::Challenge(..)) => {
                return Err(Stop::Failed("WHOAREYOU for a message within a session".to_owned()));
            }
            Some(Came::Message(opened)) if super::peer::is_answer(&opened)? => {
                peer.check_pong(trial, &ping, &opened)?;
            }
            // A request of the node's own came first.
            _ => {
                let pong = peer.answer_to(trial, &ping, nonce)?;
                peer.check_pong(trial, &ping, &pong)?;
            }
        }
    }
    Ok(())
}

pub(super) fn other_protocol(trial: &mut Trial<'_>) -> Result<(), Stop> {
    changed(trial, PROTOCOL_ID_AT, "a packet of the protocol \"eiscv5\"")
}

pub(super) fn other_version(trial: &mut Trial<'_>) -> Result<(), Stop> {
    // The version is 0x0001.
    changed(trial, VERSION_AT, "a packet of the version 0x0101")
}

/// A packet with one bit of its header changed is not answered.
fn changed(trial: &mut Trial<'_>, at: usize, text: &str) -> Result<(), Stop> {
    let peer = Peer::new(trial)?;
    let (_, mut bytes) = peer.random_packet(trial, &[7; SEALED_BYTES_MIN]);
    bytes[at] ^= 1;
    trial.send(peer.local, text.to_owned(), &bytes);
    peer.nothing(trial)
}

pub(super) fn too_small(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let peer = Peer::new(trial)?;
    let (_, mut bytes) = peer.random_packet(trial, &[]);
    bytes.truncate(PACKET_BYTES_MIN - 1);
    trial.send(peer.local, "the first bytes of a packet".to_owned(), &bytes);
    peer.nothing(trial)
}

pub(super) fn not_amplified(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let peer = Peer::new(trial)?;
    let (_, bytes) = peer.random_packet(trial, &[7; SEALED_BYTES_MIN]);
    trial.send(peer.local, "a random packet, as small as any".to_owned(), &bytes);
    let deadline = trial.now() + trial.patience();
    let (mut packets, mut came) = (0, 0);
    while let Some(packet) = peer.receive(trial, deadline)? {
        packets += 1;
        if let Came::Challenge(_, bytes) = packet {
            came += bytes;
        }
    }
    if packets <= 1 && came < bytes.len() {
        return Ok(());
    }
    Err(Stop::Failed(format!("{} bytes were sent, and {packets} packets with {came} came", bytes.len())))
}
