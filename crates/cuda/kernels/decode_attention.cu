// Attention of one new query a sequence over its paged cache, the keys split over many blocks.
//
// A block takes up to 16 query heads that share a kv head, and a range of kv blocks. Its four warps take 16 keys each of
// every 64 that pass, so that every key and value is read from memory once for all heads of the group, and keep their own
// softmax; at the end the warps' results are merged, then by a second kernel the blocks' (flash decoding).

#include "attention_batch.cuh"
#include "ptx/early_start.cuh"
#include "ptx/mma.cuh"
#include "softmax.cuh"
#include "swizzle.cuh"
#include <cstddef>
#include <cuda_bf16.h>

struct Arguments {
    const __nv_bfloat16 *q;     // [sequence][q_head][head_dim]
    const __nv_bfloat16 *k, *v; // [page][kv_head][page_size][head_dim]
    float *partial;             // [sequence][q_head][split][PADDED]: output of a range of keys
    float2 *weights;            // [sequence][q_head][split]: its largest base-2 logit and sum
    __nv_bfloat16 *o;           // [sequence][q_head][head_dim]
    Batch batch;
    int num_splits;
    int head_dim; // a multiple of 16 up to `PADDED`
    float sm_scale;
    unsigned window; // keys a query sees, its own included
};
// As `src/decode_attention.rs` has it.
static_assert(sizeof(Arguments) == 112 && offsetof(Arguments, num_splits) == 96);

// Outside the namespace: names inside one without a name differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

