//! The gate of an MLP against f64.

mod on_device;

use cuda::silu_gate::SiluGate;
use half::bf16;
use on_device::Numbers;

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
        for (i, found) in out.read().unwrap().iter().enumerate() {
            let at = i / features * 2 * features + i % features;
            let (gate, up) = (gate_up[at].to_f64(), gate_up[at + features].to_f64());
            let expected = gate / (1.0 + (-gate).exp()) * up;
            assert!(
                (found.to_f64() - expected).abs() <= expected.abs() / 250.0 + 1e-6,
                "{rows} x {features}, element {i}: {found}, expected {expected}"
            );
        }
    }
}
