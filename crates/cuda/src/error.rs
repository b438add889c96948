//! What the GPU side refuses, and what to do about it.

use attention::shape::HeadShape;

/// An operation on the device that cannot be, or that the driver refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no NVIDIA driver on this machine.
    #[error("no NVIDIA driver: libcuda was not found; install the driver, or run on the CPU")]
    NoDriver,
    /// The driver is older than the compiler of the kernels.
    #[error(
        "the driver supports CUDA {}.{}, the kernels need {}.{}: update the driver to version 580 or newer",
        found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10
    )]
    OldDriver {
        /// CUDA version of the driver, `1000 major + 10 minor`.
        found: i32,
        /// CUDA version needed, likewise.
        needed: i32,
    },
    /// There is no cuBLASLt.
    #[error(
        "cuBLASLt was not found by the loader{}: install a CUDA 13 toolkit, or `pip install nvidia-cublas` and set VIRTUAL_ENV or LD_LIBRARY_PATH",
        places.iter().map(|place| format!(", nor in {place}")).collect::<String>()
    )]
    NoCublas {
        /// Folders searched beside the loader's.
        places: Vec<String>,
    },
    /// There is no such device.
    #[error(
        "no CUDA device {ordinal}: the driver sees {count}; choose one below that, check CUDA_VISIBLE_DEVICES, or run on the CPU"
    )]
    NoDevice {
        /// Device asked for.
        ordinal: usize,
        /// Devices there are.
        count: usize,
    },
    /// Device memory is used up.
    #[error(
        "{wanted_bytes} bytes of device memory wanted, {free_bytes} of {total_bytes} are free: use a shorter prompt, smaller chunks, or a larger device"
    )]
    Memory {
        /// Bytes asked for.
        wanted_bytes: usize,
        /// Bytes free.
        free_bytes: usize,
        /// Bytes of the device.
        total_bytes: usize,
    },
    /// The driver refused a call.
    #[error("{what}: {code}")]
    Driver {
        /// What was being done.
        what: String,
        /// The driver's name for the error.
        code: String,
    },
    /// This device, or this shape, has no kernel.
    #[error("{what}: expected {expected}, found {found}")]
    Unsupported {
        /// Which property.
        what: &'static str,
        /// What there is a kernel for.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// An operand lies on another device than the one that is to use it.
    #[error("{what}: expected on {expected}, found on {found}; a device that is opened twice counts as two")]
    OtherDevice {
        /// Operand.
        what: &'static str,
        /// Device that is to use it.
        expected: String,
        /// Device that it lies on.
        found: String,
    },
    /// Shapes, lengths or page tables that do not belong together.
    #[error(transparent)]
    Shape(#[from] attention::Error),
}

impl Error {
    pub(crate) fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
        if expected == found { Ok(()) } else { Err(attention::Error::Length { what, expected, found }.into()) }
    }

    pub(crate) fn check_heads(expected: HeadShape, found: HeadShape) -> Result<(), Error> {
        if expected == found {
            return Ok(());
        }
        let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
        Err(Error::Unsupported { what: "heads of the cache", expected, found })
    }

    /// Rows are read and written in vectors of eight elements, which kernels count in 32 bits.
    pub(crate) fn check_features(features: usize) -> Result<(), Error> {
        if features > 0 && features.is_multiple_of(8) && features <= 1 << 24 {
            return Ok(());
        }
        let (expected, found) = ("a multiple of 8 up to 2^24".into(), features.to_string());
        Err(Error::Unsupported { what: "features", expected, found })
    }
}
