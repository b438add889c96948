// What lies between the QKV product and attention, in one pass: bias, rotation of queries and keys, and keys and values
// into their pages.
//
// One block a row; each thread takes pairs of elements that rotate together.

#include <cstdint>
#include <cuda_bf16.h>

struct Arguments {
    const __nv_bfloat16 *qkv; // [row][q heads, k heads, v heads][head_dim]
    const float *bias;        // [q heads, k heads, v heads][head_dim], or null
    const float2 *rotations;  // [row][head_dim / 2]: cos, sin
    const int *slots;         // [row]: page * page_size + place in the page
    __nv_bfloat16 *q;         // [row][q_head][head_dim]
    __nv_bfloat16 *k, *v;     // [page][kv_head][page_size][head_dim]
    int num_q_heads, num_kv_heads, head_dim;
    int page_size; // a power of two
    int adjacent;  // whether neighbours rotate together, else elements half a head apart
};

extern "C" __global__ void __launch_bounds__(256) qkv_rope_store(const __grid_constant__ Arguments args) {
    int half = args.head_dim / 2, heads = args.num_q_heads + 2 * args.num_kv_heads;
    size_t row = blockIdx.x;
    int slot = args.slots[row], in_page = slot % args.page_size;
    size_t page = slot / args.page_size;
    const __nv_bfloat16 *from = args.qkv + row * heads * args.head_dim;
    for (int i = threadIdx.x; i < heads * half; i += blockDim.x) {
        int head = i / half, pair = i % half;
        int first = args.adjacent ? 2 * pair : pair, second = args.adjacent ? first + 1 : pair + half;
        int at = head * args.head_dim;
        float x = __bfloat162float(from[at + first]), y = __bfloat162float(from[at + second]);
        if (args.bias) {
            x += args.bias[at + first];
            y += args.bias[at + second];
        }
        int kv_head = head - args.num_q_heads;
        bool is_value = kv_head >= args.num_kv_heads;
        if (!is_value) {
            float2 rotation = args.rotations[row * half + pair];
            float rotated = x * rotation.x - y * rotation.y;
            y = x * rotation.y + y * rotation.x;
            x = rotated;
        }
        __nv_bfloat16 *to = args.q + (row * args.num_q_heads + head) * args.head_dim;
        if (kv_head >= 0) {
            int of_cache = is_value ? kv_head - args.num_kv_heads : kv_head;
            to = (is_value ? args.v : args.k) +
                 ((page * args.num_kv_heads + of_cache) * args.page_size + in_page) * args.head_dim;
        }
        to[first] = __float2bfloat16(x);
        to[second] = __float2bfloat16(y);
    }
}
