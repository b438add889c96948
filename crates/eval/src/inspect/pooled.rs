//! Exact attention of a head, pooled to a picture.

use super::Pool;
use attention::BLOCK_N;
use attention::plan::{HeadPlan, SparsePlan};
use attention::planner::Scene;
use attention::shape::QueryRange;
use attention::simd::{LANES, Rows, exp2, multiply};
use rayon::prelude::*;

/// Cells in a row at most.
const MOST_CELLS: usize = 512;

/// What a plan does with a cell. Where cells are larger than blocks, the first of these that holds for part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// Computed as part of a block, or in the future.
    Kept = 0,
    /// Holds a single column that is computed.
    Column = 1,
    /// Left out, and represented by the centres of its blocks.
    Centre = 2,
    /// Left out.
    LeftOut = 3,
}

/// A square map of a whole prompt: queries down, keys across.
#[derive(Clone, Debug)]
pub struct PooledMap {
    pool: Pool,
    len: usize,
    /// Positions of a cell, a power of two.
    cell: usize,
    /// Cells in a row, and rows.
    side: usize,
    /// By row: the largest attention, or its sum.
    values: Vec<f32>,
    marks: Vec<u8>,
}

/// Sixteen query rows in the map.
struct Strip {
    /// First cell row that the queries touch.
    first: usize,
    /// `[cell rows touched][side]`.
    values: Vec<f32>,
    /// Kept attention of each query.
    recall: Vec<f32>,
}

impl PooledMap {
    /// An empty map of `len` positions.
    pub fn new(len: usize, pool: Pool) -> Self {
        let cell = len.div_ceil(MOST_CELLS).next_power_of_two();
        let side = len.div_ceil(cell);
        Self { pool, len, cell, side, values: vec![0.0; side * side], marks: vec![Mark::Kept as u8; side * side] }
    }

    /// Cells in a row, and rows.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Positions of a cell.
    pub fn cell(&self) -> usize {
        self.cell
    }

    /// Pooled attention, by row.
    pub fn values(&self) -> Vec<f32> {
        match self.pool {
            Pool::Max => self.values.clone(),
            Pool::Mean => {
                let pairs = |at: usize| self.causal_pairs(at / self.side, at % self.side).max(1) as f32;
                self.values.iter().enumerate().map(|(at, sum)| sum / pairs(at)).collect()
            }
        }
    }

    /// A [`Mark`] of each cell, by row.
    pub fn marks(&self) -> &[u8] {
        &self.marks
    }

    /// Adds the queries of a chunk, which must be those after the last; returns the attention mass that `plan` keeps of
    /// each of them, its columns included, its centres not.
    pub fn add(&mut self, scene: &Scene, head: usize, plan: &HeadPlan) -> Vec<f32> {
        let this = &*self;
        let room = || vec![0f32; scene.kv.num_blocks() * BLOCK_N * LANES];
        let strips: Vec<Strip> = (0..scene.range().q_len().div_ceil(LANES))
            .into_par_iter()
            .map_init(room, |weights, panel| this.strip(scene, head, plan, panel, weights))
            .collect();
        for strip in &strips {
            let rows = self.values[strip.first * self.side..].iter_mut().zip(&strip.values);
            match self.pool {
                Pool::Max => rows.for_each(|(value, more)| *value = value.max(*more)),
                Pool::Mean => rows.for_each(|(value, more)| *value += more),
            }
        }
        if let HeadPlan::Sparse(plan) = plan {
            self.mark(plan);
        }
        strips.into_iter().flat_map(|strip| strip.recall).collect()
    }

