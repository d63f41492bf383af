//! Published figures of Kademlia networks with buckets of 16 and three requests at a time, which runs are compared
//! with.

use super::Report;

/// The figures of a network of one size, without faults.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Truth {
    /// Number of nodes.
    pub nodes: u32,
    /// Entries that a table can hold: the sum over buckets of 16 or N / 2^(b + 1), whichever is less.
    pub table: f64,
    /// Nodes that a lookup queries, if known.
    pub queries: Option<f64>,
    /// Hops from the start of a lookup to the nearest node, if known.
    pub hops: Option<f64>,
}

/// The known sizes, in ascending order.
pub const KNOWN: [Truth; 3] = [
    Truth { nodes: 1000, table: 111.0, queries: Some(17.6), hops: Some(2.1) },
    Truth { nodes: 10_000, table: 164.0, queries: Some(19.2), hops: Some(2.6) },
    Truth { nodes: 100_000, table: 216.0, queries: None, hops: None },
];

/// Largest deviation of a figure, in percent.
pub const TOLERANCE_PERCENT: f64 = 15.0;

impl Truth {
    /// Returns the figures of a network of this size.
    pub fn of(nodes: u32) -> Option<Self> {
        KNOWN.into_iter().find(|truth| truth.nodes == nodes)
    }

    /// Compares a run's report with the figures.
    ///
    /// # Errors
    /// All figures that deviate.
    pub fn check(&self, report: &Report) -> Result<(), String> {
        let figures = [
            ("nodes that a table can hold", report.table().ceiling, Some(self.table), 1.0),
            ("nodes that a table holds", report.table().mean, Some(self.table), TOLERANCE_PERCENT),
            ("nodes that a lookup asks", report.lookups().queries, self.queries, TOLERANCE_PERCENT),
            ("steps of a lookup", report.lookups().hops, self.hops, TOLERANCE_PERCENT),
        ];
        let off = figures.into_iter().filter_map(|(what, is, should, tolerance)| {
            let should = should?;
            let percent = 100.0 * (is - should) / should;
            (percent.abs() > tolerance).then(|| format!("{what}: {is:.2}, not {should} ({percent:+.1} %)"))
        });
        let off: Vec<String> = off.collect();
        if off.is_empty() { Ok(()) } else { Err(off.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;

    #[test]
    fn the_computed_table_capacity_is_the_published_one() {
        for Truth { nodes, table, .. } in KNOWN {
            let ceiling = Run::table_ceiling(nodes);
            assert!((ceiling - table).abs() < 1.0, "{ceiling} for {nodes} nodes, not {table}");
        }
    }
}
