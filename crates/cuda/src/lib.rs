//! The engine's operations on NVIDIA GPUs.
//!
//! * [`device`]: the driver, and nothing else knows it: context, stream, buffers, kernels.
//! * [`kv`]: keys and values on the device, in pages.
//! * [`batch`]: the sequences of a step and the order of their query tiles, made once and used by every layer.
//! * [`attend`]: attention, dense or by a plan, by the best kernel of the device.
//! * [`plan`]: what the tiles of a batch compute, as kernels read it.
//! * [`search`]: finds such plans, all on the device.
//! * [`calibrate`]: what plans and their search cost on the device.
//! * [`mod@bench`]: how long the kernels of attention take, and how fast they are.
//! * [`rows`]: what products multiply, in bf16 or in 8-bit floats.
//! * One file for each kernel, of the same name as its source under `kernels/` and its test under `tests/`.
//!
//! Building needs no CUDA: kernels are compiled ahead of time by `scripts/build-kernels` and embedded, and the driver is
//! found when the program runs. Where there is none, [`device::Device::open`] says so and nothing panics.

#[allow(unsafe_code)] // calls of the driver
pub mod device;

pub mod attend;
#[allow(unsafe_code)] // a launch
pub mod attend_sm80;
#[allow(unsafe_code)] // a launch
pub mod attend_sm90;
pub mod batch;
pub mod bench;
pub mod calibrate;
#[allow(unsafe_code)] // launches
pub mod decode_attention;
#[allow(unsafe_code)] // a launch
pub mod embed;
mod error;
#[allow(unsafe_code)] // launches
pub mod expert_matvec;
#[allow(unsafe_code)] // launches
pub mod expert_rows;
#[allow(unsafe_code)] // a launch
pub mod gate;
#[allow(unsafe_code)] // a launch
pub mod gated_gemm_sm90;
#[allow(unsafe_code)] // calls of cuBLASLt
pub mod gemm;
pub mod kv;
#[allow(unsafe_code)] // a launch
pub mod likeliest;
pub mod plan;
pub mod precision;
#[allow(unsafe_code)] // a launch
pub mod qkv_rope_store;
#[allow(unsafe_code)] // launches
pub mod quantise_kv;
#[allow(unsafe_code)] // launches
pub mod quantised;
mod random;
#[allow(unsafe_code)] // launches
pub mod rms_norm;
#[allow(unsafe_code)] // a launch
pub mod rotations;
#[allow(unsafe_code)] // a launch
pub mod route;
#[allow(unsafe_code)] // a launch
pub mod rows;
#[allow(unsafe_code)] // launches
pub mod search;

pub use error::Error;

/// The code of a kernel for all architectures, as `scripts/build-kernels` left it.
macro_rules! image {
    ($name:literal) => {{
        #[repr(align(64))]
        struct Aligned<T: ?Sized>(T);
        static IMAGE: &Aligned<[u8]> =
            &Aligned(*include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fatbins/", $name, ".fatbin")));
        &IMAGE.0
    }};
}
pub(crate) use image;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
