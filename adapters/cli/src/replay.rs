//! The command `replay`: runs a recorded node again and checks that it behaves as recorded.

use std::fmt;
use std::io::{BufRead as _, stdin};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless_trace::format::{Broken, Reader, SECP256K1};
use peerless_trace::replay::{Failure, Replay, Step};
use peerless_trace::state::{Condition, State, describe};
use serde::Serialize;

use crate::output::Output;
use crate::{Outcome, primitives};

/// Arguments of `replay`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The trace; its other parts are found by their names
    file: PathBuf,
    /// Stop after this time since the start, such as 1.5s, or after this input, such as #120
    #[arg(long, env = "PEERLESS_UNTIL", value_name = "TIME|#INPUT")]
    until: Option<Until>,
    /// Print every input and the actions that follow it
    #[arg(long, env = "PEERLESS_PRINT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    print: bool,
    /// Print the state of the node where the replay stops
    #[arg(long, env = "PEERLESS_STATE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    state: bool,
    /// Wait for a line on stdin before every input: empty for the next, "state", "continue" or "quit"; its end quits
    #[arg(long, env = "PEERLESS_STEP", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    step: bool,
    /// Find the first input after which this holds, such as "banned > 0 or ended(too many peers)"
    #[arg(long, env = "PEERLESS_BISECT", value_name = "EXPR")]
    bisect: Option<Condition>,
    /// Accept a trace without an end mark, whose writer was killed
    #[arg(long, env = "PEERLESS_ALLOW_CUT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    allow_cut: bool,
}

/// Where to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    Elapsed(Duration),
    Input(u64),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(number) = text.strip_prefix('#') {
            return number.parse().map(Self::Input).map_err(|_| format!("{number:?} is not the number of an input"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("{text}s is a time, and #{text} an input"));
        }
        let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
        if let Some(duration) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            return Ok(Self::Elapsed(duration));
        }
        humantime::parse_duration(text).map(Self::Elapsed).map_err(|error| error.to_string())
    }
}

impl Until {
    /// Whether the next input is past the stop.
    fn is_before(self, index: u64, elapsed: Duration) -> bool {
        match self {
            Self::Elapsed(limit) => elapsed > limit,
            Self::Input(limit) => index > limit,
        }
    }
}

/// Runs `replay`.
pub(crate) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { file, until, print, state, step, bisect, allow_cut } = arguments;
    let reader = Reader::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut replay = match Replay::with_primitives(reader, primitives::simulated) {
        Ok(replay) => replay,
        Err(failure) => {
            output.report(&Verdict::new(0, 0.0, false, None, Some(&failure)));
            return Ok(Outcome::Failure);
        }
    };
    let mut is_stepping = *step;
    if is_stepping {
        output.say("an empty line goes on to the next input; state, continue, quit");
    }
    let mut lines = stdin().lock().lines();
    let mut found = None;
    let failure = 'inputs: loop {
        let Some(next) = replay.peek() else { break None };
        let elapsed = next.now.since(replay.header().start);
        if until.is_some_and(|until| until.is_before(next.index, elapsed)) {
            break None;
        }
        while is_stepping {
            output.say(format_args!("next: #{} {}", next.index, next.input));
            match lines.next().transpose().context("stdin")?.as_deref().map(str::trim) {
                Some("") => break,
                Some("state" | "s") => output.report(&State::of(replay.machine(), replay.now())),
                Some("continue" | "c") => is_stepping = false,
                None | Some("quit" | "q") => break 'inputs None,
                Some(other) => output.say(format_args!("{other:?} is none of: state, continue, quit, or nothing")),
            }
        }
        let mut actions = Vec::new();
        let is_shown = *print || is_stepping;
        let stepped = replay.step_with(&mut |action| {
            if is_shown {
                actions.push(describe(action));
            }
        });
        match stepped {
            Ok(Some(step)) if is_shown => output.report(&Shown::new(step, actions)),
            Ok(_) => {}
            Err(failure) => break Some(failure),
        }
        if let Some(condition) = bisect
            && condition.holds(replay.machine(), replay.now())
        {
            found = replay.last().cloned();
            break None;
        }
    };
    if let Some(step) = &found {
        output.report(&Found { event: "found", step: Shown::new(step, Vec::new()) });
    } else if bisect.is_some() {
        output.report(&NotFound { event: "not found" });
    }
    if *state {
        output.report(&State::of(replay.machine(), replay.now()));
    }
    let failure = failure.filter(|failure| !(*allow_cut && matches!(failure, Failure::Broken(Broken::Cut { .. }))));
    let seconds = replay.now().since(replay.header().start).as_secs_f64();
    let is_complete = replay.peek().is_none();
    let primitives = Some(&*replay.header().primitives);
    let verdict = Verdict::new(replay.inputs(), seconds, is_complete, primitives, failure.as_ref());
    output.report(&verdict);
    let is_success = failure.is_none() && (bisect.is_none() || found.is_some());
    Ok(if is_success { Outcome::Success } else { Outcome::Failure })
}

