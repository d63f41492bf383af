//! Key logs: one line for each session, with the secrets that decrypt it. The format is in `docs/keylog.md`.
//!
//! [`KeyLogWriter`] appends lines to a file that only its owner can read; [`KeyLog`] holds the sessions read from such
//! files. Neither handles static keys.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::ops::Deref;
use std::path::Path;

use peerless::crypto::secrets::{Role, SessionSecrets};
use peerless::crypto::{Digest, SecretBytes};
use zeroize::Zeroizing;

/// The label of a line of the first version.
const LABEL: &str = "RLPX1";
/// Bytes of a session's id: the first bytes of Keccak-256 of its auth packet.
pub const SESSION_ID_BYTES: usize = 16;
/// Most bytes of a line, with room for the fields of later versions; longer lines are ignored.
const LINE_BYTES_MAX: u64 = 4096;
/// Bytes of a line that is written.
const LINE_BYTES: usize = LABEL.len() + 1 + 2 * SESSION_ID_BYTES + 4 * 65 + 1;

/// A session's id, which every observer of its auth packet can compute.
pub type SessionId = [u8; SESSION_ID_BYTES];

/// Returns the id of the session whose auth packet has this hash.
pub fn session_id(auth_hash: &Digest) -> SessionId {
    let mut id = [0; SESSION_ID_BYTES];
    id.copy_from_slice(&auth_hash[..SESSION_ID_BYTES]);
    id
}

/// A line of a key log, with its line feed. Zeroised when dropped; `Debug` does not show it.
pub struct Line(Zeroizing<String>);

impl Deref for Line {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line(..)")
    }
}

/// Returns a session's line.
pub fn line(secrets: &SessionSecrets) -> Line {
    // The whole capacity is allocated at once, so that no copy is left in memory by growing.
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES));
    line.push_str(LABEL);
    let id = session_id(&secrets.auth_hash);
    let secrets = [&secrets.initiator_nonce, &secrets.recipient_nonce, &secrets.aes, &secrets.mac];
    for field in [&id[..]].into_iter().chain(secrets.map(|secret| &secret.expose()[..])) {
        line.push(' ');
        for byte in field {
            for digit in [byte >> 4, byte & 15] {
                line.push(char::from_digit(digit.into(), 16).unwrap_or_default());
            }
        }
    }
    line.push('\n');
    Line(line)
}

/// A writer that appends sessions to a file.
#[derive(Debug)]
pub struct KeyLogWriter {
    file: File,
}

impl KeyLogWriter {
    /// Opens `path` for appending; creates it with access for its owner only, if it does not exist.
    ///
    /// # Errors
    /// If it cannot be opened, or exists and users other than its owner may read or write it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        #[cfg(unix)]
        {
            let metadata = file.metadata()?;
            let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
            // The permissions of a device or a pipe are not checked.
            if metadata.is_file() && mode & 0o077 != 0 {
                let why = format!("others than its owner may use it (mode {:03o}, should be 600)", mode & 0o777);
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
        }
        Ok(Self { file })
    }

    /// Appends a session in one write, so that several writers do not mix their lines.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&self, secrets: &SessionSecrets) -> io::Result<()> {
        (&self.file).write_all(line(secrets).as_bytes())
    }
}

/// The secrets in a line.
#[derive(Clone)]
struct Entry {
    initiator_nonce: SecretBytes,
    recipient_nonce: SecretBytes,
    aes: SecretBytes,
    mac: SecretBytes,
}

/// The sessions read from key logs.
#[derive(Clone, Default)]
pub struct KeyLog {
    entries: BTreeMap<SessionId, Entry>,
    /// Lines with the label that cannot be read.
    broken: u64,
}

/// Shows the number of sessions, and no secret.
impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLog").field("sessions", &self.entries.len()).field("broken", &self.broken).finish()
    }
}

