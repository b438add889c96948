// Quantised weights times one vector: what decoding does, bound by reading the weights.
//
//     out[row] = weight[row] . x   or   out[row] += weight[row] . x
//
// A warp takes two rows at a time, its lanes eight elements of both.

#include "encodings.cuh"
#include "ptx/early_start.cuh"

struct Arguments {
    const unsigned char *blocks; // [rows][row_bytes]
    const __nv_bfloat16 *x;      // [units * 8]
    __nv_bfloat16 *narrow;       // out, or null
    float *wide;                 // out, or null
    int rows;
    int units;     // of eight elements, in a row
    int row_bytes;
    int add;       // whether `wide` is added to
};

constexpr int warps = 4;
constexpr int warp_rows = 2;

template <typename Block> __device__ void matvec(const Arguments &args) {
    int lane = threadIdx.x % 32, first = (blockIdx.x * warps + threadIdx.x / 32) * warp_rows;
    float sums[warp_rows] = {};
#pragma unroll 2
    for (int unit = lane; unit < args.units; unit += 32) {
        Vector x = load_vector(args.x + unit * vector_len);
#pragma unroll
        for (int r = 0; r < warp_rows; ++r) {
            int row = min(first + r, args.rows - 1);
            Vector weight = decode_unit<Block>(args.blocks + size_t(row) * args.row_bytes, unit);
#pragma unroll
            for (int i = 0; i < vector_len; ++i) sums[r] = fmaf(weight.x[i], x.x[i], sums[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
        for (int lanes = 16; lanes > 0; lanes /= 2) sums[r] += __shfl_xor_sync(~0u, sums[r], lanes);
        int row = first + r;
        if (lane != 0 || row >= args.rows) continue;
        if (args.narrow) args.narrow[row] = __float2bfloat16(sums[r]);
        else args.wide[row] = args.add ? args.wide[row] + sums[r] : sums[r];
    }
}

#define KERNEL(name, Block)                                                                                            \
    extern "C" __global__ void __launch_bounds__(32 * warps) matvec_##name(const __grid_constant__ Arguments args) {   \
        wait_for_previous();                                                                                           \
        matvec<Block>(args);                                                                                           \
    }
FOR_EACH_ENCODING(KERNEL)
