//! What people read of ends and errors.

use alloc::string::ToString;

use super::*;
use crate::wire::p2p::DisconnectReason;

/// Each says what it is, with what it is made of.
#[test]
fn ends_and_errors_are_told_in_words() {
    let end = |by, stage, why| End { by, stage, why }.to_string();
    let refused = EndReason::Refused(Refusal::TooManyPeers);
    assert_eq!(end(Side::Us, Stage::Hello, refused), "ended by us at hello: too many peers");
    let fault = EndReason::Fault(Fault::FrameMac);
    assert_eq!(end(Side::Us, Stage::Established, fault), "ended by us at established: wrong MAC of a frame");
    let status = EndReason::Status(StatusRefusal::Network(5));
    assert_eq!(end(Side::Us, Stage::Status, status), "ended by us at status: foreign network 5");
    let reset = EndReason::Io(IoFault::Reset);
    assert_eq!(end(Side::Network, Stage::Dial, reset), "ended by the network at dial: connection reset");
    let closed = EndReason::Eof;
    assert_eq!(end(Side::Them, Stage::Handshake, closed), "ended by them at handshake: closed without a Disconnect");
    let disconnect = EndReason::Disconnect(DisconnectReason::UselessPeer);
    assert_eq!(disconnect.to_string(), alloc::format!("disconnect: {}", DisconnectReason::UselessPeer));
    assert_eq!(EndReason::Timeout(ConnTimer::Ping).to_string(), "ping timeout");

    let filtered = CommandError::Refused(Refusal::Filtered);
    assert_eq!(filtered.to_string(), "refused: address not permitted");
    assert_eq!(CallFailure::Timeout.to_string(), "no answer in time");
    assert_eq!(DropReason::Replayed.to_string(), "replayed");
    assert_eq!(ScoreReason::Fault(Fault::Snappy).to_string(), Fault::Snappy.to_string());
    assert_eq!(ScoreReason::Reported(Label::new("late").unwrap()).to_string(), "reported: late");
    assert_eq!(QueryFault::NotFound.to_string(), "no such name");
    assert_eq!((ConnId(7).to_string(), Direction::Inbound.to_string()), ("#7".into(), "inbound".into()));
}
