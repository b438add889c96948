//! RMS norm against f64.

mod on_device;

use cuda::rms_norm::RmsNorm;
use half::bf16;
use on_device::Numbers;

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

        for (x, out) in x.chunks(features).zip(out.read().unwrap().chunks(features)) {
            let squares: f64 = x.iter().map(|&x| (x as f64).powi(2)).sum();
            let scale = 1.0 / (squares / features as f64 + 1e-5).sqrt();
            for ((found, x), weight) in out.iter().zip(x).zip(&weight) {
                let expected = *x as f64 * scale * *weight as f64;
                assert!(
                    (found.to_f64() - expected).abs() <= expected.abs() / 250.0 + 1e-6,
                    "{rows} x {features}: {found}, expected {expected}"
                );
            }
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
    assert_eq!(error.to_string(), "features: expected a multiple of 8, found 12");
}
