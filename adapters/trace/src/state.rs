//! See docs/trace.md.
