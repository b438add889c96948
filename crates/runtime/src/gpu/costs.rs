//! What attention and the search cost on a GPU.

use attention::search::CostModel;
use attention::shape::HeadShape;

/// Starting the kernels of a search takes so long, whatever they do.
const START_US: f64 = 120.0;

/// Costs in steps of the kernel's own tiles times 64 keys of one head, all multiprocessors together: fitted to one H100 at 4K
/// to 128K tokens, 14 and 32 query heads (`docs/kernels.md`). Other devices are taken to have the same ratios.
pub(super) fn of(kernel: &str, heads: HeadShape) -> CostModel {
    let in_bf16 = of_bf16(kernel, heads);
    match kernel {
        // A step takes less, the search as long as before.
        "attend_fp8_sm90" => CostModel {
            score_block: in_bf16.score_block / FP8_STEP,
            probe_block: in_bf16.probe_block / FP8_STEP,
            choose_block: in_bf16.choose_block / FP8_STEP,
            search_head: in_bf16.search_head / FP8_STEP,
            ..in_bf16
        },
        _ => in_bf16,
    }
}

/// Time of a step with products of 8-bit floats, over that in bf16.
const FP8_STEP: f64 = 0.65;

fn of_bf16(kernel: &str, heads: HeadShape) -> CostModel {
    // 192 and 128 queries a tile.
    let (step_us, tile, score_block, probe_block) = match heads.head_dim() {
        ..=64 => (5.7e-3, 7.5, 0.0135, 0.097),
        _ => (6.1e-3, 4.5, 0.0093, 0.117),
    };
    CostModel {
        step_us: (kernel == "attend_sm90").then_some(step_us),
        gathered_step: 0.75,
        gather_key: 0.1,
        gather_centre: 0.1,
        tile,
        score_block,
        probe_block,
        choose_block: 5.1,
        search_head: START_US / step_us / heads.num_q_heads() as f64,
        // What recall 0.98 leaves of prompts of 8K to 16K tokens, where it has to be decided.
        far_share: 0.45,
        margin: 0.95,
    }
}
