// One query tile of the sm_80 attention kernels: copies, products, softmax and output. What walks the keys is beside it.
//
// Scores are products of bf16, or of 8-bit integers: queries with a scale a row, which the tile rounds, and keys with a scale a
// block, which `quantise_kv.cu` rounded (SageAttention, arXiv 2410.02367, which also shows why weights and values stay wider).
#pragma once
#include "../plan.cuh"
#include "../ptx/mma.cuh"
#include "../int8.cuh"
#include "../softmax.cuh"
#include "../swizzle.cuh"
#include <cstddef>
#include <cuda_bf16.h>
#include <type_traits>

struct Arguments {
    const __nv_bfloat16 *q;                   // [row][q_head][head_dim]
    const void *k;                            // [page][kv_head][page_size][head_dim]: bf16 or 8-bit integers
    const __nv_bfloat16 *v;                   // likewise
    const void *k_extras;                     // [row][head_dim], as k; not used without a plan
    const __nv_bfloat16 *v_extras;            // likewise
    const float *k_scales, *k_extras_scales;  // [row / 64], of 8-bit integers
    __nv_bfloat16 *o;                         // [row][q_head][head_dim]
    float *lse;                               // [q_head][row], or null
    Batch batch;
    Plan plan; // not used without one
    int head_dim;
    float sm_scale;
    unsigned window; // keys a query sees, its own included; all with a plan
};
// As `src/attend_sm80.rs` has it.
static_assert(sizeof(Arguments) == 200 && offsetof(Arguments, head_dim) == 184);

// Outside the namespace: names inside one without a name differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

namespace {

constexpr int warps = 4;
constexpr int threads = 32 * warps;

enum class Scores { Bf16, Int8 };

// Integer sums begin at the bits of 1.5 * 2^23 and stay within 2^22 of it (127 * 127 * 256 is less), so that their bits are those
// of a float: this plus the sum. No sum needs a conversion, of which a multiprocessor of 8.0 does but 16 a clock.
constexpr float integer_zero = 12582912.f;
constexpr float least_largest = 1e-12f; // of a row of queries: products of scales must not vanish

// PADDED: elements of a row in shared memory, a multiple of 64. M_TILES: groups of 16 queries of a warp.
template <int PADDED, int M_TILES, Scores SCORES> struct Tile {
    static constexpr bool integers = SCORES == Scores::Int8;
    static constexpr int block_m = 16 * M_TILES * warps;
    using Element = std::conditional_t<integers, int8_t, __nv_bfloat16>; // of queries and keys
    static constexpr int element_bytes = sizeof(Element);
    static constexpr int row_bytes = (PADDED * element_bytes + 127) / 128 * 128;
    static constexpr int value_row_bytes = 2 * PADDED;
    static constexpr int n_tiles = block_keys / 8;
    static constexpr int d_tiles = PADDED / 8;
    static constexpr int operand_bytes = (block_m + block_keys) * row_bytes + block_keys * value_row_bytes;
    // With a scale a query behind the operands.
    static constexpr int shared_bytes = operand_bytes + (integers ? block_m * int(sizeof(float)) : 0);

    const Arguments &args;
    const WorkItem item;
    const uint32_t q_shared, k_shared, v_shared;
    const int lane, warp_row; // first query of the warp
    const float scale;        // of logits to base-2 exponents
    float k_scale;            // of the keys of a step

    float o[M_TILES][d_tiles][4];
    float s[M_TILES][n_tiles][4];
    float maximum[M_TILES][2], sum[M_TILES][2]; // of base-2 exponents

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

    // Copies `ROWS` rows of head_dim, `stride` elements apart, to rows of `ROW_BYTES`; those from `rows` on become zeros. Eight
    // threads take 128 bytes of a row, so that all of a thread's chunks lie at constant distances in shared memory.
    template <int ROWS, int ROW_BYTES, typename Element>
    __device__ void copy_rows(uint32_t to, const Element *from, int stride, int rows) const {
        constexpr int of_chunk = 16 / sizeof(Element), of_slab = 8 * of_chunk;
        int row = threadIdx.x / 8, chunk = threadIdx.x % 8;
        to += swizzled<ROW_BYTES>(row, chunk);
        from += row * stride + chunk * of_chunk;
#pragma unroll
        for (int i = 0; i < ROWS; i += threads / 8) {
#pragma unroll
            for (int slab = 0; slab < ROW_BYTES / 128; ++slab) {
                bool inside = row + i < rows && slab * of_slab + chunk * of_chunk < args.head_dim;
                copy_async(to + i * ROW_BYTES + slab * 128, from + slab * of_slab, inside);
            }
            from += threads / 8 * stride;
        }
    }

    __device__ float *query_scales() const {
        return reinterpret_cast<float *>(dynamic_shared + operand_bytes);
    }

    // Four threads a row, each 16 elements of every 64.
    __device__ void round_queries(const __nv_bfloat16 *q, int row_elements) const {
        constexpr int chunks = PADDED / 64;
        int part = threadIdx.x % 4;
#pragma unroll 2
        for (int row = threadIdx.x / 4; row < block_m; row += threads / 4) {
            Vector x[chunks][2] = {};
            float largest = least_largest;
#pragma unroll
            for (int i = 0; i < chunks; ++i) {
                int element = i * 64 + part * 16;
                if (row >= item.rows || element >= args.head_dim) continue;
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    x[i][half] = load_vector(q + size_t(row) * row_elements + element + half * vector_len);
                    largest = largest_number(x[i][half], largest);
                }
            }
            largest = row_max(largest);
            if (part == 0) query_scales()[row] = integer_scale(largest);
            float inverse = largest_integer / largest;
#pragma unroll
            for (int i = 0; i < chunks; ++i) {
                uint2 low = rounded(x[i][0], inverse), high = rounded(x[i][1], inverse);
                uint32_t to = q_shared + swizzled<row_bytes>(row, i * 4 + part);
                store_shared(to, uint4{low.x, low.y, high.x, high.y});
            }
        }
    }

