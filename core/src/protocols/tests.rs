//! Faults by class: what each costs the peer that commits it.

use crate::contract::{Fault, FaultClass, ScoreReason, StatusRefusal};
use crate::peers::score::{BAN_SCORE, CREDIT_MAX, Severity, weight};
use crate::wire::DecodeError;
use crate::wire::forkid::ForkMismatch;

/// Points, the score beyond which the class alone does not lead, and severity.
const fn of_class(class: FaultClass) -> (i32, i32, Severity) {
    match class {
        FaultClass::Own | FaultClass::Unproven => (0, 0, Severity::Mild),
        FaultClass::Blameless => (-2, -20, Severity::Mild),
        FaultClass::Minor => (-20, i32::MIN, Severity::Serious),
        FaultClass::Malformed => (-25, i32::MIN, Severity::Serious),
        FaultClass::Costly => (-50, i32::MIN, Severity::Serious),
        FaultClass::Attack => (BAN_SCORE - CREDIT_MAX, i32::MIN, Severity::Fatal),
    }
}

#[test]
fn a_faults_class_decides_its_points() {
    let faults = [
        Fault::Handshake,
        Fault::HeaderMac,
        Fault::FrameMac,
        Fault::EmptyFrame,
        Fault::TooLarge,
        Fault::Snappy,
        Fault::Message(DecodeError::BadValue),
        Fault::HelloExpected,
        Fault::HelloTwice,
        Fault::IncompatibleVersion,
        Fault::InvalidIdentity,
        Fault::UnexpectedIdentity,
        Fault::ConnectedToSelf,
        Fault::Useless,
        Fault::UnknownMessage,
        Fault::StatusExpected,
        Fault::StatusTwice,
        Fault::ForbiddenMessage,
        Fault::UnsolicitedResponse,
        Fault::Overrun,
    ];
    let refusals = [
        StatusRefusal::Version(1),
        StatusRefusal::Network(1),
        StatusRefusal::Genesis,
        StatusRefusal::Fork(ForkMismatch::RemoteStale),
        StatusRefusal::Range,
    ];
    let faults = faults.map(|fault| (ScoreReason::Fault(fault), fault.class()));
    let refusals = refusals.map(|refusal| (ScoreReason::Status(refusal), refusal.class()));
    for (reason, class) in faults.into_iter().chain(refusals) {
        let weight = weight(&reason);
        assert_eq!((weight.delta, weight.limit, weight.severity), of_class(class), "{reason}");
    }
}

/// Credit for nothing: what an answer has to hold to count as service.
#[test]
fn an_empty_answer_has_no_content() {
    for (payload, expected) in [
        // [id, []], [id, [[]]], and a headers' list.
        (&[0xc2, 0x07, 0xc0][..], false),
        (&[0xc3, 0x07, 0xc1, 0xc0], true),
        (&[0xc4, 0x07, 0xc2, 0xc1, 0x05], true),
        // [id, [], []] and [id, [], [proof]], as in snap.
        (&[0xc3, 0x07, 0xc0, 0xc0], false),
        (&[0xc4, 0x07, 0xc0, 0xc1, 0x09], true),
        // [id, flag, []] and [id, flag, [[]]], as in eth/70.
        (&[0xc3, 0x07, 0x01, 0xc0], false),
        (&[0xc4, 0x07, 0x01, 0xc1, 0xc0], true),
        // Strings of a protocol without lists.
        (&[0xc2, 0x07, 0x80], false),
        (&[0xc2, 0x07, 0x05], true),
        (&[0xc3, 0x07, 0x81, 0x85], true),
        (&[0xc1, 0x07], false),
        (&[0xc1], false),
    ] {
        assert_eq!(super::has_content(payload), expected, "{payload:02x?}");
    }
}
