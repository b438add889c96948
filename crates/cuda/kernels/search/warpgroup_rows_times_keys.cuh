// Products of a few query rows with blocks of 64 keys, by warpgroups: rows and keys both in shared memory, so that a warp
// issues a few instructions for what takes `RowsTimesKeys` hundreds. sm_90a.
//
// Warp w of a warpgroup has rows 16 w .. 16 w + 16 of each product of 64 rows: with M_TILES products, 16 M_TILES rows of its own, as
// it has them in registers there.
#pragma once
#include "../ptx/tma.cuh"
#include "../ptx/wgmma.cuh"
#include "logits.cuh"

// GROUPS: warpgroups of a block, which share the keys. BLOCKS: of a multiprocessor; their warps hide the copies that run only a step
// ahead.
template <int PADDED, int M_TILES, int GROUPS, int BLOCKS> struct WarpgroupRowsTimesKeys : Logits<M_TILES> {
    static constexpr int m_tiles = M_TILES;
    static constexpr int warps = 4 * GROUPS, threads = 32 * warps;
    static constexpr int group_warps = 4;
    static constexpr int buffers = 2, blocks = BLOCKS;
    static constexpr int warp_rows = 16 * M_TILES;
    static constexpr int block_rows = warp_rows * warps;
    // Rows of 64 elements, 128 bytes, in the swizzle that products read; head_dim lies in slabs of 64.
    static constexpr int slabs = PADDED / 64, slab_bytes = 64 * 128;
    static constexpr int product_bytes = slabs * slab_bytes; // of 64 rows, or of 64 keys
    static constexpr int q_bytes = GROUPS * M_TILES * product_bytes;
    static constexpr int shared_bytes = buffers * product_bytes + q_bytes;
    using Logits<M_TILES>::s;
    using Logits<M_TILES>::n_tiles;

    // The swizzle repeats every 1,024 bytes, and dynamic shared memory begins behind what is static.
    static __device__ uint32_t base() { return (shared_address(dynamic_shared) + 1023) & ~1023u; }
    static __device__ uint32_t buffer(int i) { return base() + i * product_bytes; }
    static __device__ uint32_t queries(int m) {
        // The same for all lanes, and known to be.
        int group = __shfl_sync(~0u, threadIdx.x / 128, 0);
        return base() + buffers * product_bytes + (group * M_TILES + m) * product_bytes;
    }

    // Where 16 bytes of a row lie.
    static __device__ uint32_t place(int row, int chunk) {
        return chunk / 8 * slab_bytes + row * 128 + (chunk % 8 ^ row % 8) * 16;
    }

    // `row_at(row of the warp)` is where a row lies, or null for a row of zeros.
    template <typename RowAt> __device__ void load_queries(int head_dim, RowAt row_at) {
        constexpr int chunks = PADDED / 8, rows_at_once = 32 / chunks;
        int lane = threadIdx.x % 32, chunk = lane % chunks;
        // Products of the warp's rows before are done: they end with a wait. Other warps have other rows.
#pragma unroll
        for (int first = 0; first < warp_rows; first += rows_at_once) {
            int row = first + lane / chunks, of_product = threadIdx.x / 32 % 4 * 16 + row % 16;
            const __nv_bfloat16 *from = row_at(row);
            uint4 bits = from && chunk * 8 < head_dim ? *reinterpret_cast<const uint4 *>(from + chunk * 8) : uint4{0, 0, 0, 0};
            asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(queries(row / 16) + place(of_product, chunk)),
                         "r"(bits.x), "r"(bits.y), "r"(bits.z), "r"(bits.w)
                         : "memory");
        }
        stores_before_async();
    }

    // What this thread copied can be multiplied once a barrier has passed.
    static __device__ void publish_copies() { stores_before_async(); }

    // Begins to copy 64 keys to buffer `at`; `key_at(key)` is where one lies, or null for zeros. All threads of the block take
    // part, some of them a key, so that each looks one place up.
    template <typename KeyAt> static __device__ void copy_keys(int at, int head_dim, KeyAt key_at) {
        constexpr int chunks = PADDED / 8, of_key = threads / block_keys;
        static_assert(chunks % of_key == 0);
        int key = threadIdx.x / of_key;
        uint32_t to = buffer(at);
        const __nv_bfloat16 *from = key_at(key);
#pragma unroll
        for (int i = 0; i < chunks / of_key; ++i) {
            int chunk = i * of_key + threadIdx.x % of_key;
            bool inside = from && chunk * 8 < head_dim;
            copy_async(to + place(key, chunk), inside ? from + chunk * 8 : nullptr, inside);
        }
        copy_commit();
    }

    // Begins to copy 64 keys that follow one another, of which the first `valid` are there. head_dim is all of PADDED.
    static __device__ void copy_rows(int at, int, const __nv_bfloat16 *first, int valid) {
        constexpr int chunks = PADDED / 8, rows_at_once = threads / chunks;
        static_assert(rows_at_once % 8 == 0); // so that a thread's chunks are permuted alike
        int key = threadIdx.x / chunks, chunk = threadIdx.x % chunks;
        uint32_t to = buffer(at) + place(key, chunk);
        const __nv_bfloat16 *from = first + key * PADDED + chunk * 8;
#pragma unroll
        for (int i = 0; i < block_keys / rows_at_once; ++i) {
            // What is not there is not read: pages are whole blocks.
            copy_async(to + i * rows_at_once * 128, from + i * rows_at_once * PADDED, key + i * rows_at_once < valid);
        }
        copy_commit();
    }

    // Logits of the rows and the keys in buffer `at`; all warps of a warpgroup together.
    __device__ void multiply(int at) {
        uint64_t k = operand(buffer(at), 0, 1024);
        wgmma_fence();
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            uint64_t q = operand(queries(m), 0, 1024);
#pragma unroll
            for (int d = 0; d < PADDED / 16; ++d) {
                int bytes = d / 4 * slab_bytes + d % 4 * 32;
                wgmma_m64n64k16(s[m], operand_at(q, bytes), operand_at(k, bytes), d > 0);
            }
        }
        wgmma_commit();
        wgmma_wait<0>();
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int n = 0; n < n_tiles; ++n) pin(s[m][n]);
    }
};
