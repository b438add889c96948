//! Products of a block of keys or values with a few queries: each number is read once, and lanes are features of a key or keys of a
//! feature, not queries as in [`multiply`](super::multiply).

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

use super::{K_STEP, LANES, Simd, each_lane, fma};
use crate::BLOCK_N;
use half::bf16;

/// `scores[q][key] = sum over i of keys[key][i] * queries[q][i]`, for keys `[64][dim]` and queries `[q][dim]`.
///
/// # Panics
/// When the operands are not of as many features, a multiple of 32, or the processor does not have `simd`.
pub(crate) fn score(simd: Simd, keys: &[bf16], queries: &[f32], scores: &mut [[f32; BLOCK_N]]) {
    let dim = keys.len() / BLOCK_N;
    assert!(dim > 0 && dim.is_multiple_of(K_STEP) && keys.len() == dim * BLOCK_N, "{} numbers of keys", keys.len());
    assert!(queries.len() == scores.len() * dim, "{} queries of {dim} in {} numbers", scores.len(), queries.len());
    simd.assert_available();
    match simd {
        // SAFETY: `assert_available` found AVX-512 on this machine; the assertions above bound every address.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512Vnni | Simd::Avx512Bf16 | Simd::Amx => unsafe { avx512::score(keys, dim, queries, scores) },
        // SAFETY: every such processor has NEON; the assertions above bound every address.
        #[cfg(target_arch = "aarch64")]
        Simd::Neon | Simd::NeonDotprod => unsafe { neon::score(keys, dim, queries, scores) },
        _ => score_in_lanes(simd, bytemuck::cast_slice(keys), dim, queries, scores),
    }
}

/// Adds values `[dim][64]` times the weights of each query to `sums` `[dim][q]`, whose lanes have every sixteenth key each.
///
/// # Panics
/// When there are not as many sums, or the processor does not have `simd`.
pub(crate) fn add_values(simd: Simd, values: &[bf16], weights: &[[f32; BLOCK_N]], sums: &mut [[f32; LANES]]) {
    let dim = values.len() / BLOCK_N;
    assert!(values.len() == dim * BLOCK_N && sums.len() == dim * weights.len(), "{dim} features, {} sums", sums.len());
    simd.assert_available();
    match simd {
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512Vnni | Simd::Avx512Bf16 | Simd::Amx => unsafe { avx512::add_values(values, weights, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Simd::Neon | Simd::NeonDotprod => unsafe { neon::add_values(values, weights, sums) },
        _ => add_in_lanes(simd, bytemuck::cast_slice(values), weights, sums),
    }
}

#[inline(always)]
fn wide(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

crate::multiversion! {
    fn score_in_lanes(keys: &[u16], dim: usize, queries: &[f32], scores: &mut [[f32; BLOCK_N]]) {
        for (at, key) in keys.chunks_exact(dim).enumerate() {
            for (query, scores) in queries.chunks_exact(dim).zip(scores.iter_mut()) {
                let mut sums = [0f32; LANES];
                for (key, query) in key.as_chunks::<LANES>().0.iter().zip(query.as_chunks::<LANES>().0) {
                    sums = each_lane(|lane| fma::<FMA>(wide(key[lane]), query[lane], sums[lane]));
                }
                let eight: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
                let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
                scores[at] = (four[0] + four[2]) + (four[1] + four[3]);
            }
        }
    }
}

crate::multiversion! {
    fn add_in_lanes(values: &[u16], weights: &[[f32; BLOCK_N]], sums: &mut [[f32; LANES]]) {
        for (values, sums) in values.as_chunks::<BLOCK_N>().0.iter().zip(sums.chunks_exact_mut(weights.len())) {
            for (weights, sums) in weights.iter().zip(sums) {
                for (values, weights) in values.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
                    *sums = each_lane(|lane| fma::<FMA>(wide(values[lane]), weights[lane], sums[lane]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(n: usize) -> f32 {
        bf16::from_f32((n * 37 % 101) as f32 / 50.0 - 1.0).to_f32()
    }

    #[test]
    fn every_set_and_number_of_queries_is_f64s() {
        for (dim, queries) in [(32, 1), (64, 3), (64, 7), (128, 2), (512, 4)] {
            let stored: Vec<bf16> = (0..dim * BLOCK_N).map(|n| bf16::from_f32(some(n))).collect();
            let q: Vec<f32> = (0..queries * dim).map(|n| some(n + 5)).collect();
            let weights: Vec<[f32; BLOCK_N]> = (0..queries).map(|q| std::array::from_fn(|n| some(n + 9 * q))).collect();
            for simd in Simd::available() {
                let mut scores = vec![[f32::NAN; BLOCK_N]; queries];
                score(simd, &stored, &q, &mut scores);
                let mut sums = vec![[1f32; LANES]; dim * queries];
                add_values(simd, &stored, &weights, &mut sums);
                for (query, scores) in scores.iter().enumerate() {
                    for (key, got) in scores.iter().enumerate() {
                        let want: f64 = (0..dim).map(|i| some(key * dim + i) as f64 * q[query * dim + i] as f64).sum();
                        assert!((*got as f64 - want).abs() < 1e-4, "{simd:?} {dim} {queries}: {got} {want}");
                    }
                    for i in 0..dim {
                        let of_key = |key: usize| some(i * BLOCK_N + key) as f64 * weights[query][key] as f64;
                        let want = LANES as f64 + (0..BLOCK_N).map(of_key).sum::<f64>();
                        let got = sums[i * queries + query].iter().map(|x| *x as f64).sum::<f64>();
                        assert!((got - want).abs() < 1e-4, "{simd:?} {dim} {queries}: {got} {want}");
                    }
                }
            }
        }
    }
}
