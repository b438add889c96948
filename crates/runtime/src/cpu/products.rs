//! In what products of many tokens with quantised weights are computed.

use crate::precision::Products;
use attention::Aligned;
use attention::simd::blocks::{BlockFormat, Blocks, InputWidth, QuantisedPanels, Slab, multiply_integers};
use attention::simd::{LANES, Rows, Simd, multiply};
use half::{bf16, f16};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An instruction set, and what products of many tokens make of quantised weights with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arithmetic {
    pub(super) simd: Simd,
    /// Integers of this width; none is bf16.
    pub(super) integers: Option<InputWidth>,
}

/// How much faster integers must be: between the processors that gain little (1.3 with AVX2) and those that gain much (2.6 with AVX-512 on Intel),
/// so that a machine says the same every time.
const CLEARLY: f64 = 1.7;

impl Products {
    pub(super) fn on(self, simd: Simd) -> Arithmetic {
        let integers = match self {
            Products::Auto => integers_are_faster(simd).then_some(InputWidth::TwoBytes),
            Products::Bf16 => None,
            Products::Int16 => Some(InputWidth::TwoBytes),
            Products::Int8 => Some(InputWidth::OneByte),
        };
        Arithmetic { simd, integers }
    }
}

/// Whether integers of two bytes are faster than bf16. Measured once: what processors do in a cycle is not told by what they have.
///
/// [`Simd::Avx512Vnni`] needs no race: it is not taken where products of bf16 are as fast as those of integers, and f32 multiply-adds, its
/// way to multiply bf16, take 1.5 to 2 times as long as two of `vpdpbusd`.
fn integers_are_faster(simd: Simd) -> bool {
    if simd == Simd::Avx512Vnni {
        return true;
    }
    static FASTER: [OnceLock<bool>; Simd::ALL.len()] = [const { OnceLock::new() }; Simd::ALL.len()];
    *FASTER[simd as usize].get_or_init(|| {
        let (in_bf16, in_integers) = race(simd);
        in_bf16.as_secs_f64() >= CLEARLY * in_integers.as_secs_f64()
    })
}

/// The least of a few times of a small product: in bf16 and in integers of two bytes.
fn race(simd: Simd) -> (Duration, Duration) {
    const ROWS: usize = 32;
    const COLS: usize = 512;
    const PANELS: usize = 4;
    const RUNS: usize = 12;
    let some = |n: usize| (n * 37 % 101) as f32 / 50.0 - 1.0;
    let x: Vec<bf16> = (0..PANELS * COLS * LANES).map(|n| bf16::from_f32(some(n))).collect();
    let weights: Vec<bf16> = (0..ROWS * COLS).map(|n| bf16::from_f32(some(n))).collect();
    let blocks = Blocks::fill(BlockFormat::Q4_1, ROWS, COLS, |row, out| {
        out.codes.iter_mut().enumerate().for_each(|(k, code)| *code = ((row + k) % 16) as u8);
        out.factors.fill([f16::ONE; 2]);
        true
    });
    // Without room for 10 KiB what follows fails anyhow, and says so.
    let Ok(blocks) = blocks else { return (Duration::ZERO, Duration::MAX) };
    let (mut slab, mut integers) = (Slab::default(), QuantisedPanels::default());
    slab.fill(simd, &blocks, 0..ROWS / attention::simd::ROW_TILE);
    integers.quantise(simd, InputWidth::TwoBytes, COLS, &x);
    let mut c = Aligned::<f32>::zeroed(PANELS * ROWS * LANES);
    let (mut in_bf16, mut in_integers) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let started = Instant::now();
        multiply(simd, Rows::packed(&weights, ROWS, COLS), &x, PANELS, &mut c, ROWS * LANES, false);
        in_bf16 = in_bf16.min(started.elapsed());
        let started = Instant::now();
        multiply_integers(simd, &slab, &integers, &mut c, ROWS * LANES, false);
        in_integers = in_integers.min(started.elapsed());
    }
    (in_bf16, in_integers)
}

/// Every instruction set with every kind of products.
#[cfg(test)]
pub(super) fn every_arithmetic() -> impl Iterator<Item = Arithmetic> {
    let products = [Products::Bf16, Products::Int16, Products::Int8];
    Simd::available().into_iter().flat_map(move |simd| products.map(|products| products.on(simd)))
}
