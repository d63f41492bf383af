//! The checks themselves: the mutation tool can read every file, and its configuration names tests that exist.

use std::path::Path;

use super::{assert_none, read, root, tracked};

#[test]
fn the_mutation_tool_parses_every_file() {
    // It parses with `syn`, and one file that it cannot parse hides all mutants of the package.
    let mut wrong = Vec::new();
    for name in tracked(&["rs"]) {
        if let Err(error) = syn::parse_file(&read(&name)) {
            wrong.push(format!("{name}:{}: {error}", error.span().start().line));
        }
    }
    assert_none(
        &wrong,
        "`cargo mutants` cannot parse this. A range with one end inside of a slice pattern needs parentheses: `[(..=9), ..]`.",
    );
}

#[test]
fn half_open_ranges_in_slice_patterns_are_seen() {
    let parse = |pattern: &str| syn::parse_file(&format!("fn f(x: &[u8]) {{ if let {pattern} = x {{}} }}"));
    assert!(parse("[..=0xbf, ..]").is_err());
    assert!(parse("[(..=0xbf), ..]").is_ok());
}

#[test]
fn the_mutation_tests_exist() {
    let configuration = read(".cargo/mutants.toml");
    let named: Vec<&str> =
        configuration.lines().filter_map(|line| line.trim().strip_prefix("\"--test=")?.strip_suffix("\",")).collect();
    assert!(named.len() > 3, "no targets found in .cargo/mutants.toml");
    let exists = |name: &&&str| {
        ["tests/tests", "adapters/mio/tests"].iter().any(|folder| {
            let folder = root().join(folder);
            folder.join(format!("{name}.rs")).is_file() || folder.join(Path::new(name)).join("main.rs").is_file()
        })
    };
    let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert_none(&missing, ".cargo/mutants.toml names test targets that do not exist.");
}

#[test]
fn readers_and_servers_run_the_same_test_command() {
    let command = "tests/run";
    let has_line = |name: &str, line: &str| read(name).lines().any(|found| found.trim() == line);
    assert!(has_line("README.md", command), "README.md names `{command}` as the test command");
    assert!(has_line(".ci/run", &format!("step {command}")), ".ci/run runs `{command}`");
    for name in ["README.md", ".ci/run"] {
        let text = read(name);
        let others: Vec<_> = text.lines().filter(|line| line.contains("cargo test --workspace")).collect();
        assert_none(&others, "README.md and .ci/run have one test command: `tests/run`.");
    }
}

#[test]
fn skips_go_where_they_are_listed() {
    // Split, so that this file does not find itself.
    let marks = [concat!("ln!(\"", "skipped"), concat!("ln!(\"", "skipping"), concat!("#[", "ignore")];
    // A test that needs minutes and has a short sibling: `docs/attacks.md` has the command that runs all of them.
    let long = concat!("#[", "ignore = \"a long run\"]");
    let mut found = Vec::new();
    for name in tracked(&["rs"]) {
        for (number, line) in (1..).zip(read(&name).lines()) {
            if line.trim() != long && marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert_none(
        &found,
        "A test that cannot run calls `peerless_tests::skip`, so that `tests/run` lists it at the end.",
    );
}
