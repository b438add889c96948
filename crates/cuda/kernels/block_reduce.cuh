// Sums and maxima over the threads of a block of whole warps. Every thread gets the result.
#pragma once

template <typename Combine> __device__ float reduce_block(float x, float *of_warps, Combine combine) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x = combine(x, __shfl_xor_sync(~0u, x, lanes));
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warps[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) x = combine(x, of_warps[warp]);
    return x;
}

// `of_warps` is shared memory for a number a warp, not used for anything else since the last __syncthreads.
__device__ inline float block_sum(float x, float *of_warps) {
    return reduce_block(x, of_warps, [](float a, float b) { return a + b; });
}

__device__ inline float block_max(float x, float *of_warps) {
    return reduce_block(x, of_warps, [](float a, float b) { return fmaxf(a, b); });
}
