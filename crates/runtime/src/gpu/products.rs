//! Weights on the device, and products with them.

use crate::formats::{Encoding, Tensor};
use crate::ops::OpsError;
use crate::precision::Quantization;
use cuda::Error;
use cuda::device::{Buffer, Device, View, ViewMut};
use cuda::embed::Embed;
use cuda::gate::Activation;
use cuda::gated_gemm_sm90::GatedGemmSm90;
use cuda::gemm::Gemm;
use cuda::quantised::{Encoding as OnDevice, Product, Quantised, QuantisedMatrix};
use cuda::rows::{Fp8Rows, QuantiseRows, Rows, RowsMut};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A weight matrix.
#[derive(Clone)]
pub struct Matrix {
    stored: Arc<Stored>,
    cols: usize,
}

enum Stored {
    /// As the file has it, some rows after others.
    Parts(Vec<Part>),
    /// Rounded when it was loaded.
    Fp8(Fp8Rows),
}

/// Some rows of a matrix.
enum Part {
    Plain(Arc<Buffer<bf16>>),
    Quantised(QuantisedMatrix),
}

impl Matrix {
    fn parts(&self) -> &[Part] {
        match &*self.stored {
            Stored::Parts(parts) => parts,
            Stored::Fp8(_) => &[],
        }
    }

    /// All of it, where it is in bf16.
    pub(super) fn plain(&self) -> Option<&Arc<Buffer<bf16>>> {
        match self.parts() {
            [Part::Plain(weight)] => Some(weight),
            _ => None,
        }
    }

    /// Elements of a row.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// All of it, where products can read it as it is.
    fn whole(&self) -> Option<Rows<'_>> {
        match &*self.stored {
            Stored::Fp8(rows) => Some(rows.into()),
            Stored::Parts(parts) => match &parts[..] {
                [Part::Plain(weight)] => Some((&**weight).into()),
                _ => None,
            },
        }
    }
}

/// Activations as the matrices of layers want them.
pub enum OperandValues {
    Bf16(Buffer<bf16>),
    Fp8(Fp8Rows),
}

impl OperandValues {
    /// All tokens.
    pub(super) fn all(&self) -> Rows<'_> {
        match self {
            Self::Bf16(values) => values.into(),
            Self::Fp8(rows) => rows.into(),
        }
    }

    /// All tokens, to write.
    pub(super) fn all_mut(&mut self) -> RowsMut<'_> {
        match self {
            Self::Bf16(values) => values.into(),
            Self::Fp8(rows) => rows.into(),
        }
    }

    /// Some tokens.
    pub(super) fn rows(&self, tokens: Range<usize>, features: usize) -> Rows<'_> {
        match self {
            Self::Bf16(values) => values.view(tokens.start * features..tokens.end * features).into(),
            Self::Fp8(rows) => rows.view(tokens).into(),
        }
    }

    /// Some tokens, to write.
    pub(super) fn rows_mut(&mut self, tokens: Range<usize>, features: usize) -> RowsMut<'_> {
        match self {
            Self::Bf16(values) => values.view_mut(tokens.start * features..tokens.end * features).into(),
            Self::Fp8(rows) => rows.view_mut(tokens).into(),
        }
    }
}

/// What multiplies.
pub(super) struct Products {
    device: Device,
    gemm: Mutex<Gemm>,
    embed: Embed,
    quantised: Quantised,
    /// A quantised matrix while many rows are multiplied by it: room for the largest.
    dequantised: Mutex<Buffer<bf16>>,
    /// Of the matrices of layers.
    quantization: Option<Quantization>,
    quantise_rows: QuantiseRows,
}

impl Products {
    pub(super) fn new(device: &Device, quantization: Option<Quantization>) -> Result<Self, Error> {
        if let Some(Quantization::Fp8) = quantization {
            Gemm::check_fp8(device)?;
        }
        Ok(Self {
            quantization,
            quantise_rows: QuantiseRows::new(device)?,
            gemm: Mutex::new(Gemm::new(device)?),
            embed: Embed::new(device)?,
            quantised: Quantised::new(device),
            dequantised: Mutex::new(device.room(0)?),
            device: device.clone(),
        })
    }

