// Causal attention of `attend_sm90.cu` with products of 8-bit floats, over keys and values that `quantise_kv.cu` rounded; see
// `sm90/arithmetic_fp8.cuh`.

#include "sm90/attend.cuh"

extern "C" __global__ void __launch_bounds__(384, 1) attend_fp8_sm90_d128(const __grid_constant__ Arguments args) {
    attend<Config<128, 2, false, true>>(args);
}

extern "C" __global__ void __launch_bounds__(384, 1) attend_fp8_sm90_d64(const __grid_constant__ Arguments args) {
    attend<Config<64, 2, false, true>>(args);
}

extern "C" __global__ void __launch_bounds__(384, 1) attend_fp8_sm90_planned_d128(const __grid_constant__ Arguments args) {
    attend<Config<128, 2, true, true>>(args);
}

extern "C" __global__ void __launch_bounds__(384, 1) attend_fp8_sm90_planned_d64(const __grid_constant__ Arguments args) {
    attend<Config<64, 2, true, true>>(args);
}
