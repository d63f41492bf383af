//! What an input will read, shown before it is handled.
//!
//! With many nodes in one process, nearly everything that a node reads has left the processor's caches since its last turn. A
//! driver that knows which inputs come next can have their memory brought back while it handles those before them.

/// Has memory brought nearer, or does nothing: no outcome depends on it.
pub trait Prefetch {
    /// This value will be read soon; what it points to is shown by itself.
    fn prefetch<T: ?Sized>(&mut self, value: &T);
}
