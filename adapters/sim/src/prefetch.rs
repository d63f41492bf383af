//! Prefetches memory before it is needed.
//!
//! With thousands of nodes hardly any memory that an event reads is in the processor's caches, and waiting for memory
//! is most of a run's time. The wheel knows the next events: see [`super::world`].

use peerless::contract::Prefetch;

/// The caches of the current processor.
pub(crate) struct Caches;

impl Prefetch for Caches {
    #[inline(always)]
    #[allow(unsafe_code)]
    fn prefetch<T: ?Sized>(&mut self, value: &T) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

            const LINE_BYTES: usize = 64;
            let start = core::ptr::from_ref(value).cast::<i8>();
            let before = start.addr() % LINE_BYTES;
            for line in (0..before + size_of_val(value)).step_by(LINE_BYTES) {
                // SAFETY: every x86-64 processor has the instruction. It is a hint without a visible effect, whatever
                // the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_sub(before).wrapping_add(line)) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = value;
    }
}
