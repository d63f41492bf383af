//! One record or enode URL a line. `#` at the start of a line or after a space begins a comment; commas separate as spaces do.

use super::{Format, Reader};
use crate::nodeset::model::Node;

pub(super) fn read(text: &str, reader: &mut Reader) -> Format {
    for (number, line) in (1..).zip(text.lines()) {
        for item in items(line) {
            reader.add_text(format_args!("line {number}"), item);
        }
    }
    Format::Text
}

/// The items of a line, without its comment.
pub(super) fn items(line: &str) -> impl Iterator<Item = &str> {
    without_comment(line).split(|c: char| c.is_whitespace() || c == ',').filter(|item| !item.is_empty())
}

/// A line up to its comment.
pub(super) fn without_comment(line: &str) -> &str {
    let is_start =
        |at: usize| line[..at].chars().next_back().is_none_or(|before| before.is_whitespace() || before == ',');
    line.match_indices('#').find(|(at, _)| is_start(*at)).map_or(line, |(at, _)| &line[..at])
}

pub(super) fn write(nodes: &[&Node]) -> Vec<u8> {
    let lines: String = nodes.iter().map(|node| format!("{}\n", node.target)).collect();
    lines.into_bytes()
}
