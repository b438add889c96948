//! Rotations of a batch against f64.

mod on_device;

use attention::shape::QueryRange;
use cuda::batch::{Batch, SequencePages};
use cuda::rotations::Rotations;

#[test]
fn angles_are_right_at_any_position() {
    let Some(device) = on_device::device() else { return };
    for (head_dim, theta) in [(64, 1e4), (128, 5e5), (16, 1e6)] {
        let half = head_dim / 2;
        let frequencies: Vec<f64> = (0..half).map(|i| f64::powf(theta, -(2.0 * i as f64) / head_dim as f64)).collect();
        let pages: Vec<u32> = (0..2048).collect();
        let ranges = [(100, 100), (7, 131_072), (1, 5)].map(|(q, kv)| QueryRange::new(q, kv).unwrap());
        let sequences = ranges.map(|range| SequencePages { range, pages: &pages });
        let batch = Batch::new(&device, &sequences, 128, 64).unwrap();
        let mut out = device.upload(&vec![[f32::NAN; 2]; batch.num_rows() * half]).unwrap();
        let factor = 1.25;
        let of_frequencies = device.upload(&frequencies).unwrap();
        Rotations::new(&device).unwrap().launch(&of_frequencies, factor, &batch, &mut out).unwrap();
        let positions = ranges.iter().flat_map(|range| range.q_start()..range.kv_len());
        for (found, position) in out.read().unwrap().chunks(half).zip(positions) {
            for (&[cos, sin], frequency) in found.iter().zip(&frequencies) {
                let (expected_sin, expected_cos) = (position as f64 * frequency).sin_cos();
                let (expected_sin, expected_cos) = (factor * expected_sin, factor * expected_cos);
                assert!((cos as f64 - expected_cos).abs() < 2e-7 && (sin as f64 - expected_sin).abs() < 2e-7);
            }
        }
    }
}