impl KeyLog {
    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of lines with the label that cannot be read.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Adds the sessions of a key log. Comments and lines of other formats are skipped.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&mut self, mut input: impl BufRead) -> io::Result<()> {
        let mut line = Zeroizing::new(Vec::new());
        loop {
            line.clear();
            if input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.read_line(&line);
        }
    }

    /// Adds the session of one line.
    pub fn read_line(&mut self, line: &[u8]) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if words.next() != Some(LABEL.as_bytes()) {
            return;
        }
        match parse(words) {
            Some((id, entry)) => _ = self.entries.insert(id, entry),
            None => self.broken += 1,
        }
    }

    /// Adds a session.
    pub fn insert(&mut self, secrets: &SessionSecrets) {
        let SessionSecrets { initiator_nonce, recipient_nonce, aes, mac, .. } = secrets.clone();
        self.entries.insert(session_id(&secrets.auth_hash), Entry { initiator_nonce, recipient_nonce, aes, mac });
    }

    /// Returns the secrets of the session whose auth packet has this hash, in the view of `role`.
    pub fn session(&self, auth_hash: &Digest, role: Role) -> Option<SessionSecrets> {
        let Entry { initiator_nonce, recipient_nonce, aes, mac } = self.entries.get(&session_id(auth_hash))?.clone();
        Some(SessionSecrets { role, auth_hash: *auth_hash, initiator_nonce, recipient_nonce, aes, mac })
    }
}

/// Parses the fields after the label. Fields of later versions are ignored.
fn parse<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<(SessionId, Entry)> {
    let id = hex(words.next()?)?;
    let mut secret = || Some(SecretBytes::new(hex(words.next()?)?));
    Some((id, Entry { initiator_nonce: secret()?, recipient_nonce: secret()?, aes: secret()?, mac: secret()? }))
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    // The decoder would accept a prefix.
    (digits.len() == 2 * N && digits.iter().all(u8::is_ascii_hexdigit))
        .then(|| const_hex::decode_to_array(digits).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> SessionSecrets {
        let fill = |byte| SecretBytes::new([byte; 32]);
        SessionSecrets {
            role: Role::Recipient,
            auth_hash: [0xab; 32],
            initiator_nonce: fill(1),
            recipient_nonce: fill(2),
            aes: fill(3),
            mac: fill(0xf4),
        }
    }

    #[test]
    fn written_lines_are_read_back() {
        let line = line(&secrets());
        assert_eq!(line.len(), LINE_BYTES);
        assert_eq!(line.0.capacity(), LINE_BYTES, "no copy was left behind");
        assert!(line.starts_with("RLPX1 abababababababababababababababab 0101"), "{}", &*line);
        let mut log = KeyLog::default();
        let text = format!("# a comment\n\nCLIENT_RANDOM 00 11\n{}\r\nRLPX2 00\nRLPX1 00\n", line.trim_end());
        log.read(text.as_bytes()).unwrap();
        assert_eq!((log.len(), log.broken()), (1, 1));
        let read = log.session(&[0xab; 32], Role::Initiator).unwrap();
        assert_eq!(super::line(&read).0, line.0);
        assert_eq!(format!("{line:?}"), "Line(..)");
        assert!(log.session(&[0xac; 32], Role::Initiator).is_none());
        assert_eq!(format!("{log:?}"), "KeyLog { sessions: 1, broken: 1 }");
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let line = line(&secrets());
        for end in 0..line.len() - 1 {
            let mut log = KeyLog::default();
            log.read(&line.as_bytes()[..end]).unwrap();
            assert!(log.is_empty(), "{end}");
        }
        let mut log = KeyLog::default();
        log.read(&[b"RLPX1 ".repeat(10_000), vec![0xff; 10_000]].concat()[..]).unwrap();
        assert!(log.is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_private_and_only_grows() {
        use std::os::unix::fs::PermissionsExt;

        let path = std::env::temp_dir().join(format!("peerless-keylog-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        for _ in 0..2 {
            KeyLogWriter::open(&path).unwrap().append(&secrets()).unwrap();
        }
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 2 * LINE_BYTES as u64));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(KeyLogWriter::open(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::remove_file(&path).unwrap();
    }
}
