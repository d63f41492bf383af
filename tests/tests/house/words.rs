//! The words of the house: comments, documents and test names are plain technical English.
//!
//! A few words and phrases of private language are recognised mechanically; a line that holds one of them fails, with the
//! word to use instead. Codes of attacks in comments must be explained in `docs/attacks.md`.

use std::collections::BTreeSet;

use super::{assert_none, read, tracked};

/// Banned words and phrases, in parts so that this file does not hold them, each with its replacement. A word matches
/// whole words in any letter case, also inside of identifiers in snake case.
const BANNED: [(&[&str], &str); 19] = [
    (&["who", "ever"], "the type or the peer"),
    (&["some", "body"], "a peer, a node, the caller"),
    (&["no", "body"], "no peer, no node"),
    (&["any", "body"], "any peer, any node"),
    (&["who", "m"], "the type or the peer"),
    (&["last ", "words"], "final Disconnect"),
    (&["hear ", "out"], "drain"),
    (&["heard ", "out"], "drained"),
    (&["finish if ", "said"], "close_if_drained"),
    (&["upside ", "down"], "earliest > latest"),
    (&["is up", "right"], "is_ordered"),
    (&["wants no ", "reading"], "applies backpressure"),
    (&["want no ", "reading"], "apply backpressure"),
    (&["time leads ", "back"], "the score decays to its baseline"),
    (&["all the ", "same"], "still, or the condition: \"if the driver keeps feeding the stream\""),
    (&["knows ", "us"], "peer_bonded_at"),
    (&["named ", "peer"], "static or trusted peer"),
    (&["named ", "peers"], "static or trusted peers"),
    (&["from xy ", "checked"], "from_xy_unchecked"),
];

#[test]
fn text_is_plain_technical_english() {
    let mut found = Vec::new();
    for name in tracked(&["rs", "md"]) {
        for (number, line) in (1..).zip(read(&name).lines()) {
            found.extend(banned(line).map(|(words, better)| format!("{name}:{number}: `{words}`: write {better}")));
        }
    }
    assert_none(
        &found,
        "A word of private language: say it in the words of the field, with the type or the peer as subject.",
    );
}

/// The files of the contract that hold for any protocol family.
const GENERAL: [&str; 6] = ["action", "cx", "input", "machine", "outbox", "tap"];

/// Names of protocols and of their messages, as lower-case words.
const PROTOCOLS: [&str; 10] =
    ["eth", "snap", "discv4", "discv5", "neighbors", "enrrequest", "auth", "ack", "newblock", "blockrangeupdate"];

#[test]
fn node_and_contract_name_no_protocol() {
    let names = tracked(&["rs"]).into_iter().filter(|name| {
        let is_node = name.starts_with("core/src/node/") && !name.contains("/tests");
        let is_general = GENERAL.iter().any(|file| *name == format!("core/src/contract/{file}.rs"));
        (is_node && name != "core/src/node/discovery.rs") || is_general
    });
    let mut found = Vec::new();
    for name in names {
        found.extend(protocols(&read(&name)).map(|(number, word)| format!("{name}:{number}: `{word}`")));
    }
    assert_none(
        &found,
        "`node` and the general files of the contract know no protocol: move versions, message ids and encodings to the \
         protocol's own block. Only node/discovery.rs names discovery protocols.",
    );
}

#[test]
fn names_of_protocols_are_recognised() {
    let text = "//! The eth protocol.\n//! ```\n//! use eth::Chain;\n//! ```\nlet key = b\"snap\"; // Neighbors, ethereum\n\
                #[cfg(test)]\nmod tests { const A: &str = \"eth\"; }\n";
    let found: Vec<_> = protocols(text).collect();
    assert_eq!(found, [(1, "eth".to_owned()), (5, "snap".to_owned()), (5, "neighbors".to_owned())]);
}

/// The names of protocols in a file, with their lines, except in the code of doc examples and in tests at its end.
fn protocols(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut is_example = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line == "#[cfg(test)]" {
            break;
        }
        let doc = line.trim_start().strip_prefix("//!").or(line.trim_start().strip_prefix("///"));
        if doc.is_some_and(|doc| doc.trim_start().starts_with("```")) {
            is_example = !is_example;
        }
        if is_example && doc.is_some() {
            continue;
        }
        let words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
        found.extend(words.filter(|word| PROTOCOLS.contains(&word.as_str())).map(|word| (number, word)));
    }
    found.into_iter()
}

