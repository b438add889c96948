//     out[row] = x[row] / sqrt(mean(x[row]^2) + eps) * weight
//
// One block a row.

#include "vector.cuh"

struct Arguments {
    const float *x;      // [row][features]
    const float *weight; // [features]
    __nv_bfloat16 *out;  // [row][features]
    int features;        // a multiple of 8
    float eps;
};

extern "C" __global__ void __launch_bounds__(256) rms_norm(const __grid_constant__ Arguments args) {
    size_t row = size_t(blockIdx.x) * args.features;
    float squares = 0.f;
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len) {
        Vector x = load_vector(args.x + row + i);
        for (int j = 0; j < vector_len; ++j) squares = fmaf(x.x[j], x.x[j], squares);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) squares += __shfl_xor_sync(~0u, squares, lanes);
    __shared__ float of_warp[32];
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = squares;
    __syncthreads();
    squares = 0.f;
    for (int warp = 0; warp < blockDim.x / 32; ++warp) squares += of_warp[warp];
    float scale = rsqrtf(squares / args.features + args.eps);
    // The row is read again, from the first-level cache.
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len) {
        Vector x = load_vector(args.x + row + i), weight = load_vector(args.weight + i);
        for (int j = 0; j < vector_len; ++j) x.x[j] *= scale * weight.x[j];
        store_vector(args.out + row + i, x);
    }
}
