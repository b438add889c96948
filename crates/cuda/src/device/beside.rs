//! Two lines of work that need nothing of each other, side by side.

use super::{Device, Grid, Kernel, driver_error};
use crate::Error;

/// Work that runs beside what the device's stream is asked for meanwhile, until [`join`](Self::join).
///
/// Kernels that leave most of a device idle, or that wait for memory while others multiply, take as long together as the
/// longer line of them does.
#[must_use = "work after it must be told to wait for it: see `join`"]
pub(crate) struct Beside {
    device: Device,
    joined: bool,
}

impl Device {
    /// Begins a second line of work behind everything that was asked for before.
    pub(crate) fn beside(&self) -> Result<Beside, Error> {
        self.side.join(&self.stream).map_err(|error| driver_error("beginning a second line of work", error))?;
        Ok(Beside { device: self.clone(), joined: false })
    }
}

impl Beside {
    /// Starts the kernel in this line, with `arguments` as its only parameter.
    ///
    /// # Safety
    /// As for [`Kernel::launch`], where nothing that the stream is asked for before [`join`](Self::join) may touch what the
    /// kernel writes, or write what it reads.
    pub(crate) unsafe fn launch<A>(&self, kernel: &Kernel, grid: Grid, arguments: &A) -> Result<(), Error> {
        kernel.check_device([("second line of work", &self.device)])?;
        // SAFETY: the caller's promise.
        unsafe { kernel.launch_on(&self.device.side, grid, arguments) }
    }

    /// Lets all that is asked for from here on wait for this line.
    pub(crate) fn join(mut self) -> Result<(), Error> {
        self.joined = true;
        self.wait()
    }

    fn wait(&self) -> Result<(), Error> {
        let waiting = |error| driver_error("waiting for the second line of work", error);
        self.device.stream.join(&self.device.side).map_err(waiting)
    }
}

impl Drop for Beside {
    /// Where an error cut the work short: buffers are freed in the order of the device's stream.
    fn drop(&mut self) {
        if !self.joined && self.wait().is_err() {
            // What went wrong is reported where the stream's work is waited for.
            let _ = self.device.side.synchronize();
        }
    }
}
