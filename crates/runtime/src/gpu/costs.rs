//! What attention and the search cost on GPUs, as far as that holds for all of a kind.

use attention::search::CostModel;

/// Costs in steps of 128 queries times 64 keys, measured on one H100 at 8K to 32K tokens (`docs/kernels.md`).
pub(super) fn of_kernel(kernel: &str) -> CostModel {
    let step_us = match kernel {
        "attend_sm90" => Some(6.2e-3),
        _ => None,
    };
    CostModel {
        step_us,
        gathered_step: 1.0,
        gather_key: 0.5,
        gather_centre: 0.5,
        tile: 6.0,
        score_block: 0.011,
        probe_block: 0.55,
        choose_block: 2.0,
        margin: 0.95,
    }
}
