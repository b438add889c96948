use super::*;
use crate::pattern::synthetic::Synthetic;
use crate::simd::Simd;

/// Takes one chunk through two layers until nothing is left to try.
fn search(target: Target) -> Result<(StaticPatterns, Vec<HeadReport>), Error> {
    let case = Synthetic::new(5, 512, 1024);
    let (simd, kv) = (Simd::detect(), case.kv());
    let queries = case.queries(simd);
    let mut search = OfflineSearch::new(target, &CostModel::default(), case.range.kv_len())?;
    for round in 0.. {
        assert!(round < 12, "a walk that does not end");
        for layer in 0..2 {
            let scene = Scene { simd, layer, queries: &queries, kv: &kv, tiles: case.tiles(64), last_rows: 64 };
            assert_eq!(search.plan(&scene)?.plan, Plan::dense(4), "the prompt itself stays dense");
        }
        if !search.finish_round() {
            break;
        }
    }
    search.finish()
}

#[test]
fn the_least_error_within_the_budget_wins_and_the_file_replays_it() {
    for target in [Target::Density(0.5), Target::Cost(0.6)] {
        let (patterns, reports) = search(target).unwrap();
        assert_eq!((patterns.layers().len(), reports.len()), (2, 8));
        for report in &reports {
            let chosen = &report.tried[report.chosen];
            assert_eq!(patterns.layers()[report.layer][report.head], chosen.pattern);
            let (Target::Density(share) | Target::Cost(share) | Target::Recall(share)) = target;
            for tried in &report.tried {
                assert_eq!(tried.within, tried.cost <= share as f64);
                assert!(!tried.within || tried.error >= chosen.error, "{tried:?} {chosen:?}");
            }
            assert!(chosen.within && chosen.error < 1.0, "{chosen:?}");
            if let Target::Density(_) = target {
                assert!(chosen.density <= 0.5, "{chosen:?}");
            }
            let mut patterns: Vec<_> = report.tried.iter().map(|tried| tried.pattern).collect();
            patterns.dedup();
            assert_eq!(patterns.len(), report.tried.len(), "nothing is tried twice");
        }
        assert_eq!(StaticPatterns::from_json(&patterns.to_json()).unwrap(), patterns);
    }
}

#[test]
fn where_nothing_fits_the_cheapest_is_taken_and_a_recall_is_refused() {
    let (_, reports) = search(Target::Cost(0.001)).unwrap();
    for report in &reports {
        let chosen = &report.tried[report.chosen];
        assert!(!chosen.within && report.tried.iter().all(|tried| tried.cost >= chosen.cost));
    }
    assert!(search(Target::Recall(0.9)).is_err());
    let untried = OfflineSearch::new(Target::Cost(0.5), &CostModel::default(), 1000).unwrap();
    assert!(untried.finish().is_err());
}
