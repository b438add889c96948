//! Attention a stretch at a time, for those who let go of keys and values in between.

use super::extras::Extras;
use super::integers::{self, IntegerGroup};
use super::unit::Unit;
use super::{Output, check_operands};
use crate::kv::KvView;
use crate::plan::{HeadPlan, Plan};
use crate::queries::Queries;
use crate::shape::{QueryRange, Tiles};
use crate::simd::{LANES, Simd};
use crate::{BLOCK_M, Error};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// What one call of [`attend`](super::attend) works with, for several: between them pages may be elsewhere, as long as what stands in those
/// of this sequence stays. All units together make what that call makes, to the bit.
pub struct Stretches<'a> {
    simd: Simd,
    queries: &'a Queries,
    range: QueryRange,
    plan: &'a Plan,
    /// Of each head.
    extras: Vec<Option<Extras>>,
    /// Blocks of all kv heads in integers, where those are multiplied.
    rounded: Vec<OnceLock<IntegerGroup>>,
}

impl<'a> Stretches<'a> {
    /// Makes ready to run `plan` for the queries of `range`: gathers columns and centres.
    ///
    /// # Errors
    /// When `queries`, `kv`, `range` and `plan` do not belong together.
    pub fn new(
        simd: Simd,
        queries: &'a Queries,
        kv: &KvView,
        range: QueryRange,
        plan: &'a Plan,
    ) -> Result<Self, Error> {
        Self::of_heads(simd, queries, kv, range, plan, |_| true)
    }

    /// The same for some of the query heads.
    pub(super) fn of_heads(
        simd: Simd,
        queries: &'a Queries,
        kv: &KvView,
        range: QueryRange,
        plan: &'a Plan,
        wanted: impl Fn(usize) -> bool + Sync,
    ) -> Result<Self, Error> {
        check_operands(queries, kv, range, plan)?;
        let in_integers = integers::pay(simd, range.q_len());
        let heads = queries.heads();
        let extras = (plan.heads.par_iter().enumerate()).map(|(head, plan)| match plan {
            HeadPlan::Sparse(plan) if wanted(head) => Extras::gather(in_integers, kv, heads.kv_head(head), plan),
            _ => None,
        });
        let extras = extras.collect();
        let rounded = integers::rooms(in_integers, heads.num_kv_heads() * kv.num_blocks());
        Ok(Self { simd, queries, range, plan, extras, rounded })
    }

    /// Units of work, 64 queries of one head each, head after head.
    pub fn units(&self) -> usize {
        self.queries.heads().num_q_heads() * self.units_of_head()
    }

    fn units_of_head(&self) -> usize {
        self.range.q_len().div_ceil(BLOCK_M)
    }

    /// Runs some units on the current rayon pool; the output of the others stays what it was.
    ///
    /// # Errors
    /// When `kv` or `output` are others than those it was made for.
    pub fn run(&self, kv: &KvView, units: Range<usize>, output: &mut Output) -> Result<(), Error> {
        let of_head = self.units_of_head();
        self.run_where(kv, output, |head, unit| units.contains(&(head * of_head + unit)))
    }

    pub(super) fn run_where(
        &self,
        kv: &KvView,
        output: &mut Output,
        wanted: impl Fn(usize, usize) -> bool,
    ) -> Result<(), Error> {
        let Self { simd, queries, range, plan, extras, rounded } = self;
        output.check(queries.heads(), *range)?;
        check_operands(queries, kv, *range, plan)?;
        let (heads, panels, stride) = (queries.heads(), output.num_panels(), queries.heads().padded_dim() * LANES);
        let of_heads = output.o.chunks_mut(panels * stride).zip(output.lse.chunks_mut(panels * LANES)).enumerate();
        let units = of_heads.flat_map(|(head, (o, lse))| {
            let units = o.chunks_mut(BLOCK_M / LANES * stride).zip(lse.chunks_mut(BLOCK_M));
            units.enumerate().map(move |(unit, (o, lse))| (head, unit, o, lse))
        });
        let units: Vec<_> = units.filter(|(head, unit, ..)| wanted(*head, *unit)).collect();
        units.into_par_iter().with_max_len(1).for_each(|(head, unit, o, lse)| {
            let of_head = heads.kv_head(head) * kv.num_blocks();
            let rounded = (!rounded.is_empty()).then(|| &rounded[of_head..of_head + kv.num_blocks()]);
            let unit = Unit { simd: *simd, queries, kv, rounded, rows: Tiles::units(*range), head, unit };
            unit.run(&plan.heads[head], extras[head].as_ref(), o, lse);
        });
        Ok(())
    }
}
