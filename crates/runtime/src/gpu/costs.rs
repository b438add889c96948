//! What attention and the search cost on a GPU.

use attention::search::CostModel;
use attention::shape::HeadShape;

/// Starting the kernels of a search takes so long, whatever they do.
const START_US: f64 = 80.0;

/// Costs in steps of the kernel's own tiles times 64 keys of one head, all multiprocessors together: fitted to one H100 at 4K
/// to 32K tokens, 14 and 32 query heads (`bench/results/h100/calibration*.json`). Other devices are taken to have the same ratios.
pub(super) fn of(kernel: &str, heads: HeadShape) -> CostModel {
    let (step_us, tile, score_block, probe_block, choose_block) = match (kernel, heads.head_dim()) {
        // A step takes less, the search as long; keys and values are rounded before it.
        ("attend_fp8_sm90", ..=64) => (4.3e-3, 7.9, 0.0064, 0.187, 0.94),
        ("attend_fp8_sm90", _) => (5.0e-3, 11.7, 0.0053, 0.209, 1.48),
        ("attend_int8_sm80", ..=64) => (5.4e-3, 7.1, 0.0052, 0.149, 0.74),
        ("attend_int8_sm80", _) => (9.8e-3, 6.4, 0.0027, 0.104, 0.75),
        (_, ..=64) => (6.0e-3, 5.2, 0.0090, 0.144, 0.50),
        _ => (7.0e-3, 2.9, 0.0045, 0.176, 1.16),
    };
    CostModel {
        // Times are those of the kernels for Hopper alone.
        step_us: kernel.ends_with("sm90").then_some(step_us),
        gathered_step: 0.72,
        gather_key: 0.06,
        gather_centre: 0.06,
        tile,
        score_block,
        probe_block,
        choose_block,
        search_head: START_US / step_us / heads.num_q_heads() as f64,
        // What is left of prompts of 8K to 16K tokens, where it has to be decided.
        far_share: 0.52,
        margin: 0.95,
    }
}
