//! The gate of an MLP against f64.

mod on_device;

use cuda::gate::{Activation, Gate};
use cuda::rows::Fp8Rows;
use half::bf16;
use on_device::{Numbers, assert_rounded, of_fp8};

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            // 1 + tanh loses what is left of it far below zero.
            x / (1.0 + (-2.0 * inner).exp())
        }
    }
}

#[test]
fn gelu_is_the_one_by_tanh() {
    for x in [-5.0f64, -1.0, -0.1, 0.0, 0.3, 2.0, 7.0] {
        let by_tanh = x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()) / 2.0;
        assert!((activated(Activation::GeluTanh, x) - by_tanh).abs() < 1e-14, "{x}");
    }
}

#[test]
fn gates_rows_of_any_width() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = Gate::new(&device).unwrap();
    for activation in [Activation::Silu, Activation::GeluTanh] {
        for (rows, features) in [(1, 8), (3, 1536), (129, 64), (2, 14_336)] {
            let what = format!("{activation:?}, {rows} x {features}");
            let mut gate_up = numbers.bf16s(rows * 2 * features, 8.0);
            // Where exp overflows and where it vanishes; the last one's third power, too.
            for (gate, extreme) in gate_up.iter_mut().zip([-200.0, 200.0, -1e20]) {
                *gate = bf16::from_f32(extreme);
            }
            let on_device = device.upload(&gate_up).unwrap();
            let mut out = device.upload(&vec![bf16::NAN; rows * features]).unwrap();
            kernel.launch(activation, &on_device, features, &mut out).unwrap();
            let expected = |i: usize| {
                let at = i / features * 2 * features + i % features;
                activated(activation, gate_up[at].to_f64()) * gate_up[at + features].to_f64()
            };
            let expected: Vec<f64> = (0..rows * features).map(expected).collect();
            if features.is_multiple_of(16) {
                let mut out = Fp8Rows::room(&device, rows, features).unwrap();
                kernel.launch(activation, &on_device, features, &mut out).unwrap();
                assert_rounded(&of_fp8(&out), &expected, features, &format!("{what}, 8-bit floats"));
            }
            for (i, (found, expected)) in out.read().unwrap().iter().zip(&expected).enumerate() {
                assert!(
                    (found.to_f64() - expected).abs() <= expected.abs() / 250.0 + 1e-6,
                    "{what}, element {i}: {found}, expected {expected}"
                );
            }
        }
    }
}
