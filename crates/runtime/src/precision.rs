//! In what a run multiplies.

/// In what the attention of a prefill multiplies; decoding takes bf16, as keys and values are stored.
pub use cuda::precision::Precision as AttentionPrecision;

/// Rounding of the matrices of all layers, and of what is multiplied by them; the token embedding and the output head stay as
/// they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// 8-bit floats (e4m3), a scale for every output of a matrix and for every token: half the memory of bf16, and twice the
    /// rate of products. GPUs of compute capability 9.0 on.
    Fp8,
}

/// In what a CPU multiplies quantised weights with many tokens. One token, and weights that are not quantised, know no choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Products {
    /// The faster of `Bf16` and `Int16` on this machine, as measured when it is first asked for.
    #[default]
    Auto,
    /// Weights are decoded to 16-bit floats.
    Bf16,
    /// Weights as stored, inputs in 15-bit integers: nothing is lost beside `Bf16`.
    Int16,
    /// Weights as stored, inputs in 8-bit integers with a scale for 32: the fastest, and a little less exact.
    Int8,
}
