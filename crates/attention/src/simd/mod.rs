//! The machine's vector units behind two safe operations: a bf16 matrix product over *panels*, and code compiled once
//! for each instruction set.
//!
//! # Panels
//!
//! A panel is [`LANES`] = 16 tokens side by side. Activations are f32 `[feature][16]`: one feature of sixteen tokens
//! is one AVX-512 register, so norms, RoPE, softmax and activations are vertical operations with no shuffle and no
//! horizontal reduction. The packed form of a panel is bf16 `[feature / 2][16][2]`, the order in which both
//! `vdpbf16ps` and AMX want their second operand; [`pack`] makes it.
//!
//! Everything that multiplies in the engine is then one operation, [`multiply`]: `rows x panels`. The rows are weights
//! (linear layers), cached keys (scores, transposed) or cached values (output, transposed), and no operand is ever
//! transposed on the way.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_f32;
pub mod blocks;
mod exp2;
pub(crate) mod few_queries;
mod instruction_set;
pub(crate) mod integers;
mod multiversion;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod portable;

use half::bf16;

pub use exp2::{exp2, log2};
pub use instruction_set::Simd;
pub use pack::{bf16_bits, pack, packed_len};

/// Tokens in a panel.
pub const LANES: usize = 16;
/// Rows of the left operand are handled in tiles of this many.
pub const ROW_TILE: usize = 16;
/// The inner dimension is handled in steps of this many elements.
pub const K_STEP: usize = 32;

/// Left operand of [`multiply`]: `rows x k` bf16, addressed by strides so that row-major matrices, pages of keys and
/// packed weights are all read in place.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [bf16],
    rows: usize,
    k: usize,
    /// Elements between two rows of a 16-row tile.
    row_stride: usize,
    /// Elements between two steps of 32 along `k`.
    step_stride: usize,
    /// Elements between two 16-row tiles.
    tile_stride: usize,
}

impl<'a> Rows<'a> {
    /// Calls `block` with every `MR` rows of every panel: where the rows begin, of which `k` elements of each are there by the strides,
    /// the panel's `k x LANES` elements, and the `MR x LANES` of the result. Inlined, so that it may use what its caller is compiled for.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    fn in_blocks<const MR: usize>(
        self,
        b: &[bf16],
        panels: usize,
        c: &mut [f32],
        c_stride: usize,
        block: impl Fn(*const bf16, *const bf16, *mut f32),
    ) {
        for panel in 0..panels {
            let b = &b[panel * self.k * LANES..][..self.k * LANES];
            for row in (0..self.rows).step_by(MR) {
                let base = (row / ROW_TILE) * self.tile_stride + (row % ROW_TILE) * self.row_stride;
                let c = &mut c[panel * c_stride + row * LANES..][..MR * LANES];
                // The last step of the last row is inside `data`: `new` checked it.
                block(self.data[base..].as_ptr(), b.as_ptr(), c.as_mut_ptr());
            }
        }
    }

    /// A row-major matrix, `stride` elements from row to row.
    ///
    /// # Panics
    /// When `rows` is not a multiple of 16, `k` not a multiple of 32, or `data` is too short.
    pub fn row_major(data: &'a [bf16], rows: usize, k: usize, stride: usize) -> Self {
        // Beyond any memory the stride of tiles is of one tile, which nothing follows, or refused there.
        Self::new(data, rows, k, stride, K_STEP, stride.saturating_mul(ROW_TILE))
    }

    /// Packed tiles `[rows / 16][k / 32][16][32]`: each step reads one contiguous KiB, whatever `k` is, so a
    /// power-of-two `k` does not map sixteen rows onto one cache set.
    ///
    /// # Panics
    /// As [`Rows::row_major`].
    pub fn packed(data: &'a [bf16], rows: usize, k: usize) -> Self {
        Self::new(data, rows, k, K_STEP, ROW_TILE * K_STEP, k.saturating_mul(ROW_TILE))
    }

    fn new(data: &'a [bf16], rows: usize, k: usize, row_stride: usize, step_stride: usize, tile_stride: usize) -> Self {
        assert!(rows.is_multiple_of(ROW_TILE) && k.is_multiple_of(K_STEP), "{rows} rows x {k}: not whole tiles");
        if rows > 0 && k > 0 {
            let product = |count: usize, stride: usize| (count - 1).checked_mul(stride);
            let last = [(rows / ROW_TILE, tile_stride), (ROW_TILE, row_stride), (k / K_STEP, step_stride)]
                .into_iter()
                .try_fold(K_STEP, |sum, (count, stride)| sum.checked_add(product(count, stride)?));
            let given = data.len();
            match last {
                Some(last) => assert!(last <= given, "{rows} rows x {k} need {last} elements, {given} given"),
                None => {
                    panic!("{rows} rows x {k}, {row_stride} apart, need more elements than there can be, {given} given")
                }
            }
        }
        Self { data, rows, k, row_stride, step_stride, tile_stride }
    }

    /// `count` rows from `row` on.
    ///
    /// # Panics
    /// When both are not multiples of 16, or there are no such rows.
    pub fn slice(&self, row: usize, count: usize) -> Self {
        let inside = row.checked_add(count).is_some_and(|end| end <= self.rows);
        assert!(inside && row.is_multiple_of(ROW_TILE), "{count} rows from {row} on, of {}", self.rows);
        let data = if count == 0 { &[] } else { &self.data[row / ROW_TILE * self.tile_stride..] };
        Self::new(data, count, self.k, self.row_stride, self.step_stride, self.tile_stride)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inner dimension.
    pub fn k(&self) -> usize {
        self.k
    }
}

