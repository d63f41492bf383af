//! Finds a record's bytes in what the user names: text, hexadecimal digits, a file with either or the raw record, stdin.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use data_encoding::BASE64URL_NOPAD;

use crate::nodeset;

/// More bytes than this are no record, valid or not.
const BYTES_MAX: usize = 4096;

/// A record's bytes, which may be invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Source {
    /// The bytes.
    pub(super) raw: Vec<u8>,
    /// Whether they were text with padding, which EIP-778 forbids.
    pub(super) is_padded: bool,
}

/// Returns the record's bytes.
///
/// # Errors
/// If the argument is neither a record's text nor a file that holds a record's text or bytes.
pub(super) fn read(argument: &str) -> Result<Source> {
    if argument == "-" || (!looks_like_record(argument) && Path::new(argument).exists()) {
        let content = nodeset::content(Path::new(argument))?;
        let name = if argument == "-" { "stdin" } else { argument };
        return of_content(&content).with_context(|| format!("{name} holds no node record"));
    }
    if looks_like_record(argument) {
        return decode(argument.trim()).context("not a node record");
    }
    bail!("there is no file {argument:?}, and it is no node record (enr:…, base64 or hexadecimal)")
}

/// Whether an argument is meant as a record: the prefix, or characters of an encoding alone and many of them.
fn looks_like_record(argument: &str) -> bool {
    let text = argument.trim();
    let has_prefix = |prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is_encoded = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte));
    has_prefix("enr:") || has_prefix("0x") || (text.len() >= 100 && is_encoded)
}

fn of_content(content: &[u8]) -> Result<Source> {
    // A record is a list of RLP, and its first byte is none of text's.
    if content.first().is_some_and(|byte| *byte >= 0xc0) {
        return Ok(Source { raw: sized(content.to_vec())?, is_padded: false });
    }
    let text = std::str::from_utf8(content).map_err(|_| anyhow!("neither text nor a list of RLP"))?;
    let mut lines = text.lines().map(|line| line.split_once(" #").map_or(line, |(item, _)| item).trim());
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#')).ok_or_else(|| anyhow!("it is empty"))?;
    if lines.any(|line| !line.is_empty() && !line.starts_with('#')) {
        bail!("it holds several lines: `nodeset info` reads lists");
    }
    decode(line)
}

fn decode(text: &str) -> Result<Source> {
    let is_enr = text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("enr:"));
    let body = if is_enr { text[4..].trim_start_matches("//") } else { text };
    let digits = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X"));
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_enr && (digits.is_some() || is_hex(body)) {
        let digits = digits.unwrap_or(body);
        let raw = const_hex::decode(digits).map_err(|_| anyhow!("not an even number of hexadecimal digits"))?;
        return Ok(Source { raw: sized(raw)?, is_padded: false });
    }
    let unpadded = body.trim_end_matches('=');
    if unpadded.is_empty() {
        bail!("it is empty");
    }
    let bytes = BASE64URL_NOPAD
        .decode(unpadded.as_bytes())
        .map_err(|error| anyhow!("not URL-safe base64 (EIP-778) from character {} on", error.position))?;
    Ok(Source { raw: sized(bytes)?, is_padded: unpadded.len() < body.len() })
}

fn sized(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.len() > BYTES_MAX {
        bail!("{} bytes, and a record has 300 at most", bytes.len());
    }
    Ok(bytes)
}
