//! Work that is asked for once and done again and again.

use super::{Device, driver_error, sys};
use crate::Error;
use cudarc::driver::{CudaGraph, DriverError};
use std::cell::Cell;
use std::sync::{PoisonError, RwLock};

/// Work on a device as it was asked for the last time.
///
/// To ask for hundreds of small kernels takes longer than to run them; a recording is asked for as one.
#[derive(Default)]
pub struct Recording(State);

#[derive(Default)]
enum State {
    /// Never done: the first time loads code and makes plans, which cannot be recorded.
    #[default]
    New,
    Done,
    Recorded(CudaGraph),
}

// SAFETY: a graph belongs to no thread; it is used through `&mut`, by one thread at a time.
unsafe impl Send for Recording {}

impl Device {
    /// Does `work`, which asks for kernels and matrix products on this device and for nothing else: no buffers, no copies
    /// from or to the host, no waiting. From the third time on it is replayed, and `work` is not called. It may be called twice
    /// where the first call was recorded and not done.
    ///
    /// # Safety
    /// With one recording, `work` must ask for the same on the same buffers each time, and they must live until the last
    /// replay is done.
    ///
    /// # Errors
    /// What `work` says, or the driver.
    pub unsafe fn replay<E: From<Error>>(
        &self,
        recording: &mut Recording,
        mut work: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |what: &'static str| move |error| E::from(driver_error(what, error));
        match &recording.0 {
            State::New => {
                work()?;
                recording.0 = State::Done;
            }
            State::Done => match self.record(&mut work) {
                Ok(graph) => {
                    graph.launch().map_err(failed("replaying"))?;
                    recording.0 = State::Recorded(graph);
                }
                // A library that waits for the whole context in another thread breaks what is recorded meanwhile. What was
                // recorded has not been done: it is done plainly, where a fault of its own shows again, and recorded the next time.
                Err(_) => work()?,
            },
            State::Recorded(graph) => graph.launch().map_err(failed("replaying"))?,
        }
        Ok(())
    }

    /// Records what `work` asks for, without doing it.
    fn record<E: From<Error>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<CudaGraph, E> {
        let failed = |error| E::from(driver_error("recording", error));
        self.raw_stream()?;
        let _alone = CONTEXT.write().unwrap_or_else(PoisonError::into_inner);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed)?;
        let asked = holding(work);
        // Ends the capture in any case: the stream is of no use otherwise.
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.stream.end_capture(flags).map_err(failed);
        asked?;
        graph?.ok_or_else(|| failed(DriverError(sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED)))
    }
}

/// Written to while work is recorded, read by what loads code or waits for all streams of the context: all openings of a GPU in
/// a process share one, and to wait for it while any of its streams is recorded fails, and breaks the recording.
static CONTEXT: RwLock<()> = RwLock::new(());

thread_local! {
    /// Whether this thread holds [`CONTEXT`], for whatever it does.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, which may wait for the whole context or load code into it, while no other thread records.
pub(crate) fn while_nothing_is_recorded<T>(work: impl FnOnce() -> T) -> T {
    // What a recording itself asks for is not kept waiting for its end: the driver refuses what cannot be recorded.
    if HOLDS.get() {
        return work();
    }
    let _shared = CONTEXT.read().unwrap_or_else(PoisonError::into_inner);
    holding(work)
}

/// Does `work` in a thread that holds [`CONTEXT`].
fn holding<T>(work: impl FnOnce() -> T) -> T {
    struct Held;
    impl Drop for Held {
        fn drop(&mut self) {
            HOLDS.set(false);
        }
    }
    HOLDS.set(true);
    let _held = Held;
    work()
}
