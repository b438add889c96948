//! Work that is asked for once and done again and again.

use super::{Device, driver_error, sys};
use crate::Error;
use cudarc::driver::CudaGraph;

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
    /// from or to the host, no waiting. From the third time on it is replayed, and `work` is not called.
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
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |what: &str| {
            let what = what.to_string();
            move |error| E::from(driver_error(what, error))
        };
        match &recording.0 {
            State::New => {
                work()?;
                recording.0 = State::Done;
            }
            State::Done => {
                self.raw_stream()?;
                let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
                self.stream.begin_capture(mode).map_err(failed("beginning to record"))?;
                let asked = work();
                // Ends the capture in any case: the stream is of no use otherwise.
                let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
                let graph = self.stream.end_capture(flags).map_err(failed("recording"));
                asked?;
                if let Some(graph) = graph? {
                    graph.launch().map_err(failed("replaying"))?;
                    recording.0 = State::Recorded(graph);
                }
            }
            State::Recorded(graph) => graph.launch().map_err(failed("replaying"))?,
        }
        Ok(())
    }
}
