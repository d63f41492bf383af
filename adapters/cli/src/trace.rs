//! Recording: the file of a node's trace, and whether it holds secrets.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless::crypto::Secp256k1;
use peerless::node::Config;
use peerless::time::{Instant, UnixTime};
use peerless_trace::record::{Options, Recorder, Subject};

/// How to record.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordingArguments {
    /// Leave the node's key and seed out of the trace, which can then be inspected but not replayed
    #[arg(long, env = "PEERLESS_TRACE_REDACTED", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    trace_redacted: bool,
    /// Start another file at this size; K, M and G multiply by 1024
    #[arg(long, env = "PEERLESS_TRACE_ROTATE", value_name = "SIZE", value_parser = size)]
    trace_rotate: Option<u64>,
}

/// The file and options of one node's trace.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    options: Options,
}

/// The addresses of a node's sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: Option<SocketAddr>,
    pub(crate) tcp: Option<SocketAddr>,
}

impl RecordingArguments {
    /// Returns a recording into this file.
    pub(crate) fn to(&self, path: PathBuf) -> Recording {
        let options = Options { is_redacted: self.trace_redacted, rotate_bytes: self.trace_rotate };
        Recording { path, options }
    }

    /// Warns on stderr if the traces in `place` hold secrets.
    pub(crate) fn warn(&self, place: &Path) {
        if !self.trace_redacted {
            // A closed stderr cannot show the warning.
            let _ = writeln!(
                std::io::stderr(),
                "peerless: warning: {} holds secret keys, with which its readers can impersonate the node and decrypt its \
                 sessions; --trace-redacted leaves them out",
                place.display()
            );
        }
    }
}

impl Recording {
    /// Whether secrets may be in it.
    pub(crate) fn holds_secrets(&self) -> bool {
        !self.options.is_redacted
    }

    /// Starts the recording of a node with this configuration and seed.
    pub(crate) fn begin(
        &self,
        config: &Config,
        seed: &[u8; 32],
        (now, unix): (Instant, UnixTime),
        sockets: Sockets,
    ) -> Result<Recorder> {
        let crypto = Secp256k1::new();
        let Sockets { udp, tcp } = sockets;
        let subject = Subject { udp, tcp, ..Subject::new(config, seed, now, unix, &crypto) };
        let path = self.path.clone();
        let on_failure = move |error| tracing::error!(file = %path.display(), %error, "no longer recording");
        Recorder::create(&self.path, &subject, self.options, Box::new(on_failure))
            .with_context(|| format!("cannot record into {}", self.path.display()))
    }
}

fn size(text: &str) -> Result<u64, String> {
    let invalid = || format!("{text:?} is not a size such as 500M");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(invalid()),
    };
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    number
        .checked_mul(1 << shift)
        .filter(|size| *size >= 4096)
        .ok_or_else(|| format!("{text:?} is too small or too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in
            [("4096", Ok(4096)), ("8k", Ok(8192)), ("3MiB", Ok(3 << 20)), ("1G", Ok(1 << 30)), ("4G", Ok(4 << 30))]
        {
            assert_eq!(size(text), expected, "{text}");
        }
        for text in ["", "M", "1", "4095", "-1", "1.5M", "9T", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
