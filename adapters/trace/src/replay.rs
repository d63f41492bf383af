//! Builds the node of a trace again and hands it every input: what it does must be what was recorded.
//!
//! One step is one input and everything that the driver took from the node before the next one. Its digest is compared
//! after each step, so the first input at which behaviour differs is known by its number.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use peerless::contract::{Action, Command, CommandError, CommandId, ConnId, Input};
use peerless::crypto::{Crypto, NodeId, PublicKey, Secp256k1};
use peerless::node::Node;
use peerless::time::{Duration, Instant};

use crate::format::{
    Behaviour, Broken, Checkpoint, Header, Malformed, OwnedInput, Reader, Record, Recorded, SECP256K1, UNRECORDED,
};

/// An input that was handed in, and that nothing is wrong with so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number, from 0.
    pub index: u64,
    /// When it was handed in.
    pub now: Instant,
    /// Since the start.
    pub elapsed: Duration,
    /// What it was.
    pub input: OwnedInput,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, elapsed, input, .. } = self;
        write!(f, "#{index} at {}.{:06}s: {input}", elapsed.as_secs(), elapsed.subsec_micros())
    }
}

/// How a node has behaved otherwise than it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// It wanted less done.
    Fewer {
        /// Actions in the recording.
        recorded: u64,
        /// Actions of the node.
        popped: u64,
    },
    /// It wanted more done.
    More {
        /// Actions in the recording.
        recorded: u64,
        /// The first one beyond.
        action: String,
    },
    /// As much, and not the same.
    Other {
        /// Actions in the recording, and of the node.
        popped: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fewer { recorded, popped } => write!(f, "{popped} actions instead of {recorded}"),
            Self::More { recorded, action } => write!(f, "more than {recorded} actions: {action}"),
            Self::Other { popped } => write!(f, "{popped} actions as recorded, of other content (or bytes written)"),
        }
    }
}

