//! Files that the program writes: never over one that it reads, and over another only when the user says so.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, absolute};

use anyhow::{Context as _, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};

/// Whether an existing file may be replaced.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Overwrite {
    /// Replace an output file that exists
    #[arg(long, env = "PEERLESS_FORCE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    force: bool,
}

impl Overwrite {
    /// Whether the user says so.
    pub(crate) const fn is_allowed(self) -> bool {
        self.force
    }
}

/// Which users of the machine may read a new file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readers {
    /// As the system's default says.
    All,
    /// Its owner alone.
    Owner,
}

/// Creates the output file `path` of a command that reads `inputs`.
///
/// # Errors
/// If it is one of the inputs, if it exists and may not be replaced, or if it cannot be written. Devices and pipes can
/// always be written to.
pub(crate) fn create(path: &Path, inputs: &[&Path], overwrite: Overwrite, readers: Readers) -> Result<File> {
    check(path, inputs, overwrite)?;
    let mut options = OpenOptions::new();
    options.write(true);
    match std::fs::metadata(path) {
        Ok(_) => options.truncate(true),
        Err(_) => options.create_new(true),
    };
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if readers == Readers::Owner { 0o600 } else { 0o666 });
    #[cfg(not(unix))]
    let _ = readers;
    options.open(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Fails where [`create`] would because of a file that exists, so that a long run can be refused before it starts.
///
/// # Errors
/// As those of [`create`].
pub(crate) fn check(path: &Path, inputs: &[&Path], overwrite: Overwrite) -> Result<()> {
    check_inputs(path, inputs)?;
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && !overwrite.force => {
            bail!("{} exists: name another file, or replace it by --force", path.display())
        }
        Ok(found) if found.is_dir() => bail!("{} is a folder", path.display()),
        _ => Ok(()),
    }
}

/// Fails if an output is one of the files that the command reads.
///
/// # Errors
/// If it is.
pub(crate) fn check_inputs(path: &Path, inputs: &[&Path]) -> Result<()> {
    match inputs.iter().find(|input| is_same(path, input)) {
        Some(input) => bail!("{} is read by this command ({}): write to another file", path.display(), input.display()),
        None => Ok(()),
    }
}

/// Whether two paths name one file, by way of links too.
fn is_same(a: &Path, b: &Path) -> bool {
    let is_regular = |found: &io::Result<Metadata>| found.as_ref().is_ok_and(Metadata::is_file);
    let (found_a, found_b) = (std::fs::metadata(a), std::fs::metadata(b));
    match (is_regular(&found_a), is_regular(&found_b)) {
        (true, true) => {
            #[cfg(unix)]
            if let (Ok(a), Ok(b)) = (&found_a, &found_b) {
                use std::os::unix::fs::MetadataExt;
                return (a.dev(), a.ino()) == (b.dev(), b.ino());
            }
            matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
        }
        // Neither is there yet.
        (false, false) if found_a.is_err() && found_b.is_err() => {
            matches!((absolute(a), absolute(b)), (Ok(a), Ok(b)) if a == b)
        }
        _ => false,
    }
}
