// Single columns: the attention that proposing rows give each key, the most attended of them, and what those add to the
// recall on all probe rows. By products of warps.

#include "search/column_mass.cuh"
#include "search/level_sums.cuh"
#include "search/rows_times_keys.cuh"
#include "search/sort.cuh"

// Attention of the ranked columns on the probe rows, by the levels of their blocks. A block of threads takes 64 columns,
// which are all in the same number of columns.
template <typename Product> __device__ void search_column_shares(const Search &s) {
    constexpr int M_TILES = Product::m_tiles;
    int first = blockIdx.x * block_keys, head = blockIdx.z;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = s.kv_head(head);
    if (first >= s.columns_found[head]) return;
    int warp_probe = blockIdx.y * Product::block_rows + warp * Product::warp_rows;
    auto probe_row = [&](int row) { return warp_probe + row < s.num_probes ? s.probes[warp_probe + row] : -1; };
    LevelSums sums(s, head);

    __shared__ int columns[block_keys];
    if (threadIdx.x < block_keys) {
        bool there = first + threadIdx.x < s.columns_found[head];
        columns[threadIdx.x] = there ? s.ranked_columns[head * most_columns + first + threadIdx.x] : -1;
    }
    __syncthreads();
    Product product;
    product.load_queries(s.head_dim, [&](int row) -> const __nv_bfloat16 * {
        int of = probe_row(row);
        return of < 0 ? nullptr : s.q + (size_t(of) * s.batch.num_q_heads + head) * s.head_dim;
    });
    Product::copy_keys(0, s.head_dim, [&](int i) -> const __nv_bfloat16 * {
        int column = columns[i];
        if (column < 0) return nullptr;
        size_t row = s.row_of_block(kv_head, column / block_keys) + column % block_keys;
        return s.k + row * s.head_dim;
    });
    copies_done<Product>();
    product.multiply(0);
    float scale = s.sm_scale * log2_e;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int at = 16 * m + lane / 4 + 8 * r, row = probe_row(at);
            if (row < 0 || s.sees_all(row / s.block_m)) continue;
            int tile = row / s.block_m;
            float lse = s.probe_lse[head * s.num_probes + warp_probe + at];
#pragma unroll
            for (int n = 0; n < Product::n_tiles; ++n)
#pragma unroll
                for (int column = 0; column < 2; ++column) {
                    int key = columns[n * 8 + lane % 4 * 2 + column];
                    float share = exp2_approx(product.s[m][n][2 * r + column] * scale - lse);
                    if (key >= 0 && key / block_keys < s.full_blocks(tile)) sums.add(tile, key / block_keys, share);
                }
        }
    int count = 1;
    while (count < s.num_counts - 1 && first >= s.counts[count]) ++count;
    sums.flush(of_columns + count - 1);
}

FOR_HEAD_DIMS(search_column_mass)
FOR_HEAD_DIMS(search_column_shares)

constexpr int rank_threads = 1024;
constexpr int digit_bits = 11, digits = 1 << digit_bits;

// Adds to every entry those behind it; two entries a thread.
__device__ void sum_from_behind(unsigned (&x)[digits]) {
    static_assert(digits == 2 * rank_threads);
    __shared__ unsigned of_warps[rank_threads / 32];
    // Thread 0 has the last two.
    int at = digits - 2 - 2 * threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned high = x[at + 1], low = x[at], sum = high + low;
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        unsigned before = __shfl_up_sync(~0u, sum, lanes);
        if (lane >= lanes) sum += before;
    }
    if (lane == 31) of_warps[warp] = sum;
    __syncthreads();
    unsigned before = lane < warp ? of_warps[lane] : 0;
    before = __reduce_add_sync(~0u, before) + sum - high - low;
    x[at + 1] = before + high;
    x[at] = before + high + low;
    __syncthreads();
}

// The most attended columns of a head, most attended first; of equal ones the lower. One block a head.
extern "C" __global__ void __launch_bounds__(rank_threads) search_rank_columns(const __grid_constant__ Search s) {
    int head = blockIdx.x, keys = s.num_blocks * block_keys, most = s.counts[s.num_counts - 1];
    const unsigned *mass = s.column_mass + size_t(head) * keys;
    __shared__ unsigned histogram[digits];
    __shared__ unsigned long long found[most_columns];
    __shared__ unsigned num_found, digit;

    // What a column has, and below it the place, the lower one first. Columns of the sink are always kept as a block.
    auto key_of = [&](int i) -> unsigned long long {
        unsigned x = mass[i];
        return i >= block_keys && i < s.kv_len && x > 0 ? (unsigned long long)x << 32 | (~0u - i) : 0;
    };
    // The `most`-th largest, some bits at a time, until all that begin like it are among the `most`.
    unsigned long long least = 0;
    unsigned wanted = most;
    int settled = 64; // bits from here on
    while (true) {
        int shift = max(settled - digit_bits, 0);
        for (int i = threadIdx.x; i < digits; i += rank_threads) histogram[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < keys; i += rank_threads) {
            unsigned long long key = key_of(i);
            if (key && (settled == 64 || key >> settled == least >> settled)) atomicAdd(&histogram[key >> shift & (digits - 1)], 1);
        }
        __syncthreads();
        sum_from_behind(histogram);
        if (histogram[0] < wanted) break; // there are no more than wanted
        for (int i = threadIdx.x; i < digits; i += rank_threads)
            if (histogram[i] >= wanted && (i + 1 == digits || histogram[i + 1] < wanted)) digit = i;
        __syncthreads();
        unsigned behind = digit + 1 < digits ? histogram[digit + 1] : 0;
        // The last two digits overlap: what they share is settled, and the same.
        least |= (unsigned long long)digit << shift;
        bool exact = histogram[digit] == wanted;
        wanted -= behind;
        settled = shift;
        if (exact || shift == 0) break;
        __syncthreads();
    }
    if (threadIdx.x == 0) num_found = 0;
    for (int i = threadIdx.x; i < most_columns; i += rank_threads) found[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < keys; i += rank_threads) {
        unsigned long long key = key_of(i);
        if (key && key >= least) found[atomicAdd(&num_found, 1)] = key;
    }
    __syncthreads();
    sort_shared(found, power_of_two_from(num_found), [](unsigned long long a, unsigned long long b) { return a > b; });
    for (int i = threadIdx.x; i < num_found; i += rank_threads)
        s.ranked_columns[head * most_columns + i] = ~0u - unsigned(found[i]);
    if (threadIdx.x == 0) s.columns_found[head] = num_found;
}
