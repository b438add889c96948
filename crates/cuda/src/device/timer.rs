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

/// What the time of a device goes to: moments in its stream, each the beginning of some kind of work.
pub struct Clock<K> {
    device: Device,
    marks: Vec<(K, CudaEvent)>,
}

impl<K: Copy + PartialEq> Clock<K> {
    /// A clock without marks.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), marks: Vec::new() }
    }

    /// What is asked for from here on is `work`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn mark(&mut self, work: K) -> Result<(), Error> {
        if self.marks.last().is_none_or(|(last, _)| *last != work) {
            self.marks.push((work, self.device.event()?));
        }
        Ok(())
    }

    /// Milliseconds of each stretch of work since the last reading; waits for the end of the last one.
    ///
    /// # Errors
    /// Whatever went wrong in that work.
    pub fn read(&mut self) -> Result<Vec<(K, f64)>, Error> {
        let marks = std::mem::take(&mut self.marks);
        let end = self.device.event()?;
        let ends = marks.iter().skip(1).map(|(_, event)| event).chain([&end]);
        let stretches = marks.iter().zip(ends).map(|((work, start), end)| {
            let elapsed = start.elapsed_ms(end).map_err(|error| driver_error("waiting for the device", error))?;
            Ok((*work, elapsed as f64))
        });
        stretches.collect()
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
