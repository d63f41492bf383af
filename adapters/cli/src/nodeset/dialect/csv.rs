//! A table with one node a line and a header.

use anyhow::{Context as _, Result, anyhow};

use super::row::Row;
use crate::nodeset::model::Node;

pub(super) fn write(nodes: &[&Node]) -> Result<Vec<u8>> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for node in nodes {
        writer.serialize(Row::new(node)).context("cannot write CSV")?;
    }
    writer.into_inner().map_err(|error| anyhow!("cannot write CSV: {error}"))
}
