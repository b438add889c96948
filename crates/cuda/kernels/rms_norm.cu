//     out[row] = x[row] / sqrt(mean(x[row]^2) + eps) * weight
//
// in bf16, or in 8-bit floats with a scale a row; or added to f32, after which x is zeros. Whole warps a row, which they read
// once; short rows share a block of threads.

#include "fp8.cuh"
#include "ptx/early_start.cuh"

struct Arguments {
    const float *x;      // [row][features]
    const float *weight; // [features]
    void *out;           // [row][features]
    float *scales;       // [row], of 8-bit floats
    int rows;
    int features;    // a multiple of 8
    int row_threads; // a power of two
    float eps;
};

struct AddArguments {
    float *x;            // [row][features]
    const float *weight; // [features]
    float *out;          // [row][features]
    int rows;
    int features;    // a multiple of 8
    int row_threads; // a power of two
    float eps;
};

namespace {

constexpr int most_threads = 1024, most_warps = most_threads / 32;
constexpr int most_vectors = 4; // of a thread

// What a thread has of a row. A thread without a row has nothing, and meets the others where they wait for each other.
struct Part {
    Vector x[most_vectors];
    size_t row;
    int first, step, features; // elements of the row

    template <typename Args> __device__ explicit Part(const Args &args) {
        row = size_t(blockIdx.x) * (blockDim.x / args.row_threads) + threadIdx.x / args.row_threads;
        first = threadIdx.x % args.row_threads * vector_len;
        step = args.row_threads * vector_len;
        features = row < args.rows ? args.features : 0;
        each([&](int n, int i) { x[n] = load_vector(args.x + row * args.features + i); });
    }

    // Calls `use` with the number of each vector and where it lies in the row.
    template <typename Use> __device__ void each(Use use) const {
#pragma unroll
        for (int n = 0; n < most_vectors; ++n)
            if (first + n * step < features) use(n, first + n * step);
    }

    // Over all threads of the row; `of_warps` has room for a number a warp of the block.
    template <typename Combine> __device__ float combine(float *of_warps, float own, Combine combine) const {
        for (int lanes = 16; lanes > 0; lanes /= 2) own = combine(own, __shfl_xor_sync(~0u, own, lanes));
        int warps = step / vector_len / 32, warp = threadIdx.x / 32;
        if (warps == 1) return own;
        __syncthreads(); // others may still read what was here before
        if (threadIdx.x % 32 == 0) of_warps[warp] = own;
        __syncthreads();
        warp -= warp % warps;
        own = of_warps[warp];
        for (int other = 1; other < warps; ++other) own = combine(own, of_warps[warp + other]);
        return own;
    }

    __device__ float inverse_norm(float *of_warps, float eps) const {
        float squares = 0.f;
        each([&](int n, int) {
#pragma unroll
            for (int j = 0; j < vector_len; ++j) squares = fmaf(x[n].x[j], x[n].x[j], squares);
        });
        squares = combine(of_warps, squares, [](float a, float b) { return a + b; });
        return rsqrtf(squares / features + eps);
    }

    __device__ void weigh(const float *weights) {
        each([&](int n, int i) {
            Vector weight = load_vector(weights + i);
#pragma unroll
            for (int j = 0; j < vector_len; ++j) x[n].x[j] *= weight.x[j];
        });
    }
};

} // namespace

extern "C" __global__ void __launch_bounds__(most_threads) rms_norm_bf16(const __grid_constant__ Arguments args) {
    __shared__ float of_warps[most_warps];
    wait_for_previous();
    Part part(args);
    float norm = part.inverse_norm(of_warps, args.eps);
    part.weigh(args.weight);
    part.each([&](int n, int i) {
#pragma unroll
        for (int j = 0; j < vector_len; ++j) part.x[n].x[j] *= norm;
        store_vector(static_cast<__nv_bfloat16 *>(args.out) + part.row * args.features + i, part.x[n]);
    });
}

extern "C" __global__ void __launch_bounds__(most_threads) rms_norm_fp8(const __grid_constant__ Arguments args) {
    __shared__ float of_warps[most_warps];
    wait_for_previous();
    Part part(args);
    float norm = part.inverse_norm(of_warps, args.eps), largest = 0.f;
    part.weigh(args.weight);
    part.each([&](int n, int) { largest = largest_of(part.x[n], largest); });
    // The norm is the whole row's: it goes into the scale.
    Fp8Scale scale(part.combine(of_warps, largest, [](float a, float b) { return fmaxf(a, b); }));
    if (part.first == 0 && part.row < args.rows) args.scales[part.row] = norm * scale.scale;
    part.each([&](int n, int i) {
        store_vector(static_cast<__nv_fp8_storage_t *>(args.out) + part.row * args.features + i, part.x[n], scale.inverse);
    });
}

extern "C" __global__ void __launch_bounds__(most_threads) add_rms_norm(const __grid_constant__ AddArguments args) {
    __shared__ float of_warps[most_warps];
    wait_for_previous();
    Part part(args);
    float norm = part.inverse_norm(of_warps, args.eps);
    part.weigh(args.weight);
    part.each([&](int n, int i) {
        size_t at = part.row * args.features + i;
        Vector sum = load_vector(args.out + at);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) sum.x[j] = fmaf(part.x[n].x[j], norm, sum.x[j]);
        store_vector(args.out + at, sum);
        store_vector(args.x + at, Vector{});
    });
}
