// Quantised weights to bf16, for products of many rows: reading them once more costs little beside such a product.
//
// One thread, eight elements.

#include "encodings.cuh"
#include "ptx/early_start.cuh"

struct Arguments {
    const unsigned char *blocks;
    __nv_bfloat16 *out;
    unsigned units; // of eight elements
};

template <typename Block> __device__ void dequantise(const Arguments &args) {
    unsigned unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit < args.units) store_vector(args.out + size_t(unit) * vector_len, decode_unit<Block>(args.blocks, unit));
}

#define KERNEL(name, Block)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) dequantise_##name(const __grid_constant__ Arguments args) {      \
        wait_for_previous();                                                                                           \
        dequantise<Block>(args);                                                                                       \
    }
FOR_EACH_ENCODING(KERNEL)
