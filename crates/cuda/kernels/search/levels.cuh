// Levels of block clusters: the largest share that a row of a tile gives each block, of every fourth row, over the mean
// keys (row peaks).
//
// A warp takes a tile. Logits are multiplied twice, first for each row's sum, then for the levels: cheaper than keeping them.
#pragma once
#include "logits.cuh"

constexpr int stride = 4; // between rows looked at

template <typename Product> __device__ void search_levels(const Search &s) {
    constexpr int M_TILES = Product::m_tiles, warps = Product::warps;
    wait_for_previous();
    int head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    // Tiles with most blocks first.
    int last_group = gridDim.x - 1 - blockIdx.x, tile = last_group * warps + warp;
    int kv_head = s.kv_head(head), of_tile = min(tile, s.num_tiles - 1);
    int seen = s.causal_blocks(of_tile);
    int steps = (s.causal_blocks(min(last_group * warps + warps, s.num_tiles) - 1) + block_keys - 1) / block_keys;

    __shared__ unsigned counts[warps][num_levels];
    if (lane < num_levels) counts[warp][lane] = 0;
    __syncwarp();

    auto row_of = [&](int row) { return tile * s.block_m + row * stride; };
    Product product;
    product.load_queries(s.head_dim, [&](int row) -> const __nv_bfloat16 * {
        if (tile >= s.num_tiles || row_of(row) >= s.q_len) return nullptr;
        return s.q + (size_t(row_of(row)) * s.batch.num_q_heads + head) * s.head_dim;
    });

    auto copy = [&](int step) {
        if (step < 2 * steps) {
            int first = step % steps * block_keys;
            Product::copy_keys(step % Product::buffers, s.head_dim, [&](int i) -> const __nv_bfloat16 * {
                int block = first + i;
                return block < s.num_blocks ? s.k_means_bf16 + size_t(s.cache_block(kv_head, block)) * s.head_dim : nullptr;
            });
        } else {
            copy_commit(); // an empty one, so that as many are under way at the end
        }
    };
    float scale = s.sm_scale * log2_e;
    float top[M_TILES][2], sum[M_TILES][2], lse[M_TILES][2];
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
        for (int r = 0; r < 2; ++r) top[m][r] = -INFINITY, sum[m][r] = 0.f, lse[m][r] = 0.f;

    for (int ahead = 0; ahead < Product::buffers - 1; ++ahead) copy(ahead);
    for (int step = 0; step < 2 * steps; ++step) {
        copies_done<Product, Product::buffers - 2>();
        copy(step + Product::buffers - 1);
        int first = step % steps * block_keys;
        product.multiply(step % Product::buffers);
        if (step < steps) {
#pragma unroll
            for (int m = 0; m < M_TILES; ++m)
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    if (first + block_keys > seen) product.hide(m, r, seen - first);
                    // Own columns only; the lanes of a row meet at the end.
                    product.absorb(m, r, scale, top[m][r], sum[m][r]);
                }
            if (step == steps - 1) {
#pragma unroll
                for (int m = 0; m < M_TILES; ++m)
#pragma unroll
                    for (int r = 0; r < 2; ++r) {
                        float largest = row_max(top[m][r]);
                        float total = row_sum(top[m][r] == -INFINITY ? 0.f : sum[m][r] * exp2_approx(top[m][r] - largest));
                        bool there = row_of(16 * m + lane / 4 + 8 * r) < s.q_len;
                        lse[m][r] = there ? largest + log2f(total) : INFINITY;
                    }
            }
        } else {
            bool counted = tile < s.num_tiles && !s.sees_all(of_tile);
            int full = s.full_blocks(of_tile);
            float peaks[2 * Product::n_tiles];
#pragma unroll
            for (int i = 0; i < 2 * Product::n_tiles; ++i) {
                peaks[i] = -INFINITY;
#pragma unroll
                for (int m = 0; m < M_TILES; ++m)
#pragma unroll
                    for (int r = 0; r < 2; ++r)
                        peaks[i] = fmaxf(peaks[i], fmaf(product.s[m][i / 2][2 * r + i % 2], scale, -lse[m][r]));
            }
            float2 peak = combine_rows(peaks, [](float a, float b) { return fmaxf(a, b); });
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                // A share that rounding made larger than 1 is level 0.
                int level = min(max(int(fminf(-2.f * (i ? peak.y : peak.x), 1e6f)), 0), num_levels - 1);
                int block = first + lane / 4 * 8 + lane % 4 * 2 + i;
                if (tile < s.num_tiles && block < s.num_blocks) {
                    s.levels[(size_t(head) * s.num_tiles + tile) * s.num_blocks + block] = block < seen ? level : num_levels - 1;
                    if (counted && block < full && !s.always_kept(block, full)) atomicAdd(&counts[threadIdx.x / 32][level], 1);
                }
            }
        }
    }
    __syncwarp();
    unsigned *of_part = s.level_steps + (head * s.num_parts() + s.part_of_tile(of_tile)) * num_levels;
    if (lane < num_levels && counts[warp][lane]) atomicAdd(&of_part[lane], counts[warp][lane]);
}
