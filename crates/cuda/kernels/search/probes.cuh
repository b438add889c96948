// Probe rows: the exact attention that they give each block of keys, as log2 of its sum.
//
// A block of threads takes its rows through `span` kv blocks.
#pragma once
#include "logits.cuh"

constexpr int probe_span = 16;

template <typename Product> __device__ void search_probes(const Search &s) {
    constexpr int M_TILES = Product::m_tiles, warps = Product::warps, threads = Product::threads, span = probe_span;
    int first_block = blockIdx.x * span, first_probe = blockIdx.y * Product::block_rows, head = blockIdx.z;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = s.kv_head(head);
    int warp_probe = first_probe + warp * Product::warp_rows;
    __shared__ float sums[Product::block_rows][span + 1];

    auto probe_row = [&](int row) { return warp_probe + row < s.num_probes ? s.probes[warp_probe + row] : -1; };
    Product product;
    product.load_queries(s.head_dim, [&](int row) -> const __nv_bfloat16 * {
        int of = probe_row(row);
        return of < 0 ? nullptr : s.q + (size_t(of) * s.batch.num_q_heads + head) * s.head_dim;
    });
    int positions[M_TILES][2], newest = -1, oldest_of_own = INT_MAX;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int row = probe_row(16 * m + lane / 4 + 8 * r);
            positions[m][r] = row < 0 ? -1 : s.q_start() + row;
            newest = max(newest, positions[m][r]);
            oldest_of_own = min(oldest_of_own, positions[m][r]);
        }
    oldest_of_own = __reduce_min_sync(~0u, oldest_of_own);
    newest = __reduce_max_sync(~0u, newest);
    __shared__ int newest_of_warp[warps];
    if (lane == 0) newest_of_warp[warp] = newest;
    __syncthreads();
    int newest_of_own = -1;
    for (int i = 0; i < warps; ++i) {
        newest = max(newest, newest_of_warp[i]);
        if (i / Product::group_warps == warp / Product::group_warps) newest_of_own = max(newest_of_own, newest_of_warp[i]);
    }
    int steps = min(span, newest < 0 ? 0 : newest / block_keys + 1 - first_block);

    for (int i = threadIdx.x; i < Product::block_rows * span; i += threads) sums[i / span][i % span] = -INFINITY;
    auto copy = [&](int step) {
        if (step < steps) {
            int block = first_block + step;
            const __nv_bfloat16 *from = s.k + size_t(s.row_of_block(kv_head, block)) * s.head_dim;
            Product::copy_keys(step % Product::buffers, s.head_dim, [&](int key) {
                return block * block_keys + key < s.kv_len ? from + key * s.head_dim : nullptr;
            });
        } else {
            copy_commit(); // an empty one, so that as many are under way at the end
        }
    };
    float scale = s.sm_scale * log2_e;
    for (int ahead = 0; ahead < Product::buffers - 1; ++ahead) copy(ahead);
    for (int step = 0; step < steps; ++step) {
        copies_done<Product, Product::buffers - 2>();
        copy(step + Product::buffers - 1);
        int first_key = (first_block + step) * block_keys;
        if (first_key > newest_of_own) continue; // none of the rows that are multiplied together sees any
        product.multiply(step % Product::buffers);
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                if (first_key + block_keys > oldest_of_own) product.hide(m, r, positions[m][r] + 1 - first_key);
                float largest = -INFINITY, sum = 0.f;
                product.absorb(m, r, scale, largest, sum);
                float of_row = row_max(largest);
                sum = row_sum(largest == -INFINITY ? 0.f : sum * exp2_approx(largest - of_row));
                if (lane % 4 == 0)
                    sums[warp * Product::warp_rows + 16 * m + lane / 4 + 8 * r][step] =
                        of_row == -INFINITY ? -INFINITY : of_row + log2f(sum);
            }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < Product::block_rows * span; i += threads) {
        int probe = first_probe + i / span, block = first_block + i % span;
        if (probe < s.num_probes && block < s.num_blocks)
            s.shares[(size_t(head) * s.num_probes + probe) * s.num_blocks + block] = sums[i / span][i % span];
    }
}
