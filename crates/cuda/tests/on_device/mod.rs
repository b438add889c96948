//! A device to test on, and numbers to test with.

#![allow(dead_code)] // each test file uses a part

use cuda::Error;
use cuda::device::Device;
use half::bf16;
use std::io::Write;

/// The first device; where there is none, says that the test is skipped.
pub fn device() -> Option<Device> {
    match Device::open(0) {
        Ok(device) => Some(device),
        Err(error @ (Error::NoDriver | Error::NoDevice { .. } | Error::OldDriver { .. })) => {
            skipped(&error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says that a test is skipped, past the harness, which would keep it to itself.
pub fn skipped(why: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Pseudo-random numbers (splitmix64), other ones in every run unless `SEED` is set.
pub struct Numbers(u64);

impl Numbers {
    pub fn fresh() -> Self {
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
        println!("SEED={seed}");
        Self(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [-1, 1).
    pub fn next(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn bf16s(&mut self, n: usize, size: f32) -> Vec<bf16> {
        (0..n).map(|_| bf16::from_f32(self.next() * size)).collect()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// An 8-bit float: a sign, four bits of exponent, three of mantissa; no infinity.
pub fn e4m3(bits: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f64::from(bits & 7));
    let size = match (exponent, bits & 7) {
        (15, 7) => f64::NAN,
        (0, _) => mantissa * 2f64.powi(-9),
        _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
    };
    if bits >> 7 == 1 { -size } else { size }
}

/// What rows of 8-bit floats mean.
pub fn of_fp8(rows: &cuda::rows::Fp8Rows) -> Vec<f64> {
    let (values, scales) = rows.read().unwrap();
    values.iter().enumerate().map(|(i, bits)| e4m3(*bits) * f64::from(scales[i / rows.features()])).collect()
}

/// Checks that rows are rounded to 8-bit floats as well as their scales allow: by half of the last bit of each element, or
/// of the smallest number that there is.
pub fn assert_rounded(found: &[f64], expected: &[f64], features: usize, what: &str) {
    for (row, (found, expected)) in found.chunks(features).zip(expected.chunks(features)).enumerate() {
        let largest = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let half = (expected.abs() / 16.0).max(largest / 448.0 / 1024.0) * 1.001 + 1e-7 * largest;
            assert!((found - expected).abs() <= half, "{what}, row {row}, element {i}: {found}, expected {expected}");
        }
    }
}
