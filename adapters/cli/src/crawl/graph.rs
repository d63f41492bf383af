//! The graph of neighbours: which node names which.

use anyhow::Result;
use serde::Serialize;

use super::book::Book;

/// The neighbours of one node, as nebula's crawler writes them.
#[derive(Serialize)]
struct Neighbours<'a> {
    id: String,
    enode: String,
    neighbours: &'a [&'a str],
}

fn ids(book: &Book) -> Vec<String> {
    book.seen().iter().map(|seen| seen.contact.id().to_string()).collect()
}

/// One JSON object a line for each node that has answered: its id, and those of the nodes that it names.
pub(super) fn adjacency(book: &Book) -> Result<Vec<u8>> {
    let (ids, mut out) = (ids(book), Vec::new());
    for (number, seen) in book.seen().iter().enumerate().filter(|(_, seen)| seen.is_live()) {
        let neighbours = seen.neighbours.iter().filter_map(|node| ids.get(*node as usize)).map(String::as_str);
        let neighbours: Vec<&str> = neighbours.collect();
        let line = Neighbours { id: ids[number].clone(), enode: seen.contact.to_string(), neighbours: &neighbours };
        serde_json::to_writer(&mut out, &line)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// A table of edges with two columns, the ids of the node that names and of the one that is named.
pub(super) fn edges(book: &Book) -> Vec<u8> {
    let (ids, mut out) = (ids(book), String::from("from,to\n"));
    for (from, seen) in ids.iter().zip(book.seen()) {
        for to in seen.neighbours.iter().filter_map(|node| ids.get(*node as usize)) {
            out.extend([from, ",", to, "\n"]);
        }
    }
    out.into_bytes()
}
