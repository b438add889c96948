//! The gate of an MLP against f64.

mod on_device;

use cuda::rows::Fp8Rows;
use cuda::silu_gate::SiluGate;
use half::bf16;
use on_device::{Numbers, assert_rounded, of_fp8};

#[test]
fn gates_rows_of_any_width() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = SiluGate::new(&device).unwrap();
    for (rows, features) in [(1, 8), (3, 1536), (129, 64), (2, 14_336)] {
        let mut gate_up = numbers.bf16s(rows * 2 * features, 8.0);
        // Where exp overflows and where it vanishes.
        gate_up[0] = bf16::from_f32(-200.0);
        gate_up[1] = bf16::from_f32(200.0);
        let on_device = device.upload(&gate_up).unwrap();
        let mut out = device.upload(&vec![bf16::NAN; rows * features]).unwrap();
        kernel.launch(&on_device, features, &mut out).unwrap();
        let expected = |i: usize| {
            let at = i / features * 2 * features + i % features;
            let (gate, up) = (gate_up[at].to_f64(), gate_up[at + features].to_f64());
            gate / (1.0 + (-gate).exp()) * up
        };
        let expected: Vec<f64> = (0..rows * features).map(expected).collect();
        if features.is_multiple_of(16) {
            let mut out = Fp8Rows::room(&device, rows, features).unwrap();
            kernel.launch(&on_device, features, &mut out).unwrap();
            assert_rounded(&of_fp8(&out), &expected, features, &format!("{rows} x {features}, 8-bit floats"));
        }
        for (i, (found, expected)) in out.read().unwrap().iter().zip(&expected).enumerate() {
            assert!(
                (found.to_f64() - expected).abs() <= expected.abs() / 250.0 + 1e-6,
                "{rows} x {features}, element {i}: {found}, expected {expected}"
            );
        }
    }
}
