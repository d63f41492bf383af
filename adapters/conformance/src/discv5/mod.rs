pub const CASES: &[crate::case::Case] = &[];
