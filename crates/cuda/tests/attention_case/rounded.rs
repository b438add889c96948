//! What a kernel with products of 8-bit floats was given, after its rounding.

use super::{Case, Operands, planned_keys};
use crate::on_device::Numbers;
use attention::oracle::{Head, attend_row};
use attention::plan::{HeadPlan, Plan};
use cuda::quantise_kv::RoundedOnHost;

/// Keys and values of each sequence, `[kv_head][position][head_dim]`, as products read them, and in their own units again.
pub struct Rounded {
    k: Vec<Vec<f64>>,
    v: Vec<Vec<f64>>,
    /// What keys and values lie from those given, at most.
    bounds: Vec<[Vec<f64>; 2]>,
    /// `[kv_head][head_dim]`
    means: Vec<f32>,
    format: Format,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Fp8,
    Int8Keys,
}

impl Rounded {
    /// Of 8-bit floats, from what the device holds: keys in pages, values in pages with each block transposed.
    pub fn fp8(case: &Case, found: RoundedOnHost) -> Self {
        let d = case.heads.head_dim();
        let RoundedOnHost { k, v, scales, .. } = &found;
        Self::of(case, Format::Fp8, found.means.clone(), |head, row, i, _| {
            let [k_scale, v_scale] = scales[head].map(f64::from);
            let value = fp8_value(v[row / 64 * 64 * d + i * 64 + place_of(row % 64)]) as f64;
            [(fp8_value(k[row * d + i]) as f64 * k_scale, k_scale), (value * v_scale, v_scale)]
        })
    }

    /// Of 8-bit integers: keys alone.
    pub fn int8_keys(case: &Case, found: RoundedOnHost) -> Self {
        let d = case.heads.head_dim();
        let RoundedOnHost { k, block_scales, .. } = &found;
        Self::of(case, Format::Int8Keys, found.means.clone(), |_, row, i, value| {
            let scale = block_scales[row / 64] as f64;
            [(k[row * d + i] as i8 as f64 * scale, scale), (value, 0.0)]
        })
    }

    /// `at` is given a kv head, a row of pages, an element and its value, and has key and value with their scales.
    fn of(
        case: &Case,
        format: Format,
        means: Vec<f32>,
        at: impl Fn(usize, usize, usize, f64) -> [(f64, f64); 2],
    ) -> Self {
        let (kv_heads, d, size) = (case.heads.num_kv_heads(), case.heads.head_dim(), case.page_size);
        let mut rounded = Self { k: Vec::new(), v: Vec::new(), bounds: Vec::new(), means, format };
        for ((range, table), values) in case.ranges.iter().zip(&case.tables).zip(&case.v) {
            let (mut keys, mut of_values, mut bounds) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
            for head in 0..kv_heads {
                for position in 0..range.kv_len() {
                    let row = (table[position / size] as usize * kv_heads + head) * size + position % size;
                    for i in 0..d {
                        let exact = values[(head * range.kv_len() + position) * d + i].to_f64();
                        let [(key, k_scale), (value, v_scale)] = at(head, row, i, exact);
                        keys.push(key);
                        of_values.push(value);
                        bounds[0].push(format.bound(key, k_scale));
                        bounds[1].push(format.bound(value, v_scale));
                    }
                }
            }
            rounded.k.push(keys);
            rounded.v.push(of_values);
            rounded.bounds.push(bounds);
        }
        rounded
    }

    /// Means are those of all keys, of integers of a sample, and every element is the nearest there is. What is no number stays none.
    pub fn check_rounding(&self, case: &Case) {
        let (kv_heads, d) = (case.heads.num_kv_heads(), case.heads.head_dim());
        // Keys are spread by 2 about what they have in common.
        let most = if self.format == Format::Fp8 { 1e-3 } else { 2.0 };
        for head in 0..kv_heads {
            for i in 0..d {
                let of_element = (case.ranges.iter().zip(&case.k)).flat_map(|(range, k)| {
                    (0..range.kv_len()).map(move |position| k[(head * range.kv_len() + position) * d + i].to_f64())
                });
                let (sum, count) = (of_element.clone().filter(|x| x.is_finite()).sum::<f64>(), of_element.count());
                let mean = self.means[head * d + i] as f64;
                assert!((mean - sum / count as f64).abs() < most * (1.0 + mean.abs()), "{}: mean {mean}", case.name());
            }
        }
        for (index, range) in case.ranges.iter().enumerate() {
            for at in 0..case.k[index].len() {
                let mean = self.means[at / d / range.kv_len() * d + at % d];
                let of_kind = [
                    (case.k[index][at].to_f32() - mean, self.k[index][at], self.bounds[index][0][at]),
                    (case.v[index][at].to_f32(), self.v[index][at], self.bounds[index][1][at]),
                ];
                for (exact, found, bound) in of_kind {
                    if exact.is_nan() {
                        assert!(found.is_nan(), "{}", case.name());
                        continue;
                    }
                    assert!((found - exact as f64).abs() <= bound, "{}: {exact} to {found}", case.name());
                }
            }
        }
    }

