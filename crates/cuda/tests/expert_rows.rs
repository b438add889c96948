//! Rows by expert, and what comes back from them, against what the words say.

mod on_device;

use cuda::device::{Buffer, Device};
use cuda::expert_rows::{ExpertRows, ROW_GROUP, SortedRows};
use cuda::route::Choices;
use cuda::rows::{Fp8Rows, QuantiseRows};
use half::bf16;
use on_device::{Numbers, of_fp8};
use std::ops::Range;

struct Case {
    tokens: usize,
    per_token: usize,
    count: usize,
    /// Of each token, ascending and no two the same.
    experts: Vec<u32>,
    shares: Vec<f32>,
}

impl Case {
    /// Where all tokens like the first experts, many of the others have none.
    fn new(numbers: &mut Numbers, (tokens, per_token, count): (usize, usize, usize), skewed: bool) -> Self {
        let of_token = |_| {
            let mut all: Vec<u32> = (0..count as u32).collect();
            if !skewed || numbers.below(4) == 0 {
                numbers.shuffle(&mut all);
            }
            all.truncate(per_token);
            all.sort_unstable();
            all
        };
        let experts = (0..tokens).flat_map(of_token).collect();
        let shares = (0..tokens * per_token).map(|_| numbers.next()).collect();
        Self { tokens, per_token, count, experts, shares }
    }

    fn upload(&self, device: &Device) -> Choices {
        let mut choices = Choices::room(device, self.tokens, self.per_token).unwrap();
        choices.write(&self.experts, &self.shares).unwrap();
        choices
    }

    /// The choices of an expert.
    fn of(&self, expert: usize) -> Vec<usize> {
        (0..self.experts.len()).filter(|choice| self.experts[*choice] as usize == expert).collect()
    }

    fn sort(&self, device: &Device, kernels: &ExpertRows, choices: &Choices) -> (SortedRows, Vec<Range<usize>>) {
        let mut sorted = SortedRows::room(device, self.experts.len(), self.count).unwrap();
        kernels.sort(choices, &mut sorted).unwrap();
        let of_experts = sorted.read().unwrap();
        (sorted, of_experts)
    }
}

const SHAPES: [(usize, usize, usize); 7] =
    [(1, 8, 128), (1, 1, 1), (70, 2, 5), (37, 3, 6), (2100, 8, 60), (5, 4, 4096), (1500, 1, 3)];

fn rows_of_all(of_experts: &[Range<usize>]) -> usize {
    of_experts.iter().map(|rows| rows.end.next_multiple_of(ROW_GROUP)).max().unwrap()
}

#[test]
fn every_choice_has_a_row_of_its_expert() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernels = ExpertRows::new(&device).unwrap();
    for (n, shape) in SHAPES.into_iter().enumerate() {
        let case = Case::new(&mut numbers, shape, n % 2 == 1);
        let choices = case.upload(&device);
        let (sorted, of_experts) = case.sort(&device, &kernels, &choices);
        let mut next = 0;
        for (expert, rows) in of_experts.iter().enumerate() {
            assert_eq!((rows.start, rows.len()), (next, case.of(expert).len()), "{shape:?}, expert {expert}");
            next = rows.end.next_multiple_of(ROW_GROUP);
        }
        assert!(next <= SortedRows::most_rows(case.experts.len(), case.count));

        // Tokens that say which they are, and where they come to lie, in two parts.
        let features = 24;
        let x: Vec<bf16> = (0..case.tokens).flat_map(|token| (0..features).map(move |i| mark(token, i))).collect();
        let x = device.upload(&x).unwrap();
        let cut = next / 2 / ROW_GROUP * ROW_GROUP;
        let mut found = Vec::new();
        for part in [0..cut, cut..next] {
            let mut out: Buffer<bf16> = device.upload(&vec![bf16::NAN; part.len() * features]).unwrap();
            kernels.gather((&x).into(), &choices, &sorted, part, (&mut out).into()).unwrap();
            found.extend(out.read().unwrap());
        }
        let mut expected = vec![bf16::ZERO; next * features];
        for (expert, rows) in of_experts.iter().enumerate() {
            for (row, choice) in rows.clone().zip(case.of(expert)) {
                let token = choice / case.per_token;
                (0..features).for_each(|i| expected[row * features + i] = mark(token, i));
            }
        }
        assert!(found == expected, "{shape:?}");
    }
}

fn mark(token: usize, i: usize) -> bf16 {
    // Each digit is exact.
    bf16::from_f32(match i % 3 {
        0 => 1.0 + (token % 128) as f32,
        1 => 1.0 + (token / 128) as f32,
        _ => 1.0 + i as f32,
    })
}

