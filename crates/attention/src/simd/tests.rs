use super::*;
use proptest::prelude::*;

/// Pseudo-random bf16 in [-1, 1), from a counter hash: fresh for every seed, the same on every machine.
pub(super) fn numbers(seed: u64, n: usize) -> Vec<bf16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| bf16::from_f32(next())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_instruction_set_multiplies_as_f64(
        seed: u64, row_tiles in 1usize..6, steps in 1usize..5, panels in 1usize..5, extra in 0usize..3,
        packed: bool, accumulate: bool,
    ) {
        let (rows, k) = (row_tiles * ROW_TILE, steps * K_STEP);
        let stride = k + extra * 8;
        let data = numbers(seed, if packed { rows * k } else { rows * stride });
        let a = if packed { Rows::packed(&data, rows, k) } else { Rows::row_major(&data, rows, k, stride) };
        let at = |r: usize, i: usize| if packed {
            data[(r / 16) * 16 * k + (i / 32) * 512 + (r % 16) * 32 + i % 32]
        } else {
            data[r * stride + i]
        }.to_f64();
        let b = numbers(seed ^ 1, panels * k * LANES);
        let c_stride = rows * LANES + extra * 16;
        let start: Vec<f32> = numbers(seed ^ 2, panels * c_stride).iter().map(|x| x.to_f32()).collect();
        for simd in Simd::available() {
            let mut c = start.clone();
            multiply(simd, a, &b, panels, &mut c, c_stride, accumulate);
            for p in 0..panels {
                for r in 0..rows {
                    for lane in 0..LANES {
                        let at_c = p * c_stride + r * LANES + lane;
                        let mut want = if accumulate { start[at_c] as f64 } else { 0.0 };
                        for i in 0..k {
                            want += at(r, i) * b[p * k * LANES + (i / 2) * 32 + lane * 2 + i % 2].to_f64();
                        }
                        prop_assert!((c[at_c] as f64 - want).abs() < 1e-4, "{simd:?} {} {want}", c[at_c]);
                    }
                }
                for pad in rows * LANES..c_stride {
                    prop_assert_eq!(c[p * c_stride + pad], start[p * c_stride + pad], "wrote past the rows");
                }
            }
        }
    }

    #[test]
    fn one_token_product_is_the_panel_product(seed: u64, row_tiles in 1usize..6, steps in 1usize..5) {
        let (rows, k) = (row_tiles * ROW_TILE, steps * K_STEP);
        let data = numbers(seed, rows * k);
        let x = numbers(seed ^ 3, k);
        for simd in Simd::available() {
            let mut out = vec![0.0; rows];
            multiply_vector(simd, Rows::packed(&data, rows, k), &x, &mut out);
            for (r, out) in out.iter().enumerate() {
                let want: f64 = (0..k)
                    .map(|i| data[(r / 16) * 16 * k + (i / 32) * 512 + (r % 16) * 32 + i % 32].to_f64() * x[i].to_f64())
                    .sum();
                prop_assert!((*out as f64 - want).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn pack_rounds_to_nearest_even_and_pads_with_zero(
        values in proptest::collection::vec(any::<f32>(), 16..=16 * 40), scale in prop::sample::select(vec![1.0f32, 0.125]),
    ) {
        let features = values.len() / LANES;
        let panel = &values[..features * LANES];
        for simd in Simd::available() {
            let mut out = vec![bf16::ONE; packed_len(features)];
            pack(simd, panel, scale, &mut out);
            for i in 0..packed_len(features) / LANES {
                for lane in 0..LANES {
                    let got = out[(i / 2) * 32 + lane * 2 + i % 2];
                    let want = if i < features { bf16::from_f32(panel[i * LANES + lane] * scale) } else { bf16::ZERO };
                    prop_assert!(got == want || got.is_nan() && want.is_nan(), "{simd:?} {got} {want}");
                }
            }
        }
    }
}

/// Safe code may pass anything. What no memory could hold must not wrap around to something small.
#[test]
fn sizes_that_wrap_around_are_refused() {
    let panics = |call: fn()| std::panic::catch_unwind(call).is_err();
    fn data(n: usize) -> Vec<bf16> {
        numbers(1, n)
    }
    assert!(panics(|| _ = Rows::row_major(&data(1024), 32, 32, 1 << 60)));
    assert!(panics(|| _ = Rows::row_major(&data(1024), 16, 32, usize::MAX / 15 + 2)));
    assert!(panics(|| _ = Rows::packed(&data(1024), 1 << 61, 32)));
    assert!(panics(|| _ = Rows::packed(&data(1024), 16, 1 << 60)));
    assert!(panics(|| _ = packed_len(usize::MAX - 3)));
    assert!(panics(|| _ = packed_len(1 << 60)));
    assert!(panics(|| {
        let a = data(1024);
        // The panels but one begin at multiples of 2^63, which is 0 and 2^63 in turns.
        multiply(Simd::detect(), Rows::packed(&a, 32, 32), &data(1536), 3, &mut [0.0; 512], 1 << 63, false);
    }));
    assert!(panics(|| multiply(Simd::detect(), Rows::packed(&[], 1 << 60, 0), &[], 1, &mut [], 0, false)));
    assert!(panics(|| multiply_vector(Simd::detect(), Rows::packed(&[], 32, 0), &[], &mut [0.0; 16])));
}

#[test]
fn a_product_over_nothing_is_zero() {
    for simd in Simd::available() {
        let mut c = [7.0; 2 * 512 + 16];
        multiply(simd, Rows::packed(&[], 32, 0), &[], 2, &mut c, 528, true);
        assert_eq!(c, [7.0; 2 * 512 + 16], "added to what is there");
        multiply(simd, Rows::packed(&[], 32, 0), &[], 2, &mut c, 528, false);
        let between = |n: usize| (512..528).contains(&n);
        assert!(c.iter().enumerate().all(|(n, &c)| c == if between(n) { 7.0 } else { 0.0 }));
        let mut out = [7.0; 33];
        multiply_vector(simd, Rows::row_major(&[], 32, 0, 5), &[], &mut out);
        assert_eq!((out[31], out[32]), (0.0, 7.0));
    }
}

/// No processor has every set.
#[test]
fn sets_that_are_not_here_are_refused() {
    let available = Simd::available();
    for simd in Simd::ALL.into_iter().filter(|simd| !available.contains(simd)) {
        let (a, x) = (numbers(1, 512), numbers(2, 512));
        let panics = |call: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err();
        assert!(panics(&|| multiply(simd, Rows::packed(&a, 16, 32), &x, 1, &mut [0.0; 256], 256, false)));
        assert!(panics(&|| multiply_vector(simd, Rows::packed(&a, 16, 32), &x, &mut [0.0; 16])));
        assert!(panics(&|| pack(simd, &[0.0; 512], 1.0, &mut x.clone())));
        assert!(panics(&|| dot_rows(simd, Rows::packed(&a, 16, 32), &[0.0; 32], &mut [0.0; 16])));
    }
}