#[test]
fn banned_words_are_recognised() {
    let line = ["/// Tells who", "ever asks; hear", "_out(peer)"].concat();
    assert_eq!(banned(&line).map(|(_, better)| better).collect::<Vec<_>>(), ["the type or the peer", "drain"]);
    assert_eq!(banned(&["fn no", "body_is_asked() {}"].concat()).count(), 1);
    assert_eq!(banned("a whole body, whose words lead back to nothing, downright").count(), 0);
}

#[test]
fn attack_codes_are_recognised() {
    let named = |line| codes(line).0;
    assert_eq!(named("// Refused at once (attacks D1 to D3, P3b)."), ["D1", "D3", "P3b"]);
    assert_eq!(codes("// Refused at once (attacks D1 to D3, P3b).").1, ["D1", "D2", "D3"]);
    assert_eq!(named("/// C7: an auth that stops."), ["C7"]);
    assert_eq!(named("//! Its holder has proven it (P6)."), ["P6"]);
    assert_eq!(named("// Bytes such as F0"), [""; 0]);
    assert_eq!(named("let codes = [D1, D2];"), [""; 0]);
}

#[test]
fn attack_codes_are_explained() {
    let explained: BTreeSet<String> = attack_rows().into_iter().map(|(code, _)| code).collect();
    let mut found = Vec::new();
    for name in tracked(&["rs"]) {
        for (number, line) in (1..).zip(read(&name).lines()) {
            let (named, implied) = codes(line);
            let unexplained = named.iter().chain(&implied).filter(|code| !explained.contains(*code));
            found.extend(unexplained.map(|code| format!("{name}:{number}: {code}")));
        }
    }
    assert_none(&found, "Explain the attack's code in docs/attacks.md.");
}

#[test]
fn each_attack_has_tests_that_exist() {
    let mut found = Vec::new();
    for (code, row) in attack_rows() {
        let tests: Vec<_> = row.split("[`").skip(1).filter_map(|link| link.split_once("`](../")).collect();
        if tests.is_empty() {
            found.push(format!("{code}: no test"));
        }
        for (test, rest) in tests {
            let file = rest.split(')').next().unwrap_or_default();
            if !read(file).contains(&format!("fn {test}(")) {
                found.push(format!("{code}: {test} is not in {file}"));
            }
        }
    }
    assert_none(&found, "Name the tests of each attack in docs/attacks.md.");
}

/// The rows of `docs/attacks.md` with their codes.
fn attack_rows() -> Vec<(String, String)> {
    let page = read("docs/attacks.md");
    let rows = page.lines().filter_map(|line| Some((line.strip_prefix("| ")?.split(' ').next()?, line)));
    rows.filter(|(code, _)| is_code(code)).map(|(code, line)| (code.to_owned(), line.to_owned())).collect()
}

/// The banned words in a line, with their replacements. Underscores count as spaces.
fn banned(line: &str) -> impl Iterator<Item = (String, &'static str)> {
    let text = line.to_lowercase().replace('_', " ");
    BANNED.iter().filter_map(move |(parts, better)| {
        let words = parts.concat();
        let is_whole = |at: usize| {
            let before = text[..at].chars().next_back();
            let after = text[at + words.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        };
        text.match_indices(&words).any(|(at, _)| is_whole(at)).then_some((words.clone(), *better))
    })
}

/// The codes of attacks that a line's comment names, and those that its ranges (`D1 to D5`) imply. The comment speaks of
/// attacks, or begins with the code, or has it after a parenthesis.
fn codes(line: &str) -> (Vec<String>, Vec<String>) {
    let comment = line.split_once("//").map_or("", |(_, comment)| comment).trim_start_matches(['/', '!']).trim_start();
    let words: Vec<&str> =
        comment.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let speaks = comment.to_lowercase().contains("attack") || words.first().is_some_and(|word| is_code(word));
    let is_named = |word: &str| is_code(word) && (speaks || comment.contains(&format!("({word}")));
    let named = words.iter().filter(|word| is_named(word)).map(|word| (*word).to_owned()).collect();
    let mut implied = Vec::new();
    for range in words.windows(3).filter(|range| range[1] == "to" && is_named(range[0]) && is_code(range[2])) {
        let number = |code: &str| code[1..].parse::<u8>().unwrap_or(0);
        implied.extend((number(range[0])..=number(range[2])).map(|number| format!("{}{number}", &range[0][..1])));
    }
    (named, implied)
}

/// Whether a word is a letter of a group, a number and perhaps a variant, such as `D13` or `P3b`.
fn is_code(word: &str) -> bool {
    let Some(number) = word.strip_prefix(['D', 'V', 'C', 'F', 'H', 'E', 'P']) else { return false };
    let digits = number.strip_suffix('b').unwrap_or(number);
    (1..=2).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
}
