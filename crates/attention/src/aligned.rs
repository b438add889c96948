//! Buffers on cache-line boundaries.

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
        const { assert!(align_of::<T>() <= 64 && 64 % size_of::<T>() == 0) }
        let lines = (len * size_of::<T>()).div_ceil(64);
        Self { lines: bytemuck::zeroed_vec(lines), len, element: std::marker::PhantomData }
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
