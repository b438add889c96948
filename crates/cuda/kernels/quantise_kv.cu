// Keys and values of a batch to 8-bit floats, for `attend_fp8_sm90.cu`. Three kernels, one after the other:
//
// - `kv_ranges`: of each span of keys, for every element of a head, the sum, the least and the largest key, and the largest
//   absolute value;
// - `kv_scales`: of each kv head the mean key, and a scale each for keys less the mean and for values. Softmax does not
//   change when all keys move by the same vector, and keys often have one in common that is larger than all else
//   (SageAttention, arXiv 2410.02367, section 4.2);
// - `quantise_kv`: block by block keys as rows, and values transposed, 64 keys a row.
//
// Or keys alone to 8-bit integers, for `attend_int8_sm80.cu`: `key_means`, of a sample of keys, and `quantise_keys`, with a scale a
// block.
//
// A batch has one mean and one scale a head, over all its sequences. What is no number has no part in them and stays none: among
// integers, with all of its block. Keys past the end of a sequence become zeros.

#include "attention_batch.cuh"
#include "block_reduce.cuh"
#include "fp8.cuh"
#include "int8.cuh"
#include <cmath>

struct Arguments {
    const __nv_bfloat16 *k, *v; // [page][kv_head][page_size][head_dim]; or extras, [row][head_dim]
    uint8_t *k_out;             // as `k`: floats or integers
    __nv_fp8_storage_t *v_out;  // [block][head_dim][64], blocks as in `v`
    float *block_scales;        // [row of k / 64], of integers
    float *ranges;              // [kv_head][span of a sequence][4][head_dim]
    float *means;               // [kv_head][head_dim]
    float2 *scales;             // [kv_head]: of keys, of values
    Batch batch;
    int head_dim;
    int num_spans;  // of all sequences
    int num_keys;   // likewise
    int extra_rows; // of a query head
    int num_sequences;
};

// No namespace without a name: the names of shared arrays inside one differ from build to build.
constexpr int threads = 256;
constexpr int span_keys = 128;
constexpr int most_head_dim = 128; // with products of 8-bit floats

struct Range {
    float sum = 0.f, least = INFINITY, largest = -INFINITY, value = 0.f;

    __device__ void take(const Range &other) {
        sum += other.sum;
        least = fminf(least, other.least);
        largest = fmaxf(largest, other.largest);
        value = fmaxf(value, other.value);
    }
};

__device__ inline bool is_number(float x) { return fabsf(x) <= 3.4e38f; }

// The value at a place of a row of 64 keys in `v_out`: in each 32 of them, four neighbours are those that one thread of a product's
// accumulators holds (`sm90/arithmetic_fp8.cuh`).
__device__ inline int key_at(int place) {
    int of_32 = place % 32, in_half = of_32 % 16;
    return place - of_32 + of_32 / 16 * 16 + in_half % 4 / 2 * 8 + in_half / 4 * 2 + in_half % 2;
}

__device__ inline float rounded_factor(float x, float factor) { return is_number(x) ? x * factor : NAN; }

// 64 rows from `k` and `v` on, of which `rows` hold something.
__device__ inline void quantise_block(const Arguments &args, int kv_head, size_t first_row, int rows) {
    constexpr int value_stride = most_head_dim + 4;
    __shared__ __nv_fp8_storage_t values[block_keys][value_stride];
    int head_dim = args.head_dim, chunks = head_dim / vector_len;
    const float *mean = args.means + kv_head * head_dim;
    float2 scales = args.scales[kv_head];
    float k_factor = 1.f / scales.x, v_factor = 1.f / scales.y;
    for (int i = threadIdx.x; i < block_keys * chunks; i += threads) {
        int row = i / chunks, element = i % chunks * vector_len;
        size_t at = (first_row + row) * head_dim + element;
        Vector k{}, v{};
        if (row < rows) {
            k = load_vector(args.k + at);
            v = load_vector(args.v + at);
#pragma unroll
            for (int j = 0; j < vector_len; ++j) {
                k.x[j] = rounded_factor(k.x[j] - mean[element + j], k_factor);
                v.x[j] = rounded_factor(v.x[j], v_factor);
            }
        }
        store_vector(args.k_out + at, k, 1.f);
        uint32_t words[2] = {fp8_quad(v.x[0], v.x[1], v.x[2], v.x[3]), fp8_quad(v.x[4], v.x[5], v.x[6], v.x[7])};
#pragma unroll
        for (int j = 0; j < 2; ++j) *reinterpret_cast<uint32_t *>(&values[row][element + 4 * j]) = words[j];
    }
    __syncthreads();
    __nv_fp8_storage_t *out = args.v_out + first_row * head_dim;
    for (int i = threadIdx.x; i < head_dim * (block_keys / 4); i += threads) {
        // Neighbouring threads write neighbouring words.
        int element = i / (block_keys / 4), place = i % (block_keys / 4) * 4;
        uint32_t word = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) word |= uint32_t(values[key_at(place + j)][element]) << 8 * j;
        *reinterpret_cast<uint32_t *>(out + element * block_keys + place) = word;
    }
}

