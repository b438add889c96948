//! Rows to 8-bit floats against f64.

mod on_device;

use cuda::rows::{Fp8Rows, QuantiseRows};
use half::bf16;
use on_device::{Numbers, assert_rounded, of_fp8};

#[test]
fn rounds_rows_of_any_width_and_size() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = QuantiseRows::new(&device).unwrap();
    for (rows, features) in [(1, 16), (3, 576), (17, 896), (300, 4096), (2, 14_336)] {
        // Rows of very different sizes, as tokens are.
        let values: Vec<bf16> = (0..rows).flat_map(|row| numbers.bf16s(features, 10f32.powi(row % 21 - 10))).collect();
        let x = device.upload(&values).unwrap();
        let mut out = Fp8Rows::room(&device, rows as usize, features).unwrap();
        kernel.launch(&x, out.view_mut(0..rows as usize)).unwrap();
        let expected: Vec<f64> = values.iter().map(|x| x.to_f64()).collect();
        assert_rounded(&of_fp8(&out), &expected, features, &format!("{rows} x {features}"));
    }
}

#[test]
fn zeros_stay_zeros_and_what_is_no_number_stays_none() {
    let Some(device) = on_device::device() else { return };
    let kernel = QuantiseRows::new(&device).unwrap();
    let mut values = vec![bf16::ZERO; 4 * 32];
    values[32 + 5] = bf16::NAN;
    values[64 + 6] = bf16::INFINITY;
    values[96..].fill(bf16::MIN_POSITIVE);
    let x = device.upload(&values).unwrap();
    let mut out = Fp8Rows::room(&device, 4, 32).unwrap();
    kernel.launch(&x, out.view_mut(0..4)).unwrap();
    let found = of_fp8(&out);
    assert!(found[..32].iter().all(|x| *x == 0.0));
    assert!(found[32 + 5].is_nan() && found[64 + 6].is_nan());
    assert!(found[96..].iter().all(|x| x.is_finite()));
}

#[test]
fn refuses_widths_that_products_do_not_take() {
    let Some(device) = on_device::device() else { return };
    let error = Fp8Rows::room(&device, 3, 24).err().unwrap().to_string();
    assert!(error.contains("expected a multiple of 16, found 24"), "{error}");
}