    fn strip(&self, scene: &Scene, head: usize, plan: &HeadPlan, panel: usize, weights: &mut [f32]) -> Strip {
        const BLOCK: usize = BLOCK_N * LANES;
        let (range, kv) = (scene.range(), scene.kv);
        let rows = panel * LANES..((panel + 1) * LANES).min(range.q_len());
        let positions: Vec<usize> = rows.clone().map(|row| range.q_start() + row).collect();
        let keys = positions[positions.len() - 1] + 1;
        let (dim, kv_head) = (kv.heads().padded_dim(), kv.heads().kv_head(head));
        for (block, logits) in weights.chunks_exact_mut(BLOCK).take(keys.div_ceil(BLOCK_N)).enumerate() {
            let block_keys = Rows::row_major(kv.keys(block, kv_head), BLOCK_N, dim, dim);
            multiply(scene.simd, block_keys, scene.queries.panel(head, panel), 1, logits, BLOCK, false);
        }
        softmax(&positions, &mut weights[..keys * LANES]);

        let kept = kept_keys(plan, range, rows.start, keys);
        let first = positions[0] / self.cell;
        let touched = positions[positions.len() - 1] / self.cell + 1 - first;
        let mut strip = Strip { first, values: vec![0.0; touched * self.side], recall: vec![0.0; positions.len()] };
        let row_of_lane: Vec<usize> = positions.iter().map(|at| (at / self.cell - first) * self.side).collect();
        for (key, shares) in weights[..keys * LANES].chunks_exact(LANES).enumerate() {
            let column = key / self.cell;
            for (row, share) in row_of_lane.iter().zip(shares) {
                let value = &mut strip.values[row + column];
                *value = if self.pool == Pool::Max { value.max(*share) } else { *value + share };
            }
            if kept[key] {
                strip.recall.iter_mut().zip(shares).for_each(|(recall, share)| *recall += share);
            }
        }
        strip
    }

    /// Lays a plan over the rows of its queries.
    fn mark(&mut self, plan: &SparsePlan) {
        let rest = if plan.centres() { Mark::Centre } else { Mark::LeftOut } as u8;
        for tile in 0..plan.num_tiles() {
            let positions = plan.tiles().positions(tile);
            let mut row = vec![rest; self.side];
            plan.columns().iter().for_each(|column| row[*column as usize / self.cell] = Mark::Column as u8);
            for block in plan.blocks(tile).iter().map(|block| *block as usize) {
                let keys = block * BLOCK_N..((block + 1) * BLOCK_N).min(self.len);
                row[keys.start / self.cell..=(keys.end - 1) / self.cell].fill(Mark::Kept as u8);
            }
            for cell_row in positions.start / self.cell..=(positions.end - 1) / self.cell {
                // The first tile of a row of cells starts it; where there are more, a cell shows what keeps most.
                let starts = cell_row * self.cell >= positions.start;
                let marks = &mut self.marks[cell_row * self.side..][..=cell_row];
                for (mark, new) in marks.iter_mut().zip(&row) {
                    *mark = if starts { *new } else { (*mark).min(*new) };
                }
            }
        }
    }

    /// Causal pairs in a cell.
    fn causal_pairs(&self, row: usize, column: usize) -> usize {
        let queries = row * self.cell..((row + 1) * self.cell).min(self.len);
        let first_key = column * self.cell;
        queries.map(|query| (query + 1).saturating_sub(first_key).min(self.cell)).sum()
    }
}

/// Base-2 logits `[key][16]` to shares of each query's attention, in place; keys in a query's future get 0.
fn softmax(positions: &[usize], logits: &mut [f32]) {
    let mut tops = [f32::NEG_INFINITY; LANES];
    for (key, logits) in logits.chunks_exact_mut(LANES).enumerate() {
        for lane in 0..LANES {
            // Lanes without a query have no position.
            if positions.get(lane).is_none_or(|position| key > *position) {
                logits[lane] = f32::NEG_INFINITY;
            }
            tops[lane] = tops[lane].max(logits[lane]);
        }
    }
    let mut sums = [0f64; LANES];
    for logits in logits.chunks_exact_mut(LANES) {
        for lane in 0..LANES {
            logits[lane] =
                if logits[lane] == f32::NEG_INFINITY { 0.0 } else { exp2::<false>(logits[lane] - tops[lane]) };
            sums[lane] += logits[lane] as f64;
        }
    }
    let inverse = sums.map(|sum| if sum > 0.0 { 1.0 / sum as f32 } else { 0.0 });
    for logits in logits.chunks_exact_mut(LANES) {
        logits.iter_mut().zip(&inverse).for_each(|(share, inverse)| *share *= inverse);
    }
}

