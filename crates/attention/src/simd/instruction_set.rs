//! Which instructions the kernels use.

use std::sync::OnceLock;

/// Instruction set of the CPU kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Simd {
    /// Plain Rust; any machine.
    Portable,
    /// AVX2, FMA and F16C, bf16 widened to f32.
    Avx2,
    /// AVX-512 with `vpdpbusd` and `vpdpwssd`: attention in 15-bit integers, other bf16 products widened to f32.
    Avx512Vnni,
    /// AVX-512 with `vdpbf16ps` and `vpdpbusd`.
    Avx512Bf16,
    /// AVX-512 for vectors, AMX bf16 tiles for products.
    Amx,
    /// NEON, which every 64-bit ARM processor has, bf16 widened to f32.
    Neon,
    /// NEON with `sdot`, for integer products.
    NeonDotprod,
}

impl Simd {
    /// Every set there is, of whatever processor, in the order of their numbers.
    pub const ALL: [Simd; 7] =
        [Simd::Portable, Simd::Avx2, Simd::Avx512Vnni, Simd::Avx512Bf16, Simd::Amx, Simd::Neon, Simd::NeonDotprod];

    /// The fastest set this machine and its operating system offer, or the one that `SPARSE_ACCELERATE_SIMD` names (as
    /// [`name`](Self::name) spells it) if it runs here. Looked up once.
    pub fn detect() -> Simd {
        static CHOSEN: OnceLock<Simd> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let available = Simd::available();
            let wanted = std::env::var("SPARSE_ACCELERATE_SIMD").ok();
            let named = available.iter().find(|simd| wanted.as_deref() == Some(simd.name()));
            named.or(available.last()).copied().unwrap_or(Simd::Portable)
        })
    }

    /// Every set that runs here, slowest first; [`Simd::Portable`] is always among them. Looked up once.
    ///
    /// Some processors have `vdpbf16ps` and take several times as long for it as for other products. That is measured: it takes a
    /// fraction of a millisecond.
    pub fn available() -> Vec<Simd> {
        found().to_vec()
    }

    /// Panics unless this set runs here. Anyone can name a variant; what runs its instructions asks first, since an
    /// instruction that the processor does not have ends the process.
    #[doc(hidden)] // for `multiversion!`, which expands anywhere
    #[inline]
    pub fn assert_available(self) {
        let available = self == Simd::Portable || found().contains(&self);
        assert!(available, "{} does not run on this processor: use one of `Simd::available()`", self.name());
    }

    /// Whether attention multiplies integers, not bf16.
    pub(crate) fn attends_in_integers(self) -> bool {
        self == Simd::Avx512Vnni
    }

    /// Name as printed by `doctor` and stored in results.
    pub fn name(self) -> &'static str {
        match self {
            Simd::Portable => "portable",
            Simd::Avx2 => "avx2+fma",
            Simd::Avx512Vnni => "avx512-vnni",
            Simd::Avx512Bf16 => "avx512-bf16",
            Simd::Amx => "amx-bf16",
            Simd::Neon => "neon",
            Simd::NeonDotprod => "neon-dotprod",
        }
    }
}

fn found() -> &'static [Simd] {
    static FOUND: OnceLock<Vec<Simd>> = OnceLock::new();
    FOUND.get_or_init(|| {
        #[allow(unused_mut)]
        let mut found = vec![Simd::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
                found.push(Simd::Avx2);
            }
            let vnni = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma");
            let bf16 = vnni && is_x86_feature_detected!("avx512bf16");
            if vnni {
                found.push(Simd::Avx512Vnni);
            }
            if bf16 {
                found.push(Simd::Avx512Bf16);
                // SAFETY: both kinds of products were found on this machine.
                if unsafe { super::avx512::integers_are_faster() } {
                    let last = found.len() - 1;
                    found.swap(last - 1, last);
                }
            }
            // With AMX as well, one-token products are those of AVX-512.
            if bf16 && super::amx::request_permission() {
                found.push(Simd::Amx);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            found.push(Simd::Neon);
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                found.push(Simd::NeonDotprod);
            }
        }
        found
    })
}
