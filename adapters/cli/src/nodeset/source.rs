//! Reads node lists from files and stdin, and judges their faults: an error, or with `--lenient` a line each on stderr.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::dialect::{self, Reading};
use crate::output::warn;

/// The largest list, which keeps a wrong file from filling the memory: a hundred times the largest networks.
const BYTES_MAX: u64 = 1 << 30;

/// Reads the list of a file, or of stdin if its name is `-`.
///
/// # Errors
/// If it cannot be read, is of no dialect, or, unless `is_lenient`, has an item that is no node.
pub(crate) fn read(path: &Path, is_lenient: bool) -> Result<Reading> {
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let reading = dialect::read(&content(path)?).with_context(|| format!("{name} is no list of nodes"))?;
    if let Some(first) = reading.problems.first()
        && !is_lenient
    {
        let more = match reading.problems.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        bail!("{name}, {first}{more} (--lenient skips what is no node)");
    }
    for problem in &reading.problems {
        warn(format_args!("skipped: {name}, {problem}"));
    }
    if reading.repeated > 0 {
        let contradictions = match reading.contradicted {
            0 => String::new(),
            count => format!(", {count} of which contradict what was said before"),
        };
        warn(format_args!("{name} names nodes again in {} items{contradictions}; they are merged", reading.repeated));
    }
    Ok(reading)
}

/// The bytes of a file, or of stdin if its name is `-`.
///
/// # Errors
/// If it cannot be read, or is larger than [`BYTES_MAX`].
pub(crate) fn content(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes).context("cannot read stdin")?
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?
    };
    if u64::try_from(read).unwrap_or(u64::MAX) > BYTES_MAX {
        bail!("{} has more than {BYTES_MAX} bytes", path.display());
    }
    Ok(bytes)
}
