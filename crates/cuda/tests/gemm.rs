//! Matrix products against f64.

mod on_device;

use cuda::Error;
use cuda::device::Gemm;
use half::bf16;
use on_device::Numbers;

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
