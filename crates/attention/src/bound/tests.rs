use super::*;
use crate::attend::attend;
use crate::kv::KvPages;
use crate::pattern::Triangular;
use crate::plan::Plan;
use crate::planner::HeadChoice;
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange, Tiles};
use crate::simd::Simd;
use proptest::prelude::*;

const DIM: usize = 32;

/// One head, a triangular plan that leaves out the middle, and what it really drops.
struct Case {
    heads: HeadShape,
    range: QueryRange,
    q: Vec<f32>,
    pages: KvPages,
    table: Vec<u32>,
}

impl Case {
    fn new(len: usize, from: usize, q: &[f32], k: &[f32]) -> Self {
        let heads = HeadShape::new(1, 1, DIM).unwrap();
        let table: Vec<u32> = (0..len.div_ceil(64) as u32).rev().collect();
        let mut pages = KvPages::new(heads, table.len());
        pages.plant_nan();
        pages.append_rows(&table, 0, k, k).unwrap();
        Self { heads, range: QueryRange::new(len - from, len).unwrap(), q: q[from * DIM..].to_vec(), pages, table }
    }

    fn with_scene<R>(&self, run: impl FnOnce(&Scene) -> R) -> R {
        let simd = Simd::detect();
        let queries = Queries::from_rows(simd, self.heads, &self.q).unwrap();
        let kv = self.pages.view(&self.table, self.range.kv_len()).unwrap();
        run(&Scene { simd, layer: 0, queries: &queries, kv: &kv, tiles: self.tiles(64), last_rows: 0 })
    }

    fn tiles(&self, block_m: usize) -> Tiles {
        self.range.tiles(block_m).unwrap()
    }

    fn plan(&self, block_m: usize, columns: Vec<u32>, centres: bool) -> HeadPlan {
        let pattern = Triangular { sink: 64, window: 64 };
        HeadPlan::Sparse(pattern.plan(self.tiles(block_m), 0, columns, centres).unwrap())
    }
}

fn output(scene: &Scene, plan: HeadPlan) -> Output {
    let mut output = Output::new(scene.queries.heads(), scene.range().q_len());
    attend(scene.simd, scene.queries, scene.kv, scene.range(), &Plan { heads: vec![plan] }, &mut output).unwrap();
    output
}

/// Mean share of the dense mass that a plan without centres does not have.
fn really_dropped(scene: &Scene, plan: HeadPlan) -> f64 {
    let (sparse, dense) = (output(scene, plan), output(scene, HeadPlan::Dense));
    let rows = scene.range().q_len();
    (0..rows).map(|row| 1.0 - ((sparse.lse(0, row) - dense.lse(0, row)) as f64).exp()).sum::<f64>() / rows as f64
}

fn numbers(seed: u64, n: usize, size: f32) -> Vec<f32> {
    let number = |i: usize| {
        let z = (seed ^ i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        half::bf16::from_f32(((z >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size).to_f32()
    };
    (0..n).map(number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_truth_is_between_the_bounds(
        seed: u64, len in 300usize..700, from in 0usize..200, size in 0.05f32..3.0, centres: bool, stride in 1usize..200,
        block_m in prop::sample::select(vec![64usize, 128, 256]),
    ) {
        let case = Case::new(len, from, &numbers(seed, len * DIM, 1.0), &numbers(seed ^ 77, len * DIM, size));
        let columns: Vec<u32> = (70..len as u32).step_by(stride).collect();
        case.with_scene(|scene| {
            let truth = really_dropped(scene, case.plan(block_m, columns.clone(), false));
            let plan = case.plan(block_m, columns, centres);
            let bound = dropped_mass(scene, 0, &plan, &output(scene, plan.clone()));
            prop_assert!(bound.at_least <= truth + 1e-4 && truth <= bound.at_most + 1e-4, "{bound:?}, really {truth}");
            prop_assert!(bound.at_most <= bound.worst_row && bound.worst_row <= 1.0, "{bound:?}");
            Ok(())
        })?;
    }
}

/// One huge key in a block whose other keys cancel it: no mean shows it, and no probe row looks for it.
#[test]
fn an_adversarial_needle_is_caught_and_computed() {
    let len = 1024;
    let mut k = numbers(1, len * DIM, 0.02);
    let mut q = numbers(2, len * DIM, 0.02);
    for row in 0..len {
        // All keys far below the diagonal and sink, so that the quiet blocks are provably small.
        k[row * DIM + 1] = if row < 64 { 8.0 } else { -8.0 };
        q[row * DIM + 1] = 8.0;
    }
    let quiet = Case::new(len, 512, &q, &k);
    k[300 * DIM] = 60.0;
    (256..320).filter(|row| *row != 300).for_each(|row| k[row * DIM] = -60.0 / 63.0);
    q[900 * DIM] = 20.0;
    let needle = Case::new(len, 512, &q, &k);
    let enforced = |case: &Case| {
        case.with_scene(|scene| {
            let plan = case.plan(64, Vec::new(), true);
            let mut output = output(scene, plan.clone());
            let mut planned = Planned {
                plan: Plan { heads: vec![plan] },
                choices: vec![HeadChoice::new(HeadPattern::Triangular { window: 64, columns: 0 }, 0.99, 1.0)],
            };
            let before = dropped_mass(scene, 0, &planned.plan.heads[0], &output);
            let after = enforce(scene, 1e-3, &mut planned, &mut output).unwrap();
            (before, after, planned.plan.heads[0].clone(), output.row(0, 900 - 512))
        })
    };
    let (before, after, plan, _) = enforced(&quiet);
    assert!(before.at_most < 1e-3 && after == [before], "{before:?}");
    assert!(matches!(plan, HeadPlan::Sparse(_)));

    let (before, after, plan, row) = enforced(&needle);
    assert!(before.worst_row > 0.9 && after == [DroppedMass::default()], "{before:?} {after:?}");
    assert_eq!(plan, HeadPlan::Dense);
    // The row found its needle: the value is the key.
    assert!((row[0] - 60.0).abs() < 0.5, "{}", row[0]);
}

#[test]
fn dense_heads_drop_nothing() {
    let case = Case::new(130, 0, &numbers(1, 130 * DIM, 1.0), &numbers(2, 130 * DIM, 1.0));
    case.with_scene(|scene| {
        let output = output(scene, HeadPlan::Dense);
        assert_eq!(dropped_mass(scene, 0, &HeadPlan::Dense, &output), DroppedMass::default());
    });
}
