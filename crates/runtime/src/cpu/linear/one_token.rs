//! Products of one token, as in decoding: every weight is read once, and threads share the rows.
//!
//! A panel of one token has a number in each line of the cache. So products are first made side by side.

use super::{Matrix, Operand, Tokens, Weights};
use crate::config::Activation;
use crate::cpu::elementwise;
use attention::simd::blocks::QuantisedVector;
use attention::simd::{LANES, ROW_TILE, Rows, Simd, multiply_vector};
use half::bf16;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Tiles that a thread takes at least.
const TILES: usize = 4;

/// Kept from product to product.
#[derive(Default)]
struct Room {
    x: Vec<bf16>,
    product: Vec<f32>,
}

thread_local! {
    static ROOM: Cell<Room> = Cell::default();
}

impl Matrix {
    /// The products of all rows side by side, in room for the rows of whole tiles.
    pub(in crate::cpu) fn multiply_vector(
        &self,
        simd: Simd,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut [f32],
    ) {
        let mut room = ROOM.take();
        self.products_of_one(simd, x, &mut room.x, out);
        ROOM.set(room);
    }

    pub(super) fn multiply_one(
        &self,
        simd: Simd,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut Tokens<impl DerefMut<Target = [f32]>>,
        accumulate: bool,
    ) {
        self.with_products_of_one(simd, x, |product| {
            for (lanes, x) in out.panels.chunks_exact_mut(LANES).zip(product) {
                lanes[0] = if accumulate { lanes[0] + x } else { *x };
            }
        });
    }

    pub(super) fn multiply_gated_one(
        &self,
        simd: Simd,
        activation: Activation,
        x: &Operand<impl Deref<Target = [bf16]>>,
        out: &mut Operand<impl DerefMut<Target = [bf16]>>,
    ) {
        let out: &mut [[u32; LANES]] = bytemuck::cast_slice_mut(&mut out.panels);
        self.with_products_of_one(simd, x, |product| {
            for (product, out) in product.chunks_exact(2 * ROW_TILE).zip(out.chunks_mut(ROW_TILE / 2)) {
                // Pairs of features take the place of pairs of tokens.
                let (mut gate, mut up, mut pairs) = ([0.0; 2 * LANES], [0.0; 2 * LANES], [0; LANES]);
                for feature in 0..ROW_TILE {
                    let at = feature % 2 * LANES + feature / 2;
                    (gate[at], up[at]) = (product[feature], product[ROW_TILE + feature]);
                }
                elementwise::gate(simd, activation, &gate, &up, &mut pairs);
                out.iter_mut().zip(pairs).for_each(|(lanes, pair)| lanes[0] = pair);
            }
        });
    }

    fn with_products_of_one(
        &self,
        simd: Simd,
        x: &Operand<impl Deref<Target = [bf16]>>,
        use_them: impl FnOnce(&[f32]),
    ) {
        let mut room = ROOM.take();
        room.product.resize(self.rows.next_multiple_of(ROW_TILE), 0.0);
        self.products_of_one(simd, x, &mut room.x, &mut room.product);
        use_them(&room.product);
        ROOM.set(room);
    }

    fn products_of_one(
        &self,
        simd: Simd,
        x: &Operand<impl Deref<Target = [bf16]>>,
        vector: &mut Vec<bf16>,
        out: &mut [f32],
    ) {
        assert!(x.len == 1 && x.features == self.cols && out.len() == self.rows.next_multiple_of(ROW_TILE));
        let k = self.padded_cols();
        vector.clear();
        vector.extend(x.panels.chunks_exact(2 * LANES).flat_map(|p| [p[0], p[1]]));
        let vector = &vector[..];
        let integers = &QuantisedVector::new(simd, if self.has_blocks() { vector } else { &[] });
        out.par_chunks_mut(TILES * ROW_TILE).enumerate().for_each(|(chunk, mut out)| {
            let mut tile = chunk * TILES;
            while !out.is_empty() {
                let run = self.run(tile);
                let first = tile - run.tiles.start;
                let tiles = first..(first + out.len() / ROW_TILE).min(run.tiles.len());
                let rows = tiles.len() * ROW_TILE;
                tile += tiles.len();
                let (of_run, rest) = out.split_at_mut(rows);
                out = rest;
                match &run.weights {
                    Weights::Blocks(blocks) => blocks.multiply_vector(simd, tiles, integers, of_run),
                    Weights::Bf16(weights) => {
                        let weights = &weights[tiles.start * ROW_TILE * k..tiles.end * ROW_TILE * k];
                        multiply_vector(simd, Rows::packed(weights, rows, k), vector, of_run);
                    }
                }
            }
        });
    }
}
