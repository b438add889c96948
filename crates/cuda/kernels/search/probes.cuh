// Probe rows: the exact attention that they give each block of keys, as log2 of its sum.
//
// A block of threads takes some rows of the query heads that share their keys through some kv blocks: as many as leave enough
// blocks of threads to fill a device.
#pragma once
#include "logits.cuh"

constexpr int kept_steps = 16; // whose sums wait in shared memory, twice

template <typename Product> __device__ void search_probes(const Search &s) {
    constexpr int M_TILES = Product::m_tiles, warps = Product::warps;
    wait_for_previous();
    int span = s.span(); // at most two times kept_steps
    HeadRows<Product> of(s, blockIdx.z);
    int first_block = blockIdx.x * span, first_probe = blockIdx.y * of.rows();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = of.first_head + of.head_of(warp);
    int warp_probe = first_probe + of.row_of(warp);
    __shared__ float sums[Product::block_rows][kept_steps + 1];

    auto probe_row = [&](int row) {
        return of.has_head(warp) && warp_probe + row < s.num_probes ? s.probes[warp_probe + row] : -1;
    };
    Product product;
    product.load_queries(s.head_dim, [&](int row) -> const __nv_bfloat16 * {
        int at = probe_row(row);
        return at < 0 ? nullptr : s.q + (size_t(at) * s.batch.num_q_heads + head) * s.head_dim;
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

    // Of its own rows each warp writes and reads all, two at a time.
    auto own_sum = [&](int row) -> float & { return sums[warp * Product::warp_rows + row][lane % kept_steps]; };
    auto forget = [&] {
        for (int row = lane / kept_steps; row < Product::warp_rows; row += 2) own_sum(row) = -INFINITY;
        __syncwarp();
    };
    auto write = [&](int first_step) {
        __syncwarp();
        int block = first_block + first_step + lane % kept_steps;
        int rows = of.has_head(warp) ? min(Product::warp_rows, s.num_probes - warp_probe) : 0;
        float *shares = s.shares + (size_t(head) * s.num_probes + warp_probe) * s.num_blocks + block;
        for (int row = lane / kept_steps; row < rows; row += 2)
            if (first_step + lane % kept_steps < span && block < s.num_blocks) shares[size_t(row) * s.num_blocks] = own_sum(row);
    };
    forget();
    auto copy = [&](int step) {
        if (step < steps) {
            int block = first_block + step;
            const __nv_bfloat16 *from = s.k + size_t(s.row_of_block(of.kv_head, block)) * s.head_dim;
            Product::copy_rows(step % Product::buffers, s.head_dim, from, s.kv_len - block * block_keys);
        } else {
            copy_commit(); // an empty one, so that as many are under way at the end
        }
    };
    float scale = s.sm_scale * log2_e;
    for (int ahead = 0; ahead < Product::buffers - 1; ++ahead) copy(ahead);
    for (int step = 0; step < steps; ++step) {
        copies_done<Product, Product::buffers - 2>();
        copy(step + Product::buffers - 1);
        if (step == kept_steps) {
            write(0);
            forget();
        }
        int first_key = (first_block + step) * block_keys;
        if (first_key > newest_of_own) continue; // none of the rows that are multiplied together sees any
        product.multiply(step % Product::buffers);
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r)
                if (first_key + block_keys > oldest_of_own) product.hide(m, r, positions[m][r] + 1 - first_key);
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float sum = product.log_sum(m, r, scale);
                if (lane % 4 == 0) sums[warp * Product::warp_rows + 16 * m + lane / 4 + 8 * r][step % kept_steps] = sum;
            }
    }
    // Blocks that no row sees are written as well.
    if (steps <= kept_steps) {
        write(0);
        forget();
    }
    if (span > kept_steps) write(kept_steps);
}
