//! Device memory.

use super::{Device, driver_error, result, sys};
use crate::Error;
use bytemuck::{Pod, Zeroable};
use cudarc::driver::{CudaSlice, DevicePtr, DriverError};
use std::marker::PhantomData;
use std::ops::Range;

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

/// Some elements of a buffer, to read.
pub struct View<'a, T> {
    device: &'a Device,
    address: sys::CUdeviceptr,
    len: usize,
    buffer: PhantomData<&'a T>,
}

/// Some elements of a buffer, to write.
pub struct ViewMut<'a, T> {
    device: &'a Device,
    address: sys::CUdeviceptr,
    len: usize,
    buffer: PhantomData<&'a mut T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<T> View<'_, T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn pointer(&self) -> Pointer<T> {
        Pointer(self.address, PhantomData)
    }

    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Checks that a kernel can read vectors from the first element on.
    pub(crate) fn check_vectors(&self, what: &'static str) -> Result<(), Error> {
        check_vectors(what, self.address)
    }

    pub(crate) fn address(&self) -> sys::CUdeviceptr {
        self.address
    }
}

/// What kernels read and write at once.
const VECTOR_BYTES: u64 = 16;

fn check_vectors(what: &'static str, address: sys::CUdeviceptr) -> Result<(), Error> {
    match address % VECTOR_BYTES {
        0 => Ok(()),
        past => Err(Error::Unsupported {
            what,
            expected: format!("elements that begin at a multiple of {VECTOR_BYTES} bytes"),
            found: format!("{past} bytes past one"),
        }),
    }
}

impl<T: Pod> ViewMut<'_, T> {
    /// Elements `range` of these.
    ///
    /// # Panics
    /// When there are no such elements.
    pub fn part(&mut self, range: Range<usize>) -> ViewMut<'_, T> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} elements", self.len);
        let address = self.address + (range.start * size_of::<T>()) as u64;
        ViewMut { address, len: range.len(), device: self.device, buffer: PhantomData }
    }

    /// Replaces all elements by others on the device.
    ///
    /// # Errors
    /// When there are not as many, they lie on another device, or the driver refuses.
    pub fn copy_from(&mut self, from: View<T>) -> Result<(), Error> {
        self.device.check_owns([("values to copy", from.device)])?;
        Error::check_len("values to copy", self.len, from.len)?;
        let stream = self.device.raw_stream()?;
        // SAFETY: both have as many bytes, and one is borrowed to be written: they do not overlap.
        unsafe { result::memcpy_dtod_async(self.address, from.address, self.len * size_of::<T>(), stream) }
            .map_err(|error| driver_error("copying on the device", error))
    }
}

impl<T: Pod> View<'_, T> {
    /// Waits for the work asked for before and copies all elements to the host.
    ///
    /// # Errors
    /// Whatever went wrong since the last wait.
    pub fn read(&self) -> Result<Vec<T>, Error> {
        let mut values = vec![T::zeroed(); self.len];
        let stream = self.device.raw_stream()?;
        let bytes = bytemuck::cast_slice_mut::<T, u8>(&mut values);
        // SAFETY: there are as many bytes on the device, and `values` lives until the copy is done.
        unsafe { result::memcpy_dtoh_async(bytes, self.address, stream) }
            .map_err(|error| driver_error("copying to the host", error))?;
        self.device.synchronize()?;
        Ok(values)
    }
}

impl<T: Pod> ViewMut<'_, T> {
    /// Replaces all elements by values of the host.
    ///
    /// # Errors
    /// When there are not as many, or the driver refuses.
    pub fn write(&mut self, values: &[T]) -> Result<(), Error> {
        Error::check_len("values to upload", self.len, values.len())?;
        let stream = self.device.raw_stream()?;
        // SAFETY: there are as many bytes on the device, and the driver has copied the values before it returns: they lie in
        // memory that may be paged.
        unsafe { result::memcpy_htod_async(self.address, bytemuck::cast_slice::<T, u8>(values), stream) }
            .map_err(|error| driver_error("copying to the device", error))
    }

    /// Makes all elements zero.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn fill_zero(&mut self) -> Result<(), Error> {
        let stream = self.device.raw_stream()?;
        // SAFETY: there are as many bytes.
        unsafe { result::memset_d8_async(self.address, 0, self.len * size_of::<T>(), stream) }
            .map_err(|error| driver_error("clearing memory", error))
    }
}

