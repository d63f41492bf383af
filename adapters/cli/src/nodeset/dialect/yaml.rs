//! A YAML list of records and enode URLs, as in the configurations of public networks: `- enr:…`, quoted or not, with
//! comments. A list under a key is read too. Nothing else of YAML is.

use super::text::without_comment;
use super::{Format, Reader};
use crate::nodeset::model::Node;

/// Whether the first line with content is an item, a key or the start of a document.
pub(super) fn is_list(text: &str) -> bool {
    let first = text.lines().map(|line| without_comment(line).trim()).find(|line| !line.is_empty());
    first.is_some_and(|line| line == "---" || line == "-" || line.starts_with("- ") || is_key(line))
}

/// `name:`, alone on its line.
fn is_key(line: &str) -> bool {
    line.strip_suffix(':').is_some_and(|name| !name.is_empty() && !name.contains([' ', ':', '/']))
}

pub(super) fn read(text: &str, reader: &mut Reader) -> Format {
    for (number, line) in (1..).zip(text.lines()) {
        let line = without_comment(line).trim();
        if line.is_empty() || line == "---" || line == "..." || is_key(line) {
            continue;
        }
        let at = format_args!("line {number}");
        match line.strip_prefix("- ").map(str::trim) {
            Some(item) => reader.add_text(at, unquoted(item)),
            None => reader.add(at, Err(format!("{line:?} is not an item of a list (`- enr:…` or `- enode://…`)"))),
        }
    }
    Format::Yaml
}

fn unquoted(item: &str) -> &str {
    let inner = |quote: char| item.strip_prefix(quote).and_then(|item| item.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(item)
}

pub(super) fn write(nodes: &[&Node]) -> Vec<u8> {
    let lines: String = nodes.iter().map(|node| format!("- {}\n", node.target)).collect();
    lines.into_bytes()
}
