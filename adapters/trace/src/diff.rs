//! Where two captures part: the first message that one has and the other has not, with what led to it.
//!
//! Compares what was said, by whom and in which order, not when. Both captures are read side by side, in constant memory.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::inspect::{Finding, Findings};

/// Findings before the parting that are kept.
pub const BEFORE_MAX: usize = 8;

/// What comes of a comparison.
#[derive(Clone, Debug)]
pub enum Difference {
    /// They say the same, so many findings long.
    None(u64),
    /// They part.
    At(Box<Parting>),
}

/// Where two captures part.
#[derive(Clone, Debug)]
pub struct Parting {
    /// Findings that both have in common, from the start.
    pub common: u64,
    /// The last of these, as the first capture has them.
    pub before: Vec<Finding>,
    /// How the first goes on; `None` if it has ended.
    pub left: Option<Finding>,
    /// How the second goes on; `None` if it has ended.
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

/// Whether two findings say the same: a line may leave out what an object has.
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
