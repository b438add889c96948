//! What units take in at a time.

use super::integers::IntegerGroup;
use crate::BLOCK_N;
use half::bf16;
use std::sync::OnceLock;

/// 64 keys and their values, and what hides some of them.
pub(super) struct Group<'a> {
    pub(super) keys: &'a [bf16],
    pub(super) values: &'a [bf16],
    /// Both in integers, where those are multiplied, once somebody asked.
    pub(super) rounded: Option<&'a OnceLock<IntegerGroup>>,
    /// Added to the base-2 logits of each key: 0, -inf or the weight of a centre.
    pub(super) bias: Option<&'a [f32; BLOCK_N]>,
    /// Position of the first key, where the diagonal cuts the group.
    pub(super) diagonal: Option<usize>,
    /// Position of the first key and the window, where the old end of a sliding window cuts the group.
    pub(super) window: Option<(usize, usize)>,
}
