//! Builds the machine of a trace again, hands it every input, and compares its behaviour with the recorded one.
//!
//! One step is one input and all actions that the driver popped before the next one. The digest is compared after each step,
//! so a failure names the first input at which behaviour differs.

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

/// An input that was handed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step<C = OwnedCommand> {
    /// Its number, from 0.
    pub index: u64,
    /// When it was handed in.
    pub now: Instant,
    /// The time since the start.
    pub elapsed: Duration,
    /// The input.
    pub input: OwnedInput<C>,
}

impl<C: fmt::Display> fmt::Display for Step<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, elapsed, input, .. } = self;
        write!(f, "#{index} at {}.{:06}s: {input}", elapsed.as_secs(), elapsed.subsec_micros())
    }
}

/// How the behaviour of a machine differs from the recorded one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Difference {
    /// Fewer actions than recorded.
    Fewer {
        /// Actions in the recording.
        recorded: u64,
        /// Actions of the machine.
        popped: u64,
    },
    /// More actions than recorded.
    More {
        /// Actions in the recording.
        recorded: u64,
        /// The first additional action.
        action: String,
    },
    /// As many actions, with other content.
    Other {
        /// Actions in the recording, and of the machine.
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

/// Why a replay failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<C = OwnedCommand> {
    /// The trace cannot be read any further.
    Broken(Broken),
    /// The trace cannot be replayed: it holds no secrets.
    Redacted,
    /// The trace is of an earlier version of the format, whose nodes draw other keys: an older release can replay it.
    OldVersion(u16),
    /// The trace is of another protocol family.
    Family(String),
    /// The trace was made with primitives that are not available.
    Primitives(String),
    /// The machine cannot be built from the trace's configuration.
    Config(String),
    /// The machine behaves differently from this input on; `None` before the first.
    Differs {
        /// The first input after which behaviour differs.
        step: Option<Box<Step<C>>>,
        /// The difference.
        difference: Difference,
    },
    /// The machine panics at this input.
    Panics {
        /// The input.
        step: Box<Step<C>>,
        /// The message of the panic.
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
            Self::Primitives(name) => {
                write!(f, "the trace was made with the primitives {name:?}, which are not available")
            }
            Self::Config(why) => write!(f, "the trace's configuration cannot be used: {why}"),
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

/// A replay of a trace, one step at a time.
pub struct Replay<M: Replayable = Node> {
    reader: Reader<M::Language>,
    header: Box<Header>,
    machine: M,
    behaviour: Behaviour,
    next: Next<OwnedCommandOf<M>>,
    last: Option<Box<Step<OwnedCommandOf<M>>>>,
    now: Instant,
}

/// Omits the machine.
impl<M: Replayable> fmt::Debug for Replay<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Replay");
        debug.field("header", &self.header).field("inputs", &self.reader.inputs()).field("now", &self.now);
        debug.finish_non_exhaustive()
    }
}

/// The next part of the trace.
enum Next<C> {
    Input(Box<Recorded<C>>),
    /// All inputs were handed in, and the behaviour after the last is as recorded.
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

    /// As [`Replay::new`], for a trace that may have been made with other primitives, which `find` returns by name.
    ///
    /// # Errors
    /// As [`Replay::new`].
    pub fn with_primitives(
        reader: Reader,
        find: impl FnOnce(&str) -> Option<Arc<dyn Crypto + Send + Sync>>,
    ) -> Result<Self, Failure> {
        Self::new_as(reader, find)
    }
}

impl<M: Replayable> Replay<M> {
    /// Builds the machine of a trace. `find` returns primitives other than the real ones by name.
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

    /// The header of the trace.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The machine after the last step.
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

    /// The next input.
    pub fn peek(&self) -> Option<&Recorded<OwnedCommandOf<M>>> {
        match &self.next {
            Next::Input(input) => Some(input),
            Next::Over => None,
        }
    }

    /// The number of inputs that were handed in.
    pub fn inputs(&self) -> u64 {
        self.last.as_ref().map_or(0, |step| step.index + 1)
    }

    /// Hands in the next input. Returns `None` when all were handed in and all behaviour was as recorded.
    ///
    /// # Errors
    /// If behaviour differs, or the trace is broken; a replay that failed cannot continue.
    pub fn step(&mut self) -> Result<Option<&Step<OwnedCommandOf<M>>>, Failure<OwnedCommandOf<M>>> {
        self.step_with(&mut |_| {})
    }

    /// As [`Replay::step`], with a description of every action.
    ///
    /// # Errors
    /// As [`Replay::step`].
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

    /// Reads the next record, pops as many actions as its driver did, and compares.
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
        // The bytes that a socket took were outbound before the input that reports them.
        if let Some((conn, n)) = wrote {
            let bytes = machine.outbound(conn);
            behaviour.wrote(conn, &bytes[..bytes.len().min(n)]);
        }
        if behaviour.checkpoint() == recorded { Ok(()) } else { Err(Difference::Other { popped: recorded.popped }) }
    }
}

/// Hands in an input as drivers do, and notes the immediate answers.
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
