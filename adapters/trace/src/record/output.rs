//! The output of a trace: one file for each part, or any writer.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::format::part_path;

/// The destination of a trace's bytes.
pub(super) enum Output {
    Writer(Box<dyn Write + Send>),
    Files(Files),
}

/// The parts of a trace.
pub(super) struct Files {
    first: PathBuf,
    file: File,
    is_private: bool,
    bytes: u64,
    rotate_bytes: Option<u64>,
}

impl Output {
    pub(super) fn to_writer(writer: Box<dyn Write + Send>) -> Self {
        Self::Writer(writer)
    }

    /// Creates a file; never overwrites one.
    pub(super) fn create(path: &Path, is_private: bool, rotate_bytes: Option<u64>) -> io::Result<Self> {
        let file = create(path, is_private)?;
        Ok(Self::Files(Files { first: path.to_owned(), file, is_private, bytes: 0, rotate_bytes }))
    }

    /// Writes all of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Writer(writer) => {
                writer.write_all(bytes)?;
                writer.flush()
            }
            Self::Files(files) => {
                files.bytes += bytes.len() as u64;
                files.file.write_all(bytes)
            }
        }
    }

    /// Whether another part is due once `more` bytes are written.
    pub(super) fn is_full(&self, more: usize) -> bool {
        match self {
            Self::Writer(_) => false,
            Self::Files(files) => files.rotate_bytes.is_some_and(|limit| files.bytes + more as u64 >= limit),
        }
    }

    /// Continues in the next file.
    pub(super) fn next_part(&mut self, part: u32) -> io::Result<()> {
        if let Self::Files(files) = self {
            files.file = create(&part_path(&files.first, part), files.is_private)?;
            files.bytes = 0;
        }
        Ok(())
    }
}

fn create(path: &Path, is_private: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if is_private {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = is_private;
    options.open(path)
}
