use super::*;
use crate::attend::{Output, attend};
use crate::kv::KvPages;
use crate::queries::Queries;
use crate::shape::{HeadShape, QueryRange};
use crate::simd::Simd;

const DIM: usize = 32;

/// A sequence whose heads attend to planted places: every query of head 0 to its neighbourhood and to a few far keys,
/// head 1 to everything alike.
struct Planted {
    heads: HeadShape,
    pages: KvPages,
    table: Vec<u32>,
    q: Vec<f32>,
    len: usize,
    block_m: usize,
}

impl Planted {
    fn new(len: usize) -> Self {
        let heads = HeadShape::new(2, 1, DIM).unwrap();
        let noise = |n: usize| (n.wrapping_mul(2654435761) >> 7) as f32 % 1000.0 / 1000.0 - 0.5;
        let mut k: Vec<f32> = (0..len * DIM).map(|n| noise(n) * 0.5).collect();
        let v: Vec<f32> = (0..len * DIM).map(|n| noise(n + 77)).collect();
        let mut q = vec![0.0; len * 2 * DIM];
        for row in 0..len {
            // Feature 0: found by head 0 on every 500th key. Features 1 and 2: position on a slowly turning circle.
            k[row * DIM] = if row % 500 == 250 { 9.0 } else { 0.0 };
            let angle = row as f32 / 150.0;
            (k[row * DIM + 1], k[row * DIM + 2]) = (6.0 * angle.cos(), 6.0 * angle.sin());
            q[row * 2 * DIM] = 6.0;
            (q[row * 2 * DIM + 1], q[row * 2 * DIM + 2]) = (6.0 * angle.cos(), 6.0 * angle.sin());
            for i in 0..DIM {
                q[(row * 2 + 1) * DIM + i] = noise(row * DIM + i) * 0.2;
            }
        }
        let pages_needed = len.div_ceil(BLOCK_N);
        let mut pages = KvPages::new(heads, pages_needed);
        let table: Vec<u32> = (0..pages_needed as u32).rev().collect();
        pages.append_rows(&table, 0, &k, &v).unwrap();
        Self { heads, pages, table, q, len, block_m: 64 }
    }

    fn find(&self, search: &Search, q_len: usize) -> (Planned, QueryRange, Queries) {
        let range = QueryRange::new(q_len, self.len).unwrap();
        let queries = Queries::from_rows(Simd::detect(), self.heads, &self.q[range.q_start() * 2 * DIM..]).unwrap();
        let view = self.pages.view(&self.table, self.len).unwrap();
        let tiles = range.tiles(self.block_m).unwrap();
        let scene = Scene { simd: Simd::detect(), layer: 0, queries: &queries, kv: &view, tiles, last_rows: 64 };
        (search.plan(&scene).unwrap(), range, queries)
    }

    /// Share of the attention mass that the plan really keeps.
    fn true_recall(&self, plan: &Plan, head: usize, range: QueryRange, queries: &Queries) -> f64 {
        self.row_recalls(plan, head, range, queries).iter().sum::<f64>() / range.q_len() as f64
    }

    /// The same of each row, by the ratio of the sums of exponentials.
    fn row_recalls(&self, plan: &Plan, head: usize, range: QueryRange, queries: &Queries) -> Vec<f64> {
        let lse = |plan: &Plan| {
            let mut output = Output::new(self.heads, range.q_len());
            let view = self.pages.view(&self.table, self.len).unwrap();
            attend(Simd::detect(), queries, &view, range, plan, &mut output).unwrap();
            (0..range.q_len()).map(|row| output.lse(head, row) as f64).collect::<Vec<_>>()
        };
        let (sparse, dense) = (lse(plan), lse(&Plan::dense(2)));
        sparse.iter().zip(&dense).map(|(s, d)| (s - d).exp()).collect()
    }
}

