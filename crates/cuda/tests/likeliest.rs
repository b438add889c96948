//! The most likely token of each row beside a search on the host.

mod on_device;

use cuda::likeliest::Likeliest;
use on_device::Numbers;

fn expected(row: &[f32]) -> Option<u32> {
    let mut best = 0;
    for (id, logit) in row.iter().enumerate() {
        if !logit.is_finite() {
            return None;
        }
        if *logit > row[best] {
            best = id;
        }
    }
    Some(best as u32)
}

#[test]
fn finds_the_first_of_the_largest_of_any_row() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = Likeliest::new(&device).unwrap();
    for (rows, vocab_size) in [(1, 1), (3, 7), (2, 257), (5, 4096), (1, 49_152), (33, 50_257), (8, 151_936)] {
        // On a coarse grid, so that many are equal; rows of one sign, and of zeros of both.
        let of_row: Vec<f32> = (0..rows).map(|row| [0.0, 2.0, -2.0][row % 3]).collect();
        let mut logits: Vec<f32> =
            (0..rows * vocab_size).map(|i| (numbers.next() * 8.0).round() / 8.0 + of_row[i / vocab_size]).collect();
        if rows > 2 {
            logits[2 * vocab_size..3 * vocab_size].fill(-0.0);
            logits[3 * vocab_size - 1] = 0.0;
        }
        if rows > 3 {
            logits[3 * vocab_size + numbers.below(vocab_size)] =
                numbers.one_of(&[f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        }
        if rows > 4 {
            logits[4 * vocab_size + numbers.below(vocab_size)] = f32::MAX;
        }
        let on_device = device.upload(&logits).unwrap();
        let mut room = Likeliest::room(&device, rows).unwrap();
        for _ in 0..2 {
            let found = kernel.find(&on_device, &mut room).unwrap();
            let expected: Vec<_> = logits.chunks(vocab_size).map(expected).collect();
            assert_eq!(found, expected, "{rows} x {vocab_size}");
        }
    }
}

#[test]
fn refuses_what_does_not_belong_together() {
    let Some(device) = on_device::device() else { return };
    let kernel = Likeliest::new(&device).unwrap();
    let mut room = Likeliest::room(&device, 3).unwrap();
    let error = kernel.find(&device.zeros(16).unwrap(), &mut room).unwrap_err();
    assert_eq!(error.to_string(), "logits: expected 15 elements, found 16");
    let error = kernel.find(&device.zeros(2).unwrap(), &mut room).unwrap_err();
    assert!(error.to_string().contains("vocabulary"), "{error}");
    assert!(kernel.find(&device.zeros(2).unwrap(), &mut Likeliest::room(&device, 0).unwrap()).unwrap().is_empty());
}
