//! Rows that matrix products multiply: in bf16, or in 8-bit floats with a scale a row.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut, View, ViewMut};
use crate::{Error, image};
use half::bf16;

/// Rows to read, `[row][features]`.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// In bf16.
    Bf16(View<'a, bf16>),
    /// In 8-bit floats.
    Fp8(Fp8View<'a>),
}

/// Rows to write, `[row][features]`.
pub enum RowsMut<'a> {
    /// In bf16.
    Bf16(ViewMut<'a, bf16>),
    /// In 8-bit floats.
    Fp8(Fp8ViewMut<'a>),
}

/// Rows in 8-bit floats (e4m3: four bits of exponent, three of mantissa, up to 448), each with a scale that its elements
/// are to be multiplied with: the largest absolute value of a row over 448 (Micikevicius et al., arXiv 2209.05433).
pub struct Fp8Rows {
    values: Buffer<u8>,
    scales: Buffer<f32>,
    features: usize,
}

/// Some of the rows of an [`Fp8Rows`], to read.
#[derive(Clone, Copy)]
pub struct Fp8View<'a> {
    pub(crate) values: View<'a, u8>,
    pub(crate) scales: View<'a, f32>,
}

/// Some of the rows of an [`Fp8Rows`], to write.
pub struct Fp8ViewMut<'a> {
    pub(crate) values: ViewMut<'a, u8>,
    pub(crate) scales: ViewMut<'a, f32>,
}

impl Fp8Rows {
    /// Room for `rows` rows of `features` elements that will be written before they are read.
    ///
    /// # Errors
    /// When `features` is no multiple of 16, which products of 8-bit floats want, or there is no room.
    pub fn room(device: &Device, rows: usize, features: usize) -> Result<Self, Error> {
        if features == 0 || !features.is_multiple_of(16) {
            let (expected, found) = ("a multiple of 16".into(), features.to_string());
            return Err(Error::Unsupported { what: "features of rows in 8-bit floats", expected, found });
        }
        let elements = rows.saturating_mul(features);
        Ok(Self { values: device.room(elements)?, scales: device.room(rows)?, features })
    }

    /// Bytes of `rows` rows of `features` elements.
    pub fn bytes(rows: usize, features: usize) -> usize {
        rows * (features + size_of::<f32>())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Rows `range`, to read.
    ///
    /// # Panics
    /// When there are no such rows.
    pub fn view(&self, range: std::ops::Range<usize>) -> Fp8View<'_> {
        let elements = range.start * self.features..range.end * self.features;
        Fp8View { values: self.values.view(elements), scales: self.scales.view(range) }
    }

    /// Rows `range`, to write.
    ///
    /// # Panics
    /// When there are no such rows.
    pub fn view_mut(&mut self, range: std::ops::Range<usize>) -> Fp8ViewMut<'_> {
        let elements = range.start * self.features..range.end * self.features;
        Fp8ViewMut { values: self.values.view_mut(elements), scales: self.scales.view_mut(range) }
    }

    /// All rows on the host: e4m3 bits, and scales.
    ///
    /// # Errors
    /// Whatever went wrong in the work asked for before.
    pub fn read(&self) -> Result<(Vec<u8>, Vec<f32>), Error> {
        Ok((self.values.read()?, self.scales.read()?))
    }
}

