//! One token times the matrices of its experts against f64.

mod on_device;

use cuda::expert_matvec::{ExpertMatrices, ExpertMatvec};
use cuda::route::Choices;
use half::bf16;
use on_device::Numbers;
use std::sync::Arc;

#[test]
fn multiplies_by_the_experts_that_are_chosen() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = ExpertMatvec::new(&device).unwrap();
    for (count, per_token, rows, features) in
        [(1, 1, 1, 8), (6, 2, 48, 40), (128, 8, 1536, 2048), (5, 5, 67, 264), (9, 3, 2, 4104)]
    {
        let what = format!("{per_token} of {count}, {rows} x {features}");
        let mut experts: Vec<u32> = (0..count as u32).collect();
        numbers.shuffle(&mut experts);
        experts.truncate(per_token);
        let shares: Vec<f32> = (0..per_token).map(|_| numbers.next()).collect();
        let mut choices = Choices::room(&device, 1, per_token).unwrap();
        choices.write(&experts, &shares).unwrap();
        // Nobody looks at the others.
        let weights: Vec<Vec<bf16>> = (0..count as u32)
            .map(|expert| match experts.contains(&expert) {
                true => numbers.bf16s(rows * features, 1.0),
                false => vec![bf16::NAN; rows * features],
            })
            .collect();
        let matrices = weights.iter().map(|weight| Arc::new(device.upload(weight).unwrap())).collect();
        let matrices = ExpertMatrices::new(&device, matrices, features).unwrap();

        let product = |slot: usize, row: usize, x: &[bf16]| -> (f64, f64) {
            let weight = &weights[experts[slot] as usize][row * features..][..features];
            let terms = weight.iter().zip(x).map(|(a, b)| a.to_f64() * b.to_f64());
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        let x = numbers.bf16s(features, 1.0);
        let mut out = device.upload(&vec![bf16::NAN; per_token * rows]).unwrap();
        kernel.multiply(&matrices, &choices, (&device.upload(&x).unwrap()).into(), (&mut out).into()).unwrap();
        for (i, found) in out.read().unwrap().iter().enumerate() {
            let (slot, row) = (i / rows, i % rows);
            let (expected, size) = product(slot, row, &x);
            let error = (found.to_f64() - expected).abs();
            assert!(
                error <= expected.abs() / 250.0 + 1e-6 * size,
                "{what}, choice {slot}, row {row}: {found}, expected {expected}"
            );
        }

        let x = numbers.bf16s(per_token * features, 1.0);
        let before: Vec<f32> = (0..rows).map(|_| numbers.next()).collect();
        let mut sum = device.upload(&before).unwrap();
        kernel.multiply_add(&matrices, &choices, (&device.upload(&x).unwrap()).into(), &mut sum).unwrap();
        for (row, found) in sum.read().unwrap().iter().enumerate() {
            let (mut expected, mut of_all) = (f64::from(before[row]), 1.0);
            for (slot, share) in shares.iter().enumerate() {
                let (product, size) = product(slot, row, &x[slot * features..][..features]);
                expected += f64::from(*share) * product;
                of_all += size;
            }
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= 1e-5 * of_all, "{what}, sum, row {row}: {found}, expected {expected}");
        }
    }
}

#[test]
fn refuses_what_does_not_belong_together() {
    let Some(device) = on_device::device() else { return };
    let kernel = ExpertMatvec::new(&device).unwrap();
    let matrix = |len| Arc::new(device.zeros::<bf16>(len).unwrap());
    let new = |matrices, features| ExpertMatrices::new(&device, matrices, features);
    let says = |error: cuda::Error, text: &str| assert_eq!(error.to_string(), text);
    says(new(vec![], 8).err().unwrap(), "matrices of experts: expected at least one, found none");
    let of_two_shapes = new(vec![matrix(64), matrix(32)], 8).err().unwrap();
    says(of_two_shapes, "matrix of an expert: expected 64 elements, found 32");
    says(new(vec![matrix(60)], 12).err().unwrap(), "features: expected a multiple of 8 up to 2^24, found 12");
    says(new(vec![matrix(60)], 8).err().unwrap(), "matrix of an expert: expected 56 elements, found 60");

    let matrices = new(vec![matrix(64), matrix(64)], 8).unwrap();
    let x = device.zeros::<bf16>(8).unwrap();
    let mut out = device.zeros::<bf16>(8).unwrap();
    let two_tokens = Choices::room(&device, 2, 1).unwrap();
    let mut of_two = device.zeros::<bf16>(16).unwrap();
    let error = kernel.multiply(&matrices, &two_tokens, (&x).into(), (&mut of_two).into()).unwrap_err();
    says(error, "choices of one token: expected 1 elements, found 2");
    let two = Choices::room(&device, 1, 2).unwrap();
    let error = kernel.multiply(&matrices, &two, (&x).into(), (&mut out).into()).unwrap_err();
    says(error, "products of experts: expected 16 elements, found 8");
    let error = kernel.multiply_add(&matrices, &two, (&x).into(), &mut device.zeros(8).unwrap()).unwrap_err();
    says(error, "vectors to multiply: expected 16 elements, found 8");
}
