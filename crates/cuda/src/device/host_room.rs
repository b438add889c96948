//! Host memory that the GPU copies to and from by itself.

use super::{Device, View, ViewMut, driver_error, result, while_nothing_is_recorded};
use crate::Error;
use bytemuck::Pod;
use std::ffi::c_void;
use std::ops::Range;

/// Page-locked host memory, of anything until it is copied to. Copies to and from it take their turn in the device's stream; nobody
/// waits for them.
pub struct HostRoom {
    device: Device,
    address: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is the room's own, and is read and written by the device's stream alone.
unsafe impl Send for HostRoom {}

impl Device {
    /// Room for so many bytes, which the system cannot use for anything else meanwhile.
    ///
    /// # Errors
    /// What the driver says, where the system has not as many.
    pub fn host_room(&self, bytes: usize) -> Result<HostRoom, Error> {
        self.raw_stream()?;
        // SAFETY: what it holds is not read before it is copied to.
        let address = while_nothing_is_recorded(|| unsafe { result::malloc_host(bytes.max(1), 0) })
            .map_err(|error| driver_error(format!("taking {bytes} bytes of host memory"), error))?;
        Ok(HostRoom { device: self.clone(), address: address.cast(), bytes })
    }
}

impl HostRoom {
    fn part(&self, bytes: Range<usize>) -> Result<*mut u8, Error> {
        Error::check_len("bytes of host memory", self.bytes, self.bytes.max(bytes.end))?;
        // SAFETY: within the room.
        Ok(unsafe { self.address.add(bytes.start) })
    }
}

impl Drop for HostRoom {
    fn drop(&mut self) {
        // Copies that were asked for may be under way; where waiting fails the device is lost, and with it the copies.
        let _ = self.device.raw_stream().and_then(|_| self.device.synchronize());
        // SAFETY: made by `host_room`, and nobody uses it any more.
        let _ = while_nothing_is_recorded(|| unsafe { result::free_host(self.address.cast::<c_void>()) });
    }
}

impl<T: Pod> View<'_, T> {
    /// Asks for a copy of all elements to the bytes of `room` from `at` on.
    ///
    /// # Errors
    /// When there are not as many, the room is another device's, or the driver refuses.
    pub fn copy_to(&self, room: &mut HostRoom, at: usize) -> Result<(), Error> {
        self.device().check_owns([("host memory", &room.device)])?;
        let bytes = self.len() * size_of::<T>();
        let to = room.part(at..at + bytes)?;
        let stream = self.device().raw_stream()?;
        // SAFETY: there are as many bytes at both; the room lives until the stream has done what it was asked for.
        unsafe { result::memcpy_dtoh_async(std::slice::from_raw_parts_mut(to, bytes), self.address(), stream) }
            .map_err(|error| driver_error("copying to the host", error))
    }
}

impl<T: Pod> ViewMut<'_, T> {
    /// Asks for a copy of the bytes of `room` from `at` on to all elements.
    ///
    /// # Errors
    /// When there are not as many, the room is another device's, or the driver refuses.
    pub fn copy_from_host(&mut self, room: &HostRoom, at: usize) -> Result<(), Error> {
        self.device().check_owns([("host memory", &room.device)])?;
        let bytes = self.len() * size_of::<T>();
        let from = room.part(at..at + bytes)?;
        let stream = self.device().raw_stream()?;
        // SAFETY: as above; every bit pattern is a value of a `Pod` type.
        unsafe { result::memcpy_htod_async(self.address(), std::slice::from_raw_parts(from, bytes), stream) }
            .map_err(|error| driver_error("copying to the device", error))
    }
}
