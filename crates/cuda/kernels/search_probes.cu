// Probe rows: the exact attention that they give each block of keys, as log2 of its sum.
//
// A block of threads takes its rows through `span` kv blocks.

#include "search/rows_times_keys.cuh"

constexpr int span = 16;

template <int PADDED, int M_TILES> __device__ void search_probes(const Search &s) {
    using Product = RowsTimesKeys<PADDED, M_TILES>;
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
    int newest_of_own = newest;
    __shared__ int newest_of_warp[warps];
    if (lane == 0) newest_of_warp[warp] = newest;
    __syncthreads();
    for (int i = 0; i < warps; ++i) newest = max(newest, newest_of_warp[i]);
    int steps = min(span, newest < 0 ? 0 : newest / block_keys + 1 - first_block);

    for (int i = threadIdx.x; i < Product::block_rows * span; i += threads) sums[i / span][i % span] = -INFINITY;
    uint32_t buffers = shared_address(dynamic_shared);
    auto copy = [&](int step) {
        if (step < steps) {
            int block = first_block + step;
            const __nv_bfloat16 *from = s.k + size_t(s.row_of_block(kv_head, block)) * s.head_dim;
            Product::copy_keys(buffers + step % buffers_in_turn * Product::buffer_bytes, s.head_dim, [&](int key) {
                return block * block_keys + key < s.kv_len ? from + key * s.head_dim : nullptr;
            });
        } else {
            copy_commit(); // an empty one, so that as many are under way at the end
        }
    };
    float scale = s.sm_scale * log2_e;
    copy(0);
    copy(1);
    for (int step = 0; step < steps; ++step) {
        copies_done<1>();
        copy(step + 2);
        int first_key = (first_block + step) * block_keys;
        if (first_key > newest_of_own) continue; // none of the warp's rows sees any
        product.multiply(buffers + step % buffers_in_turn * Product::buffer_bytes);
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

FOR_HEAD_DIMS(search_probes)

// Log2 of sums to shares, and each row's sum: one warp a row.
extern "C" __global__ void __launch_bounds__(threads) search_shares(const __grid_constant__ Search s) {
    int probe = blockIdx.x * warps + threadIdx.x / 32, head = blockIdx.y, lane = threadIdx.x % 32;
    if (probe >= s.num_probes) return;
    float *shares = s.shares + (size_t(head) * s.num_probes + probe) * s.num_blocks;
    float largest = -INFINITY, sum = 0.f;
    for (int block = lane; block < s.num_blocks; block += 32) largest = fmaxf(largest, shares[block]);
    for (int lanes = 16; lanes > 0; lanes /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
    for (int block = lane; block < s.num_blocks; block += 32) sum += exp2_approx(shares[block] - largest);
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    float lse = largest + log2f(sum);
    for (int block = lane; block < s.num_blocks; block += 32) shares[block] = exp2_approx(shares[block] - lse);
    if (lane == 0) s.probe_lse[head * s.num_probes + probe] = lse;
}