    fn with_gemm<T>(&self, run: impl FnOnce(&mut Gemm) -> Result<T, Error>) -> Result<T, Error> {
        // Plans are added whole or not at all, so a panic elsewhere leaves nothing half done.
        run(&mut self.gemm.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the matrices of layers are rounded to.
    pub(super) fn quantization(&self) -> Option<Quantization> {
        self.quantization
    }

    /// Room for what the matrices of layers are multiplied with.
    pub(super) fn operand(&self, tokens: usize, features: usize) -> Result<OperandValues, Error> {
        Ok(match self.quantization {
            Some(Quantization::Fp8) => OperandValues::Fp8(Fp8Rows::room(&self.device, tokens, features)?),
            None => OperandValues::Bf16(self.device.room(tokens * features)?),
        })
    }

    /// Rounds rows.
    pub(super) fn quantise(&self, from: &Buffer<bf16>, to: &mut Fp8Rows) -> Result<(), OpsError> {
        let rows = to.len();
        Ok(self.quantise_rows.launch(from, to.view_mut(0..rows))?)
    }

    /// `out = matrix x`, row by row of x.
    pub(super) fn multiply(&self, matrix: &Matrix, x: Rows, mut out: ViewMut<bf16>) -> Result<(), Error> {
        let cols = matrix.cols;
        if let Some(weight) = matrix.whole() {
            return self.with_gemm(|gemm| gemm.multiply(weight, x, cols, out));
        }
        let row = match x {
            Rows::Bf16(row) if row.len() == cols => row,
            _ => {
                return self
                    .with_dequantised(matrix, |weight| self.with_gemm(|gemm| gemm.multiply(weight, x, cols, out)));
            }
        };
        let mut start = 0;
        for part in matrix.parts() {
            let rows = part.rows(cols);
            let to = out.part(start..start + rows);
            match part {
                Part::Plain(weight) => self.with_gemm(|gemm| gemm.multiply(&**weight, row, cols, to))?,
                Part::Quantised(part) => self.quantised.multiply(part, row, Product::Narrow(to))?,
            }
            start += rows;
        }
        Ok(())
    }

    /// `out = activation(gate x) * (up x)`, row by row of x, all in bf16; `matrix` is gate, then up.
    pub(super) fn multiply_gated(
        &self,
        gated_gemm: &GatedGemmSm90,
        activation: Activation,
        matrix: &Matrix,
        x: Rows,
        out: RowsMut,
    ) -> Result<(), Error> {
        let (Rows::Bf16(x), RowsMut::Bf16(out)) = (x, out) else { unreachable!("what is rounded has no such kernel") };
        let cols = matrix.cols;
        match matrix.plain() {
            Some(weight) => gated_gemm.launch(activation, &**weight, x, cols, out),
            None => self.with_dequantised(matrix, |weight| gated_gemm.launch(activation, weight, x, cols, out)),
        }
    }

    /// `out += matrix x`, row by row of x.
    pub(super) fn multiply_add(&self, matrix: &Matrix, x: Rows, out: ViewMut<f32>) -> Result<(), Error> {
        let cols = matrix.cols;
        if let Some(weight) = matrix.whole() {
            return self.with_gemm(|gemm| gemm.multiply_add(weight, x, cols, out));
        }
        match (matrix.parts(), x) {
            ([Part::Quantised(part)], Rows::Bf16(row)) if row.len() == cols => {
                self.quantised.multiply(part, row, Product::Add(out))
            }
            _ => self.with_dequantised(matrix, |weight| self.with_gemm(|gemm| gemm.multiply_add(weight, x, cols, out))),
        }
    }

    /// `out = matrix x` in f32, row by row of x.
    pub(super) fn multiply_wide(&self, matrix: &Matrix, x: Rows, out: ViewMut<f32>) -> Result<(), Error> {
        let cols = matrix.cols;
        if let Some(weight) = matrix.whole() {
            return self.with_gemm(|gemm| gemm.multiply_wide(weight, x, cols, out));
        }
        match (matrix.parts(), x) {
            ([Part::Quantised(part)], Rows::Bf16(row)) if row.len() == cols => {
                self.quantised.multiply(part, row, Product::Wide(out))
            }
            _ => {
                self.with_dequantised(matrix, |weight| self.with_gemm(|gemm| gemm.multiply_wide(weight, x, cols, out)))
            }
        }
    }

    /// Runs a product with the matrix in bf16. Products follow each other on the device, so one room serves all.
    fn with_dequantised(
        &self,
        matrix: &Matrix,
        run: impl FnOnce(View<bf16>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut room = self.dequantised.lock().unwrap_or_else(PoisonError::into_inner);
        let mut start = 0;
        for part in matrix.parts() {
            let elements = part.rows(matrix.cols) * matrix.cols;
            let mut to = room.view_mut(start..start + elements);
            match part {
                Part::Plain(weight) => to.copy_from((&**weight).into())?,
                Part::Quantised(part) => self.quantised.dequantise(part, to)?,
            }
            start += elements;
        }
        run(room.view(0..start))
    }

    /// Takes a matrix of a layer to the device, rounded as asked for.
    pub(super) fn upload_layer(&self, parts: &[Tensor]) -> Result<Matrix, OpsError> {
        let Some(Quantization::Fp8) = self.quantization else { return self.upload(parts) };
        let (cols, rows) = (parts[0].cols(), parts.iter().map(Tensor::rows).sum());
        let mut rounded = Fp8Rows::room(&self.device, rows, cols)?;
        self.quantise(&self.upload_plain(parts)?, &mut rounded)?;
        Ok(Matrix { stored: Arc::new(Stored::Fp8(rounded)), cols })
    }

    /// Takes a matrix to the device: what is quantised there stays so, all else becomes bf16.
    pub(super) fn upload(&self, parts: &[Tensor]) -> Result<Matrix, OpsError> {
        let cols = parts[0].cols();
        assert!(parts.iter().all(|part| part.cols() == cols), "parts of one matrix have one width");
        let uploaded = match parts.iter().all(|part| quantised(part.encoding()).is_none()) {
            true => vec![Part::Plain(Arc::new(self.upload_plain(parts)?))],
            false => parts.iter().map(|part| self.upload_part(part)).collect::<Result<_, OpsError>>()?,
        };
        let rows: usize = parts.iter().map(Tensor::rows).sum();
        if !matches!(uploaded[..], [Part::Plain(_)]) {
            let mut room = self.dequantised.lock().unwrap_or_else(PoisonError::into_inner);
            if room.len() < rows * cols {
                // The smaller one goes first.
                *room = self.device.room(0)?;
                *room = self.device.room(rows * cols)?;
            }
        }
        Ok(Matrix { stored: Arc::new(Stored::Parts(uploaded)), cols })
    }

    fn upload_part(&self, part: &Tensor) -> Result<Part, OpsError> {
        let Some(encoding) = quantised(part.encoding()) else {
            return Ok(Part::Plain(Arc::new(self.upload_plain(std::slice::from_ref(part))?)));
        };
        // A recording cannot load code.
        self.quantised.load(encoding)?;
        let matrix = QuantisedMatrix::new(&self.device, encoding, part.rows(), part.cols(), part.bytes())?;
        Ok(Part::Quantised(matrix))
    }

    /// Takes a matrix to the device in bf16, times `scale`.
    pub(super) fn upload_scaled(&self, part: &Tensor, scale: f32) -> Result<Matrix, OpsError> {
        let values = self.upload_values(std::slice::from_ref(part), scale)?;
        Ok(Matrix { stored: Arc::new(Stored::Parts(vec![Part::Plain(Arc::new(values))])), cols: part.cols() })
    }

    fn upload_plain(&self, parts: &[Tensor]) -> Result<Buffer<bf16>, OpsError> {
        self.upload_values(parts, 1.0)
    }

    fn upload_values(&self, parts: &[Tensor], scale: f32) -> Result<Buffer<bf16>, OpsError> {
        let cols = parts[0].cols();
        let sources: Vec<_> = parts.iter().flat_map(|part| (0..part.rows()).map(move |row| (part, row))).collect();
        let mut values = vec![bf16::ZERO; sources.len() * cols];
        values.par_chunks_mut(cols).zip(&sources).for_each_init(
            || vec![0.0; cols],
            |decoded, (values, (part, row))| {
                part.read_row(*row, decoded);
                values.iter_mut().zip(decoded).for_each(|(value, x)| *value = bf16::from_f32(*x * scale));
            },
        );
        Ok(self.device.upload(&values)?)
    }

    /// Rows of a table, by token id.
    pub(super) fn embed(&self, table: &Matrix, ids: &Buffer<u32>, out: &mut Buffer<f32>) -> Result<(), Error> {
        match table.parts() {
            [Part::Plain(weight)] => self.embed.launch(weight, table.cols, ids, out),
            [Part::Quantised(part)] => self.quantised.embed(part, ids, out),
            _ => unreachable!("an embedding is one tensor, as its file has it"),
        }
    }
}

impl Part {
    fn rows(&self, cols: usize) -> usize {
        match self {
            Part::Plain(weight) => weight.len() / cols,
            Part::Quantised(part) => part.rows(),
        }
    }
}

/// The encodings that weights keep on the device.
pub(super) fn quantised(encoding: Encoding) -> Option<OnDevice> {
    Some(match encoding {
        Encoding::F32 | Encoding::F16 | Encoding::BF16 => return None,
        Encoding::Q4_0 => OnDevice::Q4_0,
        Encoding::Q4_1 => OnDevice::Q4_1,
        Encoding::Q5_0 => OnDevice::Q5_0,
        Encoding::Q5_1 => OnDevice::Q5_1,
        Encoding::Q8_0 => OnDevice::Q8_0,
        Encoding::Q4_K => OnDevice::Q4_K,
        Encoding::Q5_K => OnDevice::Q5_K,
        Encoding::Q6_K => OnDevice::Q6_K,
    })
}