    /// Compares the output with the oracle on what was rounded, of queries rounded likewise, in about `rows` rows of each head. What is
    /// left is the rounding of weights, up to a sixteenth each in 8-bit floats, and of the output.
    pub fn check_output(
        &self,
        case: &Case,
        numbers: &mut Numbers,
        operands: &Operands,
        plans: Option<&[Plan]>,
        rows: usize,
    ) {
        let (heads, d) = (case.heads, case.heads.head_dim());
        let o = operands.o.read().unwrap();
        assert!(o.iter().all(|x| x.is_finite()), "{}: an output is not finite or was not written", case.name());
        let mut begin = 0;
        for (index, range) in case.ranges.iter().enumerate() {
            let share = rows as f32 / range.q_len() as f32;
            for head in 0..heads.num_q_heads() {
                let of_head = heads.kv_head(head) * range.kv_len() * d..(heads.kv_head(head) + 1) * range.kv_len() * d;
                let (k, v) = (&self.k[index][of_head.clone()], &self.v[index][of_head]);
                let magnitudes: Vec<f64> = v.iter().map(|x| x.abs()).collect();
                for row in 0..range.q_len() {
                    let edge = row == 0 || row + 1 == range.q_len();
                    if !edge && (numbers.next() + 1.0) / 2.0 >= share {
                        continue;
                    }
                    let at = ((begin + row) * heads.num_q_heads() + head) * d;
                    let q: Vec<f32> = case.q[at..at + d].iter().map(|x| x.to_f32()).collect();
                    let q = self.format.round_query(&q);
                    let position = range.q_start() + row;
                    let keys = match plans {
                        Some(plans) => planned_keys(&plans[index].heads[head], *range, position),
                        None => case.seen(position),
                    };
                    if keys.is_empty() {
                        assert!(o[at..at + d].iter().all(|x| x.to_f32() == 0.0), "{}", case.name());
                        continue;
                    }
                    // Centres are means of what is not rounded, themselves rounded; integers of gathered keys have another scale.
                    let planned = plans.map(|plans| &plans[index].heads[head]);
                    let columns = matches!(planned, Some(HeadPlan::Sparse(plan)) if !plan.columns().is_empty());
                    let centres = keys.iter().any(|keys| keys.len() > 1);
                    let (expected, _) = attend_row(Head { q: &q, k, v, head_dim: d }, 0, keys.clone());
                    let (of_magnitudes, _) = attend_row(Head { q: &q, k, v: &magnitudes, head_dim: d }, 0, keys);
                    for (i, found) in o[at..at + d].iter().enumerate() {
                        let error = (found.to_f64() - expected[i]).abs();
                        let bound = of_magnitudes[i] * self.format.share(columns, centres) + 4e-3;
                        assert!(
                            error < bound,
                            "{}: sequence {index}, head {head}, row {row}, element {i}: {found}, expected {} +- {bound}",
                            case.name(),
                            expected[i]
                        );
                    }
                }
            }
            begin += range.q_len();
        }
    }
}

impl Format {
    /// How far a rounded number may lie from what was given.
    fn bound(self, rounded: f64, scale: f64) -> f64 {
        // Half of the last bit, or of the smallest step; and rounding in the division.
        let half = match self {
            Self::Fp8 => (rounded.abs() / 15.0).max(scale / 1024.0),
            Self::Int8Keys => scale / 2.0,
        };
        half * 1.001 + 1e-6
    }

    /// A query as products read it, in its own units.
    fn round_query(self, q: &[f32]) -> Vec<f64> {
        let largest = q.iter().fold(1e-12f32, |largest, x| largest.max(x.abs()));
        let (most, round): (f32, fn(f32) -> f32) = match self {
            Self::Fp8 => (448.0, round_to_fp8),
            Self::Int8Keys => (127.0, f32::round_ties_even),
        };
        let inverse = most / largest;
        q.iter().map(|x| round(x * inverse) as f64 * (largest / most) as f64).collect()
    }

    /// What rounded weights may cost, as a share of the mean magnitude of values.
    fn share(self, columns: bool, centres: bool) -> f64 {
        match self {
            Self::Fp8 => [0.067, 0.2][centres as usize],
            Self::Int8Keys => [4e-3, 0.06][(columns || centres) as usize],
        }
    }
}

/// Where a key of a block lies in a transposed row, the other way round than `key_at` in `kernels/quantise_kv.cu`: of 16 keys, a
/// thread of a product holds columns 2 c, 2 c + 1 of each eight, and has them beside each other.
fn place_of(key: usize) -> usize {
    let (eight, thread, of_two) = (key % 16 / 8, key % 8 / 2, key % 2);
    key / 16 * 16 + thread * 4 + eight * 2 + of_two
}

/// What a byte stands for (e4m3: no infinities, one NaN a sign).
pub fn fp8_value(byte: u8) -> f32 {
    let (exponent, mantissa) = ((byte >> 3 & 15) as i32, (byte & 7) as f32);
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte >> 7 == 1 { -magnitude } else { magnitude }
}

/// The nearest number that a byte can stand for, ties to even, no larger than the largest.
pub fn round_to_fp8(x: f32) -> f32 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    let exponent = (x.abs().log2().floor() as i32).max(-6);
    let step = 2f32.powi(exponent - 3);
    ((x / step).round_ties_even() * step).clamp(-448.0, 448.0)
}
