//! Descriptions of tensors for the copy engine (TMA) of compute capability 9.0 and above.

use super::buffer::{Buffer, View};
use super::{driver_error, sys};
use crate::Error;
use bytemuck::Pod;
use half::bf16;

/// A tensor that is copied in boxes, in rows of 128 or 64 bytes with the swizzle of as many. What a box holds past the end of the
/// tensor reads as zeros, and is not written.
// Aligned as the driver's header says.
#[repr(C, align(128))]
#[derive(Clone, Copy)]
pub(crate) struct TensorMap(sys::CUtensorMap);

/// Elements of a row of bf16 in shared memory: the widest that a swizzle takes.
const ROW: usize = 64;

impl TensorMap {
    /// A contiguous tensor of bf16. `dims` and `box_dims` begin with the innermost dimension, a multiple of 8, whose box is 64 elements.
    ///
    /// # Panics
    /// When the dimensions are not those of the values.
    pub(crate) fn new<'a, const RANK: usize>(
        values: impl Into<View<'a, bf16>>,
        dims: [usize; RANK],
        box_dims: [usize; RANK],
    ) -> Result<Self, Error> {
        assert!(box_dims[0] == ROW && dims[0].is_multiple_of(8), "boxes of 64 elements out of rows of vectors");
        Self::encode(values.into(), sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, dims, box_dims)
    }

    /// Rows of 64 or 128 bytes, copied `box_rows` at a time.
    ///
    /// # Panics
    /// When the rows are not those of the buffer, or of another length.
    pub(crate) fn of_bytes(buffer: &Buffer<u8>, row_bytes: usize, box_rows: usize) -> Result<Self, Error> {
        let dims = [row_bytes, buffer.len() / row_bytes];
        Self::encode(
            buffer.into(),
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
            dims,
            [row_bytes, box_rows],
        )
    }

    fn encode<T: Pod, const RANK: usize>(
        values: View<T>,
        data_type: sys::CUtensorMapDataType,
        dims: [usize; RANK],
        box_dims: [usize; RANK],
    ) -> Result<Self, Error> {
        assert_eq!(dims.iter().product::<usize>(), values.len(), "a tensor is all of its values");
        let swizzle = match box_dims[0] * size_of::<T>() {
            64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            bytes => panic!("rows of 64 or 128 bytes, not of {bytes}"),
        };
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let sizes = dims.map(|n| n as u64);
        let boxes = box_dims.map(|n| n as u32);
        // Bytes from element to element of every dimension but the innermost.
        let strides: Vec<u64> =
            (1..RANK).map(|i| (dims[..i].iter().product::<usize>() * size_of::<T>()) as u64).collect();
        let steps = [1u32; RANK];
        // SAFETY: every pointer has RANK elements (RANK - 1 of the strides), and the address is that of the values.
        let code = unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                data_type,
                RANK as u32,
                values.address() as *mut _,
                sizes.as_ptr(),
                strides.as_ptr(),
                boxes.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        code.result()
            .map_err(|error| driver_error(format!("describing a tensor {dims:?} in boxes of {box_dims:?}"), error))?;
        Ok(Self(map))
    }
}
