//! What weights are rounded to when they are loaded, beyond what their file did.

/// Rounding of the matrices of all layers, and of what is multiplied by them; the token embedding and the output head stay as
/// they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// 8-bit floats (e4m3), a scale for every output of a matrix and for every token: half the memory of bf16, and twice the
    /// rate of products. GPUs of compute capability 9.0 on.
    Fp8,
}
