// out[row][i] = activation(gate[row][i]) * up[row][i]
//
// in bf16, or in 8-bit floats with a scale a row. One block a row.

#include "activation.cuh"
#include "block_reduce.cuh"
#include "fp8.cuh"
#include "ptx/early_start.cuh"

struct Arguments {
    const __nv_bfloat16 *gate_up; // [row][2][features]: gate, then up
    void *out;                    // [row][features]
    float *scales;                // [row], of 8-bit floats
    int features;                 // a multiple of 8
};

template <Activation activation> __device__ Vector gated(const __nv_bfloat16 *gate, const __nv_bfloat16 *up) {
    Vector x = load_vector(gate), of_up = load_vector(up);
#pragma unroll
    for (int j = 0; j < vector_len; ++j) x.x[j] = activated<activation>(x.x[j]) * of_up.x[j];
    return x;
}

template <Activation activation, bool FP8> __device__ void gate_rows(const Arguments &args) {
    const __nv_bfloat16 *gate = args.gate_up + size_t(blockIdx.x) * 2 * args.features, *up = gate + args.features;
    size_t row = size_t(blockIdx.x) * args.features;
    if constexpr (FP8) {
        __shared__ float of_warps[8];
        float largest = 0.f;
        for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len)
            largest = largest_of(gated<activation>(gate + i, up + i), largest);
        Fp8Scale scale(block_max(largest, of_warps));
        if (threadIdx.x == 0) args.scales[blockIdx.x] = scale.scale;
        // Computed again, from the first-level cache: a row has no room in registers.
        __nv_fp8_storage_t *out = static_cast<__nv_fp8_storage_t *>(args.out) + row;
        for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len)
            store_vector(out + i, gated<activation>(gate + i, up + i), scale.inverse);
    } else {
        __nv_bfloat16 *out = static_cast<__nv_bfloat16 *>(args.out) + row;
        for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len)
            store_vector(out + i, gated<activation>(gate + i, up + i));
    }
}

#define KERNEL(name, activation, FP8)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) gate_##name(const __grid_constant__ Arguments args) {            \
        wait_for_previous();                                                                                           \
        gate_rows<Activation::activation, FP8>(args);                                                                  \
    }
KERNEL(silu_bf16, Silu, false)
KERNEL(silu_fp8, Silu, true)
KERNEL(gelu_bf16, Gelu, false)
KERNEL(gelu_fp8, Gelu, true)
