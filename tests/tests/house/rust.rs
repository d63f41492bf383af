//! Just enough of a Rust scanner to tell code from comments and literals, and to see which module a path names.
//!
//! It knows no grammar beyond `mod`, braces and paths, and expects sources that compile.

pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Words, `::` and single signs; comments, strings and characters are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(c) = rest.chars().next() {
        let word_len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (len, is_code) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment_len(rest), false)
        } else if c == '"' {
            (1 + quoted_len(&rest[1..], '"'), false)
        } else if let Some(len) = raw_string_len(rest) {
            (len, false)
        } else if rest.starts_with("b\"") || rest.starts_with("c\"") {
            (2 + quoted_len(&rest[2..], '"'), false)
        } else if c == '\'' {
            let mut after = rest.chars().skip(1);
            let is_char = after.next() == Some('\\') || after.next() == Some('\'');
            (if is_char { 1 + quoted_len(&rest[1..], '\'') } else { 1 }, false)
        } else if word_len > 0 {
            (word_len, true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (c.len_utf8(), !c.is_whitespace())
        };
        let (token, next) = rest.split_at(len);
        if is_code {
            found.push(Token { line, text: token.to_owned() });
        }
        line += token.matches('\n').count();
        rest = next;
    }
    found
}

/// Length up to and including the closing quote, of what follows the opening one.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_len(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|prefix| text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"')))?;
    let hashes = text[prefix.len()..].bytes().take_while(|b| *b == b'#').count();
    let open = prefix.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text[open..].find(&close).map_or(text.len(), |at| open + at + close.len()))
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let (step, change) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
        if depth == 0 {
            break;
        }
    }
    at
}

pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) block: String,
}

/// The blocks that a file's code names through `crate::` or through `super::` up to the crate's root.
pub(crate) fn imports(tokens: &[Token], module: &[String]) -> Vec<Import> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    // Modules written inside the file, each with the number of braces that are open around it.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut braces = 0;
    let mut at = 0;
    while at < tokens.len() {
        match text(at) {
            "mod" if text(at + 2) == "{" => inline.push((braces, text(at + 1).to_owned())),
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                inline.pop_if(|(outside, _)| *outside == braces);
            }
            "crate" | "super" if text(at + 1) == "::" => {
                let here = module.iter().chain(inline.iter().map(|(_, name)| name)).cloned().collect();
                at = follow(tokens, at, here, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Follows a path, or a tree of them, from the module `here`; returns where it ends.
fn follow(tokens: &[Token], mut at: usize, mut here: Vec<String>, found: &mut Vec<Import>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "crate" => here.clear(),
            "super" => drop(here.pop()),
            "self" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = follow(tokens, at, here.clone(), found);
                    let mut depth = 0;
                    while let Some(token) = tokens.get(at) {
                        match token.text.as_str() {
                            "{" => depth += 1,
                            "}" | "," if depth == 0 => break,
                            "}" => depth -= 1,
                            _ => {}
                        }
                        at += 1;
                    }
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            name => {
                if here.is_empty() {
                    found.push(Import { line: token.line, block: name.to_owned() });
                }
                return at + 1;
            }
        }
        if tokens.get(at + 1).is_none_or(|token| token.text != "::") {
            return at + 1;
        }
        at += 2;
    }
    at
}

#[test]
fn the_scanner_tells_code_from_comments_and_literals() {
    let text = r##"
        // crate::no::a
        /* crate::no /* nested */ crate::no */
        use crate::{wire::{rlp, enr as e}, time::Instant};
        const S: &str = "crate::no \" crate::no"; const R: &str = r#"crate::no " "#; const C: [char; 2] = ['"', '\''];
        fn f<'a>(x: &'a crate::rng::Rng) -> super::super::crypto::Digest { self::super::g() }
        pub(crate) mod tests { use super::super::{super::limits, h}; pub(in crate::discv4) use super::*; }
        fn late() { crate::node::x() }
    "##;
    let module = ["discv4".to_owned(), "table".to_owned()];
    let found: Vec<_> = imports(&tokens(text), &module).into_iter().map(|i| (i.line, i.block)).collect();
    let expected = [(4, "wire"), (4, "time"), (6, "rng"), (6, "crypto"), (7, "limits"), (7, "discv4"), (8, "node")];
    assert_eq!(found, expected.map(|(line, block)| (line, block.to_owned())));
}
