// Rows of bf16 to 8-bit floats with a scale a row: weights, once, and what attention leaves, before products in 8 bits.
//
// One block a row.

#include "block_reduce.cuh"
#include "fp8.cuh"

struct Arguments {
    const __nv_bfloat16 *x;   // [row][features]
    __nv_fp8_storage_t *out;  // [row][features]
    float *scales;            // [row]
    int features;             // a multiple of 8
};

extern "C" __global__ void __launch_bounds__(256) quantise_rows(const __grid_constant__ Arguments args) {
    __shared__ float of_warps[8];
    size_t row = size_t(blockIdx.x) * args.features;
    float largest = 0.f;
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len)
        largest = largest_of(load_vector(args.x + row + i), largest);
    Fp8Scale scale(block_max(largest, of_warps));
    if (threadIdx.x == 0) args.scales[blockIdx.x] = scale.scale;
    // The row is read again, from the first-level cache.
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len)
        store_vector(args.out + row + i, load_vector(args.x + row + i), scale.inverse);
}