impl<T> ViewMut<'_, T> {
    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn pointer_mut(&mut self) -> PointerMut<T> {
        PointerMut(self.address, PhantomData)
    }

    /// Where these elements lie, for a description of them.
    pub(crate) fn as_view(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, device: self.device, buffer: PhantomData }
    }

    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Checks that a kernel can write vectors from the first element on.
    pub(crate) fn check_vectors(&self, what: &'static str) -> Result<(), Error> {
        check_vectors(what, self.address)
    }

    pub(crate) fn address(&self) -> sys::CUdeviceptr {
        self.address
    }
}

impl<'a, T: Pod> From<&'a Buffer<T>> for View<'a, T> {
    fn from(buffer: &'a Buffer<T>) -> Self {
        buffer.view(0..buffer.len)
    }
}

impl<'a, T: Pod> From<&'a mut Buffer<T>> for ViewMut<'a, T> {
    fn from(buffer: &'a mut Buffer<T>) -> Self {
        buffer.view_mut(0..buffer.len)
    }
}

impl<T> Pointer<T> {
    pub(crate) fn null() -> Self {
        Self(0, PhantomData)
    }

    /// The address `elements` further on.
    pub(crate) fn offset(self, elements: usize) -> Self {
        Self(self.0 + (elements * size_of::<T>()) as u64, PhantomData)
    }

    /// The same address, as one of other elements.
    pub(crate) fn cast<U>(self) -> Pointer<U> {
        Pointer(self.0, PhantomData)
    }

    /// The address as a kernel finds it in memory.
    pub(crate) fn address(self) -> u64 {
        self.0
    }
}

impl<T> PointerMut<T> {
    pub(crate) fn null() -> Self {
        Self(0, PhantomData)
    }

    /// The address `elements` further on.
    pub(crate) fn offset(self, elements: usize) -> Self {
        Self(self.0 + (elements * size_of::<T>()) as u64, PhantomData)
    }

    /// The same address, as one of other elements.
    pub(crate) fn cast<U>(self) -> PointerMut<U> {
        PointerMut(self.0, PhantomData)
    }
}

impl Device {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no room.
    pub fn zeros<T: Pod>(&self, len: usize) -> Result<Buffer<T>, Error> {
        let size = self.checked_bytes::<T>(len)?;
        // An empty allocation has no address; one byte does.
        let bytes = self.stream.alloc_zeros::<u8>(size.max(1)).map_err(|error| self.allocation_error(size, error))?;
        Ok(Buffer { device: self.clone(), bytes, len, element: PhantomData })
    }

    /// Room for `len` elements that will be written before they are read: what it holds until then is anything.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no room.
    pub fn room<T: Pod>(&self, len: usize) -> Result<Buffer<T>, Error> {
        let size = self.checked_bytes::<T>(len)?;
        // SAFETY: every bit pattern is a value of a `Pod` type.
        let bytes =
            unsafe { self.stream.alloc::<u8>(size.max(1)) }.map_err(|error| self.allocation_error(size, error))?;
        Ok(Buffer { device: self.clone(), bytes, len, element: PhantomData })
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no room.
    pub fn upload<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>, Error> {
        let mut buffer = self.room(values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// Bytes of `len` elements; more than can be counted are more than there are.
    fn checked_bytes<T>(&self, len: usize) -> Result<usize, Error> {
        len.checked_mul(size_of::<T>())
            .ok_or_else(|| self.allocation_error(usize::MAX, DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)))
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

    /// Elements `range`, to read.
    ///
    /// # Panics
    /// When there are no such elements.
    pub fn view(&self, range: Range<usize>) -> View<'_, T> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} elements", self.len);
        View { device: &self.device, address: self.address_of(range.start), len: range.len(), buffer: PhantomData }
    }

    /// Elements `range`, to write.
    ///
    /// # Panics
    /// When there are no such elements.
    pub fn view_mut(&mut self, range: Range<usize>) -> ViewMut<'_, T> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} elements", self.len);
        ViewMut { device: &self.device, address: self.address_of(range.start), len: range.len(), buffer: PhantomData }
    }

    fn address_of(&self, element: usize) -> sys::CUdeviceptr {
        self.address() + (element * size_of::<T>()) as u64
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
        self.view(0..self.len).read()
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
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

    pub(crate) fn address(&self) -> sys::CUdeviceptr {
        self.bytes.device_ptr(&self.device.stream).0
    }
}

impl<T: Zeroable> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Buffer of {} elements", self.len)
    }
}
