// Rows of a chunk by expert, and back.
//
// A choice is one expert of one token; those of a token lie side by side. Sorted, the rows of each expert lie side by side,
// in the order of their tokens, and begin at a multiple of `row_group`; the rows up to there belong to nobody.

#include "vector.cuh"

constexpr int row_group = 16, sort_threads = 1024;
constexpr unsigned nobody = ~0u;

struct SortArguments {
    const unsigned *experts; // [choice]
    unsigned *bounds;        // [count]: where each expert's rows begin; [count]: how many there are
    unsigned *choices;       // [row]: what is in it, or nobody
    unsigned *rows;          // [choice]: where it is
    int num_choices, count;
};

struct GatherArguments {
    const uint4 *x;           // [token][vectors]
    const float *scales;      // [token], of 8-bit floats, or null
    const unsigned *choices;  // [row]
    uint4 *out;               // [row][vectors]
    float *out_scales;        // [row], or null
    int vectors;              // of 16 bytes in a row
    int per_token, tokens;
};

struct AddArguments {
    const float *products; // [row - first][features]
    const unsigned *rows;  // [token][per_token]
    const float *shares;   // [token][per_token]
    float *out;            // [token][features]
    int features, per_token;
    unsigned first, end; // rows that are there
};

// One block an expert, which counts for itself how many there are of those before it.
extern "C" __global__ void __launch_bounds__(sort_threads) sort_choices(const __grid_constant__ SortArguments args) {
    extern __shared__ unsigned counts[]; // [count]
    __shared__ unsigned start, of_warps[sort_threads / 32];
    unsigned own = blockIdx.x;
    for (int expert = threadIdx.x; expert < args.count; expert += sort_threads) counts[expert] = 0;
    if (threadIdx.x == 0) start = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < args.num_choices; i += sort_threads)
        if (args.experts[i] <= own) atomicAdd(&counts[args.experts[i]], 1);
    __syncthreads();
    for (int expert = threadIdx.x; expert < own; expert += sort_threads)
        atomicAdd(&start, (counts[expert] + row_group - 1) / row_group * row_group);
    __syncthreads();
    unsigned at = start, warp = threadIdx.x / 32;
    for (int first = 0; first < args.num_choices; first += sort_threads) {
        int choice = first + threadIdx.x;
        bool is_own = choice < args.num_choices && args.experts[choice] == own;
        unsigned all = __ballot_sync(~0u, is_own);
        if (threadIdx.x % 32 == 0) of_warps[warp] = __popc(all);
        __syncthreads();
        unsigned before = __popc(all & ((1u << threadIdx.x % 32) - 1)), of_block = 0;
        for (int w = 0; w < sort_threads / 32; ++w) {
            if (w < warp) before += of_warps[w];
            of_block += of_warps[w];
        }
        if (is_own) {
            args.choices[at + before] = choice;
            args.rows[choice] = at + before;
        }
        at += of_block;
        __syncthreads();
    }
    unsigned end = (at + row_group - 1) / row_group * row_group;
    if (at + threadIdx.x < end) args.choices[at + threadIdx.x] = nobody;
    if (threadIdx.x == 0) {
        args.bounds[own] = start;
        args.bounds[args.count + own] = at - start;
    }
}

// One block a row. Rows of nobody become zeros.
extern "C" __global__ void __launch_bounds__(128) gather_rows(const __grid_constant__ GatherArguments args) {
    unsigned choice = args.choices[blockIdx.x];
    size_t token = min(choice / args.per_token, args.tokens - 1);
    bool filled = choice != nobody;
    const uint4 *from = args.x + token * args.vectors;
    uint4 *to = args.out + size_t(blockIdx.x) * args.vectors;
    for (int i = threadIdx.x; i < args.vectors; i += blockDim.x) to[i] = filled ? from[i] : uint4{};
    if (args.scales && threadIdx.x == 0) args.out_scales[blockIdx.x] = filled ? args.scales[token] : 0.f;
}

// One block a token: adds its rows, each times its share.
extern "C" __global__ void __launch_bounds__(256) add_rows(const __grid_constant__ AddArguments args) {
    const unsigned *rows = args.rows + size_t(blockIdx.x) * args.per_token;
    const float *shares = args.shares + size_t(blockIdx.x) * args.per_token;
    float *out = args.out + size_t(blockIdx.x) * args.features;
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len) {
        Vector sum{};
        bool any = false;
        for (int n = 0; n < args.per_token; ++n) {
            unsigned row = rows[n];
            if (row < args.first || row >= args.end) continue;
            Vector product = load_vector(args.products + size_t(row - args.first) * args.features + i);
#pragma unroll
            for (int j = 0; j < vector_len; ++j) sum.x[j] = fmaf(shares[n], product.x[j], sum.x[j]);
            any = true;
        }
        if (!any) return;
        Vector before = load_vector(out + i);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) sum.x[j] += before.x[j];
        store_vector(out + i, sum);
    }
}
