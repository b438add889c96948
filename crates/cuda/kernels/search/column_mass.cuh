// Single columns: the attention that proposing rows give each key.
#pragma once
#include "logits.cuh"

constexpr int column_span = 8;
// Attention of a block that is not worth a look at its keys, of 16 rows.
constexpr float negligible = 16.f / 16384.f;

// Adds up what the rows that see a key more than two blocks away from their diagonal give it: nearer keys are in blocks
// that every plan keeps. A block of threads takes `span` kv blocks through all proposing rows.
template <typename Product> __device__ void search_column_mass(const Search &s) {
    constexpr int M_TILES = Product::m_tiles, warps = Product::warps, threads = Product::threads, span = column_span;
    int first_block = blockIdx.x * span, head = blockIdx.y;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = s.kv_head(head);
    int proposing = s.num_probes - s.judges();
    __shared__ float mass[span][block_keys];
    __shared__ float of_warps[warps][block_keys];
    __shared__ unsigned worth_of_warps[warps];
    for (int i = threadIdx.x; i < span * block_keys; i += threads) mass[i / block_keys][i % block_keys] = 0.f;
    float scale = s.sm_scale * log2_e;

    for (int first_probe = 0; first_probe < proposing; first_probe += Product::block_rows) {
        int warp_probe = first_probe + warp * Product::warp_rows;
        auto probe_row = [&](int row) { return warp_probe + row < proposing ? s.probes[warp_probe + row] : -1; };
        Product product;
        product.load_queries(s.head_dim, [&](int row) -> const __nv_bfloat16 * {
            int of = probe_row(row);
            return of < 0 ? nullptr : s.q + (size_t(of) * s.batch.num_q_heads + head) * s.head_dim;
        });
        float lse[M_TILES][2];
        int near[M_TILES][2]; // first block that is not far
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                int at = 16 * m + lane / 4 + 8 * r, row = probe_row(at);
                near[m][r] = row < 0 ? 0 : s.full_blocks(row / s.block_m) - 1;
                lse[m][r] = row < 0 ? 0.f : s.probe_lse[head * s.num_probes + warp_probe + at];
            }
        // What the rows of each group of 16 give each block, one lane a row; bit M_TILES * step + m where it is worth a look.
        unsigned worth = 0;
#pragma unroll
        for (int step = 0; step < span; ++step)
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                int block = first_block + step, row = lane < 16 ? probe_row(16 * m + lane) : -1;
                float share = 0.f;
                if (row >= 0 && block < s.full_blocks(row / s.block_m) - 1)
                    share = s.shares[(size_t(head) * s.num_probes + warp_probe + 16 * m + lane) * s.num_blocks + block];
                for (int lanes = 8; lanes > 0; lanes /= 2) share += __shfl_xor_sync(~0u, share, lanes);
                if (__shfl_sync(~0u, share, 0) > negligible) worth |= 1u << (M_TILES * step + m);
            }
        if (lane == 0) worth_of_warps[warp] = worth;
        __syncthreads();
        unsigned of_all = 0;
#pragma unroll
        for (int w = 0; w < warps; ++w) of_all |= worth_of_warps[w];
        constexpr unsigned of_step = (1u << M_TILES) - 1;
        auto next_step = [&](int step) {
            while (step < span && !(of_all >> M_TILES * step & of_step)) ++step;
            return step;
        };
        auto copy = [&](int step, int buffer) {
            if (step >= span) return;
            int block = first_block + step;
            const __nv_bfloat16 *from = s.k + size_t(s.row_of_block(kv_head, block)) * s.head_dim;
            Product::copy_keys(buffer, s.head_dim, [&](int key) {
                return block * block_keys + key < s.kv_len ? from + key * s.head_dim : nullptr;
            });
        };
        int buffer = 0, step = next_step(0);
        copy(step, buffer);
        while (step < span) {
            copies_done<Product>();
            int following = next_step(step + 1), block = first_block + step;
            copy(following, buffer ^ 1);
            // Those of this warp, and whether any of those that it multiplies with has one.
            unsigned own = worth >> M_TILES * step & of_step, of_group = 0;
#pragma unroll
            for (int w = 0; w < warps; ++w)
                if (w / Product::group_warps == warp / Product::group_warps) of_group |= worth_of_warps[w] >> M_TILES * step & of_step;
            if (of_group) product.multiply(buffer);
            float sums[2 * Product::n_tiles] = {};
            if (own) {
#pragma unroll
                for (int i = 0; i < 2 * Product::n_tiles; ++i)
#pragma unroll
                    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
                        for (int r = 0; r < 2; ++r)
                            if ((own >> m & 1) && block < near[m][r])
                                sums[i] += exp2_approx(fmaf(product.s[m][i / 2][2 * r + i % 2], scale, -lse[m][r]));
            }
            float2 sum = combine_rows(sums, [](float a, float b) { return a + b; });
            *reinterpret_cast<float2 *>(&of_warps[warp][2 * lane]) = sum;
            __syncthreads();
            for (int i = threadIdx.x; i < block_keys; i += threads)
                for (int w = 0; w < warps; ++w) mass[step][i] += of_warps[w][i];
            step = following;
            buffer ^= 1;
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < span * block_keys; i += threads) {
        int block = first_block + i / block_keys;
        if (block < s.num_blocks)
            s.column_mass[size_t(head) * s.num_blocks * block_keys + block * block_keys + i % block_keys] =
                mass[i / block_keys][i % block_keys];
    }
}
