//! Prefetching: the memory that an input will read, shown before the input is handled.
//!
//! With many nodes in one process, most of the memory of a node leaves the processor's caches between two of its turns. A
//! driver that knows the next inputs can prefetch their memory while it handles those before them.

/// Prefetches memory. It may do nothing: no result depends on it.
pub trait Prefetch {
    /// Prefetches a value that will be read soon, without what it points to.
    fn prefetch<T: ?Sized>(&mut self, value: &T);
}
