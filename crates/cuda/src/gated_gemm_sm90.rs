//! The first half of an MLP in one kernel, for compute capability 9.0.

use crate::device::{Device, Grid, Kernel, TensorMap, View, ViewMut};
use crate::gate::Activation;
use crate::{Error, image};
use half::bf16;

/// Products with gate and up whose results meet in registers: what lies between them never goes through memory.
pub struct GatedGemmSm90 {
    silu: Kernel,
    gelu: Kernel,
}

/// `Arguments` in `kernels/gated_gemm_sm90.cu`.
#[repr(C)]
struct Arguments {
    x: TensorMap,
    weight: TensorMap,
    out: TensorMap,
    row_pairs: i32,
    feature_tiles: i32,
    steps: i32,
    features: i32,
}

// As `static_assert`ed in the kernel.
const _: () = assert!(size_of::<Arguments>() == 512 && std::mem::offset_of!(Arguments, features) == 396);

/// Rows and features of a tile, and inputs of a step of it.
const TILE: usize = 128;
const STEP: usize = 64;
/// Blocks of threads that share weights.
const CLUSTER: usize = 2;
/// Four steps of rows, gate and up, and a tile to write; barriers take less than 1,024 bytes, and as many may be lost to alignment.
const SHARED_BYTES: usize = (4 * 3 * TILE * STEP + TILE * TILE) * size_of::<bf16>() + 2 * 1024;

impl GatedGemmSm90 {
    /// Whether a device has this kernel.
    pub fn fits(device: &Device) -> bool {
        device.properties().capability == (9, 0)
    }

    /// Loads the kernels.
    ///
    /// # Errors
    /// When the device does not [fit](Self::fits), or the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        if !Self::fits(device) {
            return Err(Error::Unsupported {
                what: "gated products of compute capability 9.0",
                expected: "that capability".into(),
                found: format!("{:?}", device.properties().capability),
            });
        }
        let kernel = |name| device.kernel(image!("gated_gemm_sm90"), name, SHARED_BYTES).map(Kernel::started_early);
        Ok(Self { silu: kernel("gated_gemm_sm90_silu")?, gelu: kernel("gated_gemm_sm90_gelu")? })
    }

    /// `out[row][i] = activation(x[row] . weight[0][i]) * (x[row] . weight[1][i])`: `weight` is `[2][features][inputs]`, gate and up, `x`
    /// `[row][inputs]`, `out` `[row][features]`. Sums are f32, and nothing is rounded before the end.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, `inputs` or `features` is not a multiple of 8, or the driver refuses.
    pub fn launch<'a>(
        &self,
        activation: Activation,
        weight: impl Into<View<'a, bf16>>,
        x: impl Into<View<'a, bf16>>,
        inputs: usize,
        out: impl Into<ViewMut<'a, bf16>>,
    ) -> Result<(), Error> {
        let (weight, x, out) = (weight.into(), x.into(), out.into());
        Error::check_features(inputs)?;
        let (rows, features) = (x.len() / inputs, weight.len() / (2 * inputs));
        Error::check_features(features)?;
        Error::check_len("rows to multiply", rows * inputs, x.len())?;
        Error::check_len("gate and up", 2 * features * inputs, weight.len())?;
        Error::check_len("gated rows", rows * features, out.len())?;
        let kernel = match activation {
            Activation::Silu => &self.silu,
            Activation::GeluTanh => &self.gelu,
        };
        kernel.check_device([("gate and up", weight.device()), ("rows", x.device()), ("gated rows", out.device())])?;
        weight.check_vectors("gate and up")?;
        x.check_vectors("rows to multiply")?;
        out.check_vectors("gated rows")?;
        if rows == 0 {
            return Ok(());
        }
        let (row_pairs, feature_tiles) = (rows.div_ceil(CLUSTER * TILE), features.div_ceil(TILE));
        let arguments = Arguments {
            x: TensorMap::new(x, [inputs, rows], [STEP, TILE])?,
            weight: TensorMap::new(weight, [inputs, 2 * features], [STEP, TILE])?,
            out: TensorMap::new(out.as_view(), [features, rows], [STEP, STEP])?,
            row_pairs: row_pairs as i32,
            feature_tiles: feature_tiles as i32,
            steps: inputs.div_ceil(STEP) as i32,
            features: features as i32,
        };
        let clusters = (kernel.device().properties().multiprocessors / CLUSTER).min(row_pairs * feature_tiles);
        let blocks = ((clusters * CLUSTER) as u32, 1, 1);
        // SAFETY: `Arguments` mirrors the kernel's. It reads and writes through the maps alone, which end where the checked
        // operands end.
        unsafe { kernel.launch(Grid { blocks, threads: 384, shared_bytes: SHARED_BYTES as u32 }, &arguments) }
    }
}
