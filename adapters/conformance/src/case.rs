//! Cases, and what their runs lead to.

use std::fmt::{self, Write as _};
use std::time::Duration;

use peerless::rng::Seed;

use crate::trial::{Step, Stop, Target, Trial};
use crate::wire::Wire;

/// What a case rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis {
    /// A case of hive's `devp2p` simulator (go-ethereum's `devp2p test`), under its name.
    Hive,
    /// A demand of the specification that hive does not test.
    Specification,
    /// What the specification leaves open: a defence against a published attack, or what other clients send.
    Practice,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hive => "hive",
            Self::Specification => "specification",
            Self::Practice => "practice",
        })
    }
}

/// One demand on a node.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Case {
    /// Its name, that of hive if it is one of hive's.
    pub name: &'static str,
    /// What it rests on.
    pub basis: Basis,
    /// The section of the specification.
    pub section: &'static str,
    /// What the specification says, in short.
    pub says: &'static str,
    pub(crate) run: fn(&mut Trial<'_>) -> Result<(), Stop>,
}

/// Parameters of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Determines all keys and targets. A node remembers keys, so use a seed once.
    pub seed: [u8; 32],
    /// For how long to wait for an answer, and for the absence of one.
    pub patience: Duration,
}

impl Settings {
    /// Settings with geth's timeout, 500 ms.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, patience: Duration::from_millis(500) }
    }
}

/// The outcome of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The node does what the specification says.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// The case could not be run, for this reason.
    Skipped(String),
}

/// A case that has been run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The case.
    pub case: Case,
    /// Its outcome.
    pub verdict: Verdict,
    /// What was sent and what came.
    pub steps: Vec<Step>,
    /// How long it took.
    pub took: Duration,
}

/// Numbers of cases by outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Case {
    /// Runs the case against a node.
    pub fn run(&self, target: &Target, wire: &mut dyn Wire, settings: &Settings) -> Report {
        let rng = Seed::new(settings.seed).fork(self.name);
        let mut trial = Trial::new(wire, target, settings.patience, rng);
        let result = (self.run)(&mut trial);
        let (steps, took) = trial.end();
        let verdict = match result {
            Ok(()) => Verdict::Passed,
            Err(Stop::Failed(why)) => Verdict::Failed(why),
            Err(Stop::Skipped(why)) => Verdict::Skipped(why),
        };
        Report { case: *self, verdict, steps, took }
    }
}

impl Tally {
    /// Counts one more outcome.
    pub fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Skipped(_) => self.skipped += 1,
        }
    }
}

impl Report {
    /// The case's lines in the Test Anything Protocol, as number `number`: `ok`, `not ok` or `ok .. # SKIP`, and after a
    /// failure its transcript as comments. Parsers of hive and of `prove` read it; the plan `1..n` comes before all cases.
    pub fn tap(&self, number: usize) -> String {
        let name = self.case.name;
        match &self.verdict {
            Verdict::Passed => format!("ok {number} {name}"),
            Verdict::Skipped(why) => format!("ok {number} {name} # SKIP {why}"),
            Verdict::Failed(_) => {
                let mut text = format!("not ok {number} {name}");
                for line in self.details().lines() {
                    let _ = write!(text, "\n# {line}");
                }
                text
            }
        }
    }

    /// The specification's words, the transcript, and the reason of a failure or skip, one a line.
    pub fn details(&self) -> String {
        let Case { section, says, basis, .. } = self.case;
        let mut text = format!("specification: {section}: {says} [{basis}]\n");
        for step in &self.steps {
            let _ = writeln!(text, "{step}");
        }
        match &self.verdict {
            Verdict::Passed => {}
            Verdict::Failed(why) => {
                let _ = writeln!(text, "failed: {why}");
            }
            Verdict::Skipped(why) => {
                let _ = writeln!(text, "skipped: {why}");
            }
        }
        text
    }
}

/// `ok`, `FAIL` or `skip`, and the name; after a failure the details.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.case.name;
        match &self.verdict {
            Verdict::Passed => write!(f, "ok    {name}"),
            Verdict::Skipped(why) => write!(f, "skip  {name}: {why}"),
            Verdict::Failed(_) => {
                write!(f, "FAIL  {name}")?;
                self.details().lines().try_for_each(|line| write!(f, "\n      {line}"))
            }
        }
    }
}
