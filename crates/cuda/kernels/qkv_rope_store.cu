// What lies between the QKV product and attention, in one pass: bias, RMS norm of each query and key head, rotation, and
// keys and values into their pages.
//
// One block a row; a thread takes eight pairs of elements that rotate together: two vectors.

#include "vector.cuh"

struct Arguments {
    const __nv_bfloat16 *qkv; // [row][q heads, k heads, v heads][head_dim]
    const float *bias;        // [q heads, k heads, v heads][head_dim], or null
    const float *q_norm;      // [head_dim], or null
    const float *k_norm;      // [head_dim], null as q_norm is
    const float2 *rotations;  // [row][head_dim / 2]: cos, sin
    const int *slots;         // [row]: page * page_size + place in the page
    __nv_bfloat16 *q;         // [row][q_head][head_dim]
    __nv_bfloat16 *k, *v;     // [page][kv_head][page_size][head_dim]
    int num_q_heads, num_kv_heads;
    int head_dim;  // a multiple of 16; with norms, 16 times a power of two
    int page_size; // a power of two
    int adjacent;  // whether neighbours rotate together, else elements half a head apart
    float eps;     // of the norms
};

namespace {

__device__ inline void rotate(float &x, float &y, float2 rotation) {
    float rotated = x * rotation.x - y * rotation.y;
    y = x * rotation.y + y * rotation.x;
    x = rotated;
}

// Sum over the threads of a head, which lie side by side in one warp.
__device__ inline float head_sum(float x, int head_units) {
    unsigned lane = threadIdx.x % 32, all = head_units == 32 ? ~0u : (1u << head_units) - 1;
    unsigned mask = all << lane / head_units * head_units;
    for (int lanes = head_units / 2; lanes > 0; lanes /= 2) x += __shfl_xor_sync(mask, x, lanes);
    return x;
}

} // namespace

extern "C" __global__ void __launch_bounds__(128) qkv_rope_store(const __grid_constant__ Arguments args) {
    int half = args.head_dim / 2, head_units = half / vector_len;
    int heads = args.num_q_heads + 2 * args.num_kv_heads;
    size_t row = blockIdx.x;
    int slot = args.slots[row], in_page = slot % args.page_size;
    size_t page = slot / args.page_size;
    const __nv_bfloat16 *from = args.qkv + row * heads * args.head_dim;
    for (int i = threadIdx.x; i < heads * head_units; i += blockDim.x) {
        int head = i / head_units, pair = i % head_units * vector_len, at = head * args.head_dim;
        int first = args.adjacent ? 2 * pair : pair, second = args.adjacent ? first + vector_len : pair + half;
        Vector x = load_vector(from + at + first), y = load_vector(from + at + second);
        if (args.bias) {
            Vector of_x = load_vector(args.bias + at + first), of_y = load_vector(args.bias + at + second);
#pragma unroll
            for (int j = 0; j < vector_len; ++j) {
                x.x[j] += of_x.x[j];
                y.x[j] += of_y.x[j];
            }
        }
        int kv_head = head - args.num_q_heads;
        bool is_value = kv_head >= args.num_kv_heads;
        if (args.q_norm && !is_value) {
            float squares = 0.f;
#pragma unroll
            for (int j = 0; j < vector_len; ++j) squares += x.x[j] * x.x[j] + y.x[j] * y.x[j];
            float scale = rsqrtf(head_sum(squares, head_units) / args.head_dim + args.eps);
            const float *norm = kv_head < 0 ? args.q_norm : args.k_norm;
            Vector of_x = load_vector(norm + first), of_y = load_vector(norm + second);
#pragma unroll
            for (int j = 0; j < vector_len; ++j) {
                x.x[j] *= scale * of_x.x[j];
                y.x[j] *= scale * of_y.x[j];
            }
        }
        if (!is_value) {
            const float2 *rotations = args.rotations + row * half + pair;
#pragma unroll
            for (int j = 0; j < vector_len; ++j) {
                float2 rotation = rotations[j];
                if (!args.adjacent) rotate(x.x[j], y.x[j], rotation);
                else if (j < 4) rotate(x.x[2 * j], x.x[2 * j + 1], rotation);
                else rotate(y.x[2 * j - 8], y.x[2 * j - 7], rotation);
            }
        }
        __nv_bfloat16 *to = args.q + (row * args.num_q_heads + head) * args.head_dim;
        if (kv_head >= 0) {
            int of_cache = is_value ? kv_head - args.num_kv_heads : kv_head;
            to = (is_value ? args.v : args.k) +
                 ((page * args.num_kv_heads + of_cache) * args.page_size + in_page) * args.head_dim;
        }
        store_vector(to + first, x);
        store_vector(to + second, y);
    }
}