/// Why a replay cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// The trace is changed, cut off, or none.
    Broken(Broken),
    /// The trace cannot be replayed: it holds no secrets.
    Redacted,
    /// It was made with primitives that are not at hand.
    Primitives(String),
    /// The configuration in it makes no node.
    Config(String),
    /// The node behaves otherwise from this input on; `None` before the first.
    Differs {
        /// The first input with another outcome.
        step: Option<Box<Step>>,
        /// How.
        difference: Difference,
    },
    /// The node panics at this input: a bug, which is what the trace is for.
    Panics {
        /// The input.
        step: Box<Step>,
        /// What the panic says.
        what: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => write!(f, "the trace {broken}"),
            Self::Redacted => f.write_str("the trace is redacted: it can be inspected, and not replayed"),
            Self::Primitives(name) => write!(f, "the trace was made with the primitives {name:?}, which are not here"),
            Self::Config(why) => write!(f, "the trace's configuration makes no node: {why}"),
            Self::Differs { step: Some(step), difference } => write!(f, "behaviour differs at {step}: {difference}"),
            Self::Panics { step, what } => write!(f, "the node panics at {step}: {what}"),
            Self::Differs { step: None, difference } => write!(f, "behaviour differs at the start: {difference}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Malformed> for Failure {
    fn from(why: Malformed) -> Self {
        Self::Config(why.to_string())
    }
}

/// See the module.
pub struct Replay {
    reader: Reader,
    header: Box<Header>,
    node: Node,
    behaviour: Behaviour,
    next: Next,
    last: Option<Box<Step>>,
    now: Instant,
}

/// What the trace says next.
enum Next {
    Input(Box<Recorded>),
    /// All inputs are handed in, and what came after the last is as recorded.
    Over,
}

impl Replay {
    /// Builds the node of a trace that was made with the real primitives.
    ///
    /// # Errors
    /// If it is none that can be replayed, or differs before its first input.
    pub fn new(reader: Reader) -> Result<Self, Failure> {
        Self::with_primitives(reader, |_| None)
    }

    /// As [`Replay::new`], for a trace that may have been made with others: `find` knows them by their name.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_primitives(
        mut reader: Reader,
        find: impl FnOnce(&str) -> Option<Arc<dyn Crypto + Send + Sync>>,
    ) -> Result<Self, Failure> {
        let Some(Record::Header(header)) = reader.read()? else { return Err(Broken::Foreign.into()) };
        let Some((_, seed)) = &header.secrets else { return Err(Failure::Redacted) };
        let crypto = match &*header.primitives {
            SECP256K1 => Arc::new(Secp256k1::new()),
            other => find(other).ok_or_else(|| Failure::Primitives(other.to_owned()))?,
        };
        reader.set_crypto(crypto.clone());
        let config = header.config(&*crypto)?;
        let node = Node::with_crypto(config, **seed, header.start, header.unix, crypto)
            .map_err(|why| Failure::Config(why.to_string()))?;
        let now = header.start;
        let behaviour = Behaviour::default();
        let mut replay = Self { reader, header, node, behaviour, next: Next::Over, last: None, now };
        replay.settle(&mut |_| {})?;
        Ok(replay)
    }

    /// What the trace says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The node, as it is after the last step.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The last step, if there was one.
    pub fn last(&self) -> Option<&Step> {
        self.last.as_deref()
    }

    /// The time of the last step.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whose node it is.
    pub fn id(&self) -> NodeId {
        PublicKey::from_xy_checked(self.header.key).node_id()
    }

    /// The input that is next.
    pub fn peek(&self) -> Option<&Recorded> {
        match &self.next {
            Next::Input(input) => Some(input),
            Next::Over => None,
        }
    }

    /// Number of inputs handed in.
    pub fn inputs(&self) -> u64 {
        self.last.as_ref().map_or(0, |step| step.index + 1)
    }

    /// Hands in the next input. `None` when all were, and everything was as recorded.
    ///
    /// # Errors
    /// If the node behaves otherwise, or the trace is broken; a replay that failed is of no further use.
    pub fn step(&mut self) -> Result<Option<&Step>, Failure> {
        self.step_with(&mut |_| {})
    }

    /// As [`Replay::step`], with every action told.
    ///
    /// # Errors
    /// Likewise.
    pub fn step_with(&mut self, on_action: &mut dyn FnMut(&Action<'_>)) -> Result<Option<&Step>, Failure> {
        let Next::Input(recorded) = std::mem::replace(&mut self.next, Next::Over) else { return Ok(None) };
        let Recorded { index, now, input, .. } = *recorded;
        self.now = self.now.max(now);
        let handed = catch_unwind(AssertUnwindSafe(|| {
            let input = with_capability(&self.node, input.as_input());
            hand_in(&mut self.node, now, input, &mut self.behaviour);
        }));
        let elapsed = now.since(self.header.start);
        let step = self.last.insert(Box::new(Step { index, now, elapsed, input }));
        if let Err(panic) = handed {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let what = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned();
            return Err(Failure::Panics { step: step.clone(), what });
        }
        self.settle(on_action)?;
        Ok(self.last())
    }

    /// Steps to the end. Returns the number of inputs.
    ///
    /// # Errors
    /// As [`Replay::step`].
    pub fn run(&mut self) -> Result<u64, Failure> {
        while self.step()?.is_some() {}
        Ok(self.inputs())
    }

    /// Reads on, and takes from the node what its driver took; it must be the same.
    fn settle(&mut self, on_action: &mut dyn FnMut(&Action<'_>)) -> Result<(), Failure> {
        let (checkpoint, next) = loop {
            match self.reader.read()? {
                Some(Record::Input(input)) => break (input.before, Next::Input(input)),
                Some(Record::End { after, .. }) => break (after, Next::Over),
                Some(_) => {}
                None => return Err(Broken::Cut { inputs: self.inputs() }.into()),
            }
        };
        let wrote = match &next {
            Next::Input(recorded) => match recorded.input {
                OwnedInput::Wrote { conn, n } => Some((conn, n)),
                _ => None,
            },
            Next::Over => None,
        };
        self.take(checkpoint, wrote, on_action)
            .map_err(|difference| Failure::Differs { step: self.last.clone(), difference })?;
        self.next = next;
        Ok(())
    }

    fn take(
        &mut self,
        recorded: Checkpoint,
        wrote: Option<(ConnId, usize)>,
        on_action: &mut dyn FnMut(&Action<'_>),
    ) -> Result<(), Difference> {
        let Self { node, behaviour, .. } = self;
        for popped in 0..recorded.popped {
            let action = node.poll_action().ok_or(Difference::Fewer { recorded: recorded.popped, popped })?;
            behaviour.action(&action);
            on_action(&action);
        }
        if recorded.is_drained {
            if let Some(action) = node.poll_action() {
                let action = crate::state::describe(&action);
                return Err(Difference::More { recorded: recorded.popped, action });
            }
            behaviour.drained();
        }
        // What a socket took was there before anybody said that it did.
        if let Some((conn, n)) = wrote {
            let bytes = node.outbound(conn);
            behaviour.wrote(conn, &bytes[..bytes.len().min(n)]);
        }
        if behaviour.checkpoint() == recorded { Ok(()) } else { Err(Difference::Other { popped: recorded.popped }) }
    }
}

/// Fills in the capability of a request or answer where the trace does not tell it.
fn with_capability<'a>(node: &Node, mut input: Input<'a>) -> Input<'a> {
    if let Input::Command(Command::Request { conn, capability, .. } | Command::Respond { conn, capability, .. }) =
        &mut input
        && *capability == UNRECORDED
        && let Some(session) = node.sessions().find(|session| session.conn == *conn)
        && let Some(shared) = session.shared.iter().find(|shared| shared.capability.is_eth())
    {
        *capability = shared.capability;
    }
    input
}

/// Hands an input in as drivers do, and notes what comes back at once.
fn hand_in(node: &mut Node, now: Instant, input: Input<'_>, behaviour: &mut Behaviour) {
    match input {
        Input::Incoming { from } => {
            let conn: Option<ConnId> = node.accept(now, from);
            behaviour.accepted(conn);
        }
        Input::Command(command) => {
            let answer: Result<CommandId, CommandError> = node.command(now, command);
            behaviour.commanded(answer);
        }
        input => node.handle(now, input),
    }
}
