//! The exponential of softmax and SiLU and the logarithm of scores, in arithmetic that every instruction set vectorises.

use super::fma;

/// `2^x` for `x < 128`, exactly 0 below -126 (so also for -inf). Relative error below 3e-6, far finer than the bf16 that
/// usually follows.
#[inline(always)]
pub fn exp2<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12582912.0;
    let fma = fma::<FMA>;
    let clamped = if x > -126.0 { x } else { -126.0 };
    let rounded = clamped + ROUND;
    let f = clamped - (rounded - ROUND);
    // Least maximal relative error on [-1/2, 1/2]: 2.6e-6.
    let p = fma(f, 9.570_101e-3, 5.591_786e-2);
    let p = fma(f, p, 2.402_474_4e-1);
    let p = fma(f, p, 6.931_218e-1);
    let p = fma(f, p, 9.999_993e-1);
    let scaled = f32::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 23));
    if x > -126.0 { scaled } else { 0.0 }
}

/// `log2(x)` of a positive normal number, to within 1.2e-4.
#[inline(always)]
pub fn log2<const FMA: bool>(x: f32) -> f32 {
    let fma = fma::<FMA>;
    let exponent = ((x.to_bits() >> 23) as i32 - 127) as f32;
    let m = f32::from_bits((x.to_bits() & 0x007f_ffff) | 0x3f80_0000) - 1.0;
    // Least maximal error of log2(1 + m) on [0, 1] that is exact at both ends.
    let p = fma(m, -8.212_934e-2, 3.211_859e-1);
    let p = fma(m, p, -6.777_819e-1);
    let p = fma(m, p, 1.438_725_3);
    fma(m, p, exponent)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_close_and_exactly_zero_far_below() {
        for i in -126_000..=20_000 {
            let x = i as f32 / 1000.0;
            for got in [super::exp2::<true>(x), super::exp2::<false>(x)] {
                let want = (x as f64).exp2();
                assert!((got as f64 / want - 1.0).abs() < 3e-6 || x <= -126.0, "{x}: {got} {want}");
            }
        }
        for i in 1..200_000 {
            let x = i as f32 * 0.37;
            let got = super::log2::<true>(x) as f64;
            assert!((got - (x as f64).log2()).abs() < 1.2e-4, "{x}: {got}");
        }
        for x in [f32::NEG_INFINITY, -1e30, -126.0] {
            assert_eq!(super::exp2::<false>(x), 0.0);
        }
    }
}
