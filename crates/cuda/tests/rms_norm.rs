//! RMS norm against f64.

mod on_device;

use cuda::rms_norm::RmsNorm;
use cuda::rows::Fp8Rows;
use half::bf16;
use on_device::{Numbers, assert_rounded, of_fp8};

#[test]
fn normalises_rows_of_any_width() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = RmsNorm::new(&device).unwrap();
    for (rows, features) in [(1, 8), (3, 64), (17, 576), (5, 2048), (300, 896), (2, 16_384), (4, 4104)] {
        let x: Vec<f32> = (0..rows * features).map(|_| numbers.next() * 10.0).collect();
        let weight: Vec<f32> = (0..features).map(|_| numbers.next() + 1.0).collect();
        let mut out = device.upload(&vec![bf16::NAN; rows * features]).unwrap();
        let (of_x, of_weight) = (device.upload(&x).unwrap(), device.upload(&weight).unwrap());
        kernel.launch(&of_x, &of_weight, 1e-5, &mut out).unwrap();

        let normalise = |x: &[f32]| {
            let squares: f64 = x.iter().map(|&x| (x as f64).powi(2)).sum();
            let scale = 1.0 / (squares / features as f64 + 1e-5).sqrt();
            x.iter().zip(&weight).map(|(x, weight)| *x as f64 * scale * *weight as f64).collect::<Vec<_>>()
        };
        let expected: Vec<f64> = x.chunks(features).flat_map(normalise).collect();
        for (found, expected) in out.read().unwrap().iter().zip(&expected) {
            assert!(
                (found.to_f64() - expected).abs() <= expected.abs() / 250.0 + 1e-6,
                "{rows} x {features}: {found}, expected {expected}"
            );
        }
        if features.is_multiple_of(16) {
            let mut out = Fp8Rows::room(&device, rows, features).unwrap();
            kernel.launch(&of_x, &of_weight, 1e-5, &mut out).unwrap();
            assert_rounded(&of_fp8(&out), &expected, features, &format!("{rows} x {features}, 8-bit floats"));
        }
    }
}

#[test]
fn refuses_what_does_not_belong_together() {
    let Some(device) = on_device::device() else { return };
    let kernel = RmsNorm::new(&device).unwrap();
    let x = device.zeros(24).unwrap();
    let (weight, mut out) = (device.zeros(8).unwrap(), device.zeros(16).unwrap());
    let error = kernel.launch(&x, &weight, 1e-5, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "normalised rows: expected 24 elements, found 16");
    let error = kernel.launch(&x, &device.zeros(12).unwrap(), 1e-5, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "features: expected a multiple of 8 up to 2^24, found 12");
}