impl Rows<'_> {
    /// Elements of all rows.
    pub fn len(&self) -> usize {
        match self {
            Rows::Bf16(values) => values.len(),
            Rows::Fp8(rows) => rows.values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn device(&self) -> &Device {
        match self {
            Rows::Bf16(values) => values.device(),
            Rows::Fp8(rows) => rows.values.device(),
        }
    }

    /// Checks that a kernel can read vectors from the first element on.
    pub(crate) fn check_vectors(&self, what: &'static str) -> Result<(), Error> {
        match self {
            Rows::Bf16(values) => values.check_vectors(what),
            Rows::Fp8(rows) => rows.values.check_vectors(what),
        }
    }

    /// Addresses for a kernel that reads either: of elements, and of scales where rows have them.
    pub(crate) fn pointers(&self) -> (Pointer<u8>, Pointer<f32>) {
        match self {
            Rows::Bf16(values) => (values.pointer().cast(), Pointer::null()),
            Rows::Fp8(rows) => (rows.values.pointer(), rows.scales.pointer()),
        }
    }
}

impl RowsMut<'_> {
    /// Elements of all rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            RowsMut::Bf16(values) => values.len(),
            RowsMut::Fp8(rows) => rows.values.len(),
        }
    }

    pub(crate) fn device(&self) -> &Device {
        match self {
            RowsMut::Bf16(values) => values.device(),
            RowsMut::Fp8(rows) => rows.values.device(),
        }
    }

    /// Checks that a kernel can write vectors from the first element on.
    pub(crate) fn check_vectors(&self, what: &'static str) -> Result<(), Error> {
        match self {
            RowsMut::Bf16(values) => values.check_vectors(what),
            RowsMut::Fp8(rows) => rows.values.check_vectors(what),
        }
    }

    /// Addresses for a kernel that writes either: of elements, and of scales where rows have them.
    pub(crate) fn pointers(&mut self) -> (PointerMut<u8>, PointerMut<f32>) {
        match self {
            RowsMut::Bf16(values) => (values.pointer_mut().cast(), PointerMut::null()),
            RowsMut::Fp8(rows) => (rows.values.pointer_mut(), rows.scales.pointer_mut()),
        }
    }
}

impl<'a> From<View<'a, bf16>> for Rows<'a> {
    fn from(values: View<'a, bf16>) -> Self {
        Rows::Bf16(values)
    }
}

impl<'a> From<&'a Buffer<bf16>> for Rows<'a> {
    fn from(values: &'a Buffer<bf16>) -> Self {
        Rows::Bf16(values.into())
    }
}

impl<'a> From<&'a Fp8Rows> for Rows<'a> {
    fn from(rows: &'a Fp8Rows) -> Self {
        Rows::Fp8(rows.view(0..rows.len()))
    }
}

impl<'a> From<Fp8View<'a>> for Rows<'a> {
    fn from(rows: Fp8View<'a>) -> Self {
        Rows::Fp8(rows)
    }
}

impl<'a> From<ViewMut<'a, bf16>> for RowsMut<'a> {
    fn from(values: ViewMut<'a, bf16>) -> Self {
        RowsMut::Bf16(values)
    }
}

impl<'a> From<&'a mut Buffer<bf16>> for RowsMut<'a> {
    fn from(values: &'a mut Buffer<bf16>) -> Self {
        RowsMut::Bf16(values.into())
    }
}

impl<'a> From<&'a mut Fp8Rows> for RowsMut<'a> {
    fn from(rows: &'a mut Fp8Rows) -> Self {
        RowsMut::Fp8(rows.view_mut(0..rows.len()))
    }
}

impl<'a> From<Fp8ViewMut<'a>> for RowsMut<'a> {
    fn from(rows: Fp8ViewMut<'a>) -> Self {
        RowsMut::Fp8(rows)
    }
}

/// The kernel that takes rows from bf16 to 8-bit floats.
pub struct QuantiseRows {
    kernel: Kernel,
}

/// `Arguments` in `kernels/quantise_rows.cu`.
#[repr(C)]
struct Arguments {
    x: Pointer<bf16>,
    out: PointerMut<u8>,
    scales: PointerMut<f32>,
    features: i32,
}

impl QuantiseRows {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("quantise_rows"), "quantise_rows", 0)? })
    }

    /// `out = x` but for rounding, relative to the largest element of a row. A row that holds what is no number stays no
    /// number where it was, and an infinity becomes none.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or the driver refuses.
    pub fn launch<'a>(&self, x: impl Into<View<'a, bf16>>, mut out: Fp8ViewMut) -> Result<(), Error> {
        let x = x.into();
        let rows = out.scales.len();
        Error::check_len("rows to quantise", out.values.len(), x.len())?;
        self.kernel.check_device([("rows to quantise", x.device()), ("quantised rows", out.values.device())])?;
        x.check_vectors("rows to quantise")?;
        out.values.check_vectors("quantised rows")?;
        if rows == 0 {
            return Ok(());
        }
        let features = x.len() / rows;
        Error::check_features(features)?;
        let arguments = Arguments {
            x: x.pointer(),
            out: out.values.pointer_mut(),
            scales: out.scales.pointer_mut(),
            features: features as i32,
        };
        // SAFETY: `Arguments` mirrors the kernel's; every block reads and writes its row, below the checked lengths.
        unsafe { self.kernel.launch(Grid::rows(rows, 256), &arguments) }
    }
}
