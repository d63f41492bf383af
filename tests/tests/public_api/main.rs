//! The public items of `peerless` are those of the committed list, so that a change of the surface is seen in review.
//!
//! rustdoc's JSON is read, which only a nightly compiler writes unasked, and whose content changes with the compiler. The
//! list's first line names the compiler that made it; under another one the test is skipped.

mod item;
mod signature;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const LIST: &str = "docs/public-api.txt";
/// Writes the list anew, if it is set.
const RENEW: &str = "PEERLESS_RENEW";
const COMMAND: &str = "PEERLESS_RENEW=1 cargo test -p peerless-tests --test public_api";

#[test]
fn public_items_are_those_of_the_list() {
    let compiler = run(Command::new("rustc").arg("--version").current_dir(root()));
    let first = format!("# The public items of `peerless`, by {}. Written anew by: {COMMAND}", compiler.trim());
    let path = root().join(LIST);
    let is_renewed = std::env::var_os(RENEW).is_some();
    let list = std::fs::read_to_string(&path).unwrap_or_default();
    if !is_renewed && list.lines().next() != Some(&first) {
        peerless_tests::skip::skip_even_in_ci(&format!(
            "{LIST} was made with another compiler than {}: {}",
            compiler.trim(),
            list.lines().next().unwrap_or("it is missing")
        ));
        return;
    }
    let items = item::list(&documentation());
    assert!(items.len() > 500, "rustdoc's JSON was not understood: {} items", items.len());
    if is_renewed {
        std::fs::write(&path, format!("{first}\n{}\n", items.join("\n"))).expect("the list can be written");
        return;
    }
    let listed: BTreeSet<&str> = list.lines().skip(1).collect();
    let found: BTreeSet<&str> = items.iter().map(String::as_str).collect();
    let removed = listed.difference(&found).map(|item| format!("- {item}"));
    let added = found.difference(&listed).map(|item| format!("+ {item}"));
    let changes: Vec<String> = removed.chain(added).collect();
    assert!(changes.is_empty(), "{LIST} has other items. If that is meant: {COMMAND}\n{}\n", changes.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// rustdoc's JSON of `peerless`, from a target folder of its own: a compiler that is told to be a nightly one would build
/// the dependencies anew.
fn documentation() -> Value {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("public-api");
    let arguments = ["rustdoc", "-p", "peerless", "--lib", "--locked", "--quiet", "--target-dir"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).arg(&target).args(["--", "-Z", "unstable-options", "--output-format", "json"]);
    for variable in ["RUSTDOCFLAGS", "CARGO_ENCODED_RUSTDOCFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    run(cargo.env("RUSTC_BOOTSTRAP", "1").current_dir(root()));
    let json = std::fs::read(target.join("doc/peerless.json")).expect("rustdoc writes JSON");
    serde_json::from_slice(&json).expect("rustdoc writes JSON")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
