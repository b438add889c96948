//! Gated products against f64.

mod on_device;

use cuda::device::Device;
use cuda::gate::Activation;
use cuda::gated_gemm_sm90::GatedGemmSm90;
use half::bf16;
use on_device::Numbers;

fn kernel() -> Option<(Device, GatedGemmSm90)> {
    let device = on_device::device()?;
    if !GatedGemmSm90::fits(&device) {
        on_device::skipped(&"gated products want compute capability 9.0");
        return None;
    }
    let kernel = GatedGemmSm90::new(&device).unwrap();
    Some((device, kernel))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x * sigmoid(x),
        Activation::GeluTanh => x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))),
    }
}

/// Rows of `[row][inputs]` that are not to be looked at before and behind those that are.
fn between_nans(values: &[bf16]) -> Vec<bf16> {
    [&[bf16::NAN; 64], values, &[bf16::NAN; 64]].concat()
}

#[test]
fn products_of_any_shape() {
    let Some((device, kernel)) = kernel() else { return };
    let mut numbers = Numbers::fresh();
    let mut worst = 0f64;
    // One of everything; no tile whole; a band and a cluster that are not; more tiles than the device has blocks; a real model's.
    let mut shapes =
        vec![(1, 8, 8), (77, 520, 72), (129, 64, 136), (2200, 72, 264), (300, 896, 4864), (513, 2048, 1000)];
    shapes
        .extend((0..12).map(|_| (1 + numbers.below(700), 8 * (1 + numbers.below(150)), 8 * (1 + numbers.below(120)))));
    for (rows, inputs, features) in shapes {
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let what = format!("{activation:?}, {rows} x {inputs} -> {features}");
            // Gates of about three, where sigmoids are neither zero nor one.
            let weight = numbers.bf16s(2 * features * inputs, 9.0 / (inputs as f32).sqrt());
            let x = numbers.bf16s(rows * inputs, 1.0);
            let of_weight = device.upload(&between_nans(&weight)).unwrap();
            let of_x = device.upload(&between_nans(&x)).unwrap();
            let mut out = device.upload(&vec![bf16::NAN; rows * features + 128]).unwrap();
            let (of_weight, of_x) = (of_weight.view(64..64 + weight.len()), of_x.view(64..64 + x.len()));
            kernel.launch(activation, of_weight, of_x, inputs, out.view_mut(64..64 + rows * features)).unwrap();
            let out = out.read().unwrap();
            assert!(
                out[..64].iter().chain(&out[64 + rows * features..]).all(|x| x.is_nan()),
                "{what}: wrote elsewhere"
            );

            // All of small ones; of others every row and feature some times.
            let step = (rows * features * inputs / 30_000_000).max(1) | 1;
            for i in (0..rows * features).step_by(step) {
                let (row, feature) = (i / features, i % features);
                let product = |feature: usize| -> f64 {
                    let pairs = x[row * inputs..][..inputs].iter().zip(&weight[feature * inputs..][..inputs]);
                    pairs.map(|(x, w)| x.to_f64() * w.to_f64()).sum()
                };
                let expected = activated(activation, product(feature)) * product(features + feature);
                let found = out[64 + i].to_f64();
                let error = (found - expected).abs() / (expected.abs() + 1e-2);
                worst = worst.max(error);
                assert!(error < 1.0 / 250.0, "{what}, row {row}, feature {feature}: {found}, expected {expected}");
            }
        }
    }
    println!("largest error: {worst:.2e} of the value");
}

#[test]
fn gates_far_from_zero() {
    let Some((device, kernel)) = kernel() else { return };
    // One input; gates of -200, 200 and -1e20, of which exponentials overflow and vanish.
    let mut x = vec![bf16::ZERO; 3 * 8];
    [-200.0, 200.0, -1e20].iter().enumerate().for_each(|(row, &gate)| x[row * 8] = bf16::from_f32(gate));
    let mut weight = vec![bf16::ZERO; 2 * 8 * 8];
    (0..16).for_each(|i| weight[i * 8] = if i < 8 { bf16::ONE } else { bf16::from_f32(1e-3) });
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let mut out = device.upload(&[bf16::NAN; 3 * 8]).unwrap();
        kernel.launch(activation, &device.upload(&weight).unwrap(), &device.upload(&x).unwrap(), 8, &mut out).unwrap();
        for (row, expected) in [0.0, 40.0, 0.0].into_iter().enumerate() {
            for found in &out.read().unwrap()[row * 8..][..8] {
                assert!(
                    (found.to_f64() - expected).abs() < 0.2,
                    "{activation:?}, row {row}: {found}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn refuses_what_does_not_belong_together() {
    let Some((device, kernel)) = kernel() else { return };
    let (weight, x) = (device.zeros::<bf16>(2 * 16 * 32).unwrap(), device.zeros::<bf16>(4 * 32).unwrap());
    let mut out = device.zeros::<bf16>(4 * 16).unwrap();
    kernel.launch(Activation::Silu, &weight, &x, 32, &mut out).unwrap();
    let mut refused = |inputs: usize, x_len: usize, out_len: usize| {
        let (x, out) = (x.view(0..x_len), out.view_mut(0..out_len));
        kernel.launch(Activation::Silu, &weight, x, inputs, out).unwrap_err().to_string()
    };
    assert!(refused(32, 128, 48).contains("gated rows"));
    assert!(refused(32, 120, 64).contains("rows to multiply"));
    assert!(refused(12, 128, 64).contains("multiple of 8"));
    assert!(refused(0, 128, 64).contains("multiple of 8"));
}