// 64 keys from a row of `k` on, of which `rows` hold something, to integers.
__device__ inline void quantise_keys_of_block(const Arguments &args, int kv_head, size_t first_row, int rows) {
    __shared__ float of_warps[threads / 32];
    int head_dim = args.head_dim, vectors = block_keys * head_dim / vector_len;
    const float *mean = args.means + kv_head * head_dim;
    const __nv_bfloat16 *from = args.k + first_row * head_dim;
    auto centred = [&](int i) {
        Vector k{};
        if (i * vector_len >= rows * head_dim) return k;
        k = load_vector(from + i * vector_len);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) k.x[j] -= mean[i * vector_len % head_dim + j];
        return k;
    };
    float largest = least_largest;
    for (int i = threadIdx.x; i < vectors; i += threads) largest = largest_number(centred(i), largest);
    largest = block_max(largest, of_warps);
    if (threadIdx.x == 0) args.block_scales[first_row / block_keys] = integer_scale(largest);
    float factor = largest_integer / largest;
    uint2 *out = reinterpret_cast<uint2 *>(args.k_out + first_row * head_dim);
    // Computed again, from the first-level cache.
    for (int i = threadIdx.x; i < vectors; i += threads) out[i] = rounded(centred(i), factor);
}

// Grid: spans of the longest sequence, kv heads, sequences.
extern "C" __global__ void __launch_bounds__(threads) kv_ranges(const __grid_constant__ Arguments args) {
    __shared__ Range of_rows[threads][vector_len];
    int kv_head = blockIdx.y, chunks = args.head_dim / vector_len, lanes = threads / chunks;
    Sequence sequence = args.batch.sequences[blockIdx.z];
    const int *table = args.batch.page_table + sequence.table_begin;
    int chunk = threadIdx.x % chunks, lane = threadIdx.x / chunks;
    int first = blockIdx.x * span_keys, end = min(first + span_keys, sequence.kv_len);
    Range ranges[vector_len];
    if (lane < lanes) {
#pragma unroll 4
        for (int key = first + lane; key < end; key += lanes) {
            size_t row = cache_row(args.batch, table, kv_head, key / block_keys) + key % block_keys;
            Vector k = load_vector(args.k + row * args.head_dim + chunk * vector_len);
            Vector v = load_vector(args.v + row * args.head_dim + chunk * vector_len);
#pragma unroll
            for (int j = 0; j < vector_len; ++j) {
                bool number = is_number(k.x[j]);
                ranges[j].take(Range{number ? k.x[j] : 0.f, number ? k.x[j] : INFINITY, number ? k.x[j] : -INFINITY,
                                     is_number(v.x[j]) ? fabsf(v.x[j]) : 0.f});
            }
        }
    }
#pragma unroll
    for (int j = 0; j < vector_len; ++j) of_rows[threadIdx.x][j] = ranges[j];
    __syncthreads();
    if (threadIdx.x >= args.head_dim) return;
    Range all;
    for (int i = 0; i < lanes; ++i) all.take(of_rows[i * chunks + threadIdx.x / vector_len][threadIdx.x % vector_len]);
    size_t span = (size_t(kv_head) * gridDim.z + blockIdx.z) * gridDim.x + blockIdx.x;
    float *out = args.ranges + span * 4 * args.head_dim + threadIdx.x;
    out[0] = all.sum;
    out[args.head_dim] = all.least;
    out[2 * args.head_dim] = all.largest;
    out[3 * args.head_dim] = all.value;
}

// Grid: kv heads; 1,024 threads.
extern "C" __global__ void __launch_bounds__(1024) kv_scales(const __grid_constant__ Arguments args) {
    __shared__ Range of_parts[1024];
    __shared__ float largest_keys[most_head_dim], largest_values[most_head_dim];
    int kv_head = blockIdx.x, head_dim = args.head_dim, parts = 1024 / head_dim;
    int element = threadIdx.x % head_dim, part = threadIdx.x / head_dim;
    Range all;
    if (part < parts) {
#pragma unroll 4
        for (int span = part; span < args.num_spans; span += parts) {
            const float *from = args.ranges + (size_t(kv_head) * args.num_spans + span) * 4 * head_dim + element;
            all.take(Range{from[0], from[head_dim], from[2 * head_dim], from[3 * head_dim]});
        }
    }
    of_parts[threadIdx.x] = all;
    __syncthreads();
    if (threadIdx.x < head_dim) {
        for (int i = 1; i < parts; ++i) all.take(of_parts[i * head_dim + element]);
        float mean = all.sum / args.num_keys;
        args.means[kv_head * head_dim + element] = mean;
        largest_keys[element] = fmaxf(all.largest - mean, mean - all.least);
        largest_values[element] = all.value;
    }
    __syncthreads();
    if (threadIdx.x >= 32) return;
    float key = least_largest, value = least_largest;
    for (int i = threadIdx.x; i < head_dim; i += 32) {
        key = fmaxf(key, largest_keys[i]);
        value = fmaxf(value, largest_values[i]);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        key = fmaxf(key, __shfl_xor_sync(~0u, key, lanes));
        value = fmaxf(value, __shfl_xor_sync(~0u, value, lanes));
    }
    if (threadIdx.x == 0) args.scales[kv_head] = float2{key / fp8_largest, value / fp8_largest};
}

