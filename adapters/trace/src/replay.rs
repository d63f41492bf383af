//! Builds the machine of a trace again and hands it every input: what it does must be what was recorded.
//!
//! One step is one input and everything that the driver took from the node before the next one. Its digest is compared
//! after each step, so the first input at which behaviour differs is known by its number.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use peerless::contract::{Action, ConnId, EventOf, Input, Language, Machine};
use peerless::crypto::{Crypto, Secp256k1};
use peerless::node::Node;
use peerless::time::{Duration, Instant};

use crate::format::{
    Behaviour, Broken, Checkpoint, Header, OwnedCommand, OwnedInput, Reader, Record, Recordable, Recorded, Replayable,
    SECP256K1, VERSION,
};

/// The command of a machine's language, with its bytes.
type OwnedCommandOf<M> = <<M as Machine>::Language as Recordable>::OwnedCommand;

/// An input that was handed in, and that nothing is wrong with so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step<C = OwnedCommand> {
    /// Its number, from 0.
    pub index: u64,
    /// When it was handed in.
    pub now: Instant,
    /// Since the start.
    pub elapsed: Duration,
    /// What it was.
    pub input: OwnedInput<C>,
}

impl<C: fmt::Display> fmt::Display for Step<C> {
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
pub enum Failure<C = OwnedCommand> {
    /// The trace is changed, cut off, or none.
    Broken(Broken),
    /// The trace cannot be replayed: it holds no secrets.
    Redacted,
    /// It is of an earlier version of the format, whose nodes draw other keys: an older release replays it.
    OldVersion(u16),
    /// It is the trace of another protocol family.
    Family(String),
    /// It was made with primitives that are not at hand.
    Primitives(String),
    /// The configuration in it makes no node.
    Config(String),
    /// The node behaves otherwise from this input on; `None` before the first.
    Differs {
        /// The first input with another outcome.
        step: Option<Box<Step<C>>>,
        /// How.
        difference: Difference,
    },
    /// The node panics at this input: a bug, which is what the trace is for.
    Panics {
        /// The input.
        step: Box<Step<C>>,
        /// What the panic says.
        what: String,
    },
}

impl<C: fmt::Display> fmt::Display for Failure<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => write!(f, "the trace {broken}"),
            Self::Redacted => f.write_str("the trace is redacted: it can be inspected, and not replayed"),
            Self::OldVersion(version) => write!(
                f,
                "the trace is of version {version} of the format: its node drew other keys, and an older release of \
                 Peerless (0.1.0 before version {VERSION}) replays it; it can still be inspected"
            ),
            Self::Family(family) => write!(f, "the trace is of the protocol family {family:?}"),
            Self::Primitives(name) => write!(f, "the trace was made with the primitives {name:?}, which are not here"),
            Self::Config(why) => write!(f, "the trace's configuration makes no node: {why}"),
            Self::Differs { step: Some(step), difference } => write!(f, "behaviour differs at {step}: {difference}"),
            Self::Panics { step, what } => write!(f, "the node panics at {step}: {what}"),
            Self::Differs { step: None, difference } => write!(f, "behaviour differs at the start: {difference}"),
        }
    }
}

impl<C: fmt::Display + fmt::Debug> std::error::Error for Failure<C> {}

impl<C> From<Broken> for Failure<C> {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// See the module.
pub struct Replay<M: Replayable = Node> {
    reader: Reader<M::Language>,
    header: Box<Header>,
    machine: M,
    behaviour: Behaviour,
    next: Next<OwnedCommandOf<M>>,
    last: Option<Box<Step<OwnedCommandOf<M>>>>,
    now: Instant,
}

/// What the trace says next.
enum Next<C> {
    Input(Box<Recorded<C>>),
    /// All inputs are handed in, and what came after the last is as recorded.
    Over,
}

impl Replay {
    /// Builds the node of a trace that was made with the real primitives.
    ///
    /// # Errors
    /// If the trace cannot be replayed, or the node differs before its first input.
    pub fn new(reader: Reader) -> Result<Self, Failure> {
        Self::new_as(reader, |_| None)
    }

    /// As [`Replay::new`], for a trace that may have been made with other primitives: `find` knows them by their name.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_primitives(
        reader: Reader,
        find: impl FnOnce(&str) -> Option<Arc<dyn Crypto + Send + Sync>>,
    ) -> Result<Self, Failure> {
        Self::new_as(reader, find)
    }
}

