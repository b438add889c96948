//! What a block of quantised weights consists of.

use crate::simd::ROW_TILE;

/// How quantised weights are stored, by GGML's names. A weight is `scale * (code - zero) - minimum`; what differs is the
/// bits of a code and how many columns share what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum BlockFormat {
    /// 4-bit codes around 8, an f16 scale for 32 columns.
    Q4_0,
    /// 4-bit codes, an f16 scale and minimum for 32 columns.
    Q4_1,
    /// 5-bit codes around 16, an f16 scale for 32 columns.
    Q5_0,
    /// 5-bit codes, an f16 scale and minimum for 32 columns.
    Q5_1,
    /// 8-bit codes around 128, an f16 scale for 32 columns.
    Q8_0,
    /// 4-bit codes; 8-bit scales and minima for 32 columns, times f16 factors for 256.
    Q4_K,
    /// 5-bit codes; else as `Q4_K`.
    Q5_K,
    /// 6-bit codes around 32; 8-bit scales for 16 columns, times an f16 factor for 256.
    Q6_K,
}

/// The same as constants, so that kernels are compiled for each format.
pub(in crate::simd) trait Format {
    /// Bits of a code: 8, or 4 and up to two more.
    const BITS: usize;
    /// Columns that share a scale.
    const GROUP: usize;
    /// The code of weight 0, before the minimum is taken away.
    const ZERO: i32;
    /// Whether there are minima.
    const MINIMA: bool;
    /// Whether scales are bytes, times a factor for 256 columns.
    const NESTED: bool;

    /// Columns that share an f16 number.
    const SUPER: usize = if Self::NESTED { 256 } else { 32 };
    /// Bytes of the codes of 16 rows x 32 columns.
    const CODE_BYTES: usize = 64 * Self::BITS;
    /// Bytes of one kind of f16 number, for 16 rows.
    const FACTOR_BYTES: usize = 2 * ROW_TILE;
    /// Bytes of all f16 numbers for 16 rows; behind them lie the bytes of nested scales.
    const FACTORS_BYTES: usize = if Self::MINIMA { 2 * Self::FACTOR_BYTES } else { Self::FACTOR_BYTES };
    /// Bytes of the nested scales and minima of a group.
    const GROUP_BYTES: usize = match (Self::NESTED, Self::MINIMA) {
        (false, _) => 0,
        (true, false) => ROW_TILE,
        (true, true) => 2 * ROW_TILE,
    };
    /// Bytes of the scales of 16 rows x `SUPER` columns.
    const SCALE_BYTES: usize = Self::FACTORS_BYTES + Self::SUPER / Self::GROUP * Self::GROUP_BYTES;
}

macro_rules! formats {
    ($($name:ident: $bits:literal, $group:literal, $zero:literal, $minima:literal, $nested:literal;)*) => {
        $(#[allow(non_camel_case_types)]
        pub(super) struct $name;
        impl Format for $name {
            const BITS: usize = $bits;
            const GROUP: usize = $group;
            const ZERO: i32 = $zero;
            const MINIMA: bool = $minima;
            const NESTED: bool = $nested;
        })*
    };
}

// Bits, group, zero, minima, nested.
formats! {
    Q4_0: 4, 32, 8, false, false;
    Q4_1: 4, 32, 0, true, false;
    Q5_0: 5, 32, 16, false, false;
    Q5_1: 5, 32, 0, true, false;
    Q8_0: 8, 32, 128, false, false;
    Q4_K: 4, 32, 0, true, true;
    Q5_K: 5, 32, 0, true, true;
    Q6_K: 6, 16, 32, false, true;
}

/// Evaluates an expression in which `$F` is the type of a format.
macro_rules! with_format {
    ($format:expr, $F:ident => $body:expr) => {
        match $format {
            $crate::simd::blocks::BlockFormat::Q4_0 => {
                type $F = $crate::simd::blocks::format::Q4_0;
                $body
            }
            $crate::simd::blocks::BlockFormat::Q4_1 => {
                type $F = $crate::simd::blocks::format::Q4_1;
                $body
            }
            $crate::simd::blocks::BlockFormat::Q5_0 => {
                type $F = $crate::simd::blocks::format::Q5_0;
                $body
            }
            $crate::simd::blocks::BlockFormat::Q5_1 => {
                type $F = $crate::simd::blocks::format::Q5_1;
                $body
            }
            $crate::simd::blocks::BlockFormat::Q8_0 => {
                type $F = $crate::simd::blocks::format::Q8_0;
                $body
            }
            $crate::simd::blocks::BlockFormat::Q4_K => {
                type $F = $crate::simd::blocks::format::Q4_K;
                $body
            }
            $crate::simd::blocks::BlockFormat::Q5_K => {
                type $F = $crate::simd::blocks::format::Q5_K;
                $body
            }
            $crate::simd::blocks::BlockFormat::Q6_K => {
                type $F = $crate::simd::blocks::format::Q6_K;
                $body
            }
        }
    };
}
pub(super) use with_format;
