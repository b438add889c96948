//! Matrix products against f64.

mod on_device;

use cuda::Error;
use cuda::gemm::Gemm;
use cuda::rows::{Fp8Rows, QuantiseRows};
use half::bf16;
use on_device::{Numbers, of_fp8};

#[test]
fn products_of_any_shape() {
    let Some(device) = on_device::device() else { return };
    let mut gemm = match Gemm::new(&device) {
        Err(error @ Error::NoCublas { .. }) => return on_device::skipped(&error),
        gemm => gemm.unwrap(),
    };
    let mut numbers = Numbers::fresh();
    for (rows, inputs, outputs) in [(1, 64, 8), (3, 576, 192), (77, 896, 1152), (1, 896, 4864), (256, 2048, 512)] {
        let weight = numbers.bf16s(outputs * inputs, 1.0);
        let x = numbers.bf16s(rows * inputs, 1.0);
        let before: Vec<f32> = (0..rows * outputs).map(|_| numbers.next() * 10.0).collect();
        let (of_weight, of_x) = (device.upload(&weight).unwrap(), device.upload(&x).unwrap());
        let mut narrow = device.upload(&vec![bf16::NAN; rows * outputs]).unwrap();
        let mut wide = device.upload(&vec![f32::NAN; rows * outputs]).unwrap();
        let mut sum = device.upload(&before).unwrap();
        // Twice: the second time the plan is there.
        for _ in 0..2 {
            gemm.multiply(&of_weight, &of_x, inputs, &mut narrow).unwrap();
            gemm.multiply_wide(&of_weight, &of_x, inputs, &mut wide).unwrap();
            gemm.multiply_add(&of_weight, &of_x, inputs, &mut sum).unwrap();
        }
        let (narrow, wide, sum) = (narrow.read().unwrap(), wide.read().unwrap(), sum.read().unwrap());
        for i in 0..rows * outputs {
            let pairs = x[i / outputs * inputs..][..inputs].iter().zip(&weight[i % outputs * inputs..][..inputs]);
            let expected: f64 = pairs.map(|(x, w)| x.to_f64() * w.to_f64()).sum();
            let name = format!("{rows} x {inputs} x {outputs}, product {i}");
            assert!((wide[i] as f64 - expected).abs() < 1e-3, "{name}: {}, expected {expected}", wide[i]);
            assert!((narrow[i].to_f64() - expected).abs() < expected.abs() / 250.0 + 1e-3, "{name}: {}", narrow[i]);
            assert!((sum[i] as f64 - before[i] as f64 - 2.0 * expected).abs() < 3e-3, "{name}: {}", sum[i]);
        }
    }
}

#[test]
fn products_of_8_bit_floats() {
    let Some(device) = on_device::device() else { return };
    if let Err(error) = Gemm::check_fp8(&device) {
        return on_device::skipped(&error);
    }
    let mut gemm = match Gemm::new(&device) {
        Err(error @ Error::NoCublas { .. }) => return on_device::skipped(&error),
        gemm => gemm.unwrap(),
    };
    let quantise = QuantiseRows::new(&device).unwrap();
    let mut numbers = Numbers::fresh();
    let mut worst = 0f64;
    for (rows, inputs, outputs) in [(1, 64, 16), (3, 576, 192), (77, 896, 1152), (130, 896, 4864), (256, 2048, 512)] {
        let mut rounded = |rows: usize, size: f32| {
            let mut to = Fp8Rows::room(&device, rows, inputs).unwrap();
            // Rows of different sizes, so that scales are.
            let values: Vec<bf16> =
                (0..rows).flat_map(|row| numbers.bf16s(inputs, size * (1 + row % 7) as f32)).collect();
            quantise.launch(&device.upload(&values).unwrap(), to.view_mut(0..rows)).unwrap();
            to
        };
        // Others first, so that addresses of scales change between products of one shape.
        let pairs = [(rounded(outputs, 3.0), rounded(rows, 2.0)), (rounded(outputs, 0.1), rounded(rows, 1.0))];
        for (weight, x) in &pairs {
            let before: Vec<f32> = (0..rows * outputs).map(|i| (i % 13) as f32).collect();
            let mut narrow = device.upload(&vec![bf16::NAN; rows * outputs]).unwrap();
            let mut sum = device.upload(&before).unwrap();
            gemm.multiply(weight, x, inputs, &mut narrow).unwrap();
            gemm.multiply_add(weight, x, inputs, &mut sum).unwrap();
            let (narrow, sum) = (narrow.read().unwrap(), sum.read().unwrap());
            let (weight, x) = (of_fp8(weight), of_fp8(x));
            for i in 0..rows * outputs {
                let pairs = x[i / outputs * inputs..][..inputs].iter().zip(&weight[i % outputs * inputs..][..inputs]);
                let (mut expected, mut size) = (0.0, 0.0);
                for (x, w) in pairs {
                    expected += x * w;
                    size += (x * w).abs();
                }
                // Partial sums keep about fourteen bits of their largest summand.
                let allowed = size / 1024.0;
                let name = format!("{rows} x {inputs} x {outputs}, product {i}");
                let error = (sum[i] as f64 - before[i] as f64 - expected).abs();
                worst = worst.max(error / size);
                assert!(error <= allowed + 1e-5, "{name}: {}, expected {expected}", sum[i]);
                let error = (narrow[i].to_f64() - expected).abs();
                assert!(error <= allowed + expected.abs() / 250.0, "{name}: {}, expected {expected}", narrow[i]);
            }
        }
    }
    println!("largest error over the sum of absolute products: {worst:.2e}");
}

#[test]
fn refuses_factors_of_different_kinds() {
    let Some(device) = on_device::device() else { return };
    let Ok(mut gemm) = Gemm::new(&device) else { return };
    let (weight, mut out) = (device.zeros::<bf16>(16 * 16).unwrap(), device.zeros::<bf16>(16).unwrap());
    let x = Fp8Rows::room(&device, 1, 16).unwrap();
    let error = gemm.multiply(&weight, &x, 16, &mut out).unwrap_err().to_string();
    assert!(error.contains("both in bf16 or both in 8-bit floats"), "{error}");
}
