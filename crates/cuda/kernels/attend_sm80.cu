// Causal attention of a batch over a paged cache, dense or by a plan, for sm_80 and everything newer: as
// `attend_sm90.cu`, with the matrix instructions and copies that those devices have.
//
// A block takes one work item (head, query tile); the hardware starts blocks in their order, so heaviest first. Each warp
// holds 16 or 32 queries. Keys come in steps of 64, newest first: the values of a step are copied while its scores are
// multiplied, the keys of the next while the output is (FlashAttention-2, Dao, arXiv 2307.08691). With one buffer each,
// head_dim 256 fits the 99 KB of a block on sm_86 and sm_89, and two blocks of head_dim 64 stand side by side.
//
// head_dim is any multiple of 16 up to `PADDED`; the rest of a row in shared memory holds zeros.

#include "sm80/dense.cuh"
#include "sm80/planned.cuh"

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d64(const __grid_constant__ Arguments args) {
    Dense<64, 2, Scores::Bf16>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d128(const __grid_constant__ Arguments args) {
    Dense<128, 2, Scores::Bf16>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d192(const __grid_constant__ Arguments args) {
    Dense<192, 1, Scores::Bf16>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d256(const __grid_constant__ Arguments args) {
    Dense<256, 1, Scores::Bf16>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_planned_d64(const __grid_constant__ Arguments args) {
    Planned<64, 2, Scores::Bf16>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_planned_d128(const __grid_constant__ Arguments args) {
    Planned<128, 2, Scores::Bf16>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_planned_d192(const __grid_constant__ Arguments args) {
    Planned<192, 1, Scores::Bf16>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_planned_d256(const __grid_constant__ Arguments args) {
    Planned<256, 1, Scores::Bf16>(args).run();
}
