//! Time on the device.

use super::{Device, driver_error, sys};
use crate::Error;
use cudarc::driver::CudaEvent;

/// A moment in a device's stream.
pub struct Timer {
    device: Device,
    started: CudaEvent,
}

impl Device {
    /// Marks the moment at which all work asked for so far is done.
    ///
    /// # Errors
    /// What the driver says.
    pub fn timer(&self) -> Result<Timer, Error> {
        Ok(Timer { device: self.clone(), started: self.event()? })
    }

    fn event(&self) -> Result<CudaEvent, Error> {
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        self.stream.record_event(flags).map_err(|error| driver_error("recording an event", error))
    }
}

impl Timer {
    /// Milliseconds from the start to the end of all work asked for since; waits for it.
    ///
    /// # Errors
    /// Whatever went wrong in that work.
    pub fn elapsed_ms(&self) -> Result<f64, Error> {
        let now = self.device.event()?;
        let elapsed = self.started.elapsed_ms(&now).map_err(|error| driver_error("waiting for the device", error))?;
        Ok(elapsed as f64)
    }
}
