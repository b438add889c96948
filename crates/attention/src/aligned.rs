//! Buffers on cache-line boundaries.

use crate::Error;
use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};
use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A fixed-length zeroed buffer that starts on a cache line: a vector load that straddles two lines costs double, an
/// AMX tile of straddling rows almost three times.
#[derive(Clone)]
pub struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: AnyBitPattern + NoUninit> Aligned<T> {
    /// `len` zeros. Large buffers come from the operating system as zero pages and take memory when first written.
    pub fn zeroed(len: usize) -> Self {
        Self { lines: bytemuck::zeroed_vec(Self::lines(len)), len, element: std::marker::PhantomData }
    }

    /// As [`zeroed`](Self::zeroed), for buffers that may be too large for the system.
    ///
    /// # Errors
    /// When it refuses them; `what` is for the message.
    pub fn try_zeroed(what: &'static str, len: usize) -> Result<Self, Error> {
        let refused = |()| Error::Allocation { what, bytes: len.saturating_mul(size_of::<T>()) };
        // Vectors that cannot be counted in bytes abort in place of failing.
        let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize - 63);
        bytes.ok_or(()).map_err(refused)?;
        let lines = bytemuck::allocation::try_zeroed_vec(Self::lines(len)).map_err(refused)?;
        Ok(Self { lines, len, element: std::marker::PhantomData })
    }

    fn lines(len: usize) -> usize {
        const { assert!(align_of::<T>() <= 64 && 64 % size_of::<T>() == 0) }
        (len * size_of::<T>()).div_ceil(64)
    }
}

impl<T: AnyBitPattern + NoUninit> Default for Aligned<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T: AnyBitPattern + NoUninit> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: AnyBitPattern + NoUninit> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_system_has_is_an_error_with_its_bytes() {
        for len in [1 << 60, usize::MAX / 4, usize::MAX] {
            let error = Aligned::<f32>::try_zeroed("keys", len).err().expect("refused").to_string();
            assert!(error.contains("no memory for keys") && error.contains("bytes"), "{error}");
        }
        assert_eq!(&*Aligned::<f32>::try_zeroed("keys", 3).unwrap(), [0.0; 3]);
    }
}
