//! Bystanders: nodes that the tester plays so that the node under test has something in its table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerless::crypto::discv5::Nonce;
use peerless::crypto::{Crypto, SecretKey};
use peerless::wire::discv5::Payload;
use peerless::wire::enr::Record;

use super::peer::{Came, Opened, Peer, Proof, remote};
use super::requests::find_node;
use crate::trial::{StepKind, Stop, Trial};

/// The number of bystanders, as in hive.
const BYSTANDERS: usize = 5;
/// Bystanders at one distance: nodes admit no more of one subnet to a bucket.
const BUCKET_MAX: usize = 2;
/// For how long to wait until the node has checked all of them, as in hive.
const CHECK_TIME: Duration = Duration::from_secs(60);
/// Attempts to find them, and the pause between two, as in hive.
const ATTEMPTS: usize = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(2);
/// The answers whose handshake may still be asked for.
const SENT_MAX: usize = 64;

/// A bystander, and what it has answered.
struct Bystander {
    peer: Peer,
    /// Answers by their nonces, in case the node challenges one.
    answered: BTreeMap<Nonce, Opened>,
    /// Whether the node has checked it.
    is_live: bool,
}

pub(super) fn findnode_results(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut bystanders: Vec<Bystander> = Vec::new();
    while bystanders.len() < BYSTANDERS {
        let secret = SecretKey::generate(trial.rng());
        let distance = remote(trial).log_distance(&trial.crypto().public_key(&secret).node_id());
        let is_alike = |other: &&Bystander| remote(trial).log_distance(&other.peer.id) == distance;
        if bystanders.iter().filter(is_alike).count() < BUCKET_MAX {
            let mut peer = Peer::named(trial, secret)?;
            peer.begin(trial)?;
            bystanders.push(Bystander { peer, answered: BTreeMap::new(), is_live: false });
        }
    }
    let known: Vec<Record> = bystanders.iter().map(|bystander| bystander.peer.record.clone()).collect();
    let deadline = trial.now() + CHECK_TIME;
    while bystanders.iter().any(|bystander| !bystander.is_live) {
        if !serve(trial, &mut bystanders, &known, deadline)? {
            let live = bystanders.iter().filter(|bystander| bystander.is_live).count();
            let why = format!("the node has checked {live} of {BYSTANDERS} bystanders in {} s", CHECK_TIME.as_secs());
            return Err(Stop::Failed(why));
        }
    }
    trial.note(StepKind::Note, None, 0, format!("the node has checked {BYSTANDERS} bystanders"));
    let ids: BTreeSet<_> = bystanders.iter().map(|bystander| bystander.peer.id).collect();
    let distances: BTreeSet<u16> = ids.iter().map(|id| remote(trial).log_distance(id)).collect();
    let distances: Vec<u16> = distances.into_iter().collect();
    let mut asker = Peer::new(trial)?;
    let mut found = BTreeSet::new();
    for _ in 0..ATTEMPTS {
        found = find_node(trial, &mut asker, &distances)?.iter().map(|record| record.key().node_id()).collect();
        if ids.is_subset(&found) {
            return Ok(());
        }
        let pause = trial.now() + ATTEMPT_PAUSE;
        while serve(trial, &mut bystanders, &known, pause)? {}
    }
    let missing = ids.difference(&found).count();
    Err(Stop::Failed(format!(
        "{missing} of {BYSTANDERS} checked nodes are missing, unless the table had others before"
    )))
}

/// Answers the next packet to any bystander before `deadline`; false if there is none.
fn serve(
    trial: &mut Trial<'_>,
    bystanders: &mut [Bystander],
    known: &[Record],
    deadline: Duration,
) -> Result<bool, Stop> {
    let Some(received) = trial.receive_any(deadline) else { return Ok(false) };
    let Some(bystander) = bystanders.iter_mut().find(|bystander| bystander.peer.local == received.at) else {
        return Ok(true);
    };
    match bystander.peer.read(trial, &received) {
        Ok(Came::Message(request)) => {
            bystander.is_live |= matches!(request.message()?.payload, Payload::Ping { .. });
            if let Some((nonce, answer)) = bystander.peer.serve(trial, &request, known)? {
                while bystander.answered.len() >= SENT_MAX {
                    bystander.answered.pop_first();
                }
                bystander.answered.insert(nonce, answer);
            }
        }
        // The node has lost the session: the answer is repeated in a handshake, or a PING in place of one that is forgotten.
        Ok(Came::Challenge(challenge, _)) => {
            let ping = bystander.peer.ping(trial);
            let answer = bystander.answered.remove(challenge.request_nonce());
            let message = answer.as_ref().map(Opened::message).transpose()?.unwrap_or(ping);
            bystander.peer.answer(trial, &challenge, &message, Proof::Right);
        }
        // What others send, and what the tester cannot open, is passed over.
        Ok(Came::Sealed) | Err(_) => {}
    }
    Ok(true)
}
