use super::*;
use proptest::prelude::*;

/// bf16 of different sizes, the same on every machine; `spike` times as large in one place.
fn numbers(seed: u64, n: usize, spike: f32) -> Vec<bf16> {
    let mut all = crate::simd::tests::numbers(seed, n);
    let at = (seed % n as u64) as usize;
    all[at] = bf16::from_f32(all[at].to_f32() * spike);
    all
}

fn pack(x: &[bf16], k: usize, panels: usize) -> Vec<bf16> {
    let mut packed = vec![bf16::ZERO; x.len()];
    for p in 0..panels {
        for i in 0..k {
            for lane in 0..LANES {
                packed[(p * k + i / 2 * 2) * LANES + lane * 2 + i % 2] = x[(p * LANES + lane) * k + i];
            }
        }
    }
    packed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_those_of_f64_to_a_thousandth_of_the_norms(
        seed: u64, row_tiles in 1usize..5, steps in 1usize..5, panels in 1usize..6, extra in 0usize..3,
        spike in prop::sample::select(vec![1.0f32, 300.0, 0.0]), accumulate: bool,
    ) {
        let (rows, k) = (16 * row_tiles, 32 * steps);
        let (a, x) = (numbers(seed, rows * k, spike), numbers(seed ^ 5, panels * LANES * k, spike));
        let start: Vec<f32> = numbers(seed ^ 9, panels * (rows + extra) * LANES, 1.0).iter().map(|x| x.to_f32()).collect();
        for simd in Simd::available() {
            let (mut c, stride) = (start.clone(), (rows + extra) * LANES);
            let mut integers = vec![[0; LANES]; panels * k / 2];
            let mut worth = vec![[0.0; LANES]; panels];
            round_panels(simd, &pack(&x, k, panels), &mut integers, &mut worth);
            let b = PanelsOfIntegers { numbers: &integers, steps: &worth };
            multiply(simd, &IntegerRows::round(simd, &a, k), b, &mut c, stride, accumulate);
            for token in 0..panels * LANES {
                for row in 0..rows {
                    let (a, x) = (&a[row * k..][..k], &x[token * k..][..k]);
                    let norm = |x: &[bf16]| x.iter().map(|x| x.to_f64().powi(2)).sum::<f64>().sqrt();
                    let at = token / LANES * stride + row * LANES + token % LANES;
                    let product: f64 = a.iter().zip(x).map(|(a, x)| a.to_f64() * x.to_f64()).sum();
                    let want = product + if accumulate { start[at] as f64 } else { 0.0 };
                    prop_assert!((c[at] as f64 - want).abs() < 1e-3 * norm(a) * norm(x) + 1e-6, "{} {want}", c[at]);
                }
            }
        }
    }
}

/// The largest sums: rows and lanes that are multiples of each other, in one number and in many.
#[test]
fn the_largest_sums_do_not_wrap_around() {
    for simd in Simd::available() {
        for filled in [1, 64] {
            let mut row = [bf16::ZERO; 64];
            row[..filled].fill(bf16::from_f32(-3.0));
            let a = IntegerRows::round(simd, &row.repeat(16), 64);
            let whole = vec![[0x2000_2000u32; LANES]; 32];
            let b = PanelsOfIntegers { numbers: &whole, steps: &[[1.0; LANES]] };
            let mut c = vec![0.0; 16 * LANES];
            multiply(simd, &a, b, &mut c, 16 * LANES, false);
            let want = -3.0 * filled as f32 * 8192.0;
            assert!(c.iter().all(|c| (c / want - 1.0).abs() < 1e-3), "{want}: {}", c[0]);
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for simd in Simd::available() {
        for (bad, good) in [(bf16::NAN, 1.0), (bf16::INFINITY, 1.0), (bf16::ZERO, 0.0)] {
            let a = IntegerRows::round(simd, &[bad; 16 * 32], 32);
            let b = PanelsOfIntegers { numbers: &[[0x0001_0001; LANES]; 16], steps: &[[good; LANES]] };
            let mut c = vec![7.0; 16 * LANES];
            multiply(simd, &a, b, &mut c, 16 * LANES, false);
            assert!(c.iter().all(|c| if bad == bf16::ZERO { *c == 0.0 } else { !c.is_finite() }), "{bad}: {}", c[0]);
        }
    }
}
