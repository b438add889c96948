// The largest logit of each row and where it first stands. A row has `parts` blocks, each of which writes one number that grows
// with the logit and, among equals, shrinks with the id; or, where a logit is no finite number, the largest number there is.

#include "ptx/early_start.cuh"

struct Arguments {
    const float *logits;      // [row][vocab_size]
    unsigned long long *best; // [row][parts]
    int vocab_size;
    int parts;
};

// Grows with `x`, which is finite, and is never all ones; 0 and -0 are equal.
__device__ unsigned ordered(float x) {
    int bits = __float_as_int(x + 0.f);
    return bits ^ ((bits >> 31) | 0x80000000);
}

__device__ unsigned long long key(float logit, int id) {
    return isfinite(logit) ? (unsigned long long)ordered(logit) << 32 | ~unsigned(id) : ~0ull;
}

extern "C" __global__ void __launch_bounds__(256) likeliest(const __grid_constant__ Arguments args) {
    wait_for_previous();
    __shared__ unsigned long long of_warps[8];
    int row = blockIdx.x / args.parts, part = blockIdx.x % args.parts;
    const float *logits = args.logits + size_t(row) * args.vocab_size;
    unsigned long long best = 0;
    for (int id = part * blockDim.x + threadIdx.x; id < args.vocab_size; id += args.parts * blockDim.x)
        best = max(best, key(logits[id], id));
    for (int lanes = 16; lanes > 0; lanes /= 2) best = max(best, __shfl_xor_sync(~0u, best, lanes));
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < blockDim.x / 32; ++warp) best = max(best, of_warps[warp]);
    args.best[blockIdx.x] = best;
}
