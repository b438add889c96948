//! In what attention multiplies.

use crate::quantise_kv::Rounding;

/// In what attention multiplies. Queries, keys, values and outputs are bf16 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// bf16.
    #[default]
    Bf16,
    /// 8-bit floats (e4m3): queries with a scale a row, keys less their mean and values with a scale a head, weights between 0
    /// and 256; sums in f32. Compute capability 9.0.
    Fp8,
    /// Scores in 8-bit integers: queries with a scale a row, keys less their mean with a scale a block of 64. Weights and values
    /// in bf16 (SageAttention, arXiv 2410.02367). Compute capability 8.0 and above.
    Int8,
}

impl Precision {
    /// What becomes of keys and values.
    pub(crate) fn rounding(self) -> Option<Rounding> {
        match self {
            Self::Bf16 => None,
            Self::Fp8 => Some(Rounding::Fp8),
            Self::Int8 => Some(Rounding::Int8Keys),
        }
    }
}