/// `c[p][r][lane] (+)= sum over k of a[r][k] * b[p][k][lane]` for `panels` packed panels.
///
/// `b` holds `panels` packed panels of `a.k()` features, one after another ([`pack`]); panel `p` of the f32 result
/// starts at `c[p * c_stride]`, each row 16 lanes. With `accumulate` the product is added to what `c` holds.
///
/// Where `a.k()` is 0 there is nothing to add up, and the products are 0.
///
/// # Panics
/// When `b` or `c` is too short, panels of `c` overlap, or the processor does not have `simd`.
pub fn multiply(simd: Simd, a: Rows, b: &[bf16], panels: usize, c: &mut [f32], c_stride: usize, accumulate: bool) {
    if panels == 0 || a.rows == 0 {
        return;
    }
    simd.assert_available();
    let too_many = || panic!("{panels} panels of {} features and {} rows are more than there can be", a.k, a.rows);
    let needed = a.k.checked_mul(LANES).and_then(|panel| panel.checked_mul(panels)).unwrap_or_else(too_many);
    let height = a.rows.checked_mul(LANES).unwrap_or_else(too_many);
    let end = c_stride.checked_mul(panels - 1).and_then(|last| last.checked_add(height)).unwrap_or_else(too_many);
    assert!(b.len() >= needed, "{panels} panels of {} features need {needed} elements, {} given", a.k, b.len());
    assert!(c_stride >= height || panels == 1, "panels of the result overlap: {height} elements, {c_stride} apart");
    assert!(c.len() >= end, "a result of {end} elements does not fit {}", c.len());
    if a.k == 0 {
        // The kernels run at least one step.
        if !accumulate {
            (0..panels).for_each(|panel| c[panel * c_stride..][..height].fill(0.0));
        }
        return;
    }
    match simd {
        // SAFETY: `assert_available` found the set on this machine; `Rows::new` and the assertions above bound every address.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { avx2::multiply(a, b, panels, c, c_stride, accumulate) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512Vnni => unsafe { avx512_f32::multiply(a, b, panels, c, c_stride, accumulate) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512Bf16 => unsafe { avx512::multiply(a, b, panels, c, c_stride, accumulate) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Amx => unsafe { amx::multiply(a, b, panels, c, c_stride, accumulate) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Simd::Neon | Simd::NeonDotprod => unsafe { neon::multiply(a, b, panels, c, c_stride, accumulate) },
        _ => portable::multiply(a, b, panels, c, c_stride, accumulate),
    }
}

/// `out[r] = sum over k of a[r][k] * x[k]`: the one-token product, which reads each weight once.
///
/// # Panics
/// When `x` is shorter than `a.k()` or `out` than `a.rows()`, or the processor does not have `simd`.
pub fn multiply_vector(simd: Simd, a: Rows, x: &[bf16], out: &mut [f32]) {
    simd.assert_available();
    let (given, room) = (x.len(), out.len());
    assert!(given >= a.k && room >= a.rows, "{} rows x {} on a vector of {given}, into {room}", a.rows, a.k);
    if a.k == 0 {
        return out[..a.rows].fill(0.0);
    }
    match simd {
        // SAFETY: as in `multiply`.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512Bf16 | Simd::Amx => unsafe { avx512::multiply_vector(a, x, out) },
        // SAFETY: as in `multiply`.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512Vnni => unsafe { avx512_f32::multiply_vector(a, x, out) },
        _ => {
            let x: Vec<f32> = x[..a.k].iter().map(|x| x.to_f32()).collect();
            dot_rows(simd, a, &x, out)
        }
    }
}

crate::multiversion! {
    fn dot_rows(a: Rows, x: &[f32], out: &mut [f32]) {
        for (row, out) in out[..a.rows].iter_mut().enumerate() {
            let base = (row / ROW_TILE) * a.tile_stride + (row % ROW_TILE) * a.row_stride;
            let mut sum = [0f32; K_STEP];
            for step in 0..a.k / K_STEP {
                let w = &a.data[base + step * a.step_stride..][..K_STEP];
                let x = &x[step * K_STEP..][..K_STEP];
                for i in 0..K_STEP {
                    let w = f32::from_bits((w[i].to_bits() as u32) << 16);
                    sum[i] = crate::simd::fma::<FMA>(w, x[i], sum[i]);
                }
            }
            *out = sum.iter().sum();
        }
    }
}

/// `a * b + c`, fused where the instruction set has it (a software fused multiply-add would be a hundred times slower).
#[inline(always)]
pub fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// One vector: `f` of every lane.
///
/// For loops over vectors that only map. There the compiler would rather vectorise the loop itself, with a gather for each
/// lane, ten times slower; the barrier makes it take the lanes. A loop that also sums or compares needs none.
#[inline(always)]
pub fn each_lane<T: Copy + Default>(f: impl Fn(usize) -> T) -> [T; LANES] {
    std::hint::black_box(());
    let mut lanes = [T::default(); LANES];
    for (lane, out) in lanes.iter_mut().enumerate() {
        *out = f(lane);
    }
    lanes
}

#[cfg(test)]
mod tests;
