// Single columns: the attention that proposing rows give each key.
#pragma once
#include "logits.cuh"

constexpr int most_column_span = 16;
// Attention of a block that is not worth a look at its keys, of 16 rows.
constexpr float negligible = 16.f / 16384.f;

// Adds up what the rows that see a key more than two blocks away from their diagonal give it: nearer keys are in blocks
// that every plan keeps. A block of threads takes some kv blocks through some proposing rows of the query heads that share them.
// Sums are in fixed point: whatever the order, they are the same.
template <typename Product> __device__ void search_column_mass(const Search &s) {
    constexpr int M_TILES = Product::m_tiles, warps = Product::warps, threads = Product::threads, most = most_column_span;
    wait_for_previous();
    HeadRows<Product> of(s, blockIdx.z);
    int span = s.span(), first_block = blockIdx.x * span, proposing = s.proposing();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = of.first_head + of.head_of(warp);
    int warp_probe = blockIdx.y * of.rows() + of.row_of(warp);
    __shared__ float of_warps[warps][most][block_keys];
    __shared__ unsigned worth_of_warps[warps];
    auto probe_row = [&](int row) {
        return of.has_head(warp) && warp_probe + row < proposing ? s.probes[warp_probe + row] : -1;
    };
    auto near_of = [&](int row) { return row < 0 ? 0 : s.full_blocks(row / s.block_m) - 1; }; // first block that is not far

    // What the rows of each group of 16 give each block, half of the blocks a lane; bit 2 * step + m where it is worth a look.
    static_assert(most == 16 && M_TILES <= 2);
    unsigned worth = 0;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
        int at = 16 * m + lane % 16, near = near_of(probe_row(at)), first = first_block + lane / 16 * (most / 2);
        const float *of_row = s.shares + (size_t(head) * s.num_probes + warp_probe + at) * s.num_blocks;
        float shares[most / 2];
#pragma unroll
        for (int i = 0; i < most / 2; ++i) shares[i] = first + i < near ? of_row[first + i] : 0.f;
        combine_lanes<8, 2>(shares, [](float a, float b) { return a + b; });
        float share = shares[0] + __shfl_xor_sync(~0u, shares[0], 1);
        worth |= (__ballot_sync(~0u, share > negligible) & 0x55555555u) << m;
    }
    worth &= (1ull << 2 * span) - 1;
    if (lane == 0) worth_of_warps[warp] = worth;
    __syncthreads();
    unsigned of_all = 0, of_group = 0; // of the block of threads, and of the warps that multiply together
#pragma unroll
    for (int w = 0; w < warps; ++w) {
        of_all |= worth_of_warps[w];
        if (w / Product::group_warps == warp / Product::group_warps) of_group |= worth_of_warps[w];
    }
    if (of_all == 0) return;

    Product product;
    product.load_queries(s.head_dim, [&](int row) -> const __nv_bfloat16 * {
        int at = probe_row(row);
        return at < 0 ? nullptr : s.q + (size_t(at) * s.batch.num_q_heads + head) * s.head_dim;
    });
    float lse[M_TILES][2];
    int near[M_TILES][2];
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int at = 16 * m + lane / 4 + 8 * r, row = probe_row(at);
            near[m][r] = near_of(row);
            lse[m][r] = row < 0 ? 0.f : s.probe_lse[head * s.num_probes + warp_probe + at];
        }
    auto next_step = [&](int step) {
        while (step < span && !(of_all >> 2 * step & 3)) ++step;
        return step;
    };
    auto copy = [&](int step, int buffer) {
        if (step >= span) return;
        int block = first_block + step;
        const __nv_bfloat16 *from = s.k + size_t(s.row_of_block(of.kv_head, block)) * s.head_dim;
        Product::copy_rows(buffer, s.head_dim, from, s.kv_len - block * block_keys);
    };
    float scale = s.sm_scale * log2_e, one = float((1u << 31) / proposing);
    int buffer = 0, step = next_step(0);
    copy(step, buffer);
    while (step < span) {
        copies_done<Product>();
        int following = next_step(step + 1), block = first_block + step;
        copy(following, buffer ^ 1);
        if (of_group >> 2 * step & 3) product.multiply(buffer);
        if (unsigned own = worth >> 2 * step & 3) {
            float sums[2 * Product::n_tiles] = {};
#pragma unroll
            for (int m = 0; m < M_TILES; ++m)
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    // A row that does not count gives zeros.
                    float shift = (own >> m & 1) && block < near[m][r] ? -lse[m][r] : -INFINITY;
#pragma unroll
                    for (int i = 0; i < 2 * Product::n_tiles; ++i)
                        sums[i] += exp2_approx(fmaf(product.s[m][i / 2][2 * r + i % 2], scale, shift));
                }
            float2 sum = combine_rows(sums, [](float a, float b) { return a + b; });
            *reinterpret_cast<float2 *>(&of_warps[warp][step][2 * lane]) = sum;
        }
        step = following;
        buffer ^= 1;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < of.heads * span * block_keys; i += threads) {
        int of_block = i / (span * block_keys), step = i / block_keys % span, key = i % block_keys;
        float sum = 0.f;
        for (int w = of_block * of.warps_a_head; w < (of_block + 1) * of.warps_a_head; ++w)
            if (worth_of_warps[w] >> 2 * step & 3) sum += of_warps[w][step][key];
        unsigned fixed = __float2uint_rn(sum * one);
        size_t block = size_t(of.first_head + of_block) * s.num_blocks + first_block + step;
        if (fixed) atomicAdd(&s.column_mass[block * block_keys + key], fixed);
    }
}
