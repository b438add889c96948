//! RMS norm against f64.

mod on_device;

use cuda::rms_norm::RmsNorm;
use cuda::rows::Fp8Rows;
use half::bf16;
use on_device::{Numbers, assert_rounded, of_fp8};

/// With 1e-5 for epsilon.
fn normalised(x: &[f32], weight: &[f32]) -> Vec<f64> {
    let normalise = |x: &[f32]| {
        let squares: f64 = x.iter().map(|&x| (x as f64).powi(2)).sum();
        let scale = 1.0 / (squares / weight.len() as f64 + 1e-5).sqrt();
        x.iter().zip(weight).map(|(x, weight)| *x as f64 * scale * *weight as f64).collect::<Vec<_>>()
    };
    x.chunks(weight.len()).flat_map(normalise).collect()
}

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

        let expected = normalised(&x, &weight);
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
fn adds_what_is_normalised_and_leaves_zeros() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = RmsNorm::new(&device).unwrap();
    for (rows, features) in [(1, 8), (3, 40), (17, 640), (300, 896), (2, 16_384), (5, 2056)] {
        // Rows of very different sizes, of which one is zeros.
        let sizes: Vec<f32> =
            (0..rows).map(|row| if row == 2 { 0.0 } else { 10f32.powi(row as i32 % 7 - 3) }).collect();
        let x: Vec<f32> = (0..rows * features).map(|i| numbers.next() * sizes[i / features]).collect();
        let before: Vec<f32> = (0..rows * features).map(|_| numbers.next() * 3.0).collect();
        let weight: Vec<f32> = (0..features).map(|_| numbers.next() + 1.0).collect();
        let [mut of_x, mut out] = [&x, &before].map(|values| device.upload(values).unwrap());
        kernel.launch_add(&mut of_x, &device.upload(&weight).unwrap(), 1e-5, &mut out).unwrap();

        let expected = normalised(&x, &weight);
        for (i, (found, expected)) in out.read().unwrap().iter().zip(&expected).enumerate() {
            let expected = f64::from(before[i]) + expected;
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= 1e-5 * expected.abs() + 1e-5,
                "{rows} x {features}, element {i}: {found}, expected {expected}"
            );
        }
        assert!(of_x.read().unwrap().iter().all(|x| x.to_bits() == 0), "{rows} x {features}: zeros are left");
    }
}

/// Not even what is no number stays behind for the next sum.
#[test]
fn leaves_zeros_where_there_was_no_number() {
    let Some(device) = on_device::device() else { return };
    let kernel = RmsNorm::new(&device).unwrap();
    let mut x = device.upload(&[[f32::NAN; 16], [1.0; 16]].concat()).unwrap();
    let (weight, mut out) = (device.upload(&[1.0; 16]).unwrap(), device.zeros(32).unwrap());
    kernel.launch_add(&mut x, &weight, 0.0, &mut out).unwrap();
    let out: Vec<f32> = out.read().unwrap();
    assert!(out[..16].iter().all(|x| x.is_nan()) && out[16..].iter().all(|x| (x - 1.0).abs() < 1e-6), "{out:?}");
    assert_eq!(x.read().unwrap(), [0.0; 32]);
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
    let mut x = device.zeros(24).unwrap();
    let error = kernel.launch_add(&mut x, &weight, 1e-5, &mut device.zeros(16).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "rows to normalise: expected 16 elements, found 24");
}
