// The logits of a warp's rows with 64 keys, as products of both kinds leave them in registers, and what is done with them.
#pragma once
#include "../ptx/mma.cuh"
#include "../softmax.cuh"
#include "arguments.cuh"

__device__ inline float log2_approx(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

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

    // Base-2 logarithm of the sum over all keys of 2^logit, of row lane / 4 + 8 r of group m, in all lanes of the row; -inf where it
    // sees none.
    __device__ float log_sum(int m, int r, float scale) const {
        float largest = s[m][0][2 * r];
#pragma unroll
        for (int n = 0; n < n_tiles; ++n) largest = fmaxf(largest, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
        largest = row_max(largest) * scale;
        float reference = largest == -INFINITY ? 0.f : largest, sum = 0.f;
#pragma unroll
        for (int n = 0; n < n_tiles; ++n)
#pragma unroll
            for (int i = 2 * r; i < 2 * r + 2; ++i) sum += exp2_approx(fmaf(s[m][n][i], scale, -reference));
        return reference + log2_approx(row_sum(sum));
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

// Combines numbers over lanes that differ in the bits FROM .. TO of their number, and leaves each lane its part of them: of N
// numbers those that begin where these bits, the highest first, say. A recursion, since a loop over bits is not unrolled, and
// then the numbers go through memory.
template <int FROM, int TO, int N, int LEFT = N, typename Combine> __device__ void combine_lanes(float (&x)[N], Combine combine) {
    if constexpr (FROM >= TO) {
        constexpr int half = LEFT / 2;
        bool upper = threadIdx.x & FROM;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            float given = upper ? x[i] : x[i + half], kept = upper ? x[i + half] : x[i];
            x[i] = combine(kept, __shfl_xor_sync(~0u, given, FROM));
        }
        combine_lanes<FROM / 2, TO, N, half>(x, combine);
    }
}

// Over the eight lanes that hold the same keys: of numbers of keys 8 n + lane % 4 * 2 + i, at 2 n + i, each lane gets the two
// of n = lane / 4, combined over all eight.
template <typename Combine> __device__ float2 combine_rows(float (&x)[16], Combine combine) {
    combine_lanes<16, 4>(x, combine);
    return float2{x[0], x[1]};
}

// Probe rows of the query heads that share their keys, as the warps of a block of threads have them: some warps a head, and those
// of all heads the same rows. So keys are read once for all of them, and a block has rows that lie close together: with few
// keys that not all of them see.
template <typename Product> struct HeadRows {
    static constexpr int warps = Product::warps;
    int kv_head, first_head, heads; // of this block of threads
    int warps_a_head;

    // `index`: of the blocks of threads that are about the same rows and keys.
    __device__ HeadRows(const Search &s, int index) {
        int group = s.batch.num_q_heads / s.batch.num_kv_heads, most = min(group, warps), parts = (group + most - 1) / most;
        kv_head = index / parts;
        int first = index % parts * most;
        first_head = kv_head * group + first;
        heads = min(most, group - first);
        warps_a_head = warps / most;
    }

    __device__ int rows() const { return warps_a_head * Product::warp_rows; } // of each head
    // Head, counted from the first one, and first row of a warp. Some warps may have none.
    __device__ int head_of(int warp) const { return warp / warps_a_head; }
    __device__ bool has_head(int warp) const { return head_of(warp) < heads; }
    __device__ int row_of(int warp) const { return warp % warps_a_head * Product::warp_rows; }
};

// Waits for all but the last `PENDING` copies of every thread of the block.
template <typename Product, int PENDING = 0> __device__ inline void copies_done() {
    copy_wait<PENDING>();
    Product::publish_copies();
    __syncthreads();
}
