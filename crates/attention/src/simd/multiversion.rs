//! One body of plain Rust, compiled for each instruction set.

/// Defines `fn name(simd: Simd, args...)` whose body the compiler vectorises once for each instruction set.
///
/// It panics where the processor does not have `simd`. Inside the body `FMA` is a `const bool`: whether fused multiply-add is in hardware ([`fma`](crate::simd::fma)).
#[macro_export]
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        #[allow(unsafe_code)] // written here, where the reason why it is sound stands; expanded anywhere
        $vis fn $name(simd: $crate::simd::Simd, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::needless_range_loop)]
            fn body<const FMA: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }

            simd.assert_available();
            match simd {
                $crate::simd::Simd::Portable => body::<false>($($arg),*),
                // SAFETY: `assert_available` found these features on this machine.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Simd::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                _ => unsafe { avx512($($arg),*) },
                // NEON, and its fused multiply-add, are what code for this processor is compiled for anyhow.
                #[cfg(target_arch = "aarch64")]
                _ => body::<true>($($arg),*),
                #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
                _ => body::<false>($($arg),*),
            }
        }
    };
}
