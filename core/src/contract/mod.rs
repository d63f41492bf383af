//! What crosses the boundary between a machine and its driver: inputs in, actions out, and the words for why.
//!
//! Made of wire types and plain enums only. No machine is known here.

pub mod action;
pub mod behaviour;
pub mod cx;
pub mod event;
pub mod ids;
pub mod input;
pub mod outbound;
pub mod outbox;
pub mod prefetch;
pub mod reason;
pub mod stats;
pub mod tap;

pub use action::Action;
pub use behaviour::{Behaviour, PeerEvent, Wish};
pub use cx::{Context, Cx};
pub use event::{CallFailure, Event};
pub use ids::{CommandId, ConnId, Direction, PeerKind};
pub use input::{Command, CommandError, Input};
pub use outbound::Outbound;
pub use outbox::Outbox;
pub use prefetch::Prefetch;
pub use reason::{
    ConnTimer, DiscoveryTimer, DropReason, End, EndReason, Fault, FaultClass, IoFault, Reason, Refusal, ScoreReason,
    Side, Stage, StatusRefusal,
};
pub use stats::Stats;
pub use tap::Tap;
