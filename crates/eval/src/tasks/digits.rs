//! Numbers to hide.

/// Five digits that depend on nothing but the arguments.
pub(super) fn digits(seed: u64, length: usize, sample: usize) -> String {
    let mut z = seed ^ ((length as u64) << 32) ^ sample as u64;
    for _ in 0..2 {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    (10_000 + z % 90_000).to_string()
}
