//! The choice of experts against f64.

mod on_device;

use cuda::route::{Choices, Route, Router};
use on_device::Numbers;

/// Shares of all experts.
fn shares(x: &[f32], router: &[f32], eps: f64) -> Vec<f64> {
    let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    let norm = 1.0 / (squares / x.len() as f64 + eps).sqrt();
    let product = |row: &[f32]| row.iter().zip(x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() * norm;
    let logits: Vec<f64> = router.chunks(x.len()).map(product).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| (logit - largest).exp() / sum).collect()
}

#[test]
fn takes_the_largest_shares() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = Route::new(&device).unwrap();
    for (rows, features, count, per_token, normalised) in [
        (1, 8, 1, 1, true),
        (1, 2048, 128, 8, true),
        (3, 40, 6, 2, false),
        (4, 64, 33, 33, true),
        (131, 896, 60, 4, false),
        (9, 264, 8, 2, true),
        (2, 16, 4096, 5, true),
    ] {
        let what = format!("{rows} rows of {features}, {per_token} of {count}");
        let x: Vec<f32> = (0..rows * features).map(|_| numbers.next() * 4.0).collect();
        let size = 3.0 / (features as f32).sqrt();
        let router: Vec<f32> = (0..count * features).map(|_| numbers.next() * size).collect();
        let (of_x, weights) = (device.upload(&x).unwrap(), device.upload(&router).unwrap());
        let mut choices = Choices::room(&device, rows, per_token).unwrap();
        choices.write(&vec![u32::MAX; rows * per_token], &vec![f32::NAN; rows * per_token]).unwrap();
        kernel.launch(&of_x, Router { weights: &weights, count, normalised, eps: 1e-5 }, &mut choices).unwrap();
        let (experts, found) = choices.read().unwrap();
        for (row, x) in x.chunks(features).enumerate() {
            let shares = shares(x, &router, 1e-5);
            let of_row = row * per_token..(row + 1) * per_token;
            let (chosen, found) = (&experts[of_row.clone()], &found[of_row]);
            assert!(chosen.is_sorted_by(|a, b| a < b), "{what}, row {row}: {chosen:?}");
            let least = chosen.iter().map(|expert| shares[*expert as usize]).fold(f64::INFINITY, f64::min);
            let others = (0..count).filter(|expert| !chosen.contains(&(*expert as u32)));
            // Shares this near to each other are anyone's in f32.
            let most = others.map(|expert| shares[expert]).fold(0.0, f64::max);
            assert!(least >= most * (1.0 - 1e-4), "{what}, row {row}: took {least}, left {most}");
            let sum: f64 = chosen.iter().map(|expert| shares[*expert as usize]).sum();
            for (expert, found) in chosen.iter().zip(found) {
                let expected = shares[*expert as usize] / if normalised { sum } else { 1.0 };
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 1e-4 * expected + 1e-7, "{what}, row {row}: {found}, expected {expected}");
            }
        }
    }
}

/// Equal shares go to the first experts, and where nothing is a number there are experts all the same.
#[test]
fn equal_shares_and_none_are_chosen_in_order() {
    let Some(device) = on_device::device() else { return };
    let kernel = Route::new(&device).unwrap();
    let router: Vec<f32> = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0].iter().flat_map(|x| [*x; 8]).collect();
    let weights = device.upload(&router).unwrap();
    let x = device.upload(&[[1.0f32; 8], [-1.0; 8], [f32::NAN; 8], [0.0; 8]].concat()).unwrap();
    let mut choices = Choices::room(&device, 4, 2).unwrap();
    let router = Router { weights: &weights, count: 6, normalised: true, eps: 0.0 };
    kernel.launch(&x, router, &mut choices).unwrap();
    let (experts, shares) = choices.read().unwrap();
    assert_eq!(experts[..6], [1, 3, 0, 2, 0, 1]);
    assert!(shares[..4].iter().all(|share| (share - 0.5).abs() < 1e-6) && shares[4..6].iter().all(|x| x.is_nan()));
    assert!(experts[6..].iter().all(|expert| *expert < 6), "a row of zeros has no norm, and experts: {experts:?}");
}

#[test]
fn refuses_what_does_not_belong_together() {
    let Some(device) = on_device::device() else { return };
    let kernel = Route::new(&device).unwrap();
    let (x, weights) = (device.zeros(16).unwrap(), device.zeros(24).unwrap());
    let mut choices = Choices::room(&device, 2, 2).unwrap();
    for (count, says) in [
        (1, "experts: expected 2 to 4096, found 1"),
        (5000, "experts: expected 2 to 4096, found 5000"),
        (2, "features: expected a multiple of 8 up to 2^24, found 12"),
    ] {
        let router = Router { weights: &weights, count, normalised: true, eps: 1e-5 };
        assert_eq!(kernel.launch(&x, router, &mut choices).unwrap_err().to_string(), says);
    }
    let router = Router { weights: &weights, count: 3, normalised: true, eps: 1e-5 };
    let error = kernel.launch(&device.zeros(8).unwrap(), router, &mut choices).unwrap_err();
    assert_eq!(error.to_string(), "residual stream: expected 16 elements, found 8");
    assert!(Choices::room(&device, 2, 0).is_err());
}
