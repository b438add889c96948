//! Weights that stay as GGUF files store them.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut, View, ViewMut};
use crate::{Error, image};
use half::bf16;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A block format of GGML. Names are GGML's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
pub enum Encoding {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

use Encoding::*;

impl Encoding {
    /// Elements and bytes of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Q4_0 => (32, 18),
            Q4_1 => (32, 20),
            Q5_0 => (32, 22),
            Q5_1 => (32, 24),
            Q8_0 => (32, 34),
            Q4_K => (256, 144),
            Q5_K => (256, 176),
            Q6_K => (256, 210),
        }
    }

    /// Kernels to bf16, times a vector, and of an embedding table.
    fn kernels(self) -> [&'static str; 3] {
        match self {
            Q4_0 => ["dequantise_q4_0", "matvec_q4_0", "embed_q4_0"],
            Q4_1 => ["dequantise_q4_1", "matvec_q4_1", "embed_q4_1"],
            Q5_0 => ["dequantise_q5_0", "matvec_q5_0", "embed_q5_0"],
            Q5_1 => ["dequantise_q5_1", "matvec_q5_1", "embed_q5_1"],
            Q8_0 => ["dequantise_q8_0", "matvec_q8_0", "embed_q8_0"],
            Q4_K => ["dequantise_q4_k", "matvec_q4_k", "embed_q4_k"],
            Q5_K => ["dequantise_q5_k", "matvec_q5_k", "embed_q5_k"],
            Q6_K => ["dequantise_q6_k", "matvec_q6_k", "embed_q6_k"],
        }
    }
}

/// A matrix of whole blocks, `[rows][cols]`.
pub struct QuantisedMatrix {
    blocks: Buffer<u8>,
    encoding: Encoding,
    rows: usize,
    cols: usize,
}

impl QuantisedMatrix {
    /// Takes the blocks of `rows` rows of `cols` elements to the device.
    ///
    /// # Errors
    /// When `cols` is no multiple of a block's elements, there are not as many bytes, or there is no room.
    pub fn new(device: &Device, encoding: Encoding, rows: usize, cols: usize, blocks: &[u8]) -> Result<Self, Error> {
        let (elements, bytes) = encoding.block();
        let countable = rows.checked_mul(cols).is_some_and(|all| all / UNIT <= i32::MAX as usize);
        if rows == 0 || cols == 0 || !cols.is_multiple_of(elements) || !countable {
            let expected = format!("at least one row of a multiple of {elements} elements, and fewer than 2^34 in all");
            return Err(Error::Unsupported { what: "quantised matrix", expected, found: format!("{rows} x {cols}") });
        }
        Error::check_len("bytes of a quantised matrix", rows * cols / elements * bytes, blocks.len())?;
        Ok(Self { blocks: device.upload(blocks)?, encoding, rows, cols })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    fn row_bytes(&self) -> usize {
        self.blocks.len() / self.rows
    }
}

/// Where a product with one vector goes.
pub enum Product<'a> {
    /// Rounded.
    Narrow(ViewMut<'a, bf16>),
    /// As computed.
    Wide(ViewMut<'a, f32>),
    /// Added to what is there.
    Add(ViewMut<'a, f32>),
}

/// The kernels of all encodings met so far.
pub struct Quantised {
    device: Device,
    kernels: Mutex<HashMap<Encoding, [Kernel; 3]>>,
}

/// `Arguments` in `kernels/dequantise.cu`.
#[repr(C)]
struct DequantiseArguments {
    blocks: Pointer<u8>,
    out: PointerMut<bf16>,
    units: u32,
}

/// `Arguments` in `kernels/quantised_matvec.cu`.
#[repr(C)]
struct MatvecArguments {
    blocks: Pointer<u8>,
    x: Pointer<bf16>,
    narrow: PointerMut<bf16>,
    wide: PointerMut<f32>,
    rows: i32,
    units: i32,
    row_bytes: i32,
    add: i32,
}

/// `Arguments` in `kernels/quantised_embed.cu`.
#[repr(C)]
struct EmbedArguments {
    table: Pointer<u8>,
    ids: Pointer<u32>,
    out: PointerMut<f32>,
    units: i32,
    row_bytes: i32,
    vocab_size: u32,
}

/// Elements a thread takes.
const UNIT: usize = 8;
/// Rows of a block of `quantised_matvec.cu`.
const MATVEC_ROWS: usize = 8;

impl Quantised {
    /// Without kernels; they are loaded with the matrices that need them.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), kernels: Mutex::default() }
    }

    /// Loads the kernels of an encoding, unless they are.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn load(&self, encoding: Encoding) -> Result<(), Error> {
        self.kernels(encoding).map(drop)
    }

    fn kernels(&self, encoding: Encoding) -> Result<[Kernel; 3], Error> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = kernels.get(&encoding) {
            return Ok(loaded.clone());
        }
        let [dequantise, matvec, embed] = encoding.kernels();
        let loaded = [
            self.device.kernel(image!("dequantise"), dequantise, 0)?.started_early(),
            self.device.kernel(image!("quantised_matvec"), matvec, 0)?.started_early(),
            self.device.kernel(image!("quantised_embed"), embed, 0)?,
        ];
        kernels.insert(encoding, loaded.clone());
        Ok(loaded)
    }

