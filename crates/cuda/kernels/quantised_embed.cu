// Rows of a quantised embedding table, by token id. One block a row.

#include "encodings.cuh"

struct Arguments {
    const unsigned char *table; // [vocab_size][row_bytes]
    const unsigned *ids;
    float *out; // [row][units * 8]
    int units;
    int row_bytes;
    unsigned vocab_size;
};

template <typename Block> __device__ void embed(const Arguments &args) {
    unsigned id = min(args.ids[blockIdx.x], args.vocab_size - 1);
    for (int unit = threadIdx.x; unit < args.units; unit += blockDim.x)
        store_vector(args.out + (size_t(blockIdx.x) * args.units + unit) * vector_len,
                     decode_unit<Block>(args.table + size_t(id) * args.row_bytes, unit));
}

#define KERNEL(name, Block)                                                                                            \
    extern "C" __global__ void __launch_bounds__(128) embed_##name(const __grid_constant__ Arguments args) {           \
        embed<Block>(args);                                                                                            \
    }
FOR_EACH_ENCODING(KERNEL)
