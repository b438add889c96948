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
