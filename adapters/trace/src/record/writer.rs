//! Completes blocks and writes them, in parts: on the recording thread or on its own.
//!
//! Its own thread has a queue of bounded size. Whenever the driver has drained, the recorder parks its unfinished buffer
//! here, so that it is written within [`FLUSH_INTERVAL`] even if the driver then sleeps for hours.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::output::Output;
use crate::format::{self, Blocks, Header, Sealer};

/// The size of a buffer before it is handed over.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// The bounds of the wait for a slow disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The most bytes that wait for the disk. Beyond it the node waits.
    waiting_bytes: usize,
    /// How long the node waits before the recording is given up.
    wait: Duration,
}

impl Default for Patience {
    /// Tenths of a second of the fastest streams, and well below the timeouts of peers.
    fn default() -> Self {
        Self { waiting_bytes: 16 << 20, wait: Duration::from_secs(5) }
    }
}

/// The most buffers that are kept for reuse: one is filled, one is written, and some are left after a slow write.
const FREE_BUFFERS_MAX: usize = 16;
/// The longest time until a parked buffer is written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

/// Completes blocks, and writes them to the output.
pub(super) struct Writer {
    output: Output,
    sealer: Sealer,
    header: Header,
    inputs: u64,
}

impl Writer {
    /// Creates a writer that has written nothing.
    pub(super) fn new(output: Output, header: Header) -> Self {
        Self { output, sealer: Sealer::default(), header, inputs: 0 }
    }

    /// Writes the beginning of a part.
    pub(super) fn begin_part(&mut self) -> io::Result<()> {
        let Self { sealer, header, inputs, .. } = self;
        header.previous = sealer.digest();
        header.first_input = *inputs;
        *sealer = Sealer::default();
        let mut blocks = Blocks::default();
        blocks.begin(&header.software);
        blocks.record(|out| header.encode(out));
        self.write_record(blocks)
    }

    fn write_record(&mut self, mut blocks: Blocks) -> io::Result<()> {
        let _ = self.sealer.seal(&mut blocks, 0);
        self.output.write(blocks.as_bytes())
    }

    /// Writes these blocks; a part ends with the record by which it reaches its size. No part follows the end mark.
    pub(super) fn write(&mut self, blocks: &mut Blocks) -> io::Result<()> {
        let (mut written, mut end) = (0, 0);
        while let Some(sealed) = self.sealer.seal(blocks, end) {
            end = sealed.end;
            self.inputs += u64::from(sealed.is_input);
            if !sealed.is_end && self.output.is_full(end - written) {
                self.output.write(&blocks.as_bytes()[written..end])?;
                written = end;
                self.next_part()?;
            }
        }
        if written < end { self.output.write(&blocks.as_bytes()[written..end]) } else { Ok(()) }
    }

    fn next_part(&mut self) -> io::Result<()> {
        let mut blocks = Blocks::default();
        blocks.record(format::encode_continued);
        self.write_record(blocks)?;
        self.header.part += 1;
        self.output.next_part(self.header.part)?;
        self.begin_part()
    }
}

/// A writer with a thread of its own.
pub(super) struct Background {
    shared: Arc<Shared>,
    patience: Patience,
    thread: Option<JoinHandle<()>>,
}

/// The state that recorder and writer share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the writer: a buffer was handed over.
    filled: Condvar,
    /// The recorder waits for it: something was written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Blocks>,
    /// Their bytes, and those that are being written.
    waiting_bytes: usize,
    /// The recorder's unfinished buffer.
    parked: Option<Blocks>,
    /// Whether the writer takes the parked buffer too, because it is old.
    is_late: bool,
    free: Vec<Blocks>,
    failure: Option<io::Error>,
    /// Whether the recording is over: the recorder has ended, or the writer has failed.
    is_over: bool,
}

impl Shared {
    /// No holder of the lock panics halfway, so a poisoned lock holds a valid state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, blocks: Blocks) {
        self.waiting_bytes += blocks.len();
        self.waiting.push_back(blocks);
    }

    fn empty_blocks(&mut self) -> Blocks {
        self.free.pop().unwrap_or_else(|| Blocks::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 2))
    }
}

impl Background {
    pub(super) fn start(writer: Writer, patience: Patience) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = Builder::new().name("recorder".to_owned()).spawn(move || work(&theirs, writer))?;
        Ok(Self { shared, patience, thread: Some(thread) })
    }

    /// Parks the unfinished buffer for the writer.
    pub(super) fn park(&self, blocks: &mut Blocks) -> io::Result<()> {
        let mut state = self.shared.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if state.is_late {
            state.is_late = false;
            state.queue(std::mem::take(blocks));
            drop(state);
            self.shared.filled.notify_one();
        } else {
            state.parked = Some(std::mem::take(blocks));
        }
        Ok(())
    }

    /// Takes the parked buffer back, or an empty one.
    pub(super) fn unpark(&self) -> Blocks {
        let mut state = self.shared.lock();
        state.parked.take().unwrap_or_else(|| state.empty_blocks())
    }

    /// Hands over a buffer, and returns an empty one. Waits if too much is queued.
    pub(super) fn hand_over(&self, blocks: &mut Blocks) -> io::Result<()> {
        let Patience { waiting_bytes, wait } = self.patience;
        let mut state = self.shared.lock();
        let mut deadline = None;
        loop {
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            if state.waiting_bytes == 0 || state.waiting_bytes + blocks.len() <= waiting_bytes {
                break;
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                let why = format!("the disk was too slow for {wait:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            state = self.shared.written.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        let next = state.empty_blocks();
        state.queue(std::mem::replace(blocks, next));
        drop(state);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Waits until everything is written. No buffer can be handed over afterwards.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.lock().is_over = true;
        self.shared.filled.notify_one();
        if thread.join().is_err() {
            return Err(io::Error::other("the thread that writes has panicked"));
        }
        self.shared.lock().failure.take().map_or(Ok(()), Err)
    }
}

impl Drop for Background {
    /// Does not wait: a recorder that ended has waited, and one that gave up must not block.
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.filled.notify_one();
    }
}

/// The thread: takes buffers that were handed over, and old parked ones.
fn work(shared: &Shared, mut writer: Writer) {
    let mut state = shared.lock();
    loop {
        if let Some(mut blocks) = state.waiting.pop_front() {
            drop(state);
            let bytes = blocks.len();
            let written = writer.write(&mut blocks);
            blocks.clear();
            state = shared.lock();
            state.waiting_bytes -= bytes;
            // An unusually large buffer is not kept.
            if blocks.capacity() <= 2 * BUFFER_BYTES && state.free.len() < FREE_BUFFERS_MAX {
                state.free.push(blocks);
            }
            if let Err(error) = written {
                state.failure = Some(error);
                return;
            }
            shared.written.notify_one();
            continue;
        }
        if state.is_over {
            return;
        }
        let (guard, timeout) =
            shared.filled.wait_timeout(state, FLUSH_INTERVAL).unwrap_or_else(PoisonError::into_inner);
        state = guard;
        if timeout.timed_out() {
            match state.parked.take() {
                Some(blocks) if blocks.is_empty() => state.parked = Some(blocks),
                Some(blocks) => state.queue(blocks),
                None => state.is_late = true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
