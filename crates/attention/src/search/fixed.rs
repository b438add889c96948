//! Block clusters with threshold and number of columns given, by the scores and probes of the online search.

use super::candidates::best_columns;
use super::probe::Probes;
use crate::Error;
use crate::pattern::{BlockCluster, BlockLevels, Selector};
use crate::plan::SparsePlan;
use crate::planner::Scene;

/// The blocks of levels up to `max_level` and the `columns` columns with most attention.
pub(crate) fn fixed_block_cluster(
    scene: &Scene,
    head: usize,
    max_level: u8,
    columns: usize,
    centres: bool,
) -> Result<SparsePlan, Error> {
    let Scene { simd, queries, kv, tiles, last_rows, .. } = *scene;
    let levels = BlockLevels::measure(simd, Selector::default(), queries, head, kv, tiles)?;
    let mut columns = match columns {
        0 => Vec::new(),
        _ => Probes::measure(simd, queries, kv, tiles, head, |probes| {
            Ok(best_columns(simd, tiles, probes.proposing, &[columns]))
        })?,
    };
    columns.sort_unstable();
    BlockCluster { levels: &levels, max_level, columns }.plan(tiles, last_rows, centres)
}
