// One query tile of the sm_80 attention kernels: copies, products, softmax and output. What walks the keys is beside it.
#pragma once
#include "../plan.cuh"
#include "../ptx/mma.cuh"
#include "../softmax.cuh"
#include "../swizzle.cuh"
#include <cstddef>
#include <cuda_bf16.h>

struct Arguments {
    const __nv_bfloat16 *q;                   // [row][q_head][head_dim]
    const __nv_bfloat16 *k, *v;               // [page][kv_head][page_size][head_dim]
    const __nv_bfloat16 *k_extras, *v_extras; // [row][head_dim]; not used without a plan
    __nv_bfloat16 *o;                         // [row][q_head][head_dim]
    float *lse;                               // [q_head][row], or null
    Batch batch;
    Plan plan; // not used without one
    int head_dim;
    float sm_scale;
    unsigned window; // keys a query sees, its own included; all with a plan
};
// As `src/attend_sm80.rs` has it.
static_assert(sizeof(Arguments) == 184 && offsetof(Arguments, head_dim) == 168);

// Outside the namespace: names inside one without a name differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

namespace {

constexpr int warps = 4;
constexpr int threads = 32 * warps;

// PADDED: elements of a row in shared memory, a multiple of 64. M_TILES: groups of 16 queries of a warp.
template <int PADDED, int M_TILES> struct Tile {
    static constexpr int block_m = 16 * M_TILES * warps;
    static constexpr int row_bytes = 2 * PADDED;
    static constexpr int n_tiles = block_keys / 8;
    static constexpr int d_tiles = PADDED / 8;
    static constexpr int operand_bytes = (block_m + 2 * block_keys) * row_bytes;

    const Arguments &args;
    const WorkItem item;
    const uint32_t q_shared, k_shared, v_shared;
    const int lane, warp_row; // first query of the warp
    const float scale;        // of logits to base-2 exponents

    float o[M_TILES][d_tiles][4];
    float s[M_TILES][n_tiles][4];
    float maximum[M_TILES][2], sum[M_TILES][2];

    __device__ Tile(const Arguments &args, WorkItem item, uint32_t shared)
        : args(args), item(item), q_shared(shared), k_shared(shared + block_m * row_bytes),
          v_shared(shared + (block_m + block_keys) * row_bytes), lane(threadIdx.x % 32),
          warp_row(threadIdx.x / 32 * 16 * M_TILES), scale(args.sm_scale * log2_e) {}

    // All queries have seen no key yet.
    __device__ void clear() {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            maximum[m][0] = maximum[m][1] = -INFINITY;
            sum[m][0] = sum[m][1] = 0.f;
#pragma unroll
            for (int d = 0; d < d_tiles; ++d)
#pragma unroll
                for (int i = 0; i < 4; ++i) o[m][d][i] = 0.f;
        }
    }

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

    __device__ void copy_queries() const {
        int row_elements = args.batch.num_q_heads * args.head_dim;
        const __nv_bfloat16 *q = args.q + size_t(item.row) * row_elements + item.head * args.head_dim;
        copy_rows<block_m>(q_shared, q, row_elements, item.rows);
    }

    // 64 rows from `row` of keys or values on, those from `rows` on as zeros.
    __device__ void copy_keys(uint32_t to, const __nv_bfloat16 *from, int row, int rows) const {
        copy_rows<block_keys>(to, from + size_t(row) * args.head_dim, args.head_dim, rows);
    }

    // What all threads have asked for is there, and none reads any more what it read before.
    __device__ void wait_for_copies() const {
        copy_wait();
        __syncthreads();
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

    // Weighs 64 extras.
    __device__ void add_biases(const float *biases) {
#pragma unroll
        for (int n = 0; n < n_tiles; ++n) {
            float2 bias = *reinterpret_cast<const float2 *>(biases + n * 8 + lane % 4 * 2);
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                s[m][n][0] += bias.x;
                s[m][n][1] += bias.y;
                s[m][n][2] += bias.x;
                s[m][n][3] += bias.y;
            }
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

    __device__ void write() {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float total = row_sum(sum[m][r]);
                // A row that a plan leaves without a key gives zeros.
                float inverse = total > 0.f ? 1.f / total : 0.f;
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
};

} // namespace
