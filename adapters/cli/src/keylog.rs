//! The flag `--keylog`, shared by the commands that run nodes: each session's secrets, appended to a file.
//!
//! It is off by default, and a warning is logged when it is on. `docs/keylog.md` has the format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use peerless::contract::Event;
use peerless::node::Config;
use peerless_trace::keylog::KeyLogWriter;

use crate::files;

/// Whether to log keys, and where.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeyLogArguments {
    /// Append the secrets of each RLPx session to FILE; they decrypt recordings of those sessions
    #[arg(long, env = "RLPX_KEYLOGFILE", value_name = "FILE")]
    keylog: Option<PathBuf>,
}

impl KeyLogArguments {
    /// Opens the log, if the user names one, and logs a warning. Fails if it is one of `inputs`, which the command reads.
    pub(crate) fn open(&self, inputs: &[&Path]) -> Result<KeyLogging> {
        let Some(path) = &self.keylog else { return Ok(KeyLogging(None)) };
        files::check_inputs(path, inputs)?;
        let writer =
            KeyLogWriter::open(path).with_context(|| format!("cannot write the key log {}", path.display()))?;
        tracing::warn!(file = %path.display(), "the secrets of every session are logged");
        Ok(KeyLogging(Some(Arc::new(writer))))
    }
}

/// A key log, or none. Clones write to the same file.
#[derive(Clone, Debug)]
pub(crate) struct KeyLogging(Option<Arc<KeyLogWriter>>);

impl KeyLogging {
    /// Makes the node export its session secrets, if they are logged.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.export_secrets = self.0.is_some();
    }

    /// Logs the secrets of a session, if the event has them.
    pub(crate) fn note(&self, event: &Event<'_>) {
        if let (Some(writer), Event::Secrets { conn, secrets }) = (&self.0, event)
            && let Err(error) = writer.append(secrets)
        {
            tracing::error!(%conn, %error, "the secrets of a session could not be logged");
        }
    }
}