    /// The matrix in bf16, `[rows][cols]`.
    ///
    /// # Errors
    /// When `out` has another length or lies on another device, or the driver refuses.
    pub fn dequantise(&self, matrix: &QuantisedMatrix, mut out: ViewMut<bf16>) -> Result<(), Error> {
        let elements = matrix.rows * matrix.cols;
        Error::check_len("dequantised weights", elements, out.len())?;
        let units = elements / UNIT;
        self.device
            .check_owns([("quantised matrix", matrix.blocks.device()), ("dequantised weights", out.device())])?;
        out.check_vectors("dequantised weights")?;
        let arguments =
            DequantiseArguments { blocks: matrix.blocks.pointer(), out: out.pointer_mut(), units: units as u32 };
        let [kernel, ..] = self.kernels(matrix.encoding)?;
        // SAFETY: `DequantiseArguments` mirrors the kernel's; threads below `units` read whole blocks of the matrix and
        // write inside the checked length.
        unsafe { kernel.launch(Grid::rows(units.div_ceil(256), 256), &arguments) }
    }

    /// `matrix * x`, for one vector.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or the driver refuses.
    pub fn multiply<'a>(
        &self,
        matrix: &QuantisedMatrix,
        x: impl Into<View<'a, bf16>>,
        out: Product,
    ) -> Result<(), Error> {
        let x = x.into();
        Error::check_len("vector to multiply", matrix.cols, x.len())?;
        x.check_vectors("vector to multiply")?;
        let to = match &out {
            Product::Narrow(out) => out.device(),
            Product::Wide(out) | Product::Add(out) => out.device(),
        };
        let operands =
            [("quantised matrix", matrix.blocks.device()), ("vector to multiply", x.device()), ("product", to)];
        self.device.check_owns(operands)?;
        let (len, narrow, wide, add) = match out {
            Product::Narrow(mut out) => (out.len(), out.pointer_mut(), PointerMut::null(), 0),
            Product::Wide(mut out) => (out.len(), PointerMut::null(), out.pointer_mut(), 0),
            Product::Add(mut out) => (out.len(), PointerMut::null(), out.pointer_mut(), 1),
        };
        Error::check_len("product", matrix.rows, len)?;
        let arguments = MatvecArguments {
            blocks: matrix.blocks.pointer(),
            x: x.pointer(),
            narrow,
            wide,
            rows: matrix.rows as i32,
            units: (matrix.cols / UNIT) as i32,
            row_bytes: matrix.row_bytes() as i32,
            add,
        };
        let [_, kernel, _] = self.kernels(matrix.encoding)?;
        // SAFETY: `MatvecArguments` mirrors the kernel's; it reads whole rows of the matrix and the vector, and writes
        // one element a row.
        unsafe { kernel.launch(Grid::rows(matrix.rows.div_ceil(MATVEC_ROWS), 128), &arguments) }
    }

    /// `out[row] = table[ids[row]]`. An id past the table reads its last row: check ids where they come in.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or the driver refuses.
    pub fn embed(&self, table: &QuantisedMatrix, ids: &Buffer<u32>, out: &mut Buffer<f32>) -> Result<(), Error> {
        Error::check_len("embedded rows", ids.len() * table.cols, out.len())?;
        let operands =
            [("embedding table", table.blocks.device()), ("ids", ids.device()), ("embedded rows", out.device())];
        self.device.check_owns(operands)?;
        if ids.is_empty() {
            return Ok(());
        }
        let arguments = EmbedArguments {
            table: table.blocks.pointer(),
            ids: ids.pointer(),
            out: out.pointer_mut(),
            units: (table.cols / UNIT) as i32,
            row_bytes: table.row_bytes() as i32,
            vocab_size: table.rows as u32,
        };
        let [.., kernel] = self.kernels(table.encoding)?;
        // SAFETY: `EmbedArguments` mirrors the kernel's; every block reads a row of the table and writes its own.
        unsafe { kernel.launch(Grid::rows(ids.len(), 128), &arguments) }
    }
}
