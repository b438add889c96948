//! What is stored, and how.

use super::Encoding;
use std::borrow::Cow;

/// Shape of a stored matrix (or vector, of one row), and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Number of rows; 1 for a vector.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// How rows are stored.
    pub encoding: Encoding,
}

/// A stored matrix (or vector, of one row) in memory.
#[derive(Clone)]
pub struct Tensor<'a> {
    info: TensorInfo,
    bytes: Cow<'a, [u8]>,
}

impl TensorInfo {
    /// Bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.encoding.row_bytes(self.cols).expect("the readers of files refuse rows that are not whole blocks")
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.rows * self.row_bytes()
    }
}

impl<'a> Tensor<'a> {
    /// A tensor of bytes that were read.
    pub(crate) fn new(info: TensorInfo, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { info, bytes: bytes.into() }
    }

    /// A tensor of bytes that are in no file.
    #[cfg(test)]
    pub(crate) fn of_bytes(rows: usize, encoding: Encoding, bytes: &'a [u8]) -> Self {
        let (elements, size) = encoding.block();
        let info = TensorInfo { rows, cols: bytes.len() / rows / size * elements, encoding };
        Self { info, bytes: bytes.into() }
    }

    /// Its shape, and how it is stored.
    pub fn info(&self) -> TensorInfo {
        self.info
    }

    /// Number of rows; 1 for a vector.
    pub fn rows(&self) -> usize {
        self.info.rows
    }

    /// Elements of a row.
    pub fn cols(&self) -> usize {
        self.info.cols
    }

    /// How it is stored.
    pub fn encoding(&self) -> Encoding {
        self.info.encoding
    }

    /// What is stored, row after row.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Tensor<'static> {
        Tensor { info: self.info, bytes: self.bytes.into_owned().into() }
    }

    /// Decodes one row.
    ///
    /// # Panics
    /// When there is no such row or `out` is not of [`cols`](Self::cols) elements.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows() && out.len() == self.cols(), "row {row} of {} x {}", self.rows(), self.cols());
        self.info.encoding.decode(self.row_bytes(row), out);
    }

    /// One row as it is stored.
    pub(crate) fn row_bytes(&self, row: usize) -> &[u8] {
        let stride = self.info.row_bytes();
        &self.bytes[row * stride..][..stride]
    }

    /// Decodes everything, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.info.rows * self.info.cols];
        self.info.encoding.decode(&self.bytes, &mut out);
        out
    }
}
