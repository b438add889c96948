//! From times to costs: arithmetic, and no device.

use super::least_squares::non_negative;
use attention::plan::{HeadPlan, Plan};
use attention::search::CostModel;
use attention::shape::Tiles;

/// How long a plan took.
pub(super) struct PlanTimes<'a> {
    pub tiles: Tiles,
    pub plan: &'a Plan,
    /// Attention.
    pub attend_us: f64,
    /// Gathering columns and centres.
    pub gather_us: f64,
}

/// How long the search took, all heads together.
pub(super) struct SearchTimes {
    pub tiles: Tiles,
    pub scores_us: f64,
    pub probes_us: f64,
    /// All that is neither.
    pub rest_us: f64,
}

/// What executing a plan costs, all heads together.
pub(super) fn plan_cost(costs: &CostModel, tiles: Tiles, plan: &Plan) -> f64 {
    let of_head = |head: &HeadPlan| match head {
        HeadPlan::Sparse(plan) => {
            let sparse = |tile: &usize| plan.blocks(*tile).len() < tiles.causal_blocks(*tile);
            let sparse_tiles = (0..tiles.num_tiles()).filter(sparse).count();
            let centres = if plan.centres() { tiles.num_blocks() } else { 0 };
            costs.sparse(tiles, plan.indices().len() as u64, sparse_tiles, plan.columns().len(), centres)
        }
        _ => costs.dense(tiles),
    };
    plan.heads.iter().map(of_head).sum()
}