impl<M: Replayable> Replay<M> {
    /// Builds the machine of a trace. `find` knows primitives other than the real ones by their name.
    ///
    /// # Errors
    /// If the trace cannot be replayed, or the machine differs before its first input.
    pub fn new_as(
        mut reader: Reader<M::Language>,
        find: impl FnOnce(&str) -> Option<Arc<dyn Crypto + Send + Sync>>,
    ) -> Result<Self, Failure<OwnedCommandOf<M>>> {
        let Some(Record::Header(header)) = reader.read()? else { return Err(Broken::Foreign.into()) };
        if header.version != VERSION {
            return Err(Failure::OldVersion(header.version));
        }
        if header.family != M::Language::FAMILY {
            return Err(Failure::Family(header.family));
        }
        if header.secrets.is_none() {
            return Err(Failure::Redacted);
        }
        let crypto = match &*header.primitives {
            SECP256K1 => Arc::new(Secp256k1::new()),
            other => find(other).ok_or_else(|| Failure::Primitives(other.to_owned()))?,
        };
        reader.set_crypto(crypto.clone());
        let machine = M::rebuild(&header, crypto).map_err(Failure::Config)?;
        let now = header.start;
        let behaviour = Behaviour::default();
        let mut replay = Self { reader, header, machine, behaviour, next: Next::Over, last: None, now };
        replay.read_on(&mut |_| {})?;
        Ok(replay)
    }

    /// What the trace says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The machine, as it is after the last step.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The last step, if there was one.
    pub fn last(&self) -> Option<&Step<OwnedCommandOf<M>>> {
        self.last.as_deref()
    }

    /// The time of the last step.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The input that is next.
    pub fn peek(&self) -> Option<&Recorded<OwnedCommandOf<M>>> {
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
    pub fn step(&mut self) -> Result<Option<&Step<OwnedCommandOf<M>>>, Failure<OwnedCommandOf<M>>> {
        self.step_with(&mut |_| {})
    }

    /// As [`Replay::step`], with every action told.
    ///
    /// # Errors
    /// Likewise.
    #[allow(clippy::type_complexity, reason = "a step of the machine's language")]
    pub fn step_with(
        &mut self,
        on_action: &mut dyn FnMut(&Action<'_, EventOf<'_, M>>),
    ) -> Result<Option<&Step<OwnedCommandOf<M>>>, Failure<OwnedCommandOf<M>>> {
        let Next::Input(recorded) = std::mem::replace(&mut self.next, Next::Over) else { return Ok(None) };
        let Recorded { index, now, input, .. } = *recorded;
        self.now = self.now.max(now);
        let handed = catch_unwind(AssertUnwindSafe(|| {
            let (machine, behaviour) = (&mut self.machine, &mut self.behaviour);
            input.with_input::<M::Language, _>(|input| hand_in(machine, now, input, behaviour));
        }));
        let elapsed = now.since(self.header.start);
        let step = self.last.insert(Box::new(Step { index, now, elapsed, input }));
        if let Err(panic) = handed {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let what = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned();
            return Err(Failure::Panics { step: step.clone(), what });
        }
        self.read_on(on_action)?;
        Ok(self.last())
    }

    /// Steps to the end. Returns the number of inputs.
    ///
    /// # Errors
    /// As [`Replay::step`].
    pub fn run(&mut self) -> Result<u64, Failure<OwnedCommandOf<M>>> {
        while self.step()?.is_some() {}
        Ok(self.inputs())
    }

    /// Reads on, and takes from the node what its driver took; it must be the same.
    fn read_on(
        &mut self,
        on_action: &mut dyn FnMut(&Action<'_, EventOf<'_, M>>),
    ) -> Result<(), Failure<OwnedCommandOf<M>>> {
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
        on_action: &mut dyn FnMut(&Action<'_, EventOf<'_, M>>),
    ) -> Result<(), Difference> {
        let Self { machine, behaviour, .. } = self;
        for popped in 0..recorded.popped {
            let action = machine.poll_action().ok_or(Difference::Fewer { recorded: recorded.popped, popped })?;
            behaviour.action::<M::Language>(&action);
            on_action(&action);
        }
        if recorded.is_drained {
            if let Some(action) = machine.poll_action() {
                let action = crate::state::describe_as::<M::Language>(&action);
                return Err(Difference::More { recorded: recorded.popped, action });
            }
            behaviour.drained();
        }
        // What a socket took was there before anybody said that it did.
        if let Some((conn, n)) = wrote {
            let bytes = machine.outbound(conn);
            behaviour.wrote(conn, &bytes[..bytes.len().min(n)]);
        }
        if behaviour.checkpoint() == recorded { Ok(()) } else { Err(Difference::Other { popped: recorded.popped }) }
    }
}

/// Hands an input in as drivers do, and notes the answers that come back at once.
fn hand_in<M: Replayable>(
    machine: &mut M,
    now: Instant,
    input: Input<'_, <M::Language as Language>::Command<'_>>,
    behaviour: &mut Behaviour,
) {
    match input {
        Input::Incoming { socket, from } => behaviour.accepted(machine.accept(now, socket, from)),
        Input::Command(command) => behaviour.commanded::<M::Language>(machine.command(now, command)),
        input => machine.handle(now, input),
    }
}
