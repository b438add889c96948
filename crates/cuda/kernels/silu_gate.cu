// out[row][i] = silu(gate[row][i]) * up[row][i], silu(x) = x / (1 + exp(-x))

#include "vector.cuh"

struct Arguments {
    const __nv_bfloat16 *gate_up; // [row][2][features]: gate, then up
    __nv_bfloat16 *out;           // [row][features]
    int features;                 // a multiple of 8
};

extern "C" __global__ void __launch_bounds__(256) silu_gate(const __grid_constant__ Arguments args) {
    const __nv_bfloat16 *gate = args.gate_up + size_t(blockIdx.x) * 2 * args.features;
    __nv_bfloat16 *out = args.out + size_t(blockIdx.x) * args.features;
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len) {
        Vector x = load_vector(gate + i), up = load_vector(gate + args.features + i);
        // exp overflows to infinity for very negative x, and x / infinity is the zero it should be.
        for (int j = 0; j < vector_len; ++j) x.x[j] = x.x[j] / (1.f + __expf(-x.x[j])) * up.x[j];
        store_vector(out + i, x);
    }
}
