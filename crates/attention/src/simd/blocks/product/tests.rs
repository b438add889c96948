use super::*;
use crate::simd::blocks::tests::{FORMATS, hash, matrix, one_group, vector};
use crate::simd::blocks::{BlockFormat, Blocks};
use half::bf16;
use proptest::prelude::*;

const WIDTHS: [InputWidth; 2] = [InputWidth::OneByte, InputWidth::TwoBytes];

/// Tokens of `cols` numbers to packed panels.
fn packed(tokens: &[Vec<bf16>], cols: usize) -> Vec<bf16> {
    let mut panels = vec![bf16::ZERO; tokens.len().div_ceil(LANES) * cols * LANES];
    for (t, token) in tokens.iter().enumerate() {
        for (i, x) in token.iter().enumerate() {
            panels[t / LANES * cols * LANES + i / 2 * 2 * LANES + t % LANES * 2 + i % 2] = *x;
        }
    }
    panels
}

fn integers(simd: Simd, width: InputWidth, tokens: &[Vec<bf16>], cols: usize) -> QuantisedPanels {
    let mut x = QuantisedPanels::default();
    x.quantise(simd, width, cols, &packed(tokens, cols));
    x
}

fn slab(simd: Simd, blocks: &Blocks) -> Slab {
    let mut slab = Slab::default();
    slab.fill(simd, blocks, 0..blocks.rows() / ROW_TILE);
    slab
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// An input is off by at most half the scale of its 32; beyond that there is rounding in f32.
    #[test]
    fn every_instruction_set_multiplies_as_f64(
        seed: u64, rows in 1usize..70, supers in 1usize..5, len in 1usize..40, extra in 0usize..3, accumulate: bool,
    ) {
        for format in FORMATS {
            // Formats of short blocks get more of them than pass at once, too.
            let cols = if format.columns() == 256 { supers * 256 } else { (supers * 160).next_multiple_of(32) };
            let (blocks, weights) = matrix(format, rows, cols, seed);
            let tokens: Vec<_> = (0..len as u64).map(|token| vector(cols, seed ^ hash(token))).collect();
            let (height, panels) = (blocks.rows() * LANES, len.div_ceil(LANES));
            let stride = height + extra * 16;
            let start: Vec<f32> = (0..panels * stride).map(|n| (n % 13) as f32).collect();
            for (simd, width) in Simd::available().into_iter().flat_map(|simd| WIDTHS.map(|width| (simd, width))) {
                let mut c = start.clone();
                let most = if width == InputWidth::OneByte { 254.0 } else { 32512.0 };
                let (a, x) = (slab(simd, &blocks), integers(simd, width, &tokens, cols));
                multiply_integers(simd, &a, &x, &mut c, stride, accumulate);
                for (t, token) in tokens.iter().enumerate() {
                    let peaks: Vec<f64> =
                        token.chunks(32).map(|x| x.iter().fold(0.0, |most: f64, x| most.max(x.to_f64().abs()))).collect();
                    for row in 0..rows {
                        let w = &weights[row * cols..][..cols];
                        let at = t / LANES * stride + row * LANES + t % LANES;
                        let from = if accumulate { start[at] as f64 } else { 0.0 };
                        let want = from + w.iter().zip(token).map(|(w, x)| w * x.to_f64()).sum::<f64>();
                        let of_input: f64 = w.iter().enumerate().map(|(k, w)| w.abs() * peaks[k / 32] / most).sum();
                        let bound = 1.0001 * of_input + 1e-5 * w.iter().map(|w| w.abs() + 16.0).sum::<f64>();
                        let off = (c[at] as f64 - want).abs();
                        prop_assert!(off <= bound, "{format:?} {simd:?} {width:?}: {}, not {want} +- {bound}", c[at]);
                    }
                }
                for panel in 0..panels {
                    for pad in panel * stride + height..(panel + 1) * stride {
                        prop_assert_eq!(c[pad], start[pad], "wrote past the rows");
                    }
                }
            }
        }
    }

    /// With inputs that are integers of the width nothing is lost but f32 rounding, at the ends of what bytes hold too.
    #[test]
    fn integers_multiply_exactly(seed: u64, supers in 1usize..4) {
        for (format, width) in FORMATS.into_iter().flat_map(|format| WIDTHS.map(|width| (format, width))) {
            let cols = supers * format.columns();
            let (blocks, weights) = matrix(format, 16, cols, seed);
            let most = if width == InputWidth::OneByte { 127.0 } else { 16256.0 };
            let number = |k: usize| match hash(seed ^ k as u64) % 8 {
                _ if k.is_multiple_of(32) => most,
                0..3 => most,
                3..6 => -most,
                6 => 64.0,
                _ => -63.0,
            };
            let token: Vec<bf16> = (0..cols).map(|k| bf16::from_f32(number(k))).collect();
            for simd in Simd::available() {
                let mut c = [f32::NAN; 16 * LANES];
                let (a, x) = (slab(simd, &blocks), integers(simd, width, std::slice::from_ref(&token), cols));
                multiply_integers(simd, &a, &x, &mut c, 16 * LANES, false);
                for (row, c) in c.chunks_exact(LANES).enumerate() {
                    let w = &weights[row * cols..][..cols];
                    let want: f64 = w.iter().zip(&token).map(|(w, x)| w * x.to_f64()).sum();
                    let size: f64 = w.iter().map(|w| (w.abs() + 256.0) * most as f64).sum();
                    prop_assert!((c[0] as f64 - want).abs() < 1e-6 * size, "{format:?} {simd:?}: {} {want}", c[0]);
                    prop_assert!(c[1..].iter().all(|c| *c == 0.0), "tokens that pad are zero");
                }
            }
        }
    }
}