/// Whether the sixteen rows from `first_row` on compute each of the first keys.
fn kept_keys(plan: &HeadPlan, range: QueryRange, first_row: usize, keys: usize) -> Vec<bool> {
    match plan {
        HeadPlan::Dense => vec![true; keys],
        // Only layers that no planner sees have windows; all sixteen get that of the first.
        HeadPlan::Window(window) => {
            let oldest = (range.q_start() + first_row + 1).saturating_sub(*window);
            (0..keys).map(|key| key >= oldest).collect()
        }
        HeadPlan::Sparse(plan) => {
            let mut kept = vec![false; keys];
            let tile = first_row / plan.tiles().block_m();
            for block in plan.blocks(tile).iter().map(|block| *block as usize * BLOCK_N) {
                kept[block.min(keys)..(block + BLOCK_N).min(keys)].fill(true);
            }
            plan.columns()
                .iter()
                .filter(|column| (**column as usize) < keys)
                .for_each(|column| kept[*column as usize] = true);
            kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::attend::{Output, attend};
    use attention::kv::KvPages;
    use attention::plan::Plan;
    use attention::queries::Queries;
    use attention::shape::HeadShape;
    use attention::simd::Simd;
    use half::bf16;

    const DIM: usize = 32;

    /// Two query heads, one kv head, numbers that look random.
    struct Case {
        heads: HeadShape,
        len: usize,
        q: Vec<f32>,
        k: Vec<f32>,
        pages: KvPages,
        table: Vec<u32>,
    }

    impl Case {
        fn new(len: usize) -> Self {
            let noise = |n: usize| ((n * 2654435761) >> 9) as f32 % 1000.0 / 250.0 - 2.0;
            let rows = |seed: usize, width: usize| (0..len * width).map(|n| noise(n + seed)).collect::<Vec<f32>>();
            let heads = HeadShape::new(2, 1, DIM).unwrap();
            let (q, k) = (rows(7, 2 * DIM), rows(1 << 20, DIM));
            let table: Vec<u32> = (0..len.div_ceil(BLOCK_N) as u32).rev().collect();
            let mut pages = KvPages::new(heads, table.len());
            pages.append_rows(&table, 0, &k, &k).unwrap();
            Self { heads, len, q, k, pages, table }
        }

        /// Attention of a query of head 1 by the definition.
        fn attention(&self, query: usize) -> Vec<f64> {
            let scale = self.heads.sm_scale() * std::f32::consts::LOG2_E;
            let q = &self.q[(query * 2 + 1) * DIM..][..DIM];
            let logit = |key: usize| -> f64 {
                let k = &self.k[key * DIM..][..DIM];
                let round = |x: f32| bf16::from_f32(x).to_f64();
                q.iter().zip(k).map(|(q, k)| round(q * scale) * round(*k)).sum()
            };
            let weights: Vec<f64> = (0..=query).map(|key| logit(key).exp2()).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect()
        }

        /// The prompt in chunks, under a plan for each.
        fn pooled(&self, pool: Pool, chunks: &[usize], plan: impl Fn(QueryRange) -> HeadPlan) -> (PooledMap, Vec<f32>) {
            let (mut map, mut recall) = (PooledMap::new(self.len, pool), Vec::new());
            let mut end = 0;
            for chunk in chunks {
                let rows = &self.q[end * 2 * DIM..(end + chunk) * 2 * DIM];
                end += chunk;
                let range = QueryRange::new(*chunk, end).unwrap();
                let queries = Queries::from_rows(Simd::detect(), self.heads, rows).unwrap();
                let kv = &self.pages.view(&self.table, end).unwrap();
                let scene = Scene {
                    simd: Simd::detect(),
                    layer: 0,
                    queries: &queries,
                    kv,
                    tiles: range.tiles(64).unwrap(),
                    last_rows: 0,
                };
                recall.extend(map.add(&scene, 1, &plan(range)));
            }
            assert_eq!(end, self.len);
            (map, recall)
        }
    }

    #[test]
    fn pooled_attention_is_that_of_the_definition() {
        for (len, chunks) in [(300, vec![300]), (1100, vec![704, 396]), (700, vec![64, 636])] {
            let case = Case::new(len);
            for pool in [Pool::Max, Pool::Mean] {
                let (map, recall) = case.pooled(pool, &chunks, |_| HeadPlan::Dense);
                assert!(recall.iter().all(|recall| (recall - 1.0).abs() < 1e-4) && recall.len() == len);
                assert_eq!((map.cell(), map.side()), (len.div_ceil(512).next_power_of_two(), len.div_ceil(map.cell())));
                let (mut expected, mut pairs) = (vec![0f64; map.side() * map.side()], vec![0; map.side() * map.side()]);
                for query in 0..len {
                    for (key, share) in case.attention(query).into_iter().enumerate() {
                        let at = query / map.cell() * map.side() + key / map.cell();
                        expected[at] = if pool == Pool::Max { expected[at].max(share) } else { expected[at] + share };
                        pairs[at] += 1;
                    }
                }
                for (at, value) in map.values().into_iter().enumerate() {
                    let expected =
                        if pool == Pool::Max { expected[at] } else { expected[at] / pairs[at].max(1) as f64 };
                    assert!(
                        (value as f64 - expected).abs() <= 2e-3 * expected,
                        "{len} {pool:?} {at}: {value}, not {expected}"
                    );
                }
                assert!(map.marks().iter().all(|mark| *mark == Mark::Kept as u8));
            }
        }
    }

    #[test]
    fn marks_and_recall_are_those_of_the_plan() {
        // Sink, the newest two blocks, and columns 100 and 101; cells of four positions.
        let case = Case::new(1100);
        let plan = |block_m: usize, centres| {
            move |range: QueryRange| {
                let keep = |_: usize, flags: &mut [bool]| {
                    flags.iter_mut().take(1).for_each(|flag| *flag = true);
                    flags.iter_mut().rev().take(1).for_each(|flag| *flag = true);
                };
                let columns = if range.kv_len() > 101 { vec![100, 101] } else { vec![] };
                let tiles = range.tiles(block_m).unwrap();
                HeadPlan::Sparse(SparsePlan::from_rule(tiles, 0, columns, centres, keep).unwrap())
            }
        };
        let (map, recall) = case.pooled(Pool::Max, &[704, 396], plan(64, false));
        let mark = |query: usize, key: usize| map.marks()[query / 4 * map.side() + key / 4];
        assert_eq!(mark(1000, 10), Mark::Kept as u8, "the sink");
        assert_eq!(mark(1000, 950), Mark::Kept as u8, "the newest full block");
        assert_eq!(mark(1000, 999), Mark::Kept as u8, "the diagonal");
        assert_eq!(mark(1000, 101), Mark::Column as u8);
        assert_eq!(mark(1000, 108), Mark::LeftOut as u8);
        assert_eq!(mark(100, 900), Mark::Kept as u8, "the future");
        let (with_centres, _) = case.pooled(Pool::Max, &[1100], plan(64, true));
        assert_eq!(with_centres.marks()[1000 / 4 * map.side() + 108 / 4], Mark::Centre as u8);

        // Beside the kernel: shares of the sums of exponentials.
        let range = QueryRange::new(1100, 1100).unwrap();
        let queries = Queries::from_rows(Simd::detect(), case.heads, &case.q).unwrap();
        let kv = case.pages.view(&case.table, 1100).unwrap();
        let lse = |plan: HeadPlan| {
            let mut output = Output::new(case.heads, 1100);
            let plan = Plan { heads: vec![HeadPlan::Dense, plan] };
            attend(Simd::detect(), &queries, &kv, range, &plan, &mut output).unwrap();
            (0..1100).map(|row| output.lse(1, row)).collect::<Vec<f32>>()
        };
        for (row, (sparse, dense)) in lse(plan(64, false)(range)).into_iter().zip(lse(HeadPlan::Dense)).enumerate() {
            assert!((recall[row] - (sparse - dense).exp()).abs() < 2e-3, "{row}: {}", recall[row]);
        }

        let (map, recall) = case.pooled(Pool::Max, &[1100], plan(192, false));
        for (row, (sparse, dense)) in lse(plan(192, false)(range)).into_iter().zip(lse(HeadPlan::Dense)).enumerate() {
            assert!((recall[row] - (sparse - dense).exp()).abs() < 2e-3, "{row}: {}", recall[row]);
        }
        // Queries 960.. share a tile, whose newest full block is keys 896..960.
        let mark = |query: usize, key: usize| map.marks()[query / 4 * map.side() + key / 4];
        assert_eq!(mark(1090, 900), Mark::Kept as u8);
        assert_eq!(mark(1090, 890), Mark::LeftOut as u8);
    }
}
