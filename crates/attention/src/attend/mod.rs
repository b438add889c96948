//! The kernel: executes any plan.
//!
//! A unit of work is 64 query rows of one head. It walks *groups* of 64 keys: the kv blocks of its list, then the gathered
//! columns and centres of its head, which are stored like blocks. For each group
//!
//! ```text
//! scores[key][row] = K[key][.] Q[.][row]        multiply: the page's keys times packed queries
//! p = 2^(scores - m), rows' l, m updated        online softmax, vertical over keys, one lane a row
//! out[i][row] += V^T[i][key] p[key][row]        multiply: the page's values times packed p
//! ```
//!
//! Where `vdpbf16ps` is slow, both products are of 15-bit integers (`integers`): the first that reads a block rounds it for all.
//!
//! Tiles of a plan are one or more units, which share its list of blocks.
//!
//! All panels of the unit take each of the three steps together. A pair at a time would fit the first-level cache better,
//! but AMX tile loads cannot take their rows from stores still in flight, and waiting for those costs more.

mod batch;
mod extras;
mod group;
mod integers;
mod one_query;
mod softmax;
mod stretches;
mod unit;

use crate::kv::KvView;
use crate::plan::Plan;
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange};
use crate::simd::{LANES, Simd};
use crate::{Aligned, Error};

pub use batch::{Sequence, attend_batch};
pub use stretches::Stretches;

/// Attention output and log-sum-exp.
pub struct Output {
    heads: HeadShape,
    len: usize,
    o: Aligned<f32>,
    lse: Vec<f32>,
}

impl Output {
    /// Room for `len` queries.
    ///
    /// # Panics
    /// When the system has no such memory; see [`try_new`](Self::try_new).
    pub fn new(heads: HeadShape, len: usize) -> Self {
        Self::try_new(heads, len).expect("memory for the output of attention")
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    /// When the system has no such memory.
    pub fn try_new(heads: HeadShape, len: usize) -> Result<Self, Error> {
        let panels = heads.num_q_heads() * len.div_ceil(LANES);
        let o = Aligned::try_zeroed("the output of attention", panels * heads.padded_dim() * LANES)?;
        Ok(Self { heads, len, o, lse: vec![0.0; panels * LANES] })
    }

    fn num_panels(&self) -> usize {
        self.len.div_ceil(LANES)
    }

    fn check(&self, heads: HeadShape, range: QueryRange) -> Result<(), Error> {
        if self.heads != heads {
            return Err(Error::Plan("queries, keys and output have different heads".into()));
        }
        Error::check_len("output rows", range.q_len(), self.len)
    }

    /// Output of one panel of 16 queries of a head, `[head_dim][16]`.
    pub fn panel(&self, head: usize, panel: usize) -> &[f32] {
        let stride = self.heads.padded_dim() * LANES;
        &self.o[(head * self.num_panels() + panel) * stride..][..self.heads.head_dim() * LANES]
    }

    /// Output of one query, `[head_dim]`.
    pub fn row(&self, head: usize, row: usize) -> Vec<f32> {
        self.panel(head, row / LANES).chunks_exact(LANES).map(|lanes| lanes[row % LANES]).collect()
    }

    /// Natural logarithm of the sum of `exp(logit)` over the keys that query `row` of `head` computed.
    pub fn lse(&self, head: usize, row: usize) -> f32 {
        self.lse[head * self.num_panels() * LANES + row]
    }
}

/// Runs `plan` for the queries of `range` over the keys of `kv`, on the current rayon pool.
///
/// Only keys that the plan names are read, none past `kv_len`.
///
/// # Errors
/// When `queries`, `kv`, `range`, `plan` and `output` do not belong together.
pub fn attend(
    simd: Simd,
    queries: &Queries,
    kv: &KvView,
    range: QueryRange,
    plan: &Plan,
    output: &mut Output,
) -> Result<(), Error> {
    attend_heads(simd, queries, kv, range, plan, output, |_| true)
}

/// [`attend`] for some of the query heads; the output of the others stays what it was.
pub(crate) fn attend_heads(
    simd: Simd,
    queries: &Queries,
    kv: &KvView,
    range: QueryRange,
    plan: &Plan,
    output: &mut Output,
    wanted: impl Fn(usize) -> bool + Sync,
) -> Result<(), Error> {
    output.check(queries.heads(), range)?;
    check_operands(queries, kv, range, plan)?;
    if range.q_len() == 1
        && let Some(first_key) = one_query::first_key(plan, range.kv_len())
    {
        one_query::attend(simd, queries, kv, first_key, output, wanted);
        return Ok(());
    }
    let stretches = Stretches::of_heads(simd, queries, kv, range, plan, &wanted)?;
    stretches.run_where(kv, output, |head, _| wanted(head))
}

fn check_operands(queries: &Queries, kv: &KvView, range: QueryRange, plan: &Plan) -> Result<(), Error> {
    let heads = queries.heads();
    if kv.heads() != heads {
        return Err(Error::Plan("queries, keys and output have different heads".into()));
    }
    Error::check_len("queries", range.q_len(), queries.len())?;
    Error::check_len("keys", range.kv_len(), kv.kv_len())?;
    plan.check(heads.num_q_heads(), range)
}

#[cfg(test)]
mod tests;