    __device__ void copy_queries() const {
        int row_elements = args.batch.num_q_heads * args.head_dim;
        const __nv_bfloat16 *q = args.q + size_t(item.row) * row_elements + item.head * args.head_dim;
        if constexpr (integers) round_queries(q, row_elements);
        else copy_rows<block_m, row_bytes>(q_shared, q, row_elements, item.rows);
    }

    // 64 rows from `row` of keys or values on, those from `rows` on as zeros.
    template <int ROW_BYTES, typename Element>
    __device__ void copy_block(uint32_t to, const void *from, int row, int rows) const {
        const Element *first = static_cast<const Element *>(from) + size_t(row) * args.head_dim;
        copy_rows<block_keys, ROW_BYTES>(to, first, args.head_dim, rows);
    }

    __device__ void copy_keys(const void *from, int row, int rows) const {
        copy_block<row_bytes, Element>(k_shared, from, row, rows);
    }

    __device__ void copy_values(const __nv_bfloat16 *from, int row, int rows) const {
        copy_block<value_row_bytes, __nv_bfloat16>(v_shared, from, row, rows);
    }

    // Asks for the scale of the keys at `row`, for the step that multiplies them.
    __device__ void read_scale(const float *scales, int row) {
        if constexpr (integers) k_scale = scales[row / block_keys];
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
                for (int i = 0; i < 4; ++i) s[m][n][i] = integers ? integer_zero : 0.f;
        // Rows and chunks of the four matrices that a load takes: 16 queries by 32 bytes, 16 keys by 32 bytes.
        uint32_t q_at = q_shared + swizzled<row_bytes>(warp_row + lane % 16, lane / 16);
        uint32_t k_at = k_shared + swizzled<row_bytes>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
        for (int d = 0; d < PADDED * element_bytes; d += 32) {
            uint32_t q[M_TILES][4];
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) load_matrices(q[m], along_row(q_at, d) + m * 16 * row_bytes);
#pragma unroll
            for (int n = 0; n < n_tiles; n += 2) {
                uint32_t k[4];
                load_matrices(k, along_row(k_at, d) + n * 8 * row_bytes);
#pragma unroll
                for (int m = 0; m < M_TILES; ++m) {
                    multiply(s[m][n], q[m], k[0], k[1]);
                    multiply(s[m][n + 1], q[m], k[2], k[3]);
                }
            }
        }
    }

    static __device__ void multiply(float (&sums)[4], const uint32_t (&q)[4], uint32_t k0, uint32_t k1) {
        if constexpr (integers) mma_m16n8k32_in_floats(sums, q, k0, k1);
        else mma_m16n8k16(sums, q, k0, k1);
    }

    // What the sums of a query are multiplied with to be logits before `sm_scale`.
    __device__ float unit(int m, int r) const {
        return query_scales()[warp_row + m * 16 + lane / 4 + 8 * r] * k_scale;
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

    // Weighs 64 extras. Integers become logits.
    __device__ void add_biases(const float *biases) {
#pragma unroll
        for (int n = 0; n < n_tiles; ++n) {
            float2 bias = *reinterpret_cast<const float2 *>(biases + n * 8 + lane % 4 * 2);
#pragma unroll
            for (int m = 0; m < M_TILES; ++m)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    float of_key = i % 2 ? bias.y : bias.x;
                    if constexpr (integers) s[m][n][i] = fmaf(s[m][n][i] - integer_zero, unit(m, i / 2), of_key);
                    else s[m][n][i] += of_key;
                }
        }
    }

    // Turns logits into weights and brings the output so far to the new maximum. INTEGERS: of sums of integers, as they are.
    template <bool MASKED, bool INTEGERS> __device__ void softmax() {
        constexpr float zero = INTEGERS ? integer_zero : 0.f;
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float factor = scale;
                if constexpr (INTEGERS) factor *= unit(m, r);
                float largest = -INFINITY;
#pragma unroll
                for (int n = 0; n < n_tiles; ++n) largest = fmaxf(largest, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
                largest = fmaxf(maximum[m][r], (row_max(largest) - zero) * factor);
                // A row that has seen no key yet must not compute infinity minus infinity.
                float reference = MASKED && largest == -INFINITY ? 0.f : largest;
                float correction = exp2_approx(maximum[m][r] - reference), shift = fmaf(zero, factor, reference);
                maximum[m][r] = largest;
                sum[m][r] *= correction;
#pragma unroll
                for (int n = 0; n < n_tiles; ++n)
#pragma unroll
                    for (int i = 2 * r; i < 2 * r + 2; ++i) {
                        s[m][n][i] = exp2_approx(fmaf(s[m][n][i], factor, -shift));
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
        uint32_t v_at = v_shared + swizzled<value_row_bytes>(lane % 16, lane / 16);
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
                load_matrices_transposed(v, along_row(v_at, d * 16) + n * 8 * value_row_bytes);
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
                        fmaf(maximum[m][r], 1.f / log2_e, logf(total));
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
