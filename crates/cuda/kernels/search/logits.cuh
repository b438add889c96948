// The logits of a warp's rows with 64 keys, as products of both kinds leave them in registers, and what is done with them.
#pragma once
#include "../ptx/mma.cuh"
#include "../softmax.cuh"
#include "arguments.cuh"

// In no namespace without a name, here and in the stages: names of shared memory inside one differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

// M_TILES: groups of 16 rows of the warp.
template <int M_TILES> struct Logits {
    static constexpr int n_tiles = block_keys / 8;

    // Of row 16 m + lane / 4 + i / 2 * 8 and key 8 n + lane % 4 * 2 + i % 2.
    float s[M_TILES][n_tiles][4];

    // Takes the columns of row lane / 4 + 8 r of group m that this lane holds into the largest base-2 logit and the sum of
    // 2^(logit - largest).
    __device__ void absorb(int m, int r, float scale, float &largest, float &sum) const {
        float own = s[m][0][2 * r];
#pragma unroll
        for (int n = 0; n < n_tiles; ++n) own = fmaxf(own, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
        float raised = fmaxf(largest, own * scale);
        // A row that has seen nothing must not compute infinity minus infinity.
        float reference = raised == -INFINITY ? 0.f : raised;
        sum *= exp2_approx(largest - reference);
#pragma unroll
        for (int n = 0; n < n_tiles; ++n)
#pragma unroll
            for (int i = 2 * r; i < 2 * r + 2; ++i) sum += exp2_approx(fmaf(s[m][n][i], scale, -reference));
        largest = raised;
    }

    // Hides columns from `end` on, of row lane / 4 + 8 r of group m.
    __device__ void hide(int m, int r, int end) {
#pragma unroll
        for (int n = 0; n < n_tiles; ++n)
#pragma unroll
            for (int i = 2 * r; i < 2 * r + 2; ++i)
                if (n * 8 + int(threadIdx.x) % 4 * 2 + i % 2 >= end) s[m][n][i] = -INFINITY;
    }
};

// Over the eight lanes that hold the same keys: of numbers of keys 8 n + lane % 4 * 2 + i, at 2 n + i, each lane gets the two
// of n = lane / 4, combined over all eight.
template <typename Combine> __device__ float2 combine_rows(float (&x)[16], Combine combine) {
    int row = threadIdx.x % 32 / 4;
#pragma unroll
    for (int half = 8; half >= 2; half /= 2) {
        bool upper = row & half / 2;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            float given = upper ? x[i] : x[i + half], kept = upper ? x[i + half] : x[i];
            x[i] = combine(kept, __shfl_xor_sync(~0u, given, 2 * half));
        }
    }
    return float2{x[0], x[1]};
}

// Waits for all but the last `PENDING` copies of every thread of the block.
template <typename Product, int PENDING = 0> __device__ inline void copies_done() {
    copy_wait<PENDING>();
    Product::publish_copies();
    __syncthreads();
}
