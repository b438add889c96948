// Maxima over the threads of a block of whole warps. Every thread gets the result.
#pragma once

// `of_warps` is shared memory for a number a warp, not used for anything else since the last __syncthreads.
__device__ inline float block_max(float x, float *of_warps) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warps[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) x = fmaxf(x, of_warps[warp]);
    return x;
}
