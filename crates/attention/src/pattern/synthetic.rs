//! Random operands for tests, and the numbers that the kernels see of them.

use crate::kv::{KvPages, KvView};
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange, Tiles};
use crate::simd::Simd;
use half::bf16;

/// A chunk of two groups of two query heads.
pub(crate) struct Synthetic {
    pub heads: HeadShape,
    pub range: QueryRange,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pages: KvPages,
    table: Vec<u32>,
}

impl Synthetic {
    pub const DIM: usize = 24;

    pub fn new(seed: u64, q_len: usize, cached: usize) -> Self {
        let heads = HeadShape::new(4, 2, Self::DIM).unwrap();
        let range = QueryRange::new(q_len, q_len + cached).unwrap();
        let mut state = seed;
        let mut rows = |len: usize, size: f32| -> Vec<f32> {
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            };
            (0..len).map(|_| bf16::from_f32(next() * size).to_f32()).collect()
        };
        let q = rows(q_len * 4 * Self::DIM, 2.0);
        let k = rows(range.kv_len() * 2 * Self::DIM, 2.0);
        let v = rows(range.kv_len() * 2 * Self::DIM, 1.0);
        let mut pages = KvPages::new(heads, range.num_blocks());
        pages.plant_nan();
        let table: Vec<u32> = (0..range.num_blocks() as u32).rev().collect();
        pages.append_rows(&table, 0, &k, &v).unwrap();
        Self { heads, range, q, k, pages, table }
    }

    pub fn tiles(&self, block_m: usize) -> Tiles {
        self.range.tiles(block_m).unwrap()
    }

    pub fn queries(&self, simd: Simd) -> Queries {
        Queries::from_rows(simd, self.heads, &self.q).unwrap()
    }

    pub fn kv(&self) -> KvView<'_> {
        self.pages.view(&self.table, self.range.kv_len()).unwrap()
    }

    /// A query as it is packed: rounded after scaling.
    pub fn query(&self, head: usize, row: usize) -> Vec<f64> {
        let scale = self.heads.sm_scale() * std::f32::consts::LOG2_E;
        let row = &self.q[(row * 4 + head) * Self::DIM..][..Self::DIM];
        row.iter().map(|x| bf16::from_f32(x * scale).to_f64()).collect()
    }

    /// The key that a query head sees at a position.
    pub fn key(&self, head: usize, position: usize) -> Vec<f64> {
        let row = &self.k[(position * 2 + self.heads.kv_head(head)) * Self::DIM..][..Self::DIM];
        row.iter().map(|x| *x as f64).collect()
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
