// What lies between the QKV product and attention, in one pass: bias, RMS norm of each query and key head, rotation, and
// keys and values into their pages.
//
// The first `rotary_dim` elements of a head rotate, those behind them pass through. A thread takes eight pairs of elements: two
// vectors. Threads follow each other through a row, and then through the next one.

#include "ptx/early_start.cuh"
#include "vector.cuh"

struct Arguments {
    const __nv_bfloat16 *qkv; // [row][q heads, k heads, v heads][head_dim]
    const float *bias;        // [q heads, k heads, v heads][head_dim], or null
    const float *q_norm;      // [head_dim], or null
    const float *k_norm;      // [head_dim], null as q_norm is
    const float2 *rotations;  // [row][rotary_dim / 2]: cos, sin
    const int *slots;         // [row]: page * page_size + place in the page
    __nv_bfloat16 *q;         // [row][q_head][head_dim]
    __nv_bfloat16 *k, *v;     // [page][kv_head][page_size][head_dim]
    int rows;
    int num_q_heads, num_kv_heads;
    int head_dim;   // a multiple of 16; with norms, 16 times a power of two
    int rotary_dim; // even, up to head_dim
    int page_size;  // a power of two
    int adjacent;   // whether neighbours rotate together, else elements half of rotary_dim apart
    float eps;      // of the norms
};

namespace {

// The elements of eight pairs, `x[j]` with `y[j]`.
struct Pairs {
    Vector x, y;
};

// Where the pairs from `pair` on lie in a head. Elements that do not rotate are neighbours of each other.
struct Place {
    int pair, rotary_pairs;
    bool adjacent;

    __device__ bool neighbours() const { return adjacent || pair >= rotary_pairs; }
    // Whether the first elements of all pairs are one vector, and the second elements another.
    __device__ bool halves() const { return pair + vector_len <= rotary_pairs && rotary_pairs % vector_len == 0; }
    __device__ bool rotates(int j) const { return pair + j < rotary_pairs; }
    __device__ int first(int j) const { return rotates(j) ? pair + j : 2 * (pair + j); }
    __device__ int second(int j) const { return rotates(j) ? pair + j + rotary_pairs : 2 * (pair + j) + 1; }
};

template <typename T> __device__ inline Pairs load_pairs(const T *head, const Place &place) {
    Pairs pairs;
    if (place.neighbours()) {
        Vector low = load_vector(head + 2 * place.pair), high = load_vector(head + 2 * place.pair + vector_len);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            pairs.x.x[j] = low.x[2 * j], pairs.y.x[j] = low.x[2 * j + 1];
            pairs.x.x[j + 4] = high.x[2 * j], pairs.y.x[j + 4] = high.x[2 * j + 1];
        }
    } else if (place.halves()) {
        pairs = {load_vector(head + place.pair), load_vector(head + place.pair + place.rotary_pairs)};
    } else {
#pragma unroll
        for (int j = 0; j < vector_len; ++j)
            pairs.x.x[j] = head[place.first(j)], pairs.y.x[j] = head[place.second(j)];
    }
    return pairs;
}

__device__ inline void store_pairs(__nv_bfloat16 *head, const Place &place, const Pairs &pairs) {
    if (place.neighbours()) {
        Vector low, high;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            low.x[2 * j] = pairs.x.x[j], low.x[2 * j + 1] = pairs.y.x[j];
            high.x[2 * j] = pairs.x.x[j + 4], high.x[2 * j + 1] = pairs.y.x[j + 4];
        }
        store_vector(head + 2 * place.pair, low);
        store_vector(head + 2 * place.pair + vector_len, high);
    } else if (place.halves()) {
        store_vector(head + place.pair, pairs.x);
        store_vector(head + place.pair + place.rotary_pairs, pairs.y);
    } else {
#pragma unroll
        for (int j = 0; j < vector_len; ++j) {
            head[place.first(j)] = __float2bfloat16(pairs.x.x[j]);
            head[place.second(j)] = __float2bfloat16(pairs.y.x[j]);
        }
    }
}

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

extern "C" __global__ void __launch_bounds__(256) qkv_rope_store(const __grid_constant__ Arguments args) {
    wait_for_previous();
    int rotary_pairs = args.rotary_dim / 2, head_units = args.head_dim / 2 / vector_len;
    int heads = args.num_q_heads + 2 * args.num_kv_heads;
    // Of one head and row at a time; whole heads lie in a warp, where their threads meet.
    unsigned unit = blockIdx.x * blockDim.x + threadIdx.x;
    size_t row = unit / (heads * head_units);
    if (row >= args.rows) return;
    int of_row = unit % (heads * head_units), head = of_row / head_units, at = head * args.head_dim;
    int slot = args.slots[row], in_page = slot % args.page_size;
    size_t page = slot / args.page_size;
    Place place{of_row % head_units * vector_len, rotary_pairs, args.adjacent != 0};
    Pairs pairs = load_pairs(args.qkv + row * heads * args.head_dim + at, place);
    Vector &x = pairs.x, &y = pairs.y;
    if (args.bias) {
        Pairs bias = load_pairs(args.bias + at, place);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) {
            x.x[j] += bias.x.x[j];
            y.x[j] += bias.y.x[j];
        }
    }
    int kv_head = head - args.num_q_heads;
    bool is_value = kv_head >= args.num_kv_heads;
    if (args.q_norm && !is_value) {
        float squares = 0.f;
#pragma unroll
        for (int j = 0; j < vector_len; ++j) squares += x.x[j] * x.x[j] + y.x[j] * y.x[j];
        float scale = rsqrtf(head_sum(squares, head_units) / args.head_dim + args.eps);
        Pairs norm = load_pairs(kv_head < 0 ? args.q_norm : args.k_norm, place);
#pragma unroll
        for (int j = 0; j < vector_len; ++j) {
            x.x[j] *= scale * norm.x.x[j];
            y.x[j] *= scale * norm.y.x[j];
        }
    }
    if (!is_value) {
        const float2 *rotations = args.rotations + row * rotary_pairs + place.pair;
#pragma unroll
        for (int j = 0; j < vector_len; ++j)
            if (place.rotates(j)) rotate(x.x[j], y.x[j], rotations[j]);
    }
    __nv_bfloat16 *to = args.q + (row * args.num_q_heads + head) * args.head_dim;
    if (kv_head >= 0) {
        int of_cache = is_value ? kv_head - args.num_kv_heads : kv_head;
        to = (is_value ? args.v : args.k) +
             ((page * args.num_kv_heads + of_cache) * args.page_size + in_page) * args.head_dim;
    }
    store_pairs(to, place, pairs);
}
