//! Queries as the kernels read them.

use crate::shape::HeadShape;
use crate::simd::{LANES, Simd, pack, packed_len};
use crate::{Aligned, Error};
use half::bf16;
use std::f32::consts::LOG2_E;

/// Packed bf16 queries `[q_head][panel][padded_dim / 2][16][2]`, already multiplied by `sm_scale * log2(e)`: a product
/// with keys is then a logit in base 2, and softmax needs no multiplication.
pub struct Queries {
    heads: HeadShape,
    len: usize,
    packed: Aligned<bf16>,
}

impl Queries {
    /// Room for `len` queries, all zero.
    ///
    /// # Panics
    /// When the system has no such memory; see [`try_zeroed`](Self::try_zeroed).
    pub fn zeroed(heads: HeadShape, len: usize) -> Self {
        Self::try_zeroed(heads, len).expect("memory for queries")
    }

    /// As [`zeroed`](Self::zeroed).
    ///
    /// # Errors
    /// When the system has no such memory.
    pub fn try_zeroed(heads: HeadShape, len: usize) -> Result<Self, Error> {
        let packed = heads.num_q_heads() * len.div_ceil(LANES) * packed_len(heads.head_dim());
        Ok(Self { heads, len, packed: Aligned::try_zeroed("queries", packed)? })
    }

    /// Packs f32 rows `[token][q_head][head_dim]`.
    ///
    /// # Errors
    /// When `rows` is not a whole number of tokens.
    pub fn from_rows(simd: Simd, heads: HeadShape, rows: &[f32]) -> Result<Self, Error> {
        let (d, width) = (heads.head_dim(), heads.num_q_heads() * heads.head_dim());
        let len = rows.len() / width;
        Error::check_len("query rows", len * width, rows.len())?;
        let mut queries = Self::zeroed(heads, len);
        let mut panel = vec![0.0; d * LANES];
        let scale = queries.scale();
        for head in 0..heads.num_q_heads() {
            for first in (0..len).step_by(LANES) {
                panel.fill(0.0);
                for lane in 0..LANES.min(len - first) {
                    for i in 0..d {
                        panel[i * LANES + lane] = rows[(first + lane) * width + head * d + i];
                    }
                }
                pack(simd, &panel, scale, queries.panel_mut(head, first / LANES));
            }
        }
        Ok(queries)
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Head shape.
    pub fn heads(&self) -> HeadShape {
        self.heads
    }

    /// The factor that [`panel_mut`](Self::panel_mut) expects the queries to carry.
    pub fn scale(&self) -> f32 {
        self.heads.sm_scale() * LOG2_E
    }

    /// Elements of a packed panel.
    pub(crate) fn panel_len(&self) -> usize {
        packed_len(self.heads.head_dim())
    }

    /// Number of panels of a head.
    pub fn num_panels(&self) -> usize {
        self.len.div_ceil(LANES)
    }

    /// One packed panel of 16 queries, `[padded_dim / 2][16][2]`: a right operand of [`multiply`](crate::simd::multiply).
    pub fn panel(&self, head: usize, panel: usize) -> &[bf16] {
        self.panels(head, panel, 1)
    }

    /// One packed panel, to be filled by [`pack`] with [`scale`](Self::scale).
    pub fn panel_mut(&mut self, head: usize, panel: usize) -> &mut [bf16] {
        let (len, panels) = (self.panel_len(), self.num_panels());
        &mut self.packed[(head * panels + panel) * len..][..len]
    }

    /// All panels of all heads, `[q_head][panel][packed]`, for parallel filling.
    pub fn packed_mut(&mut self) -> &mut [bf16] {
        &mut self.packed
    }

    /// `count` panels of a head from `panel` on.
    pub(crate) fn panels(&self, head: usize, panel: usize, count: usize) -> &[bf16] {
        let len = self.panel_len();
        &self.packed[(head * self.num_panels() + panel) * len..][..count * len]
    }

    /// Packs every `stride`-th row from `first` on, a multiple of 16, into one panel; lanes past the last row are zero.
    /// `stride` is a power of two of at most 16.
    pub(crate) fn sample(&self, head: usize, first: usize, stride: usize, out: &mut [bf16]) {
        let of_panel = LANES / stride;
        let out: &mut [[u32; LANES]] = bytemuck::cast_slice_mut(out);
        for part in 0..stride {
            let lanes = part * of_panel..(part + 1) * of_panel;
            let row = first + part * LANES;
            let filled = self.len.saturating_sub(row).div_ceil(stride).min(of_panel);
            if filled < of_panel {
                out.iter_mut().for_each(|out| out[lanes.clone()].fill(0));
            }
            if filled > 0 {
                let panel: &[[u32; LANES]] = bytemuck::cast_slice(self.panels(head, row / LANES, 1));
                for (out, pairs) in out.iter_mut().zip(panel) {
                    for (n, out) in out[lanes.clone()][..filled].iter_mut().enumerate() {
                        *out = pairs[n * stride];
                    }
                }
            }
        }
    }

    /// Elements of one query row, scaled.
    pub(crate) fn copy_row(&self, head: usize, row: usize, lane: usize, out: &mut [bf16]) {
        let panel = self.panels(head, row / LANES, 1);
        for (pair, out) in panel.chunks_exact(2 * LANES).zip(out.chunks_exact_mut(2 * LANES)) {
            let from = 2 * (row % LANES);
            out[2 * lane..2 * lane + 2].copy_from_slice(&pair[from..from + 2]);
        }
    }
}
