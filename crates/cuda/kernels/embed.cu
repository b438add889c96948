// out[row] = table[ids[row]], widened to f32. One block a row.

#include "vector.cuh"

struct Arguments {
    const __nv_bfloat16 *table; // [vocab_size][features]
    const uint32_t *ids;        // [row]
    float *out;                 // [row][features]
    int features;               // a multiple of 8
    uint32_t vocab_size;
};

extern "C" __global__ void __launch_bounds__(256) embed(const __grid_constant__ Arguments args) {
    // The host checks ids; an id that is wrong all the same must not read elsewhere.
    uint32_t id = min(args.ids[blockIdx.x], args.vocab_size - 1);
    const __nv_bfloat16 *from = args.table + size_t(id) * args.features;
    float *to = args.out + size_t(blockIdx.x) * args.features;
    for (int i = threadIdx.x * vector_len; i < args.features; i += blockDim.x * vector_len)
        store_vector(to + i, load_vector(from + i));
}
