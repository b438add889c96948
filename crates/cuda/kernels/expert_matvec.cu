// One token times the matrices of the experts that it takes, in bf16: what decoding does, bound by reading the weights. Which
// experts is read on the device: nothing waits for it.
//
// A warp takes a row.

#include "vector.cuh"

struct Arguments {
    const __nv_bfloat16 *const *weights; // [count]: [rows][features] of each expert
    const unsigned *experts;             // [slot]
    const float *shares;                 // [slot], to add
    const __nv_bfloat16 *x;              // [features], or [slot][features] to add
    __nv_bfloat16 *out;                  // [slot][rows], or null
    float *sum;                          // [rows], to add to
    int rows;
    int features; // a multiple of 8
    int count, slots;
};

constexpr int warps = 4;

namespace {

__device__ inline float product(const Arguments &args, int slot, int row, const __nv_bfloat16 *x) {
    const __nv_bfloat16 *weight = args.weights[min(args.experts[slot], args.count - 1)] + size_t(row) * args.features;
    float sum = 0.f;
#pragma unroll 4
    for (int i = threadIdx.x % 32 * vector_len; i < args.features; i += 32 * vector_len) {
        Vector of_weight = load_vector(weight + i), of_x = load_vector(x + i);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) sum = fmaf(of_weight.x[j], of_x.x[j], sum);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    return sum;
}

} // namespace

// out[slot] = weights[experts[slot]] x
extern "C" __global__ void __launch_bounds__(32 * warps) expert_matvec(const __grid_constant__ Arguments args) {
    int row = blockIdx.x * warps + threadIdx.x / 32, slot = blockIdx.y;
    if (row >= args.rows) return;
    float x = product(args, slot, row, args.x);
    if (threadIdx.x % 32 == 0) args.out[size_t(slot) * args.rows + row] = __float2bfloat16(x);
}

// sum += shares[slot] * weights[experts[slot]] x[slot], over all slots
extern "C" __global__ void __launch_bounds__(32 * warps) expert_matvec_add(const __grid_constant__ Arguments args) {
    int row = blockIdx.x * warps + threadIdx.x / 32;
    if (row >= args.rows) return;
    float sum = 0.f;
    for (int slot = 0; slot < args.slots; ++slot)
        sum = fmaf(args.shares[slot], product(args, slot, row, args.x + size_t(slot) * args.features), sum);
    if (threadIdx.x % 32 == 0) args.sum[row] += sum;
}