namespace {

constexpr int warps = 4;
constexpr int threads = 32 * warps;
constexpr int rows = 16; // query heads of a block
constexpr int max_splits = 128;
constexpr int merge_threads = 4; // of each element of a head

template <int PADDED> struct Decode {
    // Two buffers where they leave room for a second block on the multiprocessor.
    static constexpr int stages = PADDED > 128 ? 1 : 2;
    static constexpr int row_bytes = 2 * PADDED;
    static constexpr int block_bytes = block_keys * row_bytes;
    static constexpr int stage_bytes = 2 * block_bytes; // keys, values

    // Copies rows of head_dim; those from `valid` on, and the rest of each row, become zeros.
    static __device__ void copy_rows(uint32_t to, const __nv_bfloat16 *from, int head_dim, int count, int valid) {
        constexpr int chunks = PADDED / 8;
        for (int i = threadIdx.x; i < count * chunks; i += threads) {
            int row = i / chunks, chunk = i % chunks;
            copy_async(to + swizzled<row_bytes>(row, chunk), from + row * head_dim + chunk * 8,
                       row < valid && chunk * 8 < head_dim);
        }
    }

    static __device__ void run(const Arguments &args) {
        const Batch &batch = args.batch;
        int group = batch.num_q_heads / batch.num_kv_heads, group_blocks = (group + rows - 1) / rows;
        int split = blockIdx.x, kv_head = blockIdx.y / group_blocks, first_row = blockIdx.y % group_blocks * rows;
        int heads = min(rows, group - first_row), head = kv_head * group + first_row;
        Sequence sequence = batch.sequences[blockIdx.z];
        const int *table = batch.page_table + sequence.table_begin;
        // From the sequence on the device, since a recording is replayed while it grows.
        int first_block = max(0, sequence.kv_len - int(args.window)) / block_keys;
        int blocks = (sequence.kv_len + block_keys - 1) / block_keys - first_block;
        int per_split = (blocks + args.num_splits - 1) / args.num_splits;
        int block = first_block + min(split * per_split, blocks), end = min(block + per_split, first_block + blocks);
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        float scale = args.sm_scale * log2_e;

        uint32_t shared = shared_address(dynamic_shared), q_shared = shared + stages * stage_bytes;
        size_t first_head = size_t(blockIdx.z) * batch.num_q_heads + head;
        copy_rows(q_shared, args.q + first_head * args.head_dim, args.head_dim, rows, heads);
        auto copy_block = [&](int index) {
            if (index < end) {
                size_t at = size_t(cache_row(batch, table, kv_head, index)) * args.head_dim;
                uint32_t to = shared + (index - block) % stages * stage_bytes;
                int valid = sequence.kv_len - index * block_keys;
                copy_rows(to, args.k + at, args.head_dim, block_keys, valid);
                copy_rows(to + block_bytes, args.v + at, args.head_dim, block_keys, valid);
            }
            copy_commit();
        };
        for (int stage = 0; stage < stages; ++stage) copy_block(block + stage);

        float o[PADDED / 8][4] = {};
        float maximum[2] = {-INFINITY, -INFINITY}, sum[2] = {};
        uint32_t q_at = q_shared + swizzled<row_bytes>(lane % 16, lane / 16);
        int key_row = warp * 16;
        for (int index = block; index < end; ++index) {
            copy_wait_but_newest();
            __syncthreads();
            uint32_t k_shared = shared + (index - block) % stages * stage_bytes, v_shared = k_shared + block_bytes;
            uint32_t k_at = k_shared + swizzled<row_bytes>(key_row + lane % 8 + lane / 16 * 8, lane / 8 % 2);
            float s[2][4] = {};
#pragma unroll
            for (int d = 0; d < PADDED / 16; ++d) {
                uint32_t q[4], k[4];
                load_matrices(q, along_row(q_at, d * 32));
                load_matrices(k, along_row(k_at, d * 32));
                mma_m16n8k16(s[0], q, k[0], k[1]);
                mma_m16n8k16(s[1], q, k[2], k[3]);
            }
            // How far behind the newest key; less than nothing past it, which unsigned is beyond any window.
            int behind = sequence.kv_len - 1 - index * block_keys - key_row - lane % 4 * 2;
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float largest = maximum[r];
#pragma unroll
                for (int n = 0; n < 2; ++n)
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float &x = s[n][2 * r + i];
                        x = unsigned(behind - n * 8 - i) < args.window ? x * scale : -INFINITY;
                        largest = fmaxf(largest, x);
                    }
                largest = row_max(largest);
                float reference = largest == -INFINITY ? 0.f : largest, correction = exp2_approx(maximum[r] - reference);
                maximum[r] = largest;
                sum[r] *= correction;
#pragma unroll
                for (int n = 0; n < 2; ++n)
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float &x = s[n][2 * r + i];
                        x = exp2_approx(x - reference);
                        sum[r] += x;
                    }
#pragma unroll
                for (int d = 0; d < PADDED / 8; ++d) {
                    o[d][2 * r] *= correction;
                    o[d][2 * r + 1] *= correction;
                }
            }
            uint32_t p[4] = {bf16_pair(s[0][0], s[0][1]), bf16_pair(s[0][2], s[0][3]), bf16_pair(s[1][0], s[1][1]),
                             bf16_pair(s[1][2], s[1][3])};
            uint32_t v_at = v_shared + swizzled<row_bytes>(key_row + lane % 16, lane / 16);
#pragma unroll
            for (int d = 0; d < PADDED / 8; d += 2) {
                uint32_t v[4];
                load_matrices_transposed(v, along_row(v_at, d * 16));
                mma_m16n8k16(o[d], p, v[0], v[1]);
                mma_m16n8k16(o[d + 1], p, v[2], v[3]);
            }
            __syncthreads();
            copy_block(index + stages);
        }
        copy_wait();
        __syncthreads();

        // Each warp leaves [16][PADDED] in the buffers, which are free now, and behind them its maxima and sums.
        float *of_warps = reinterpret_cast<float *>(dynamic_shared);
        float2 (*weights)[rows] = reinterpret_cast<float2 (*)[rows]>(of_warps + warps * rows * PADDED);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            int row = lane / 4 + 8 * r;
            float total = row_sum(sum[r]);
            if (lane % 4 == 0) weights[warp][row] = float2{maximum[r], total};