#[test]
fn each_head_gets_its_own_pattern_and_keeps_what_it_says() {
    let planted = Planted::new(6000);
    let mut search = Search::new(Target::Recall(0.9)).unwrap();
    search.centres = false;
    let (found, range, queries) = planted.find(&search, 2000);
    assert!(matches!(found.plan.heads[0], HeadPlan::Sparse(_)), "a head with structure: {:?}", found.choices[0]);
    assert_eq!(found.plan.heads[1], HeadPlan::Dense, "a head that looks everywhere alike: {:?}", found.choices[1]);
    assert!(found.plan.density(range) < 0.7);
    let kept = planted.true_recall(&found.plan, 0, range, &queries);
    assert!(kept > 0.85, "asked for 0.9, estimated {}, kept {kept}", found.choices[0].recall);
}

#[test]
fn a_higher_target_keeps_more() {
    let planted = Planted::new(6000);
    let density = |recall| {
        let (found, range, _) = planted.find(&Search::new(Target::Recall(recall)).unwrap(), 2000);
        found.plan.density(range)
    };
    assert!(density(0.5) <= density(0.9) && density(0.9) <= density(0.99));
    assert_eq!(density(1.0), 1.0);
}

/// The last sixteenth of a chunk attends to one key each, far behind; all else to its neighbourhood. Together they keep enough
/// without what is quoted.
#[test]
fn a_quotation_keeps_what_it_quotes() {
    const LEN: usize = 16384;
    const QUOTING: usize = LEN / 16;
    let mut planted = Planted::new(LEN);
    let noise = |n: usize| (probe::scatter(n as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    // Of two neighbours opposite ones: scores of blocks see nothing.
    let name = |row: usize, i: usize| 4.0 * noise(row / 2 * DIM + i) * if row.is_multiple_of(2) { 1.0 } else { -1.0 };
    let (mut k, v) = (vec![0.0; LEN * DIM], vec![0.5; LEN * DIM]);
    for row in 0..LEN {
        let angle = row as f32 / 150.0;
        (k[row * DIM + 1], k[row * DIM + 2]) = (6.0 * angle.cos(), 6.0 * angle.sin());
        (3..DIM).for_each(|i| k[row * DIM + i] = name(row, i));
        planted.q[row * 2 * DIM] = 0.0;
        if row >= LEN - QUOTING {
            (3..DIM).for_each(|i| planted.q[row * 2 * DIM + i] = name(row * 797 % 12000, i));
        }
    }
    planted.pages = KvPages::new(planted.heads, planted.table.len());
    planted.pages.append_rows(&planted.table, 0, &k, &v).unwrap();
    let mut search = Search::new(Target::Recall(0.95)).unwrap();
    (search.centres, search.last_rows) = (false, false);
    let (found, range, queries) = planted.find(&search, LEN);
    let kept = planted.row_recalls(&found.plan, 0, range, &queries);
    let of_quotation = kept[LEN - QUOTING..].iter().sum::<f64>() / QUOTING as f64;
    assert!(of_quotation > 0.65, "{of_quotation} is kept (0.57 by the mean alone), {:?}", found.choices[0]);
}

#[test]
fn short_prompts_are_dense_without_a_search() {
    let planted = Planted::new(300);
    let (found, ..) = planted.find(&Search::new(Target::Recall(0.5)).unwrap(), 300);
    assert_eq!(found.plan, Plan::dense(2));
    assert_eq!(found.recall(), 1.0);
}

#[test]
fn stages_are_timed_where_there_is_a_search() {
    let planted = Planted::new(6000);
    let times = |q_len: usize, families: &[PatternFamily]| {
        let range = QueryRange::new(q_len, planted.len).unwrap();
        let queries =
            Queries::from_rows(Simd::detect(), planted.heads, &planted.q[range.q_start() * 2 * DIM..]).unwrap();
        let kv = &planted.pages.view(&planted.table, planted.len).unwrap();
        let scene = Scene {
            simd: Simd::detect(),
            layer: 0,
            queries: &queries,
            kv,
            tiles: range.tiles(64).unwrap(),
            last_rows: 64,
        };
        let mut search = Search::new(Target::Recall(0.9)).unwrap();
        search.families = families.to_vec();
        let (planned, times) = search.plan_timed(&scene).unwrap();
        assert_eq!(planned.plan, search.plan(&scene).unwrap().plan);
        times
    };
    let all = times(2000, &[PatternFamily::BlockCluster, PatternFamily::Triangular]);
    assert!([all.scores, all.probes, all.candidates, all.lowering].iter().all(|time| !time.is_zero()), "{all:?}");
    assert_eq!(all.total(), all.scores + all.probes + all.candidates + all.lowering);
    // A family that scores nothing takes no time for it but that of reading the clock.
    assert!(times(2000, &[PatternFamily::Triangular]).scores < all.scores);
    assert_eq!(times(1, &[PatternFamily::BlockCluster]), StageTimes::default(), "one query cannot earn back a search");
}

#[test]
fn any_range_gets_a_plan_that_the_kernel_accepts() {
    let planted = Planted::new(5003);
    for q_len in [1, 63, 64, 65, 640, 1000, 2049, 5003] {
        let (found, range, queries) = planted.find(&Search::new(Target::Recall(0.6)).unwrap(), q_len);
        let view = planted.pages.view(&planted.table, planted.len).unwrap();
        let mut output = Output::new(planted.heads, q_len);
        attend(Simd::detect(), &queries, &view, range, &found.plan, &mut output).unwrap();
        for head in &found.plan.heads {
            if let HeadPlan::Sparse(plan) = head {
                let last = plan.num_tiles() - 1;
                assert_eq!(plan.blocks(last).len(), range.num_blocks(), "the last rows see every key");
            }
        }
    }
}

#[test]
fn a_budget_is_kept_and_more_of_it_keeps_more() {
    let planted = Planted::new(6000);
    let mut recalls = Vec::new();
    for share in [0.01, 0.15, 0.3, 0.6] {
        let search = Search::new(Target::Cost(share)).unwrap();
        let (found, range, _) = planted.find(&search, 2000);
        let dense = search.cost.dense(range.tiles(64).unwrap());
        for choice in &found.choices {
            // Nothing costs less than sink, window, diagonal, centres and the last rows.
            let asked = (share as f64).max(0.2) * dense;
            assert!(choice.cost <= asked, "{share}: {choice:?} of {dense}");
            assert!(share < 0.2 || choice.cost >= 0.95 * asked, "{share}: {choice:?} of {dense}");
            assert!(choice.considered.iter().all(|other| other.recall <= choice.recall));
        }
        recalls.push(found.recall());
    }
    assert!(recalls.is_sorted(), "{recalls:?}");
}

#[test]
fn a_density_budget_is_kept_as_counted() {
    let planted = Planted::new(6000);
    let mut recalls = Vec::new();
    for share in [0.15, 0.2, 0.3, 0.6] {
        let search = Search::new(Target::Density(share)).unwrap();
        let (found, range, _) = planted.find(&search, 2000);
        for plan in &found.plan.heads {
            let density = plan.pairs(range) as f64 / range.causal_pairs() as f64;
            let asked = share as f64;
            assert!(density <= asked && density >= 0.95 * asked, "{share}: {density}");
        }
        recalls.push(found.recall());
    }
    assert!(recalls.is_sorted() && recalls[0] < recalls[3], "{recalls:?}");
}

/// What was counted of every candidate, block steps and attention on the judging rows, is what its plan computes.
#[test]
fn every_candidate_is_what_was_counted() {
    let simd = Simd::detect();
    // Prefixes that end with a block, inside one, and one key before its end.
    for (len, q_len) in [(2560, 1536), (2600, 1500), (2599, 1000)] {
        let planted = Planted::new(len);
        let range = QueryRange::new(q_len, len).unwrap();
        let queries = Queries::from_rows(simd, planted.heads, &planted.q[range.q_start() * 2 * DIM..]).unwrap();
        let kv = planted.pages.view(&planted.table, len).unwrap();
        let lse = |plan: &Plan, head: usize| {
            let mut output = Output::new(planted.heads, q_len);
            attend(simd, &queries, &kv, range, plan, &mut output).unwrap();
            (0..q_len).map(|row| output.lse(head, row) as f64).collect::<Vec<_>>()
        };
        for block_m in [64, 128, 192] {
            let tiles = range.tiles(block_m).unwrap();
            let scene = Scene { simd, layer: 0, queries: &queries, kv: &kv, tiles, last_rows: 64 };
            for (head, target) in [(0, 0.3), (0, 0.8), (0, 0.97), (1, 0.6)] {
                let mut search = Search::new(Target::Recall(target)).unwrap();
                search.centres = false;
                let levels = BlockLevels::measure(simd, search.selector, &queries, head, &kv, tiles).unwrap();
                let dense = lse(&Plan::dense(2), head);
                Probes::measure(simd, &queries, &kv, tiles, head, |probes| {
                    let candidates = Candidates::evaluate(simd, &search, tiles, 64, Some(&levels), probes);
                    assert!(candidates.found.len() >= 3, "{:?}", candidates.found);
                    for candidate in &candidates.found {
                        let at = format!("{q_len} of {len}, {block_m}: {candidate:?}");
                        let plan = HeadSearch { search: &search, scene: &scene, head }.lower(&candidates, candidate);
                        let plan = plan.unwrap();
                        let steps = plan.indices().len() as u64;
                        let sparse_tiles = (0..tiles.num_tiles()).filter(|t| !tiles.has_last_rows(*t, 64)).count();
                        let cost = search.cost.sparse(tiles, steps, sparse_tiles, candidate.columns, 0);
                        assert!((candidate.cost - cost).abs() < 1e-6 * cost, "{at}, listed {cost}");

                        let mut heads = vec![HeadPlan::Dense; 2];
                        heads[head] = HeadPlan::Sparse(plan);
                        let sparse = lse(&Plan { heads }, head);
                        let judges = || probes.judging.iter().flat_map(|panel| panel.rows);
                        let kept: f64 = judges().map(|row| (sparse[row] - dense[row]).exp()).sum();
                        let kept = kept / judges().count() as f64;
                        assert!((candidate.cut.recall - kept).abs() < 5e-3, "{at}, kept {kept}");
                    }
                    Ok(())
                })
                .unwrap();
            }
        }
    }
}

#[test]
fn a_search_in_tall_tiles_keeps_what_it_says() {
    let mut planted = Planted::new(6000);
    for block_m in [128, 256] {
        planted.block_m = block_m;
        let mut search = Search::new(Target::Recall(0.9)).unwrap();
        search.centres = false;
        search.cost.margin = f64::INFINITY;
        let (found, range, queries) = planted.find(&search, 2000);
        for head in &found.plan.heads {
            let HeadPlan::Sparse(plan) = head else { panic!("anything pays where the margin is infinite") };
            assert_eq!(plan.tiles(), range.tiles(block_m).unwrap());
        }
        let kept = planted.true_recall(&found.plan, 0, range, &queries);
        assert!(kept > 0.85, "asked for 0.9, estimated {}, kept {kept}", found.choices[0].recall);
        // A budget in tall tiles is kept as counted in pairs.
        let (found, range, _) = planted.find(&Search::new(Target::Density(0.4)).unwrap(), 2000);
        assert!(found.plan.density(range) <= 0.4 && found.plan.density(range) > 0.1);
    }
}

#[test]
fn refuses_operands_that_do_not_belong_together() {
    let planted = Planted::new(300);
    let queries = Queries::from_rows(Simd::detect(), planted.heads, &planted.q[..100 * 2 * DIM]).unwrap();
    let kv = planted.pages.view(&planted.table, planted.len).unwrap();
    let search = Search::new(Target::Recall(0.9)).unwrap();
    let plan = |queries: &Queries, (q_len, kv_len)| {
        let tiles = QueryRange::new(q_len, kv_len).unwrap().tiles(64).unwrap();
        search.plan(&Scene { simd: Simd::detect(), layer: 0, queries, kv: &kv, tiles, last_rows: 64 })
    };
    assert!(plan(&queries, (100, 300)).is_ok());
    assert!(matches!(plan(&queries, (99, 300)), Err(Error::Length { what: "queries", .. })));
    assert!(matches!(plan(&queries, (100, 299)), Err(Error::Length { what: "keys", .. })));
    let others = Queries::zeroed(HeadShape::new(2, 2, DIM).unwrap(), 100);
    assert!(matches!(plan(&others, (100, 300)), Err(Error::Plan(_))));
}

#[test]
fn refuses_a_target_that_cannot_be() {
    for share in [0.0, -1.0, 1.5, f32::NAN] {
        for target in [Target::Recall(share), Target::Density(share), Target::Cost(share)] {
            assert!(matches!(Search::new(target), Err(Error::Parameter { .. })));
        }
    }
}
