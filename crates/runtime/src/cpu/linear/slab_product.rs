//! Two tiles of weights times a group of panels, in bf16 or in integers.

use super::{Matrix, Operand, SLAB_ROWS, Weights};
use attention::simd::blocks::{InputWidth, QuantisedPanels, Slab, multiply_integers};
use attention::simd::{K_STEP, LANES, ROW_TILE, Rows, Simd, multiply};
use half::bf16;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::{Deref, Range};

/// Bytes of integers that weights pass before the next: their codes are spread once for each.
const GROUP_BYTES: usize = 2 << 20;

/// A slab of weights and the panels that it is multiplied with.
pub(super) enum SlabProduct<'a> {
    Bf16 { simd: Simd, rows: Rows<'a>, x: &'a [bf16] },
    Integers { simd: Simd, matrix: &'a Matrix, tiles: Range<usize>, x: &'a [bf16], room: &'a mut Room },
}

/// Kept for each thread, since the system gives new memory page by page.
#[derive(Default)]
pub(super) struct Room {
    x: QuantisedPanels,
    slab: Slab,
}

thread_local! {
    static ROOM: Cell<Option<Box<Room>>> = Cell::default();
}

/// What [`Room`]s of matrices with at most so many columns hold in so many threads: inputs, a byte for each code, and two numbers for
/// 16 codes.
pub(in crate::cpu) fn room_bytes(cols: usize, threads: usize) -> usize {
    let slab = SLAB_ROWS * cols + SLAB_ROWS * cols.div_ceil(16) * 2 * size_of::<f32>();
    threads * (GROUP_BYTES + slab)
}

impl SlabProduct<'_> {
    pub(super) fn panels(&self) -> usize {
        match self {
            SlabProduct::Bf16 { rows, x, .. } => x.len() / (rows.k() * LANES),
            SlabProduct::Integers { room, .. } => room.x.count(),
        }
    }

    /// The product to panels of `c`, `stride` apart.
    pub(super) fn run(&mut self, c: &mut [f32], stride: usize, accumulate: bool) {
        let panels = self.panels();
        match self {
            SlabProduct::Bf16 { simd, rows, x } => multiply(*simd, *rows, x, panels, c, stride, accumulate),
            SlabProduct::Integers { simd, matrix, tiles, x, room } => {
                let mut tile = tiles.start;
                while tile < tiles.end {
                    let run = matrix.run(tile);
                    let end = tiles.end.min(run.tiles.end);
                    let of_run = tile - run.tiles.start..end - run.tiles.start;
                    let c = &mut c[(tile - tiles.start) * ROW_TILE * LANES..];
                    match &run.weights {
                        Weights::Blocks(blocks) => {
                            room.slab.fill(*simd, blocks, of_run);
                            multiply_integers(*simd, &room.slab, &room.x, c, stride, accumulate);
                        }
                        Weights::Bf16(weights) => {
                            let k = matrix.padded_cols();
                            let weights = &weights[of_run.start * ROW_TILE * k..of_run.end * ROW_TILE * k];
                            let rows = Rows::packed(weights, of_run.len() * ROW_TILE, k);
                            multiply(*simd, rows, x, panels, c, stride, accumulate);
                        }
                    }
                    tile = end;
                }
            }
        }
    }
}

impl Matrix {
    /// As [`each_slab`](Matrix::each_slab), in integers. `of_out` are the elements of a panel of `out`, and of a slab of it.
    pub(super) fn each_slab_in_integers<T: Send>(
        &self,
        simd: Simd,
        width: InputWidth,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut [T],
        of_out: (usize, usize),
        work: impl Fn(&mut SlabProduct, &mut [T]) + Sync,
    ) {
        let (stride, slab_len) = of_out;
        let (k, panels, threads) = (self.padded_cols(), x.len.div_ceil(LANES).max(1), rayon::current_num_threads());
        let fit = GROUP_BYTES / (k * LANES * width.bytes() + k / K_STEP * 4 * LANES * size_of::<f32>());
        let group = panels.div_ceil(threads).min(fit).max(1);
        let slabs = self.rows.div_ceil(SLAB_ROWS);
        let rows = |x: &[bf16], slabs: Range<usize>, out: &mut [T]| {
            let mut room = ROOM.take().unwrap_or_default();
            room.x.quantise(simd, width, k, x);
            for (n, slab) in slabs.enumerate() {
                let tiles = slab * SLAB_ROWS / ROW_TILE..((slab + 1) * SLAB_ROWS).min(self.rows).div_ceil(ROW_TILE);
                let mut slab = SlabProduct::Integers { simd, matrix: self, tiles, x, room: &mut room };
                work(&mut slab, &mut out[n * slab_len..]);
            }
            ROOM.set(Some(room));
        };
        // Where panels are fewer than threads, each is one group, and threads share its rows.
        let slabs_at_once = slabs.div_ceil(threads.div_ceil(panels)).max(1);
        let groups = x.panels.par_chunks(group * x.stride()).zip(out.par_chunks_mut(group * stride));
        groups.for_each(|(x, out)| {
            if slabs_at_once >= slabs {
                return rows(x, 0..slabs, out);
            }
            out.par_chunks_mut(slabs_at_once * slab_len).enumerate().for_each(|(n, out)| {
                rows(x, (n * slabs_at_once).min(slabs)..((n + 1) * slabs_at_once).min(slabs), out);
            });
        });
    }
}
