use super::*;
use proptest::prelude::*;

pub(super) const FORMATS: [BlockFormat; 8] = {
    use BlockFormat::*;
    [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K]
};

/// A counter hash: fresh for every seed, the same on every machine.
pub(super) fn hash(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The largest and the smallest code often, for what overflows.
fn code(format: BlockFormat, seed: u64) -> u8 {
    let most = with_format!(format, F => (1u32 << F::BITS) - 1) as u64;
    match hash(seed) % 4 {
        0 => most as u8,
        1 => 0,
        _ => (hash(seed ^ 1) % (most + 1)) as u8,
    }
}

/// A matrix, and its weights in f64 row after row.
pub(super) fn matrix(format: BlockFormat, rows: usize, cols: usize, seed: u64) -> (Blocks, Vec<f64>) {
    let (group, zero, minima, nested) = with_format!(format, F => (F::GROUP, F::ZERO, F::MINIMA, F::NESTED));
    let columns = format.columns();
    let at = |row: usize, n: usize, what: u64| hash(seed ^ hash(what << 40 | (row as u64) << 20 | n as u64));
    let number = |bits: u64| f16::from_f32((bits % 2048) as f32 / 4096.0 - 0.25);
    let factor = |row, n| [number(at(row, n, 1)), number(at(row, n, 2))];
    let scale = |row, n| [at(row, n, 3) as i8, at(row, n, 4) as i8 & 63];
    let read = |row: usize, out: &mut BlockRow| {
        (0..cols).for_each(|k| out.codes[k] = code(format, at(row, k, 0)));
        out.factors.iter_mut().enumerate().for_each(|(n, out)| *out = factor(row, n));
        out.nested.iter_mut().enumerate().for_each(|(n, out)| *out = scale(row, n));
        true
    };
    let weights = (0..rows * cols).map(|n| {
        let (row, k) = (n / cols, n % cols);
        let of = |kind: usize| {
            let nested = if nested { scale(row, k / group)[kind] as f64 } else { 1.0 };
            factor(row, k / columns)[kind].to_f64() * nested
        };
        let minimum = if minima { of(1) } else { 0.0 };
        of(0) * (code(format, at(row, k, 0)) as i32 - zero) as f64 - minimum
    });
    (Blocks::fill(format, rows, cols, read).unwrap(), weights.collect())
}

pub(super) fn vector(len: usize, seed: u64) -> Vec<bf16> {
    (0..len as u64).map(|i| bf16::from_f32((hash(seed ^ hash(i)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Each input is off by at most half the scale of its 32, a 32512th of their largest; beyond that there is rounding in f32.
    #[test]
    fn every_instruction_set_multiplies_as_f64(seed: u64, rows in 1usize..70, supers in 1usize..5) {
        for format in FORMATS {
            let cols = supers * format.columns();
            let (blocks, weights) = matrix(format, rows, cols, seed);
            let x = vector(cols, seed ^ 5);
            let largest: Vec<f64> =
                x.chunks(32).map(|x| x.iter().fold(0.0, |most: f64, x| most.max(x.to_f64().abs()))).collect();
            for simd in Simd::available() {
                let input = QuantisedVector::new(simd, &x);
                let mut out = vec![f32::NAN; blocks.rows()];
                // In two parts, as threads take them.
                let (tiles, middle) = (blocks.rows() / ROW_TILE, blocks.rows() / ROW_TILE / 2);
                let (first, second) = out.split_at_mut(middle * ROW_TILE);
                blocks.multiply_vector(simd, 0..middle, &input, first);
                blocks.multiply_vector(simd, middle..tiles, &input, second);
                for (row, out) in out.iter().enumerate().take(rows) {
                    let w = &weights[row * cols..][..cols];
                    let want: f64 = w.iter().zip(&x).map(|(w, x)| w * x.to_f64()).sum();
                    let of_input: f64 = w.iter().enumerate().map(|(k, w)| w.abs() * largest[k / 32] / 32512.0).sum();
                    let of_f32: f64 = 1e-5 * w.iter().map(|w| w.abs() + 16.0).sum::<f64>();
                    let bound = 1.0001 * of_input + of_f32;
                    prop_assert!((*out as f64 - want).abs() <= bound, "{format:?} {simd:?}: {out}, not {want} +- {bound}");
                }
                prop_assert!(out[rows..].iter().all(|x| *x == 0.0), "rows that pad are zero");
            }
        }
    }

    #[test]
    fn several_vectors_multiply_as_each_alone(seed: u64, rows in 1usize..70, count in 0usize..20) {
        for format in FORMATS {
            let (blocks, _) = matrix(format, rows, format.columns(), seed);
            let tiles = blocks.rows() / ROW_TILE;
            for simd in Simd::available() {
                let input = |n| QuantisedVector::new(simd, &vector(format.columns(), seed ^ n as u64));
                let inputs: Vec<_> = (0..count).map(input).collect();
                let mut out = vec![f32::NAN; count * blocks.rows()];
                blocks.multiply_vectors(simd, 0..tiles, &inputs, &mut out);
                for (input, out) in inputs.iter().zip(out.chunks_exact(blocks.rows())) {
                    let mut alone = vec![f32::NAN; blocks.rows()];
                    blocks.multiply_vector(simd, 0..tiles, input, &mut alone);
                    prop_assert_eq!(&alone, out, "{:?} {:?}", format, simd);
                }
            }
        }
    }

    /// With inputs that are 15-bit integers nothing is lost but f32 rounding, whatever the instruction set.
    #[test]
    fn integers_multiply_exactly(seed: u64, supers in 1usize..4) {
        for format in FORMATS {
            let cols = supers * format.columns();
            let (blocks, weights) = matrix(format, 16, cols, seed);
            // Largest and smallest bytes, high and low.
            let number = |k: usize| match hash(seed ^ k as u64) % 16 {
                _ if k.is_multiple_of(32) => 16256.0,
                0..5 => 16256.0,
                5..10 => -16256.0,
                10 => 64.0,
                11 => 63.0,
                12 => -64.0,
                n => (n * 16) as f32 + 1.0,
            };
            let x: Vec<bf16> = (0..cols).map(|k| bf16::from_f32(number(k))).collect();
            for simd in Simd::available() {
                let mut out = [0.0; 16];
                blocks.multiply_vector(simd, 0..1, &QuantisedVector::new(simd, &x), &mut out);
                for (row, out) in out.iter().enumerate() {
                    let w = &weights[row * cols..][..cols];
                    let want: f64 = w.iter().zip(&x).map(|(w, x)| w * x.to_f64()).sum();
                    let size: f64 = w.iter().map(|w| (w.abs() + 256.0) * 16256.0).sum();
                    prop_assert!((*out as f64 - want).abs() < 1e-6 * size, "{format:?} {simd:?}: {out} {want}");
                }
            }
        }
    }

    #[test]
    fn rows_and_tiles_decode_to_their_weights(seed: u64, rows in 1usize..40, supers in 1usize..4) {
        for format in FORMATS {
            let cols = supers * format.columns();
            let (blocks, weights) = matrix(format, rows, cols, seed);
            let mut row = vec![0.0; cols];
            for simd in Simd::available() {
                for tile in 0..rows.div_ceil(ROW_TILE) {
                    let mut out = vec![bf16::NAN; ROW_TILE * cols];
                    blocks.decode_tile(simd, tile, &mut out);
                    for r in 0..ROW_TILE {
                        let at = tile * ROW_TILE + r;
                        blocks.read_row(at, &mut row);
                        for k in 0..cols {
                            let want = if at < rows { weights[at * cols + k] } else { 0.0 };
                            prop_assert!((row[k] as f64 - want).abs() <= 1e-5 * (want.abs() + 16.0), "{format:?} {}", row[k]);
                            let rounded = bf16::from_f32(row[k]);
                            prop_assert_eq!(out[k / 32 * 512 + r * 32 + k % 32], rounded, "{:?} {:?}", format, simd);
                        }
                    }
                }
            }
        }
    }
}

/// Sixteen rows whose weights are integers, and 0 outside one group of columns: the sum of integers is the first number that is rounded,
/// and nothing is added to it in f32.
pub(super) fn one_group(format: BlockFormat, seed: u64) -> Blocks {
    let (group, zero, minima) = with_format!(format, F => (F::GROUP, F::ZERO, F::MINIMA));
    let cols = format.columns();
    let chosen = seed as usize % (cols / group);
    let read = |row: usize, out: &mut BlockRow| {
        let weight = |k: usize| {
            if k / group == chosen { code(format, seed ^ hash((row * cols + k) as u64)) } else { zero as u8 }
        };
        (0..cols).for_each(|k| out.codes[k] = weight(k));
        out.factors.fill([f16::ONE, if minima { f16::ZERO } else { f16::ONE }]);
        out.nested.fill([1, 0]);
        true
    };
    Blocks::fill(format, 16, cols, read).unwrap()
}

#[test]
fn sums_of_integers_are_portables_bit_for_bit() {
    for (format, seed) in FORMATS.into_iter().flat_map(|format| (0..20).map(move |seed| (format, seed))) {
        let blocks = one_group(format, seed);
        let of = |simd| {
            let mut out = [f32::NAN; 16];
            blocks.multiply_vector(simd, 0..1, &QuantisedVector::new(simd, &vector(blocks.cols(), seed)), &mut out);
            out
        };
        for simd in Simd::available() {
            assert_eq!(of(simd), of(Simd::Portable), "{format:?} {simd:?}");
        }
    }
}

#[test]
fn matrices_take_the_bytes_of_their_files() {
    for (format, for_256) in FORMATS.into_iter().zip([144, 160, 176, 192, 272, 148, 180, 210]) {
        assert_eq!(format.bytes(33, 1024), 48 * 4 * for_256, "{format:?}");
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for simd in Simd::available() {
        for format in FORMATS {
            let (blocks, _) = matrix(format, 16, 256, 1);
            for bad in [bf16::NAN, bf16::INFINITY, bf16::NEG_INFINITY] {
                let mut x = vector(256, 2);
                x[77] = bad;
                let mut out = [0.0; 16];
                blocks.multiply_vector(simd, 0..1, &QuantisedVector::new(simd, &x), &mut out);
                assert!(out.iter().all(|x| x.is_nan()), "{format:?} {simd:?} {bad}: {out:?}");
            }
        }
        for tiny in [bf16::ZERO, bf16::MIN_POSITIVE, bf16::from_bits(1)] {
            let (blocks, _) = matrix(BlockFormat::Q8_0, 16, 64, 1);
            let mut out = [f32::NAN; 16];
            blocks.multiply_vector(simd, 0..1, &QuantisedVector::new(simd, &[tiny; 64]), &mut out);
            assert!(out.iter().all(|x| x.abs() < 1e-30), "{simd:?} {tiny}: {out:?}");
        }
    }
}

/// Halves decode as `half` does it, those that are no numbers too.
#[test]
fn all_halves_decode() {
    for bits in 0..=u16::MAX {
        let (own, theirs) = (portable::half_to_f32(bits), f16::from_bits(bits).to_f32());
        assert!(own.to_bits() == theirs.to_bits() || own.is_nan() && theirs.is_nan(), "{bits:04x}: {own} {theirs}");
    }
}

#[test]
fn operands_that_do_not_belong_together_are_refused() {
    let panics = |call: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err();
    let (blocks, _) = matrix(BlockFormat::Q4_K, 16, 256, 1);
    let simd = Simd::detect();
    let x = |n| QuantisedVector::new(simd, &vector(n, 1));
    assert!(panics(&|| _ = Blocks::fill(BlockFormat::Q4_K, 16, 128, |_, _| false)));
    assert!(panics(&|| _ = x(31)));
    assert!(panics(&|| blocks.multiply_vector(simd, 0..1, &x(128), &mut [0.0; 16])));
    assert!(panics(&|| blocks.multiply_vector(simd, 0..1, &x(256), &mut [0.0; 32])));
    assert!(panics(&|| blocks.multiply_vector(simd, 1..2, &x(256), &mut [0.0; 16])));
    assert!(panics(&|| blocks.decode_tile(simd, 0, &mut [bf16::ZERO; 16])));
    assert!(panics(&|| blocks.read_row(16, &mut [0.0; 256])));
    for missing in Simd::ALL.into_iter().filter(|simd| !Simd::available().contains(simd)) {
        assert!(panics(&|| blocks.multiply_vector(missing, 0..1, &x(256), &mut [0.0; 16])));
    }
}