// The first row of the block that a block of threads takes, and how many of its keys the sequence has; none past its end.
__device__ inline int keys_of_block(const Arguments &args, size_t &row) {
    Sequence sequence = args.batch.sequences[blockIdx.z];
    int block = blockIdx.x, keys = sequence.kv_len - block * block_keys;
    if (keys > 0) row = cache_row(args.batch, args.batch.page_table + sequence.table_begin, blockIdx.y, block);
    return keys;
}

__device__ inline int kv_head_of_extras(const Arguments &args, size_t row) {
    int q_head = row / args.extra_rows % args.batch.num_q_heads;
    return q_head / (args.batch.num_q_heads / args.batch.num_kv_heads);
}

// Grid: kv heads; 1,024 threads. About 1,024 keys, evenly spaced: what keys have in common is in any of them.
extern "C" __global__ void __launch_bounds__(1024) key_means(const __grid_constant__ Arguments args) {
    __shared__ float sums[1024][vector_len];
    __shared__ int counts[1024];
    int kv_head = blockIdx.x, chunks = args.head_dim / vector_len, lanes = 1024 / chunks;
    int chunk = threadIdx.x % chunks, lane = threadIdx.x / chunks, stride = (args.num_keys + 1023) / 1024;
    float sum[vector_len] = {};
    int count = 0;
    for (int i = 0; i < args.num_sequences && lane < lanes; ++i) {
        Sequence sequence = args.batch.sequences[i];
        const int *table = args.batch.page_table + sequence.table_begin;
#pragma unroll 4
        for (int key = lane * stride; key < sequence.kv_len; key += lanes * stride) {
            size_t row = cache_row(args.batch, table, kv_head, key / block_keys) + key % block_keys;
            Vector k = load_vector(args.k + row * args.head_dim + chunk * vector_len);
            if (!(largest_number(k, 0.f) < INFINITY)) continue;
            ++count;
#pragma unroll
            for (int j = 0; j < vector_len; ++j) sum[j] += k.x[j];
        }
    }
#pragma unroll
    for (int j = 0; j < vector_len; ++j) sums[threadIdx.x][j] = sum[j];
    counts[threadIdx.x] = count;
    __syncthreads();
    if (threadIdx.x >= args.head_dim) return;
    float total = 0.f;
    int keys = 0;
    for (int i = 0; i < lanes; ++i) {
        int of_lane = i * chunks + threadIdx.x / vector_len;
        total += sums[of_lane][threadIdx.x % vector_len];
        keys += counts[of_lane];
    }
    args.means[kv_head * args.head_dim + threadIdx.x] = total / max(keys, 1);
}

// Grid: blocks of the longest sequence, kv heads, sequences.
extern "C" __global__ void __launch_bounds__(threads) quantise_kv(const __grid_constant__ Arguments args) {
    size_t row;
    int keys = keys_of_block(args, row);
    if (keys > 0) quantise_block(args, blockIdx.y, row, keys);
}

// Grid: 64 rows of extras each.
extern "C" __global__ void __launch_bounds__(threads) quantise_extras(const __grid_constant__ Arguments args) {
    size_t row = size_t(blockIdx.x) * block_keys;
    quantise_block(args, kv_head_of_extras(args, row), row, block_keys);
}

// As `quantise_kv`.
extern "C" __global__ void __launch_bounds__(threads) quantise_keys(const __grid_constant__ Arguments args) {
    size_t row;
    int keys = keys_of_block(args, row);
    if (keys > 0) quantise_keys_of_block(args, blockIdx.y, row, keys);
}

// As `quantise_extras`.
extern "C" __global__ void __launch_bounds__(threads) quantise_key_extras(const __grid_constant__ Arguments args) {
    size_t row = size_t(blockIdx.x) * block_keys;
    quantise_keys_of_block(args, kv_head_of_extras(args, row), row, block_keys);
}
