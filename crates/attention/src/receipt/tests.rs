use super::*;
use crate::BLOCK_N;
use crate::attend::{Output, attend};
use crate::kv::KvPages;
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange};
use crate::simd::Simd;

const DIM: usize = 32;

/// Two heads of random operands, and a sparse and a dense plan.
struct Case {
    heads: HeadShape,
    pages: KvPages,
    table: Vec<u32>,
    queries: Queries,
    range: QueryRange,
    plan: Plan,
}

impl Case {
    fn new(q_len: usize, kv_len: usize) -> Self {
        let heads = HeadShape::new(2, 1, DIM).unwrap();
        let noise = |n: usize| (scatter(n as u64) >> 40) as f32 / (1 << 22) as f32 - 2.0;
        let rows = |count: usize, from: usize| (0..count).map(|n| noise(from + n)).collect::<Vec<_>>();
        let table: Vec<u32> = (0..kv_len.div_ceil(BLOCK_N) as u32).rev().collect();
        let mut pages = KvPages::new(heads, table.len());
        pages.append_rows(&table, 0, &rows(kv_len * DIM, 0), &rows(kv_len * DIM, 1 << 30)).unwrap();
        let queries = Queries::from_rows(Simd::detect(), heads, &rows(q_len * 2 * DIM, 1 << 31)).unwrap();
        let range = QueryRange::new(q_len, kv_len).unwrap();
        let columns = (0..kv_len as u32).step_by(37).collect();
        let sparse = SparsePlan::from_rule(range.tiles(64).unwrap(), 64, columns, true, |tile, keep| {
            keep.iter_mut().enumerate().for_each(|(block, keep)| *keep = (tile + block) % 3 == 0);
        });
        let plan = Plan { heads: vec![HeadPlan::Sparse(sparse.unwrap()), HeadPlan::Dense] };
        Self { heads, pages, table, queries, range, plan }
    }

    fn with_scene<R>(&self, look: impl FnOnce(&Scene) -> R) -> R {
        let kv = self.pages.view(&self.table, self.range.kv_len()).unwrap();
        let tiles = self.range.tiles(64).unwrap();
        look(&Scene { simd: Simd::detect(), layer: 3, queries: &self.queries, kv: &kv, tiles, last_rows: 64 })
    }

    fn draw(&self, seed: u64) -> Drawn {
        self.with_scene(|scene| Drawn::of(scene, &self.plan, seed)).unwrap()
    }

    /// What the sparse head keeps of every row, by its sums of exponentials without centres and those of all pairs.
    fn kept(&self) -> Vec<f64> {
        let HeadPlan::Sparse(plan) = &self.plan.heads[0] else { unreachable!("the first head is sparse") };
        let (indptr, indices) = (plan.indptr().to_vec(), plan.indices().to_vec());
        let plan = SparsePlan::new(plan.tiles(), indptr, indices, plan.columns().to_vec(), false).unwrap();
        let lse = |head| {
            let mut output = Output::new(self.heads, self.range.q_len());
            let kv = self.pages.view(&self.table, self.range.kv_len()).unwrap();
            let plan = Plan { heads: vec![head, HeadPlan::Dense] };
            attend(Simd::detect(), &self.queries, &kv, self.range, &plan, &mut output).unwrap();
            (0..self.range.q_len()).map(|row| output.lse(0, row) as f64).collect::<Vec<_>>()
        };
        let (sparse, dense) = (lse(HeadPlan::Sparse(plan)), lse(HeadPlan::Dense));
        sparse.iter().zip(&dense).map(|(sparse, dense)| (sparse - dense).exp()).collect()
    }
}

/// Rows of first and later chunks, whole tiles and cut ones, against the kernels that attend.
#[test]
fn a_row_keeps_what_attention_sums_up() {
    for (q_len, kv_len) in [(700, 700), (333, 1111)] {
        let case = Case::new(q_len, kv_len);
        let HeadPlan::Sparse(plan) = &case.plan.heads[0] else { unreachable!("the first head is sparse") };
        let rows: [usize; LANES] = std::array::from_fn(|lane| lane * (q_len - 1) / (LANES - 1));
        let exact = case.kept();
        let found = case.with_scene(|scene| {
            with_panels(scene.simd, scene.queries, scene.kv, scene.tiles, 0, vec![rows], |panels| {
                Ok((0..LANES).map(|lane| kept_of_row(plan, &panels[0], lane)).collect::<Vec<_>>())
            })
        });
        for (row, found) in rows.iter().zip(found.unwrap()) {
            assert!((found - exact[*row]).abs() < 1e-3, "row {row} of {q_len}: {found}, {}", exact[*row]);
        }
        assert!(rows.iter().any(|row| exact[*row] < 0.6), "something is left out");
    }
}

/// Where each part has one row, all rows but the probes are drawn, and the estimate is their mean.
#[test]
fn draws_stand_for_all_rows_but_the_probes() {
    let case = Case::new(80, 1000);
    let unprobed = unprobed(case.range.tiles(64).unwrap());
    assert_eq!(unprobed.len(), LANES);
    let exact = case.kept();
    let of_head = unprobed.iter().map(|row| exact[*row]).sum::<f64>() / LANES as f64;
    let kept = case.draw(1).kept();
    // The other head is dense.
    assert!((kept.kept - f64::midpoint(of_head, 1.0)).abs() < 1e-3, "{kept:?}, {of_head}");
    assert_eq!(kept.rows, LANES);
    assert!(kept.ci95[0] < kept.kept && kept.kept < kept.ci95[1] && kept.ci95[1] <= 1.0);
}

#[test]
fn a_seed_repeats_its_rows_and_another_draws_others() {
    let case = Case::new(1500, 1500);
    assert_eq!(case.draw(5), case.draw(5));
    assert_ne!(case.draw(5), case.draw(6));
}

/// In the mean over seeds, the draw is the mean over all rows.
#[test]
fn draws_are_right_in_the_mean() {
    let case = Case::new(1500, 1500);
    let unprobed = unprobed(case.range.tiles(64).unwrap());
    let exact = case.kept();
    let of_head = unprobed.iter().map(|row| exact[*row]).sum::<f64>() / unprobed.len() as f64;
    let seeds = 200;
    let drawn = (0..seeds).map(|seed| case.draw(seed).kept().kept).sum::<f64>() / seeds as f64;
    assert!((drawn - f64::midpoint(of_head, 1.0)).abs() < 0.003, "{drawn}, {of_head}");
}

#[test]
fn a_chunk_of_probes_alone_is_drawn_from_all_the_same() {
    assert_eq!(unprobed(QueryRange::new(40, 90).unwrap().tiles(64).unwrap()).len(), 40);
    assert_eq!(Case::new(40, 900).draw(0).kept().rows, LANES);
}

#[test]
fn dense_heads_keep_all_without_a_draw() {
    let mut case = Case::new(300, 900);
    case.plan = Plan::dense(2);
    let kept = case.draw(0).kept();
    assert_eq!(kept, Kept { kept: 1.0, ci95: [1.0, 1.0], rows: 0 });
    assert_eq!(Drawn::all_pairs(600).kept(), kept);
}

#[test]
fn plans_of_other_queries_are_refused() {
    let (case, other) = (Case::new(300, 900), Case::new(200, 900));
    assert!(case.with_scene(|scene| Drawn::of(scene, &other.plan, 0)).is_err());
}