/// Of formats whose code 0 is weight 0: of the others some sets take the zero from codes, some from sums.
#[test]
fn sums_of_integers_are_portables_bit_for_bit() {
    let formats = [BlockFormat::Q4_1, BlockFormat::Q5_1, BlockFormat::Q4_K, BlockFormat::Q5_K];
    for (format, width) in formats.into_iter().flat_map(|format| WIDTHS.map(|width| (format, width))) {
        for seed in 0..20 {
            let blocks = one_group(format, seed);
            let tokens: Vec<_> = (0..20).map(|token| vector(blocks.cols(), seed ^ hash(token))).collect();
            let of = |simd| {
                let mut c = [f32::NAN; 2 * 16 * LANES];
                let (a, x) = (slab(simd, &blocks), integers(simd, width, &tokens, blocks.cols()));
                multiply_integers(simd, &a, &x, &mut c, 16 * LANES, false);
                c
            };
            for simd in Simd::available() {
                assert_eq!(of(simd), of(Simd::Portable), "{format:?} {simd:?} {width:?}");
            }
        }
    }
}

#[test]
fn every_instruction_set_rounds_alike() {
    let tokens: Vec<_> =
        (0..40).map(|n| vector(320, n).iter().map(|x| bf16::from_f32(x.to_f32() * n as f32)).collect()).collect();
    for width in WIDTHS {
        let plain = integers(Simd::Portable, width, &tokens, 320);
        for simd in Simd::available() {
            let x = integers(simd, width, &tokens, 320);
            assert!(x.bytes[..] == plain.bytes[..] && x.numbers[..] == plain.numbers[..], "{simd:?} {width:?}");
        }
    }
}

#[test]
fn what_is_no_number_stays_with_its_token() {
    let cols = 256;
    for (format, simd) in FORMATS.into_iter().flat_map(|f| Simd::available().into_iter().map(move |s| (f, s))) {
        let (blocks, _) = matrix(format, 16, cols, 1);
        for (bad, width) in [bf16::NAN, bf16::INFINITY].into_iter().flat_map(|bad| WIDTHS.map(|width| (bad, width))) {
            let mut tokens = vec![vector(cols, 2), vector(cols, 3), vec![bf16::from_bits(1); cols]];
            tokens[1][77] = bad;
            let mut c = [0.0; 16 * LANES];
            let (a, x) = (slab(simd, &blocks), integers(simd, width, &tokens, cols));
            multiply_integers(simd, &a, &x, &mut c, 16 * LANES, false);
            for c in c.chunks_exact(LANES) {
                assert!(c[0].is_finite() && c[1].is_nan(), "{format:?} {simd:?} {bad}: {c:?}");
                assert!(c[2].abs() < 1e-30, "the least number is as good as zero: {c:?}");
            }
        }
    }
}

#[test]
fn operands_that_do_not_belong_together_are_refused() {
    let panics = |call: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err();
    let simd = Simd::detect();
    let (blocks, _) = matrix(BlockFormat::Q4_K, 32, 256, 1);
    let (a, one) = (slab(simd, &blocks), vec![vector(256, 1)]);
    let two = [one.clone(), vec![vector(256, 2); 16]].concat();
    let x = |tokens: &[Vec<bf16>]| integers(simd, InputWidth::OneByte, tokens, 256);
    assert!(panics(&|| multiply_integers(simd, &a, &x(&one), &mut [0.0; 511], 512, false)));
    assert!(panics(&|| multiply_integers(simd, &a, &x(&two), &mut [0.0; 1024], 496, false)));
    assert!(panics(&|| multiply_integers(simd, &a, &x(&two), &mut [0.0; 1024], 513, false)));
    assert!(panics(&|| multiply_integers(simd, &a, &x(&two), &mut [0.0; 1024], usize::MAX, false)));
    let short = integers(simd, InputWidth::OneByte, &[vector(128, 1)], 128);
    assert!(panics(&|| multiply_integers(simd, &a, &short, &mut [0.0; 512], 512, false)));
    let quantise = |features, len| QuantisedPanels::default().quantise(simd, WIDTHS[0], features, &vector(len, 1));
    assert!(panics(&|| quantise(31, 31 * 16)) && panics(&|| quantise(32, 33 * 16)) && panics(&|| quantise(0, 0)));
    assert!(panics(&|| Slab::default().fill(simd, &blocks, 1..3)));
    for missing in Simd::ALL.into_iter().filter(|simd| !Simd::available().contains(simd)) {
        assert!(panics(&|| multiply_integers(missing, &a, &x(&one), &mut [0.0; 512], 512, false)));
    }
}
