//! What is published: each crate holds its licences, and the core's tests need nothing beyond its own folder.

use std::path::{Component, Path, PathBuf};

use super::{assert_none, cargo, core_sources, read, root};

#[test]
fn published_crates_hold_their_licences() {
    let json = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let metadata: serde_json::Value = serde_json::from_str(&json).expect("cargo metadata prints JSON");
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("a list of packages") {
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let name = package["name"].as_str().expect("a package's name");
        let folder = Path::new(package["manifest_path"].as_str().expect("a path")).parent().expect("a folder");
        let files = cargo(&["package", "--list", "--allow-dirty", "--locked", "-p", name]);
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            if !files.lines().any(|file| file == licence) {
                wrong.push(format!("{name} is packed without {licence}"));
            } else if std::fs::read_to_string(folder.join(licence)).ok() != Some(read(licence)) {
                wrong.push(format!("{name} is packed with another {licence} than the repository's"));
            }
        }
        if !files.lines().any(|file| file == "src/lib.rs" || file == "src/main.rs") {
            wrong.push(format!("{name} is packed without its source: {files}"));
        }
    }
    assert_none(&wrong, "Each published crate's folder has links to the repository's licences.");
}

#[test]
fn core_includes_files_of_its_own_folder_only() {
    let mut wrong = Vec::new();
    for file in core_sources() {
        let folder = Path::new(&file.name).parent().expect("a file in a folder");
        for part in file.text.split("include_str!(\"").skip(1) {
            let path = inside(folder, part.split('"').next().unwrap_or_default());
            let exists = path.as_ref().is_some_and(|path| root().join(path).is_file());
            if !exists || !path.is_some_and(|path| path.starts_with("core")) {
                wrong.push(format!("{}: {}", file.name, part.split('"').next().unwrap_or_default()));
            }
        }
    }
    assert_none(
        &wrong,
        "The tests of `peerless` run from its published archive: include by way of core/vectors or core/README.md.",
    );
}

/// `path` as seen from `folder`, without following links. `None` if it leaves the repository.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut found = folder.to_path_buf();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => found.pop().then_some(())?,
            part => found.push(part),
        }
    }
    Some(found)
}
