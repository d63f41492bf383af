//! Lists of nodes as the user names them: enode URLs, records and files with lists of any dialect, separated by commas.
//!
//! An empty text, and commas with nothing between them, name no node.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};

use crate::nodeset;
use crate::target::Target;

/// Nodes and files with nodes, in the user's order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets(Vec<Item>);

#[derive(Clone, Debug)]
enum Item {
    Node(Target),
    File(PathBuf),
}

impl FromStr for Targets {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(Item::parse).collect::<Result<_>>().map(Self)
    }
}

impl Item {
    fn parse(text: &str) -> Result<Self> {
        if Target::is_meant(text) {
            return text.parse().map(Self::Node);
        }
        // What has no scheme may be a file, which is read later.
        if text.contains("://") {
            bail!("{text:?} is neither an enode URL, a record nor a file");
        }
        Ok(Self::File(text.into()))
    }
}

impl Targets {
    /// All nodes, with those of the files.
    ///
    /// # Errors
    /// If a file cannot be read, or holds something that is no node.
    pub(crate) fn load(&self) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        for item in &self.0 {
            match item {
                Item::Node(target) => targets.push(target.clone()),
                Item::File(path) => {
                    let nodes = nodeset::read_file(path, false)?.set.into_nodes();
                    targets.extend(nodes.into_iter().map(|node| node.target));
                }
            }
        }
        Ok(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENODE: &str = "enode://1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9b3e9c37d7fd5f63270bcc9e1a6f6a439@127.0.0.1:30303";

    #[test]
    fn nothing_between_commas_is_no_node() {
        for (text, count) in [("", 0), (" ", 0), (",", 0), (",,", 0)] {
            assert_eq!(text.parse::<Targets>().unwrap().load().unwrap().len(), count, "{text:?}");
        }
        for text in [format!("{ENODE},"), format!(",{ENODE}"), format!(" {ENODE} , ")] {
            assert_eq!(text.parse::<Targets>().unwrap().load().unwrap().len(), 1, "{text:?}");
        }
    }

    #[test]
    fn errors_name_what_was_given() {
        let error = "enod://ab@1.2.3.4:5".parse::<Targets>().unwrap_err().to_string();
        assert!(error.contains("enod://ab"), "{error}");
        let error = format!("{:#}", "/nonexistent/nodes.json".parse::<Targets>().unwrap().load().unwrap_err());
        assert!(error.contains("/nonexistent/nodes.json"), "{error}");
        assert!("enode://ab@1.2.3.4:5".parse::<Targets>().is_err());
    }
}
