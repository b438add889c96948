// Dense causal attention of a batch over a paged cache, for sm_80 and everything newer: as `attend_sm90.cu`, with the
// matrix instructions and copies that those devices have.
//
// A block takes one work item (head, query tile); the hardware starts blocks in their order, so heaviest first. Each warp
// holds 16 or 32 queries. Keys come in steps of 64, newest first: the values of a step are copied while its scores are
// multiplied, the keys of the next while the output is (FlashAttention-2, Dao, arXiv 2307.08691). With one buffer each,
// head_dim 256 fits the 99 KB of a block on sm_86 and sm_89, and two blocks of head_dim 64 stand side by side.
//
// head_dim is any multiple of 16 up to `PADDED`; the rest of a row in shared memory holds zeros.

#include "attention_batch.cuh"
#include "ptx/mma.cuh"
#include "softmax.cuh"
#include "swizzle.cuh"
#include <cstddef>
#include <cuda_bf16.h>

struct Arguments {
    const __nv_bfloat16 *q;    // [row][q_head][head_dim]
    const __nv_bfloat16 *k, *v; // [page][kv_head][page_size][head_dim]
    __nv_bfloat16 *o;          // [row][q_head][head_dim]
    float *lse;                // [q_head][row], or null
    Batch batch;
    int head_dim;
    float sm_scale;
    unsigned window; // keys a query sees, its own included
};
// As `src/attend_sm80.rs` has it.
static_assert(sizeof(Arguments) == 104 && offsetof(Arguments, head_dim) == 88);

// Outside the namespace: names inside one without a name differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

namespace {

constexpr int warps = 4;
constexpr int threads = 32 * warps;

// PADDED: elements of a row in shared memory, a multiple of 64. M_TILES: groups of 16 queries of a warp.
template <int PADDED, int M_TILES> class Attention {
    static constexpr int block_m = 16 * M_TILES * warps;
    static constexpr int row_bytes = 2 * PADDED;
    static constexpr int n_tiles = block_keys / 8;
    static constexpr int d_tiles = PADDED / 8;

    const Arguments &args;
    const WorkItem item;
    const uint32_t q_shared, k_shared, v_shared;
    const int lane, warp_row; // first query of the warp
    const float scale;        // of logits to base-2 exponents
    const int first_block;    // of which some query sees a key

    float o[M_TILES][d_tiles][4];
    float s[M_TILES][n_tiles][4];
    float maximum[M_TILES][2], sum[M_TILES][2];

    // Copies `ROWS` rows of head_dim, `stride` elements apart; rows from `rows` on become zeros. Eight threads take 128
    // bytes of a row, so that all of a thread's chunks lie at constant distances in shared memory.
    template <int ROWS> __device__ void copy_rows(uint32_t to, const __nv_bfloat16 *from, int stride, int rows) const {
        int row = threadIdx.x / 8, chunk = threadIdx.x % 8;
        to += swizzled<row_bytes>(row, chunk);
        from += row * stride + chunk * 8;
#pragma unroll
        for (int i = 0; i < ROWS; i += threads / 8) {
#pragma unroll
            for (int slab = 0; slab < PADDED / 64; ++slab) {
                bool inside = row + i < rows && slab * 64 + chunk * 8 < args.head_dim;
                copy_async(to + i * row_bytes + slab * 128, from + slab * 64, inside);
            }
            from += threads / 8 * stride;
        }
    }

    __device__ void copy_block(uint32_t to, const __nv_bfloat16 *cache, int row, int block) const {
        copy_rows<block_keys>(to, cache + size_t(row) * args.head_dim, args.head_dim, item.kv_len - block * block_keys);
    }

    __device__ void multiply_scores() {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int n = 0; n < n_tiles; ++n)
#pragma unroll
                for (int i = 0; i < 4; ++i) s[m][n][i] = 0.f;
        // Rows and chunks of the four matrices that a load takes: 16 queries by 16 elements, 16 keys by 16 elements.
        uint32_t q_at = q_shared + swizzled<row_bytes>(warp_row + lane % 16, lane / 16);
        uint32_t k_at = k_shared + swizzled<row_bytes>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
        for (int d = 0; d < PADDED / 16; ++d) {
            uint32_t q[M_TILES][4];
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) load_matrices(q[m], along_row(q_at, d * 32) + m * 16 * row_bytes);
#pragma unroll
            for (int n = 0; n < n_tiles; n += 2) {
                uint32_t k[4];
                load_matrices(k, along_row(k_at, d * 32) + n * 8 * row_bytes);
#pragma unroll
                for (int m = 0; m < M_TILES; ++m) {
                    mma_m16n8k16(s[m][n], q[m], k[0], k[1]);
                    mma_m16n8k16(s[m][n + 1], q[m], k[2], k[3]);
                }
            }
        }
    }

    // Hides keys behind each query, and those before its window.
    __device__ void mask(int block) {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int n = 0; n < n_tiles; ++n)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    int position = item.q_start + warp_row + m * 16 + lane / 4 + i / 2 * 8;
                    int key = block * block_keys + n * 8 + lane % 4 * 2 + i % 2;
                    // Less than nothing behind is beyond any window.
                    if (unsigned(position - key) >= args.window) s[m][n][i] = -INFINITY;
                }
    }

    // Turns logits into weights and brings the output so far to the new maximum.
    template <bool MASKED> __device__ void softmax() {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float largest = maximum[m][r];
#pragma unroll
                for (int n = 0; n < n_tiles; ++n) largest = fmaxf(largest, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
                largest = row_max(largest);
                // A row that has seen no key yet must not compute infinity minus infinity.
                float reference = MASKED && largest == -INFINITY ? 0.f : largest;
                float correction = exp2_approx((maximum[m][r] - reference) * scale), shift = reference * scale;
                maximum[m][r] = largest;
                sum[m][r] *= correction;
#pragma unroll
                for (int n = 0; n < n_tiles; ++n)
#pragma unroll
                    for (int i = 2 * r; i < 2 * r + 2; ++i) {
                        s[m][n][i] = exp2_approx(fmaf(s[m][n][i], scale, -shift));
                        sum[m][r] += s[m][n][i];
                    }
#pragma unroll
                for (int d = 0; d < d_tiles; ++d) {
                    o[m][d][2 * r] *= correction;
                    o[m][d][2 * r + 1] *= correction;
                }
            }
    }

    __device__ void multiply_output() {
        uint32_t v_at = v_shared + swizzled<row_bytes>(lane % 16, lane / 16);
#pragma unroll
        for (int n = 0; n < n_tiles; n += 2) {
            uint32_t p[M_TILES][4];
#pragma unroll
            for (int m = 0; m < M_TILES; ++m)
#pragma unroll
                for (int i = 0; i < 4; ++i) p[m][i] = bf16_pair(s[m][n + i / 2][i % 2 * 2], s[m][n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int d = 0; d < d_tiles; d += 2) {
                uint32_t v[4];
                load_matrices_transposed(v, along_row(v_at, d * 16) + n * 8 * row_bytes);
#pragma unroll
                for (int m = 0; m < M_TILES; ++m) {
                    mma_m16n8k16(o[m][d], p[m], v[0], v[1]);
                    mma_m16n8k16(o[m][d + 1], p[m], v[2], v[3]);
                }
            }
        }
    }

    // One step. Its keys are on their way; the keys of the next are when it ends.
    template <bool MASKED> __device__ void step(int block, int &row) {
        copy_wait();
        __syncthreads();
        copy_block(v_shared, args.v, row, block);
        copy_commit();
        bool last = block == first_block;
        int next_row = last ? 0 : cache_row(args.batch, item.table, item.kv_head, block - 1);
        multiply_scores();
        copy_wait();
        __syncthreads();
        if (!last) copy_block(k_shared, args.k, next_row, block - 1);
        copy_commit();
        row = next_row;
        if (MASKED) mask(block);
        softmax<MASKED>();
        multiply_output();
    }

    __device__ void write() {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float total = row_sum(sum[m][r]), inverse = 1.f / total;
                int row = warp_row + m * 16 + lane / 4 + 8 * r;
                bool inside = row < item.rows;
                size_t row_of_batch = item.row + row;
                if (inside && args.lse && lane % 4 == 0)
                    args.lse[size_t(item.head) * args.batch.num_rows + row_of_batch] =
                        fmaf(maximum[m][r], args.sm_scale, logf(total));
                __nv_bfloat16 *out = args.o + (row_of_batch * args.batch.num_q_heads + item.head) * args.head_dim;
#pragma unroll
                for (int group = 0; group < d_tiles; group += 4) {
                    uint32_t pairs[4];
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const float *pair = &o[m][group + i][2 * r];
                        pairs[i] = bf16_pair(pair[0] * inverse, pair[1] * inverse);
                    }
                    uint4 columns = gather_columns(pairs, lane);
                    int column = (group + lane % 4) * 8;
                    if (inside && column < args.head_dim) *reinterpret_cast<uint4 *>(out + column) = columns;
                }
            }
    }

