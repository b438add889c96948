// Which experts each row takes: those with the largest shares of a softmax over router * x / rms(x), the first ones of those
// with the same share, in the order of the experts.
//
// A block takes `block_rows` rows, so that the router is read once for them: each warp an expert of all of them at a time.
// Then a warp takes a row.

#include "vector.cuh"
#include <climits>

struct Arguments {
    const float *x;      // [row][features]
    const float *router; // [count][features], times the weight of the norm
    unsigned *experts;   // [row][per_token]
    float *shares;       // [row][per_token]
    int rows;
    int features; // a multiple of 8
    int count, per_token;
    int normalised; // whether shares are divided by their sum over the row
    float eps;
};

constexpr int warps = 8, block_rows = 4;

extern __shared__ float logits[]; // [block_rows][count]

namespace {

template <typename T> __device__ inline T warp_sum(T x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}

template <typename T> __device__ inline T warp_max(T x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x = max(x, __shfl_xor_sync(~0u, x, lanes));
    return x;
}

// Larger for larger shares, then for earlier experts; never the same for two. What is no number has a place, too: above all
// others.
__device__ inline unsigned long long rank(float share, int expert) {
    unsigned bits = __float_as_uint(share), ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
    return static_cast<unsigned long long>(ordered) << 32 | unsigned(INT_MAX - expert);
}

__device__ inline int expert_of(unsigned long long rank) { return INT_MAX - int(unsigned(rank)); }

// Products of the router with the rows of the block, into shared memory.
__device__ inline void multiply(const Arguments &args, int first_row) {
    int lane = threadIdx.x % 32;
    for (int expert = threadIdx.x / 32; expert < args.count; expert += warps) {
        float sums[block_rows] = {};
        for (int i = lane * vector_len; i < args.features; i += 32 * vector_len) {
            Vector weight = load_vector(args.router + size_t(expert) * args.features + i);
#pragma unroll
            for (int r = 0; r < block_rows; ++r) {
                size_t row = min(first_row + r, args.rows - 1);
                Vector x = load_vector(args.x + row * args.features + i);
#pragma unroll
                for (int j = 0; j < vector_len; ++j) sums[r] = fmaf(weight.x[j], x.x[j], sums[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < block_rows; ++r) {
            float sum = warp_sum(sums[r]);
            if (lane == 0) logits[r * args.count + expert] = sum;
        }
    }
}

// Turns the products of a row into shares.
__device__ inline void softmax(const Arguments &args, const float *x, float *row) {
    int lane = threadIdx.x % 32;
    float squares = 0.f;
    for (int i = lane * vector_len; i < args.features; i += 32 * vector_len) {
        Vector part = load_vector(x + i);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) squares = fmaf(part.x[j], part.x[j], squares);
    }
    float norm = rsqrtf(warp_sum(squares) / args.features + args.eps), largest = -INFINITY, sum = 0.f;
    for (int expert = lane; expert < args.count; expert += 32) largest = fmaxf(largest, row[expert] * norm);
    largest = warp_max(largest);
    for (int expert = lane; expert < args.count; expert += 32) sum += row[expert] = expf(row[expert] * norm - largest);
    sum = warp_sum(sum);
    for (int expert = lane; expert < args.count; expert += 32) row[expert] /= sum;
    __syncwarp();
}

} // namespace

extern "C" __global__ void __launch_bounds__(32 * warps) route(const __grid_constant__ Arguments args) {
    int first_row = blockIdx.x * block_rows, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    multiply(args, first_row);
    __syncthreads();
    size_t row = first_row + warp;
    if (warp >= block_rows || row >= args.rows) return;
    float *shares = logits + warp * args.count;
    softmax(args, args.x + row * args.features, shares);

    unsigned long long last = ~0ull;
    float sum = 0.f;
    for (int n = 0; n < args.per_token; ++n) {
        unsigned long long next = 0;
        for (int expert = lane; expert < args.count; expert += 32) {
            unsigned long long own = rank(shares[expert], expert);
            if (own < last) next = max(next, own);
        }
        last = warp_max(next);
        sum += shares[expert_of(last)];
    }
    float scale = args.normalised ? 1.f / sum : 1.f;
    size_t to = row * args.per_token;
    for (int first = 0; first < args.count; first += 32) {
        int expert = first + lane;
        bool chosen = expert < args.count && rank(shares[expert], expert) >= last;
        unsigned all = __ballot_sync(~0u, chosen), before = all & ((1u << lane) - 1);
        if (chosen) {
            args.experts[to + __popc(before)] = expert;
            args.shares[to + __popc(before)] = shares[expert] * scale;
        }
        to += __popc(all);
    }
}
