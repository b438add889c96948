// As `attend_sm80.cu`, with scores from products of 8-bit integers, which have twice the rate of bf16's on these devices. Keys were
// rounded by `quantise_kv.cu`.

#include "sm80/dense.cuh"
#include "sm80/planned.cuh"

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_d64(const __grid_constant__ Arguments args) {
    Dense<64, 2, Scores::Int8>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_d128(const __grid_constant__ Arguments args) {
    Dense<128, 2, Scores::Int8>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_d192(const __grid_constant__ Arguments args) {
    Dense<192, 1, Scores::Int8>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_d256(const __grid_constant__ Arguments args) {
    Dense<256, 1, Scores::Int8>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_planned_d64(const __grid_constant__ Arguments args) {
    Planned<64, 2, Scores::Int8>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_planned_d128(const __grid_constant__ Arguments args) {
    Planned<128, 2, Scores::Int8>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_planned_d192(const __grid_constant__ Arguments args) {
    Planned<192, 1, Scores::Int8>(args).run();
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_int8_sm80_planned_d256(const __grid_constant__ Arguments args) {
    Planned<256, 1, Scores::Int8>(args).run();
}