public:
    __device__ Attention(const Arguments &args, uint32_t shared)
        : args(args), item(work_item<block_m>(args.batch, blockIdx.x)), q_shared(shared),
          k_shared(shared + block_m * row_bytes), v_shared(shared + (block_m + block_keys) * row_bytes),
          lane(threadIdx.x % 32), warp_row(threadIdx.x / 32 * 16 * M_TILES), scale(args.sm_scale * log2_e),
          first_block(max(0, item.q_start + 1 - int(args.window)) / block_keys) {}

    __device__ void run() {
        int row_elements = args.batch.num_q_heads * args.head_dim;
        copy_rows<block_m>(q_shared, args.q + size_t(item.row) * row_elements + item.head * args.head_dim, row_elements, item.rows);
        int block = item.blocks() - 1;
        int row = cache_row(args.batch, item.table, item.kv_head, block);
        copy_block(k_shared, args.k, row, block);
        copy_commit();
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            maximum[m][0] = maximum[m][1] = -INFINITY;
            sum[m][0] = sum[m][1] = 0.f;
#pragma unroll
            for (int d = 0; d < d_tiles; ++d)
#pragma unroll
                for (int i = 0; i < 4; ++i) o[m][d][i] = 0.f;
        }
        // Blocks that every query sees whole need no mask: those before the first query, from the last one's window on.
        int whole_end = (item.q_start + 1) / block_keys;
        int whole_begin = (max(0, item.keys() - int(args.window)) + block_keys - 1) / block_keys;
        for (; block >= first_block; --block) {
            if (block < whole_end && block >= whole_begin) step<false>(block, row);
            else step<true>(block, row);
        }
        write();
    }
};

template <int PADDED, int M_TILES> __device__ void attend(const Arguments &args) {
    Attention<PADDED, M_TILES>(args, shared_address(dynamic_shared)).run();
}

} // namespace

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d64(const __grid_constant__ Arguments args) {
    attend<64, 2>(args);
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d128(const __grid_constant__ Arguments args) {
    attend<128, 2>(args);
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d192(const __grid_constant__ Arguments args) {
    attend<192, 1>(args);
}

extern "C" __global__ void __launch_bounds__(threads, 2) attend_sm80_d256(const __grid_constant__ Arguments args) {
    attend<256, 1>(args);
}