/// An input and the actions that followed it.
#[derive(Serialize)]
struct Shown {
    input: u64,
    elapsed_us: u64,
    what: String,
    actions: Vec<String>,
    #[serde(skip)]
    text: String,
}

impl Shown {
    fn new(step: &Step, actions: Vec<String>) -> Self {
        let elapsed_us = u64::try_from(step.elapsed.as_micros()).unwrap_or(u64::MAX);
        Self { input: step.index, elapsed_us, what: step.input.to_string(), actions, text: step.to_string() }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.actions.iter().try_for_each(|action| write!(f, "\n    {action}"))
    }
}

#[derive(Serialize)]
struct Found {
    event: &'static str,
    #[serde(flatten)]
    step: Shown,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it first holds after {}", self.step)
    }
}

/// The expression never held.
#[derive(Serialize)]
struct NotFound {
    event: &'static str,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it holds after none of these inputs")
    }
}

/// The result of a replay.
#[derive(Serialize)]
struct Verdict {
    event: &'static str,
    /// Whether the node behaved as recorded up to the end of the replay.
    verified: bool,
    /// Whether the replay reached the end of the trace.
    complete: bool,
    inputs: u64,
    duration_s: f64,
    /// The primitives of the node.
    primitives: Option<String>,
    failure: Option<String>,
    /// The input at which the node behaved otherwise.
    input: Option<u64>,
}

impl Verdict {
    fn new(
        inputs: u64,
        duration_s: f64,
        is_complete: bool,
        primitives: Option<&str>,
        failure: Option<&Failure>,
    ) -> Self {
        let input = failure.and_then(|failure| match failure {
            Failure::Broken(broken) => broken.input(),
            Failure::Differs { step, .. } => step.as_ref().map(|step| step.index),
            Failure::Panics { step, .. } => Some(step.index),
            _ => None,
        });
        let verified = failure.is_none();
        let complete = verified && is_complete;
        let failure = failure.map(ToString::to_string);
        let primitives = primitives.map(str::to_owned);
        Self { event: "verdict", verified, complete, inputs, duration_s, primitives, failure, input }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { complete, inputs, duration_s, primitives, failure, .. } = self;
        match failure {
            None if !complete => write!(f, "verified so far: {inputs} inputs, {duration_s:.3} s")?,
            None => write!(f, "verified: {inputs} inputs, {duration_s:.3} s")?,
            Some(failure) => write!(f, "not verified, after {inputs} inputs: {failure}")?,
        }
        match primitives.as_deref() {
            None | Some(SECP256K1) => Ok(()),
            Some(simulated) => write!(f, "; of a simulation, with {simulated:?} for its primitives"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_stop() {
        assert_eq!("#12".parse(), Ok(Until::Input(12)));
        assert_eq!("1.5s".parse(), Ok(Until::Elapsed(Duration::from_millis(1500))));
        assert_eq!("2m".parse(), Ok(Until::Elapsed(Duration::from_secs(120))));
        for text in ["", "#", "#-1", "soon", "12"] {
            assert!(text.parse::<Until>().is_err(), "{text:?}");
        }
        assert!(Until::Input(3).is_before(4, Duration::ZERO) && !Until::Input(3).is_before(3, Duration::MAX));
    }
}
