//! One node of a simulated run as a trace of its own.
//!
//! The scenario runs twice: first to find the node and the run of it that is recorded, then to record it. The seed decides
//! everything, so that both runs are the same; otherwise that is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use peerless::contract::Tap;
use peerless::node::Config;
use peerless::time::Instant;
use peerless_sim::scenario::{Observer, Plan, Report, Scenario};
use peerless_sim::{Birth, HostId};
use peerless_trace::record::{Options, Recorder, Subject};
use serde::Serialize;

use crate::primitives;

/// The node to record, and which of its lives: each start with empty memory is a life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    /// The host; by default the one at which the run failed, else the first honest one.
    pub(super) node: Option<u32>,
    /// From 1 on; by default the last, which a failure ends.
    pub(super) life: Option<u32>,
}

/// A trace's file and its node.
#[derive(Debug, Serialize)]
pub(super) struct Traced {
    event: &'static str,
    file: PathBuf,
    host: u32,
    life: u32,
    lives: u32,
    primitives: String,
}

impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, host, life, lives, .. } = self;
        write!(f, "host {host}, life {life} of {lives}: peerless replay {}", file.display())
    }
}

/// The state of the recording.
#[derive(Default)]
struct Recording {
    /// Births of the host so far.
    births: u32,
    has_begun: bool,
    failure: Option<anyhow::Error>,
}

/// Runs a scenario and records one node of it into a new file.
pub(super) fn run(
    scenario: &Scenario,
    plan: &Plan,
    choice: Choice,
    file: &Path,
    mut progress: impl FnMut(Instant),
) -> Result<(Report, Traced)> {
    ensure!(!file.exists(), "cannot record into {}: it exists", file.display());
    let lives = Arc::new(Mutex::new(BTreeMap::<HostId, u32>::new()));
    let first = scenario.run_observed(plan, counting(lives.clone()), &mut progress)?;
    let lives = lock(&lives).clone();
    let failed = first.failure.as_ref().and_then(|failure| failure.host).map(HostId);
    let failed = failed.filter(|host| lives.contains_key(host));
    let host = choice.node.map(HostId).or(failed).or(lives.keys().next().copied()).context("no honest node started")?;
    let Some(lives) = lives.get(&host).copied() else {
        bail!("host {} is not an honest node that started: its trace could not be replayed", host.0);
    };
    let life = choice.life.unwrap_or(lives);
    ensure!((1..=lives).contains(&life), "host {} has {lives} lives, not {life}", host.0);

    let recording = Arc::new(Mutex::new(Recording::default()));
    let observer = recording_one(plan, (host, life), file.to_owned(), recording.clone());
    let report = scenario.run_observed(plan, observer, progress)?;
    let Recording { has_begun, failure, .. } = std::mem::take(&mut *lock(&recording));
    if let Some(failure) = failure {
        return Err(failure.context(format!("cannot record into {}", file.display())));
    }
    let is_same = report.trace_hash == first.trace_hash && report.failure == first.failure;
    ensure!(is_same && has_begun, "the recorded run differs from the first one: this is a bug");
    let primitives = primitives::name(plan.crypto, plan.seed);
    let traced = Traced { event: "trace", file: file.to_owned(), host: host.0, life, lives, primitives };
    Ok((report, traced))
}

/// Counts the lives of each host and records nothing.
fn counting(lives: Arc<Mutex<BTreeMap<HostId, u32>>>) -> Arc<Observer> {
    Arc::new(move |birth: &Birth<'_>, _: &Config| {
        *lock(&lives).entry(birth.host).or_default() += 1;
        None
    })
}

/// Records one life of one host.
fn recording_one(
    plan: &Plan,
    (host, life): (HostId, u32),
    file: PathBuf,
    recording: Arc<Mutex<Recording>>,
) -> Arc<Observer> {
    let (mode, seed) = (plan.crypto, plan.seed);
    let primitives = primitives::name(mode, seed);
    Arc::new(move |birth: &Birth<'_>, config: &Config| {
        if birth.host != host {
            return None;
        }
        let births = {
            let mut recording = lock(&recording);
            recording.births += 1;
            recording.births
        };
        if births != life {
            return None;
        }
        // Not the host's primitives, whose cost may be virtual time of the host.
        let crypto = mode.build(seed, 1);
        let addr = Some(SocketAddr::from(birth.addr));
        let subject = Subject {
            primitives: &primitives,
            udp: addr,
            tcp: addr,
            ..Subject::new(config, &birth.seed, birth.now, birth.unix, &*crypto)
        };
        let on_failure = {
            let recording = recording.clone();
            Box::new(move |error: std::io::Error| lock(&recording).failure = Some(error.into()))
        };
        match create(&file) {
            Ok(file) => {
                lock(&recording).has_begun = true;
                let recorder = Recorder::to_writer(Box::new(file), &subject, Options::default(), on_failure);
                Some(Box::new(recorder) as Box<dyn Tap + Send>)
            }
            Err(error) => {
                lock(&recording).failure = Some(error.into());
                None
            }
        }
    })
}

/// Creates a new file that only its owner may read, as a trace that can be replayed holds the key.
fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
