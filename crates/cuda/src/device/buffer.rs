//! Device memory.

use super::{Device, driver_error, result, sys};
use crate::Error;
use bytemuck::{Pod, Zeroable};
use cudarc::driver::{CudaSlice, DevicePtr, DriverError};
use std::marker::PhantomData;

/// `len` elements in device memory, freed on drop once the work asked for before is done.
pub struct Buffer<T> {
    device: Device,
    bytes: CudaSlice<u8>,
    len: usize,
    element: PhantomData<T>,
}

/// The address of a buffer that a kernel reads; may be null.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Pointer<T>(sys::CUdeviceptr, PhantomData<T>);

/// The address of a buffer that a kernel writes; may be null.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct PointerMut<T>(sys::CUdeviceptr, PhantomData<T>);

impl<T> Pointer<T> {
    pub(crate) fn null() -> Self {
        Self(0, PhantomData)
    }
}

impl<T> PointerMut<T> {
    pub(crate) fn null() -> Self {
        Self(0, PhantomData)
    }
}

impl Device {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no room.
    pub fn zeros<T: Pod>(&self, len: usize) -> Result<Buffer<T>, Error> {
        let size = len * size_of::<T>();
        // An empty allocation has no address; one byte does.
        let bytes = self.stream.alloc_zeros::<u8>(size.max(1)).map_err(|error| self.allocation_error(size, error))?;
        Ok(Buffer { device: self.clone(), bytes, len, element: PhantomData })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no room.
    pub fn upload<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>, Error> {
        let mut buffer = self.zeros(values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    fn allocation_error(&self, wanted_bytes: usize, error: DriverError) -> Error {
        match (error, self.memory()) {
            (DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY), Ok((free_bytes, total_bytes))) => {
                Error::Memory { wanted_bytes, free_bytes, total_bytes }
            }
            _ => driver_error(format!("allocating {wanted_bytes} bytes"), error),
        }
    }
}

impl<T: Pod> Buffer<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes the buffer stand for its first `len` elements, of those it was made with: the rows of a shorter chunk.
    ///
    /// # Errors
    /// When it was made with fewer.
    pub fn set_len(&mut self, len: usize) -> Result<(), Error> {
        let capacity = self.bytes.len() / size_of::<T>();
        if len > capacity {
            return Err(attention::Error::Length { what: "buffer", expected: len, found: capacity }.into());
        }
        self.len = len;
        Ok(())
    }

    /// Replaces all elements.
    ///
    /// # Errors
    /// When `values` has another length, or the driver refuses.
    pub fn write(&mut self, values: &[T]) -> Result<(), Error> {
        Error::check_len("values to upload", self.len, values.len())?;
        let stream = self.device.stream.clone();
        stream
            .memcpy_htod(bytemuck::cast_slice::<T, u8>(values), &mut self.bytes)
            .map_err(|error| driver_error("copying to the device", error))
    }

    /// All elements, once the work asked for before is done.
    ///
    /// # Errors
    /// Whatever went wrong in that work, or in the copy.
    pub fn read(&self) -> Result<Vec<T>, Error> {
        let mut values = vec![T::zeroed(); self.len];
        let stream = self.device.raw_stream()?;
        let bytes = bytemuck::cast_slice_mut::<T, u8>(&mut values);
        // SAFETY: the buffer has at least as many bytes, and `values` lives until the copy is done.
        unsafe { result::memcpy_dtoh_async(bytes, self.address(), stream) }
            .map_err(|error| driver_error("copying to the host", error))?;
        self.device.synchronize()?;
        Ok(values)
    }

    pub(crate) fn pointer(&self) -> Pointer<T> {
        Pointer(self.address(), PhantomData)
    }

    pub(crate) fn pointer_mut(&mut self) -> PointerMut<T> {
        PointerMut(self.address(), PhantomData)
    }

    /// The address of a buffer whose writers order themselves, as a queue's do.
    pub(crate) fn pointer_shared(&self) -> PointerMut<T> {
        PointerMut(self.address(), PhantomData)
    }

    pub(super) fn address(&self) -> sys::CUdeviceptr {
        self.bytes.device_ptr(&self.device.stream).0
    }
}

impl<T: Zeroable> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Buffer of {} elements", self.len)
    }
}
