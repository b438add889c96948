//! One token times the matrices of the experts that it takes, which the device reads itself.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut, View, ViewMut};
use crate::route::Choices;
use crate::{Error, image};
use half::bf16;
use std::sync::Arc;

/// A matrix an expert, each `[rows][features]`.
pub struct ExpertMatrices {
    /// What the addresses are of: they live as long.
    matrices: Vec<Arc<Buffer<bf16>>>,
    addresses: Buffer<u64>,
    features: usize,
}

impl ExpertMatrices {
    /// Takes the addresses of matrices of rows of `features` to the device.
    ///
    /// # Errors
    /// When there is none, they are not of one shape or lie on another device, `features` is not a multiple of 8, or there
    /// is no room.
    pub fn new(device: &Device, matrices: Vec<Arc<Buffer<bf16>>>, features: usize) -> Result<Self, Error> {
        Error::check_features(features)?;
        let Some(first) = matrices.first() else {
            let (expected, found) = ("at least one".into(), "none".into());
            return Err(Error::Unsupported { what: "matrices of experts", expected, found });
        };
        let rows = first.len() / features;
        for matrix in &matrices {
            Error::check_len("matrix of an expert", rows * features, matrix.len())?;
            device.check_owns([("matrix of an expert", matrix.device())])?;
        }
        let addresses: Vec<u64> = matrices.iter().map(|matrix| matrix.pointer().address()).collect();
        Ok(Self { addresses: device.upload(&addresses)?, matrices, features })
    }

    fn rows(&self) -> usize {
        self.matrices[0].len() / self.features
    }
}

/// The kernels.
pub struct ExpertMatvec {
    multiply: Kernel,
    add: Kernel,
}

/// `Arguments` in `kernels/expert_matvec.cu`.
#[repr(C)]
struct Arguments {
    weights: Pointer<u64>,
    experts: Pointer<u32>,
    shares: Pointer<f32>,
    x: Pointer<bf16>,
    out: PointerMut<bf16>,
    sum: PointerMut<f32>,
    rows: i32,
    features: i32,
    count: i32,
    slots: i32,
}

/// `warps` in the kernels, each of which takes a row.
const BLOCK_ROWS: usize = 4;
const THREADS: u32 = 32 * BLOCK_ROWS as u32;

impl ExpertMatvec {
    /// Loads the kernels.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        let kernel = |name| device.kernel(image!("expert_matvec"), name, 0);
        Ok(Self { multiply: kernel("expert_matvec")?, add: kernel("expert_matvec_add")? })
    }

    /// `out[choice] = matrices[expert of the choice] x` for the choices of one token; `x` is `[features]`, `out`
    /// `[choice][rows]`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or the driver refuses.
    pub fn multiply(
        &self,
        matrices: &ExpertMatrices,
        choices: &Choices,
        x: View<bf16>,
        mut out: ViewMut<bf16>,
    ) -> Result<(), Error> {
        let rows = matrices.rows();
        Error::check_len("vector to multiply", matrices.features, x.len())?;
        Error::check_len("products of experts", choices.len() * rows, out.len())?;
        self.multiply.check_device([("products of experts", out.device())])?;
        let grid = Grid {
            blocks: (rows.div_ceil(BLOCK_ROWS) as u32, choices.len() as u32, 1),
            threads: THREADS,
            shared_bytes: 0,
        };
        let to = (out.pointer_mut(), PointerMut::null());
        self.launch(&self.multiply, grid, matrices, choices, x, to)
    }

    /// `out += share * matrices[expert of the choice] x[choice]`, over the choices of one token; `x` is
    /// `[choice][features]`, `out` `[rows]`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or the driver refuses.
    pub fn multiply_add(
        &self,
        matrices: &ExpertMatrices,
        choices: &Choices,
        x: View<bf16>,
        out: &mut Buffer<f32>,
    ) -> Result<(), Error> {
        Error::check_len("vectors to multiply", choices.len() * matrices.features, x.len())?;
        Error::check_len("products of experts", matrices.rows(), out.len())?;
        self.add.check_device([("products of experts", out.device())])?;
        let grid = Grid::rows(matrices.rows().div_ceil(BLOCK_ROWS), THREADS);
        let to = (PointerMut::null(), out.pointer_mut());
        self.launch(&self.add, grid, matrices, choices, x, to)
    }

    /// The caller has checked lengths.
    fn launch(
        &self,
        kernel: &Kernel,
        grid: Grid,
        matrices: &ExpertMatrices,
        choices: &Choices,
        x: View<bf16>,
        (out, sum): (PointerMut<bf16>, PointerMut<f32>),
    ) -> Result<(), Error> {
        Error::check_len("choices of one token", choices.per_token(), choices.len())?;
        let operands = [
            ("matrices of experts", matrices.addresses.device()),
            ("choices", choices.device()),
            ("vector to multiply", x.device()),
        ];
        kernel.check_device(operands)?;
        x.check_vectors("vector to multiply")?;
        let arguments = Arguments {
            weights: matrices.addresses.pointer(),
            experts: choices.experts.pointer(),
            shares: choices.shares.pointer(),
            x: x.pointer(),
            out,
            sum,
            rows: matrices.rows() as i32,
            features: matrices.features as i32,
            count: matrices.matrices.len() as i32,
            slots: choices.len() as i32,
        };
        // SAFETY: `Arguments` mirrors the kernels'; they read rows of matrices that live as long as `matrices`, of the first
        // `count` whatever the choice, and vectors and outputs of the lengths that the caller checked.
        unsafe { kernel.launch(grid, &arguments) }
    }
}