#pragma unroll
            for (int d = 0; d < PADDED / 8; ++d) {
                float *to = of_warps + (warp * rows + row) * PADDED + d * 8 + lane % 4 * 2;
                to[0] = o[d][2 * r];
                to[1] = o[d][2 * r + 1];
            }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < heads * PADDED; i += threads) {
            int row = i / PADDED, element = i % PADDED;
            float largest = -INFINITY, total = 0.f, x = 0.f;
            for (int w = 0; w < warps; ++w) largest = fmaxf(largest, weights[w][row].x);
            for (int w = 0; w < warps; ++w) {
                // A warp without keys weighs nothing; a block without keys has no largest logit.
                float weight = weights[w][row].y > 0.f ? exp2_approx(weights[w][row].x - largest) : 0.f;
                total += weights[w][row].y * weight;
                x += of_warps[(w * rows + row) * PADDED + element] * weight;
            }
            size_t at = (first_head + row) * args.num_splits + split;
            args.partial[at * PADDED + element] = x;
            if (element == 0) args.weights[at] = float2{largest, total};
        }
    }

    static __device__ void merge(const Arguments &args) {
        // Every warp takes the maximum and the sum of all ranges, a few a lane; the first keeps their shares.
        float *shares = reinterpret_cast<float *>(dynamic_shared), *sums = shares + max_splits;
        int lane = threadIdx.x % 32;
        const float2 *weights = args.weights + size_t(blockIdx.x) * args.num_splits;
        float2 mine[max_splits / 32];
        float largest = -INFINITY, total = 0.f;
#pragma unroll
        for (int i = 0; i < max_splits / 32; ++i) {
            int split = i * 32 + lane;
            mine[i] = split < args.num_splits ? weights[split] : float2{-INFINITY, 0.f};
            largest = fmaxf(largest, mine[i].x);
        }
        for (int lanes = 16; lanes > 0; lanes /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
#pragma unroll
        for (int i = 0; i < max_splits / 32; ++i) {
            // A range without keys weighs nothing and has no largest logit.
            mine[i].x = mine[i].y > 0.f ? exp2_approx(mine[i].x - largest) : 0.f;
            total += mine[i].y * mine[i].x;
        }
        for (int lanes = 16; lanes > 0; lanes /= 2) total += __shfl_xor_sync(~0u, total, lanes);
        if (threadIdx.x < 32) {
#pragma unroll
            for (int i = 0; i < max_splits / 32; ++i) shares[i * 32 + lane] = mine[i].x / total;
        }
        __syncthreads();
        // The threads of an element share its ranges, so that their results are on their way at the same time.
        int element = threadIdx.x % PADDED, first = threadIdx.x / PADDED;
        const float *partial = args.partial + size_t(blockIdx.x) * args.num_splits * PADDED + element;
        float x = 0.f;
#pragma unroll 8
        for (int split = first; split < args.num_splits; split += merge_threads) {
            // Written by every range, with keys or without.
            x += partial[size_t(split) * PADDED] * shares[split];
        }
        sums[threadIdx.x] = x;
        __syncthreads();
        if (threadIdx.x >= args.head_dim) return;
#pragma unroll
        for (int i = 1; i < merge_threads; ++i) x += sums[i * PADDED + threadIdx.x];
        args.o[size_t(blockIdx.x) * args.head_dim + threadIdx.x] = __float2bfloat16(x);
    }

    // All copies but those of the newest stage have landed.
    static __device__ void copy_wait_but_newest() { asm volatile("cp.async.wait_group %0;" ::"n"(stages - 1) : "memory"); }
};

} // namespace

extern "C" __global__ void __launch_bounds__(threads) decode_attention_d64(const __grid_constant__ Arguments args) {
    wait_for_previous();
    Decode<64>::run(args);
}

extern "C" __global__ void __launch_bounds__(threads) decode_attention_d128(const __grid_constant__ Arguments args) {
    wait_for_previous();
    Decode<128>::run(args);
}

extern "C" __global__ void __launch_bounds__(threads) decode_attention_d256(const __grid_constant__ Arguments args) {
    wait_for_previous();
    Decode<256>::run(args);
}

extern "C" __global__ void __launch_bounds__(merge_threads * 64) decode_merge_d64(const __grid_constant__ Arguments args) {
    wait_for_previous();
    Decode<64>::merge(args);
}

extern "C" __global__ void __launch_bounds__(merge_threads * 128) decode_merge_d128(const __grid_constant__ Arguments args) {
    wait_for_previous();
    Decode<128>::merge(args);
}

extern "C" __global__ void __launch_bounds__(merge_threads * 256) decode_merge_d256(const __grid_constant__ Arguments args) {
    wait_for_previous();
    Decode<256>::merge(args);
}