#[test]
fn rows_in_8_bit_floats_keep_their_scales() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernels = ExpertRows::new(&device).unwrap();
    let case = Case::new(&mut numbers, (77, 2, 7), false);
    let choices = case.upload(&device);
    let (sorted, of_experts) = case.sort(&device, &kernels, &choices);
    let features = 48;
    let values = device.upload(&numbers.bf16s(case.tokens * features, 30.0)).unwrap();
    let mut x = Fp8Rows::room(&device, case.tokens, features).unwrap();
    QuantiseRows::new(&device).unwrap().launch(&values, x.view_mut(0..case.tokens)).unwrap();
    let rows = rows_of_all(&of_experts);
    let mut out = Fp8Rows::room(&device, rows, features).unwrap();
    kernels.gather((&x).into(), &choices, &sorted, 0..rows, (&mut out).into()).unwrap();
    let (x, out) = (of_fp8(&x), of_fp8(&out));
    let mut filled = vec![false; rows];
    for (expert, rows) in of_experts.iter().enumerate() {
        for (row, choice) in rows.clone().zip(case.of(expert)) {
            let token = choice / case.per_token;
            assert_eq!(out[row * features..][..features], x[token * features..][..features], "row {row}");
            filled[row] = true;
        }
    }
    let empty = filled.iter().enumerate().filter(|(_, filled)| !**filled);
    assert!(empty.flat_map(|(row, _)| &out[row * features..][..features]).all(|x| *x == 0.0));
}

#[test]
fn tokens_get_their_rows_times_their_shares() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernels = ExpertRows::new(&device).unwrap();
    for (n, shape) in SHAPES.into_iter().enumerate() {
        let case = Case::new(&mut numbers, shape, n % 2 == 0);
        let choices = case.upload(&device);
        let (sorted, of_experts) = case.sort(&device, &kernels, &choices);
        let (features, rows) = (40, rows_of_all(&of_experts));
        // Nobody looks at what belongs to nobody.
        let mut products = vec![f32::NAN; rows * features];
        let before: Vec<f32> = (0..case.tokens * features).map(|_| numbers.next()).collect();
        let mut expected: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
        for (expert, rows) in of_experts.iter().enumerate() {
            for (row, choice) in rows.clone().zip(case.of(expert)) {
                let to = choice / case.per_token * features;
                for i in 0..features {
                    let product = numbers.next();
                    products[row * features + i] = product;
                    expected[to + i] += f64::from(case.shares[choice]) * f64::from(product);
                }
            }
        }
        let products = device.upload(&products).unwrap();
        let mut out = device.upload(&before).unwrap();
        let cut = rows / 2 / ROW_GROUP * ROW_GROUP;
        for part in [0..cut, cut..rows] {
            let of_part = products.view(part.start * features..part.end * features);
            kernels.add(of_part, &choices, &sorted, part, &mut out).unwrap();
        }
        for (i, (found, expected)) in out.read().unwrap().iter().zip(&expected).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error < 1e-5,
                "{shape:?}, token {}, element {}: {found}, expected {expected}",
                i / features,
                i % features
            );
        }
    }
}

#[test]
fn refuses_what_does_not_belong_together() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernels = ExpertRows::new(&device).unwrap();
    let case = Case::new(&mut numbers, (4, 2, 3), false);
    let choices = case.upload(&device);
    let (sorted, _) = case.sort(&device, &kernels, &choices);
    let x = device.zeros::<bf16>(4 * 16).unwrap();
    let mut fp8 = Fp8Rows::room(&device, 16, 16).unwrap();
    let error = kernels.gather((&x).into(), &choices, &sorted, 0..16, (&mut fp8).into()).unwrap_err();
    assert_eq!(error.to_string(), "gathered rows: expected as those gathered, found another precision");
    let mut out = device.zeros::<bf16>(15 * 16).unwrap();
    let error = kernels.gather((&x).into(), &choices, &sorted, 0..16, (&mut out).into()).unwrap_err();
    assert_eq!(error.to_string(), "gathered rows: expected 256 elements, found 240");
    let mut of_others = SortedRows::room(&device, 6, 3).unwrap();
    let error = kernels.sort(&choices, &mut of_others).unwrap_err();
    assert_eq!(error.to_string(), "rows of choices: expected 8 elements, found 6");
    let products = device.zeros::<f32>(15 * 16).unwrap();
    let mut out = device.zeros::<f32>(4 * 16).unwrap();
    let error = kernels.add((&products).into(), &choices, &sorted, 0..16, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "products of experts: expected 256 elements, found 240");
    assert!(SortedRows::room(&device, 8, 0).is_err() && SortedRows::room(&device, 8, 4097).is_err());
}
