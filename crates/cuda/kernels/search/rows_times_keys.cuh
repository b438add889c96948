// Products of a few query rows with blocks of 64 keys: each warp holds 16 or 32 rows in registers, keys pass through
// shared memory.
#pragma once
#include "../ptx/mma.cuh"
#include "../softmax.cuh"
#include "../swizzle.cuh"
#include "arguments.cuh"

// In no namespace without a name, here and in the stages: names of shared memory inside one differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

constexpr int warps = 4;
constexpr int threads = 32 * warps;

// PADDED: elements of a row in shared memory, a multiple of 64. M_TILES: groups of 16 rows of a warp.
template <int PADDED, int M_TILES> struct RowsTimesKeys {
    static constexpr int warp_rows = 16 * M_TILES;
    static constexpr int block_rows = warp_rows * warps;
    static constexpr int row_bytes = 2 * PADDED;
    static constexpr int buffer_bytes = block_keys * row_bytes;
    static constexpr int n_tiles = block_keys / 8;

    uint32_t q[M_TILES][PADDED / 16][4];
    // Logits [16 m + lane / 4 + i / 2 * 8][8 n + lane % 4 * 2 + i % 2].
    float s[M_TILES][n_tiles][4];

    // `row_at(row of the warp)` is where a row lies, or null for a row of zeros.
    template <typename RowAt> __device__ void load_queries(int head_dim, RowAt row_at) {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const __nv_bfloat16 *row = row_at(16 * m + lane / 4 + 8 * half);
#pragma unroll
                for (int d = 0; d < PADDED / 16; ++d)
#pragma unroll
                    for (int right = 0; right < 2; ++right) {
                        int at = d * 16 + right * 8 + lane % 4 * 2;
                        q[m][d][half + 2 * right] = row && at < head_dim ? *reinterpret_cast<const uint32_t *>(row + at) : 0;
                    }
            }
    }

    // Begins to copy 64 keys; `key_at(key)` is where one lies, or null for zeros. All threads of the block take part.
    template <typename KeyAt> static __device__ void copy_keys(uint32_t to, int head_dim, KeyAt key_at) {
        constexpr int chunks = PADDED / 8;
        for (int i = threadIdx.x; i < block_keys * chunks; i += threads) {
            int key = i / chunks, chunk = i % chunks;
            const __nv_bfloat16 *from = key_at(key);
            bool inside = from && chunk * 8 < head_dim;
            copy_async(to + swizzled<row_bytes>(key, chunk), inside ? from + chunk * 8 : nullptr, inside);
        }
        copy_commit();
    }

    __device__ void multiply(uint32_t keys) {
        int lane = threadIdx.x % 32;
        uint32_t k_at = keys + swizzled<row_bytes>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
        for (int d = 0; d < PADDED / 16; ++d)
#pragma unroll
            for (int n = 0; n < n_tiles; n += 2) {
                uint32_t k[4];
                load_matrices(k, along_row(k_at, d * 32) + n * 8 * row_bytes);
#pragma unroll
                for (int m = 0; m < M_TILES; ++m) {
                    if (d == 0) {
                        mma_m16n8k16_first(s[m][n], q[m][d], k[0], k[1]);
                        mma_m16n8k16_first(s[m][n + 1], q[m][d], k[2], k[3]);
                    } else {
                        mma_m16n8k16(s[m][n], q[m][d], k[0], k[1]);
                        mma_m16n8k16(s[m][n + 1], q[m][d], k[2], k[3]);
                    }
                }
            }
    }

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

// Waits for all but the last `PENDING` copies of every thread of the block.
template <int PENDING = 0> __device__ inline void copies_done() {
    copy_wait<PENDING>();
    __syncthreads();
}

// Copies run two steps ahead.
constexpr int buffers_in_turn = 3;

// One entry for each size of head; kernels are templates of <PADDED, M_TILES> that take the arguments. Three blocks a
// multiprocessor where that is to be had: products wait for shared memory more than they keep the tensor cores busy.
#define FOR_HEAD_DIMS(name)                                                                                            \
    extern "C" __global__ void __launch_bounds__(threads, 3) name##_d64(const __grid_constant__ Search s) {              \
        name<64, 2>(s);                                                                                                \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(threads, 3) name##_d128(const __grid_constant__ Search s) {             \
        name<128, 2>(s);                                                                                               \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(threads) name##_d192(const __grid_constant__ Search s) {             \
        name<192, 1>(s);                                                                                               \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(threads) name##_d256(const __grid_constant__ Search s) {             \
        name<256, 1>(s);                                                                                               \
    }
