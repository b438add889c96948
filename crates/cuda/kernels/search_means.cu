// Means of the keys and values of each block, kept beside the pages.
//
// One block of threads a (kv block, kv head); each thread sums a pair of elements over half of the keys.

#include "search/arguments.cuh"

namespace {
constexpr int threads = 256; // two for each pair of 256 elements
} // namespace

extern "C" __global__ void __launch_bounds__(threads) search_means(const __grid_constant__ Search s) {
    wait_for_previous();
    int block = blockIdx.x, kv_head = blockIdx.y, pairs = s.head_dim / 2;
    int keys = min(block_keys, s.kv_len - block * block_keys);
    int cache_block = s.cache_block(kv_head, block);
    size_t from = size_t(cache_block) * block_keys * s.head_dim, to = size_t(cache_block) * s.head_dim;
    __shared__ float2 halves[2][threads / 2];
    int half = threadIdx.x / (threads / 2), pair = threadIdx.x % (threads / 2);
    float2 k{}, v{};
    if (pair < pairs) {
#pragma unroll 8
        for (int key = half; key < keys; key += 2) {
            size_t at = from + size_t(key) * s.head_dim + 2 * pair;
            float2 of_k = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(s.k + at));
            float2 of_v = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(s.v + at));
            k.x += of_k.x, k.y += of_k.y, v.x += of_v.x, v.y += of_v.y;
        }
    }
    if (half == 1) halves[0][pair] = k, halves[1][pair] = v;
    __syncthreads();
    if (half == 1 || pair >= pairs) return;
    float inverse = 1.f / keys;
    float2 more_k = halves[0][pair], more_v = halves[1][pair];
    k = float2{(k.x + more_k.x) * inverse, (k.y + more_k.y) * inverse};
    v = float2{(v.x + more_v.x) * inverse, (v.y + more_v.y) * inverse};
    reinterpret_cast<float2 *>(s.k_means + to)[pair] = k;
    reinterpret_cast<float2 *>(s.v_means + to)[pair] = v;
    reinterpret_cast<__nv_bfloat162 *>(s.k_means_bf16 + to)[pair] = __float22bfloat162_rn(k);
}
