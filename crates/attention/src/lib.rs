//! Attention
#[macro_use]
pub mod simd;
