//! Several sequences in one call.

use super::{Output, attend};
use crate::Error;
use crate::kv::KvView;
use crate::plan::Plan;
use crate::queries::Queries;
use crate::shape::QueryRange;
use crate::simd::Simd;
use rayon::prelude::*;

/// One sequence of a batch: its own length, its own cached prefix, its own plan. Sequences may share pages.
pub struct Sequence<'a> {
    /// Queries of the step.
    pub queries: &'a Queries,
    /// All its keys and values.
    pub kv: KvView<'a>,
    /// Where the queries stand.
    pub range: QueryRange,
    /// What to compute.
    pub plan: &'a Plan,
    /// Where the result goes.
    pub output: &'a mut Output,
}

/// Runs every sequence on the current rayon pool, long and short ones side by side: tiles of all of them are shared out
/// together, so one long prompt does not leave threads idle and short ones do not wait for it.
///
/// The result of a sequence is what [`attend`] gives for it alone, to the bit.
///
/// # Errors
/// The first of [`attend`]'s; other sequences may have been computed.
pub fn attend_batch(simd: Simd, sequences: &mut [Sequence]) -> Result<(), Error> {
    sequences.par_iter_mut().try_for_each(|s| attend(simd, s.queries, &s.kv, s.range, s.plan, s.output))
}
