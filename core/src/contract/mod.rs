//! The boundary between a machine and its driver: inputs, actions, and the reasons that they carry.
//!
//! Consists of wire types and plain enums only, and knows no machine. [`machine::Machine`] is the contract itself, for any
//! protocol family; a [`language::Language`] has the types of one family, and [`event`], [`input`], [`reason`], [`fault`]
//! and [`end`] are those of devp2p.

pub mod action;
pub mod addresses;
pub mod behaviour;
pub mod conn_map;
pub mod cx;
pub mod end;
pub mod event;
pub mod fault;
pub mod ids;
pub mod input;
pub mod language;
pub mod machine;
pub mod outbound;
pub mod outbox;
pub mod peer_limits;
pub mod prefetch;
pub mod query;
pub mod reason;
pub mod shares;
pub mod snapshot;
pub mod stats;
pub mod tap;
pub mod work;

pub use action::Action;
pub use addresses::Addresses;
pub use behaviour::{Behaviour, PeerEvent, Wish};
pub use conn_map::{ConnMap, ConnSet};
pub use cx::{Context, Cx};
pub use end::{End, EndReason, Side, Stage};
pub use event::{CallFailure, Event, HostFailure};
pub use fault::{Fault, FaultClass, IoFault, Refusal, StatusRefusal};
pub use ids::{BanTarget, CommandId, ConnId, Direction, Label, PeerKind, QueryId, SocketId, TalkId, Via};
pub use input::{Command, CommandError, Input};
pub use language::{Devp2p, Language};
pub use machine::{CommandOf, EventOf, Machine, RefusedOf};
pub use outbound::Outbound;
pub use outbox::Outbox;
pub use peer_limits::PeerLimits;
pub use prefetch::Prefetch;
pub use query::{Answer, Query, QueryFault};
pub use reason::{ConnTimer, DiscoveryTimer, DropReason, Reason, ScoreReason};
pub use shares::Shares;
pub use snapshot::{BanRecord, BookRecord, Snapshot, Source};
pub use stats::Stats;
pub use tap::{Tap, Tapped};
pub use work::Work;

#[cfg(test)]
mod tests;
