// Recall of every family by level: what all probe rows give blocks, and what they give the ranked columns. By products of warps.

#include "search/level_sums.cuh"
#include "search/rows_times_keys.cuh"

// What the rows of a part give blocks. Each warp takes some rows, each lane some blocks.
template <typename Product> __device__ void judge_blocks(const Search &s, int head, int part) {
    int lane = threadIdx.x % 32;
    LevelSums sums(s, head);
    unsigned always = 0;
    if (part >= s.num_parts()) return;
    // One after the other, and every one's reads wait for its row.
    constexpr int rows = judges_of_part / Product::warps;
    int probes[rows], tiles[rows];
#pragma unroll
    for (int i = 0; i < rows; ++i) {
        probes[i] = s.probe_by_position(part * judges_of_part + threadIdx.x / 32 + i * Product::warps);
        tiles[i] = s.probes[probes[i]] / s.block_m;
    }
#pragma unroll
    for (int i = 0; i < rows; ++i) {
        int probe = probes[i], tile = tiles[i];
        if (s.sees_all(tile)) {
            if (lane == 0) always += unsigned(s.fixed_one());
            continue;
        }
        const float *shares = s.shares + (size_t(head) * s.num_probes + probe) * s.num_blocks;
        int full = s.full_blocks(tile), causal = s.causal_blocks(tile);
        // Some at a time, so that reads are under way together.
        constexpr int at_once = 4;
        for (int first = lane; first < full; first += 32 * at_once) {
            float of_blocks[at_once];
            LevelSums::Levels levels[at_once];
#pragma unroll
            for (int n = 0; n < at_once; ++n) {
                int block = first + 32 * n;
                of_blocks[n] = block < full ? shares[block] : 0.f;
                levels[n] = sums.levels_of(tile, min(block, full - 1));
            }
#pragma unroll
            for (int n = 0; n < at_once; ++n) sums.add(levels[n], of_blocks[n]);
        }
        for (int block = full + lane; block < causal; block += 32) always += sums.fixed(shares[block]);
    }
    always = __reduce_add_sync(~0u, always);
    if (lane == 0 && always) atomicAdd(&s.always[head * s.num_parts() + part], always);
    sums.flush(of_blocks, part);
}

// What the rows give 64 ranked columns, which are all in the same number of columns. Each warp takes the rows of a part.
template <typename Product> __device__ void judge_columns(const Search &s, int head, int first_part, int first) {
    constexpr int M_TILES = Product::m_tiles, n_tiles = Product::n_tiles;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = s.kv_head(head);
    if (first >= s.columns_found[head]) return;
    int part = first_part + warp;
    auto probe = [&](int row) { return s.probe_by_position(part * judges_of_part + row); };
    auto probe_row = [&](int row) { return part < s.num_parts() ? s.probes[probe(row)] : -1; };
    __shared__ int columns[block_keys];
    if (threadIdx.x < block_keys) {
        bool there = first + threadIdx.x < s.columns_found[head];
        columns[threadIdx.x] = there ? s.ranked_columns[head * most_columns + first + threadIdx.x] : -1;
    }
    __syncthreads();
    Product::copy_keys(0, s.head_dim, [&](int i) -> const __nv_bfloat16 * {
        int column = columns[i];
        if (column < 0) return nullptr;
        size_t row = s.row_of_block(kv_head, column / block_keys) + column % block_keys;
        return s.k + row * s.head_dim;
    });
    Product product;
    product.load_queries(s.head_dim, [&](int row) -> const __nv_bfloat16 * {
        int of = probe_row(row);
        return of < 0 ? nullptr : s.q + (size_t(of) * s.batch.num_q_heads + head) * s.head_dim;
    });
    LevelSums sums(s, head);
    copies_done<Product>();
    product.multiply(0);
    float scale = s.sm_scale * log2_e;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int at = 16 * m + lane / 4 + 8 * r, row = probe_row(at);
            if (row < 0 || s.sees_all(row / s.block_m)) continue;
            int tile = row / s.block_m, full = s.full_blocks(tile);
            float lse = s.probe_lse[head * s.num_probes + probe(at)];
            // Levels of all columns first, so that reads are under way together.
            LevelSums::Levels levels[2 * n_tiles];
            float shares[2 * n_tiles];
#pragma unroll
            for (int i = 0; i < 2 * n_tiles; ++i) {
                int key = columns[i / 2 * 8 + lane % 4 * 2 + i % 2], block = key / block_keys;
                bool counts = key >= 0 && block < full;
                shares[i] = counts ? exp2_approx(product.s[m][i / 2][2 * r + i % 2] * scale - lse) : 0.f;
                levels[i] = sums.levels_of(tile, counts ? block : 0);
            }
#pragma unroll
            for (int i = 0; i < 2 * n_tiles; ++i) sums.add(levels[i], shares[i]);
        }
    int count = 1;
    while (count < s.num_counts - 1 && first >= s.counts[count]) ++count;
    if (part < s.num_parts()) sums.flush(of_columns + count - 1, part);
}

// Blocks of threads about the same rows: one that judges blocks for each part of them, then one for each 64 columns that may be
// ranked.
template <typename Product> __device__ void search_judge(const Search &s) {
    static_assert(Product::warp_rows == judges_of_part);
    wait_for_previous();
    int head = blockIdx.z, first_part = blockIdx.y * Product::warps, work = blockIdx.x;
    if (work < Product::warps) {
        judge_blocks<Product>(s, head, first_part + work);
    } else {
        judge_columns<Product>(s, head, first_part, (work - Product::warps) * block_keys);
    }
}

// Sixteen rows a warp, whatever the head_dim: a short chunk has 64.
FOR_HEAD_DIM(search_judge, d64, 64, 1)
FOR_HEAD_DIM(search_judge, d128, 128, 1)
FOR_HEAD_DIM(search_judge, d192, 192, 1)
FOR_HEAD_DIM(search_judge, d256, 256, 1)
