//! Finds the first difference of two captures: a message that only one of them has, with the findings before it.
//!
//! Compares content, sender, receiver and order, but not time. Both captures are read side by side, in constant memory.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::inspect::{Finding, Findings};

/// Findings before the difference that are kept.
pub const BEFORE_MAX: usize = 8;

/// The result of a comparison.
#[derive(Clone, Debug)]
pub enum Difference {
    /// Both captures have the same findings, so many.
    None(u64),
    /// The captures differ.
    At(Box<Parting>),
}

/// The first difference of two captures.
#[derive(Clone, Debug)]
pub struct Parting {
    /// Findings that both have in common, from the start.
    pub common: u64,
    /// The last common findings, from the first capture.
    pub before: Vec<Finding>,
    /// The next finding of the first capture; `None` at its end.
    pub left: Option<Finding>,
    /// The next finding of the second capture; `None` at its end.
    pub right: Option<Finding>,
}

/// Compares two captures.
///
/// # Errors
/// If one of them cannot be read.
pub fn compare<A: Read, B: Read>(left: &mut Findings<A>, right: &mut Findings<B>) -> io::Result<Difference> {
    let mut before: VecDeque<Finding> = VecDeque::with_capacity(BEFORE_MAX);
    let mut common = 0;
    loop {
        match (left.next_finding()?, right.next_finding()?) {
            (None, None) => return Ok(Difference::None(common)),
            (Some(left), Some(right)) if same(&left, &right) => {
                common += 1;
                if before.len() == BEFORE_MAX {
                    before.pop_front();
                }
                before.push_back(left);
            }
            (left, right) => {
                return Ok(Difference::At(Box::new(Parting { common, before: before.into(), left, right })));
            }
        }
    }
}

/// Whether two findings are equal: a line of text may omit details that the object has.
fn same(left: &Finding, right: &Finding) -> bool {
    let timeless = |finding: &Finding| {
        let mut object = crate::inspect::json::object(finding);
        if let Some(object) = object.as_object_mut() {
            object.remove("at");
            object.remove("packet");
        }
        object
    };
    timeless(left) == timeless(right)
}