/// The cost model that explains these times best; `heads` searched.
pub(super) fn fit(plans: &[PlanTimes], searches: &[SearchTimes], heads: usize) -> CostModel {
    let heads = heads as f64;
    // The model is linear: the factor of a term is what it says when that term alone is 1.
    let none = CostModel { gathered_step: 0.0, ..CostModel::pairs() };
    let steps_of = |times: &PlanTimes| plan_cost(&none, times.tiles, times.plan);
    let of_plan = |times: &PlanTimes, term: CostModel| plan_cost(&term, times.tiles, times.plan) - steps_of(times);
    let of_search = |tiles: Tiles, term: CostModel| heads * term.search(tiles);

    let attend = plans.iter().map(|times| {
        let tile = of_plan(times, CostModel { tile: 1.0, ..none.clone() });
        let gathered_step = of_plan(times, CostModel { gathered_step: 1.0, ..none.clone() });
        ([steps_of(times), tile, gathered_step], times.attend_us)
    });
    let [step_us, tile_us, gathered_us] = non_negative(&attend.collect::<Vec<_>>());
    let gather = plans.iter().map(|times| {
        let key = of_plan(times, CostModel { gather_key: 1.0, ..none.clone() });
        let centre = of_plan(times, CostModel { gather_centre: 1.0, ..none.clone() });
        // The last is the start of the kernel, which starts within the search, and is timed there.
        ([key, centre, 1.0], times.gather_us)
    });
    let [key_us, centre_us, _] = non_negative(&gather.collect::<Vec<_>>());

    let score = |tiles| of_search(tiles, CostModel { score_block: 1.0, ..none.clone() });
    let probe = |tiles| of_search(tiles, CostModel { probe_block: 1.0, ..none.clone() });
    let choose = |tiles| of_search(tiles, CostModel { choose_block: 1.0, ..none.clone() });
    let scores = searches.iter().map(|times| ([score(times.tiles), 1.0], times.scores_us));
    let [score_us, start_scores_us] = non_negative(&scores.collect::<Vec<_>>());
    let probes = searches.iter().map(|times| ([probe(times.tiles), 1.0], times.probes_us));
    let [probe_us, start_probes_us] = non_negative(&probes.collect::<Vec<_>>());
    // Lists grow with tiles times blocks, as scores do.
    let rest = searches.iter().map(|times| ([score(times.tiles), choose(times.tiles), 1.0], times.rest_us));
    let [lists_us, choose_us, start_rest_us] = non_negative(&rest.collect::<Vec<_>>());

    CostModel {
        step_us: Some(step_us),
        gathered_step: gathered_us / step_us,
        gather_key: key_us / step_us,
        gather_centre: centre_us / step_us,
        tile: tile_us / step_us,
        score_block: (score_us + lists_us) / step_us,
        probe_block: probe_us / step_us,
        choose_block: choose_us / step_us,
        search_head: (start_scores_us + start_probes_us + start_rest_us) / heads / step_us,
        ..CostModel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::FITTED_PLANS;
    use crate::random::Random;
    use attention::shape::QueryRange;

    const HEADS: usize = 4;

    fn tiles(len: usize) -> Tiles {
        QueryRange::new(len, len).unwrap().tiles(128).unwrap()
    }

    /// What a device of these costs would measure, each time off by up to `noise`.
    fn measured(truth: &CostModel, noise: f64) -> CostModel {
        let mut random = Random::new(7);
        let mut off = move || 1.0 + noise * (2.0 * random.next() - 1.0);
        let us = truth.step_us.unwrap();
        let plans: Vec<Plan> =
            FITTED_PLANS.iter().map(|pattern| pattern.plan(tiles(pattern.len), HEADS).unwrap()).collect();
        let gathering = CostModel {
            gather_key: truth.gather_key,
            gather_centre: truth.gather_centre,
            gathered_step: 0.0,
            ..CostModel::pairs()
        };
        let attending = CostModel { gather_key: 0.0, gather_centre: 0.0, ..truth.clone() };
        let steps = CostModel { gathered_step: 0.0, ..CostModel::pairs() };
        let plan_times: Vec<PlanTimes> = (FITTED_PLANS.iter().zip(&plans))
            .map(|(pattern, plan)| {
                let tiles = tiles(pattern.len);
                let gather = plan_cost(&gathering, tiles, plan) - plan_cost(&steps, tiles, plan);
                let attend_us = us * plan_cost(&attending, tiles, plan) * off();
                PlanTimes { tiles, plan, attend_us, gather_us: (4.0 + us * gather) * off() }
            })
            .collect();
        let search_times: Vec<SearchTimes> = [4096, 8192, 16384, 32768]
            .map(|len| {
                let nothing = CostModel { gathered_step: 0.0, ..CostModel::pairs() };
                let tiles = tiles(len);
                let mut us_of = |model: CostModel| us * HEADS as f64 * model.search(tiles) * off();
                SearchTimes {
                    tiles,
                    scores_us: us_of(CostModel { score_block: 0.8 * truth.score_block, ..nothing.clone() }),
                    probes_us: us_of(CostModel {
                        probe_block: truth.probe_block,
                        search_head: 0.5 * truth.search_head,
                        ..nothing.clone()
                    }),
                    rest_us: us_of(CostModel {
                        score_block: 0.2 * truth.score_block,
                        choose_block: truth.choose_block,
                        search_head: 0.5 * truth.search_head,
                        ..nothing
                    }),
                }
            })
            .into();
        fit(&plan_times, &search_times, HEADS)
    }

    fn truth() -> CostModel {
        CostModel {
            step_us: Some(6.1e-3),
            gathered_step: 0.75,
            gather_key: 0.1,
            gather_centre: 0.2,
            tile: 4.5,
            score_block: 0.0093,
            probe_block: 0.117,
            choose_block: 5.1,
            search_head: 1200.0,
            ..CostModel::default()
        }
    }

    fn terms(costs: &CostModel) -> [(&'static str, f64); 9] {
        [
            ("step_us", costs.step_us.unwrap()),
            ("gathered_step", costs.gathered_step),
            ("gather_key", costs.gather_key),
            ("gather_centre", costs.gather_centre),
            ("tile", costs.tile),
            ("score_block", costs.score_block),
            ("probe_block", costs.probe_block),
            ("choose_block", costs.choose_block),
            ("search_head", costs.search_head),
        ]
    }

    #[test]
    fn exact_times_give_the_costs_back() {
        let found = measured(&truth(), 0.0);
        for ((what, found), (_, truth)) in terms(&found).into_iter().zip(terms(&truth())) {
            assert!((found / truth - 1.0).abs() < 1e-6, "{what}: {found} for {truth}");
        }
        assert_eq!(found.check(), Ok(()));
    }

    #[test]
    fn times_that_are_a_little_off_give_costs_that_are() {
        let found = measured(&truth(), 0.003);
        for ((what, found), (_, truth)) in terms(&found).into_iter().zip(terms(&truth())) {
            assert!((found / truth - 1.0).abs() < 0.05, "{what}: {found} for {truth}");
        }
    }

    #[test]
    fn terms_that_cost_nothing_are_zero_and_not_negative() {
        let free = CostModel { gather_key: 0.0, gather_centre: 0.0, search_head: 0.0, choose_block: 0.0, ..truth() };
        let found = measured(&free, 0.003);
        assert!(terms(&found).iter().all(|(_, term)| *term >= 0.0), "{found:?}");
        assert!(found.gather_key < 0.005 && found.gather_centre < 0.02 && found.choose_block < 0.1, "{found:?}");
    }

    #[test]
    fn no_times_are_no_costs() {
        assert!(fit(&[], &[], HEADS).check().is_err());
    }

    #[test]
    fn a_plan_costs_what_its_heads_do() {
        let tiles = tiles(4096);
        let dense = Plan::dense(2);
        assert_eq!(plan_cost(&truth(), tiles, &dense), 2.0 * truth().dense(tiles));
        let pattern = &FITTED_PLANS[0];
        let plan = pattern.plan(tiles, 1).unwrap();
        let HeadPlan::Sparse(head) = &plan.heads[0] else { panic!("random plans are sparse") };
        let cost = plan_cost(&CostModel { tile: 0.0, gathered_step: 0.0, ..CostModel::pairs() }, tiles, &plan);
        assert_eq!(cost, head.indices().len() as f64);
    }
}
