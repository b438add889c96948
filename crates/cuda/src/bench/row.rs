//! A row of results.

use super::KernelBench;
use super::times::Times;
use crate::device::Device;
use serde::Serialize;

/// What one kind of work takes. What does not belong to it is left out of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `dense`, `sparse`, `search` as a whole, `stage` of it, `found` for attention by the plan it found, or `decode`.
    pub what: &'static str,
    /// Which stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Product name of the device.
    pub device: String,
    /// Query heads, kv heads, head_dim.
    pub heads: [usize; 3],
    /// Queries; for decoding, keys.
    pub tokens: usize,
    /// Keys cached before the first query.
    pub prefix: usize,
    /// Sequences, each of so many tokens.
    pub sequences: usize,
    /// (query, key) pairs computed of all causal ones, counted from the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// Probability with which a block was listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_density: Option<f64>,
    /// Columns of each head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<usize>,
    /// Whether left-out blocks have centres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centres: Option<bool>,
    /// How long a call takes.
    #[serde(flatten)]
    pub times: Times,
    /// How often it was timed.
    pub runs: usize,
    /// Operations on the pairs of listed blocks, those on the diagonal whole, 10^12 a second; where dense, on causal pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tflops: Option<f64>,
    /// Also on columns outside listed blocks and on centres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tflops_with_extras: Option<f64>,
    /// Share of dense attention's median, where that was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_dense: Option<f64>,
    /// Bytes of keys and values read, 10^9 a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gb_per_s: Option<f64>,
}

impl Row {
    pub(super) fn new(
        bench: &KernelBench,
        device: &Device,
        what: &'static str,
        kernel: &'static str,
        tokens: usize,
        times: Times,
    ) -> Self {
        let heads = bench.heads;
        Self {
            what,
            stage: None,
            kernel,
            device: device.properties().name.clone(),
            heads: [heads.num_q_heads(), heads.num_kv_heads(), heads.head_dim()],
            tokens,
            prefix: bench.prefix,
            sequences: 1,
            density: None,
            block_density: None,
            columns: None,
            centres: None,
            times,
            runs: bench.runs.max(1),
            tflops: None,
            tflops_with_extras: None,
            of_dense: None,
            gb_per_s: None,
        }
    }
}
