// Causal attention of a batch over a paged cache, dense or by a plan, for sm_90a.
//
//     o[row] = softmax(q[row] . k * sm_scale) v,   lse[row] = ln sum exp(q[row] . k * sm_scale)
//
// One block per multiprocessor takes work items (head, query tile), heaviest first, until none is left. In it
//   - one producer thread walks the keys of the item in steps of 128, newest first, and has TMA copy them page by page;
//   - each consumer warpgroup holds 64 queries. In every step it starts S' = Q K'^T of the step and O += P V of the step
//     before, then takes the softmax of S' while the tensor cores work on O, and on the other warpgroups' products:
//     a token passes from warpgroup to warpgroup, so that one multiplies while the next exponentiates.
// The scheme is FlashAttention-3's (Shah et al., arXiv 2407.08608); heaviest first is the longest-processing-time rule.
//
// Only the producer knows where keys lie, and only steps that the diagonal or a window cuts know their positions. So a
// plan needs another walk over 64-key blocks, not another pipeline. One more warp looks the next item up, since items may be
// short; columns and centres come last, with a bias for each that a third warp works out meanwhile.

#include "sm90/attend.cuh"

extern "C" __global__ void __launch_bounds__(384, 1) attend_sm90_d128(const __grid_constant__ Arguments args) {
    attend<Config<128, 2, false>>(args);
}

extern "C" __global__ void __launch_bounds__(512, 1) attend_sm90_d64(const __grid_constant__ Arguments args) {
    attend<Config<64, 3, false>>(args);
}

extern "C" __global__ void __launch_bounds__(384, 1) attend_sm90_planned_d128(const __grid_constant__ Arguments args) {
    attend<Config<128, 2, true>>(args);
}

extern "C" __global__ void __launch_bounds__(512, 1) attend_sm90_planned_d64(const __grid_constant__ Arguments args) {
    attend<Config<64, 3, true>>(args);
}
