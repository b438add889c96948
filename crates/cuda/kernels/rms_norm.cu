//     out[row] = x[row] / sqrt(mean(x[row]^2) + eps) * weight
//
// in bf16, or in 8-bit floats with a scale a row; or added to f32, after which x is zeros. One block a row.

#include "block_reduce.cuh"
#include "fp8.cuh"
#include "ptx/early_start.cuh"

struct Arguments {
    const float *x;      // [row][features]
    const float *weight; // [features]
    void *out;           // [row][features]
    float *scales;       // [row], of 8-bit floats
    int features;        // a multiple of 8
    float eps;
};

__device__ Vector weighted(const float *weights, Vector x, int i) {
    Vector weight = load_vector(weights + i);
#pragma unroll
    for (int j = 0; j < vector_len; ++j) x.x[j] *= weight.x[j];
    return x;
}

__device__ float add_squares(const Vector &x, float squares) {
#pragma unroll
    for (int j = 0; j < vector_len; ++j) squares = fmaf(x.x[j], x.x[j], squares);
    return squares;
}

template <bool FP8> __device__ void rms_norm(const Arguments &args) {
    __shared__ float of_warps[2][8];
    size_t row = size_t(blockIdx.x) * args.features;
    float squares = 0.f, largest = 0.f;
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len) {
        Vector x = load_vector(args.x + row + i);
        squares = add_squares(x, squares);
        if constexpr (FP8) largest = largest_of(weighted(args.weight, x, i), largest);
    }
    float norm = rsqrtf(block_sum(squares, of_warps[0]) / args.features + args.eps);
    float factor = norm;
    if constexpr (FP8) {
        // The norm is the whole row's: it goes into the scale.
        Fp8Scale scale(block_max(largest, of_warps[1]));
        if (threadIdx.x == 0) args.scales[blockIdx.x] = norm * scale.scale;
        factor = scale.inverse;
    }
    // The row is read again, from the first-level cache.
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len) {
        Vector x = weighted(args.weight, load_vector(args.x + row + i), i);
        if constexpr (FP8) {
            store_vector(static_cast<__nv_fp8_storage_t *>(args.out) + row + i, x, factor);
        } else {
#pragma unroll
            for (int j = 0; j < vector_len; ++j) x.x[j] *= factor;
            store_vector(static_cast<__nv_bfloat16 *>(args.out) + row + i, x);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) rms_norm_bf16(const __grid_constant__ Arguments args) {
    wait_for_previous();
    rms_norm<false>(args);
}

extern "C" __global__ void __launch_bounds__(256) rms_norm_fp8(const __grid_constant__ Arguments args) {
    wait_for_previous();
    rms_norm<true>(args);
}

struct AddArguments {
    float *x;            // [row][features]
    const float *weight; // [features]
    float *out;          // [row][features]
    int features;        // a multiple of 8
    float eps;
};

extern "C" __global__ void __launch_bounds__(256) add_rms_norm(const __grid_constant__ AddArguments args) {
    wait_for_previous();
    __shared__ float of_warps[8];
    float *x = args.x + size_t(blockIdx.x) * args.features, *out = args.out + size_t(blockIdx.x) * args.features;
    float squares = 0.f;
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len)
        squares = add_squares(load_vector(x + i), squares);
    float norm = rsqrtf(block_sum(squares, of_warps) / args.features + args.eps);
    // Each thread meets the elements that it read before, and nobody else does.
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len) {
        Vector of_x = weighted(args.weight, load_vector(x + i), i), sum = load_vector(out + i);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) sum.x[j] = fmaf(of_x.x[j], norm, sum.x[j]);
        store_vector(out + i, sum);
        store_vector(x + i, Vector{});
    }
}
