// Products of a few query rows with blocks of 64 keys, by warps: each holds 16 or 32 rows in registers, keys pass through
// shared memory. `WarpgroupRowsTimesKeys` is the same for sm_90a.
#pragma once
#include "../ptx/mma.cuh"
#include "../swizzle.cuh"
#include "logits.cuh"

constexpr int warps = 4;
constexpr int threads = 32 * warps;

// PADDED: elements of a row in shared memory, a multiple of 64. M_TILES: groups of 16 rows of a warp.
template <int PADDED, int M_TILES> struct RowsTimesKeys : Logits<M_TILES> {
    static constexpr int m_tiles = M_TILES;
    static constexpr int warps = ::warps, threads = ::threads;
    static constexpr int group_warps = 1; // that multiply together
    static constexpr int buffers = 3;     // of keys: copies run two steps ahead
    // Three blocks a multiprocessor where that is to be had: products wait for shared memory more than they keep the tensor
    // cores busy.
    static constexpr int blocks = PADDED <= 128 ? 3 : 1;
    static constexpr int warp_rows = 16 * M_TILES;
    static constexpr int block_rows = warp_rows * warps;
    static constexpr int row_bytes = 2 * PADDED;
    static constexpr int buffer_bytes = block_keys * row_bytes;
    using Logits<M_TILES>::s;
    using Logits<M_TILES>::n_tiles;

    uint32_t q[M_TILES][PADDED / 16][4];

    // Where buffer `i` of keys lies.
    static __device__ uint32_t buffer(int i) { return shared_address(dynamic_shared) + i * buffer_bytes; }

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

    // What other threads copied can be multiplied once a barrier has passed.
    static __device__ void publish_copies() {}

    // Begins to copy 64 keys to buffer `at`; `key_at(key)` is where one lies, or null for zeros. All threads of the block take
    // part.
    template <typename KeyAt> static __device__ void copy_keys(int at, int head_dim, KeyAt key_at) {
        uint32_t to = buffer(at);
        constexpr int chunks = PADDED / 8;
        for (int i = threadIdx.x; i < block_keys * chunks; i += threads) {
            int key = i / chunks, chunk = i % chunks;
            const __nv_bfloat16 *from = key_at(key);
            bool inside = from && chunk * 8 < head_dim;
            copy_async(to + swizzled<row_bytes>(key, chunk), inside ? from + chunk * 8 : nullptr, inside);
        }
        copy_commit();
    }

    // Begins to copy 64 keys that follow one another, of which the first `valid` are there.
    static __device__ void copy_rows(int at, int head_dim, const __nv_bfloat16 *first, int valid) {
        copy_keys(at, head_dim, [&](int key) { return key < valid ? first + key * head_dim : nullptr; });
    }

    // Logits of the rows and the keys in buffer `at`.
    __device__ void multiply(int at) {
        int lane = threadIdx.x % 32;
        uint32_t k_at = buffer(at) + swizzled<row_bytes>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
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
};

// One entry for each size of head; kernels are templates of a product that take the arguments.
#define FOR_HEAD_DIMS(name)                                                                                            \
    FOR_HEAD_DIM(name, d64, 64, 2)                                                                                     \
    FOR_HEAD_DIM(name, d128, 128, 2)                                                                                   \
    FOR_HEAD_DIM(name, d192, 192, 1)                                                                                   \
    FOR_HEAD_DIM(name, d256, 256, 1)
#define FOR_HEAD_DIM(name, suffix, padded, m_tiles)                                                                    \
    extern "C" __global__ void __launch_bounds__(threads, RowsTimesKeys<padded, m_tiles>::blocks)                      \
        name##_##suffix(const __grid_constant__ Search s) {                                                            \
        name<RowsTimesKeys<padded, m_tiles>>(s);                                                                       \
    }
