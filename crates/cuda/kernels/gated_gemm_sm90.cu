// The first half of an MLP in one kernel: out[row][i] = activation(x[row] . gate[i]) * (x[row] . up[i]), for sm_90a.
//
// A block of threads makes tiles of 128 rows and 128 features, one after the other; a warpgroup has 64 of the rows, and gate and up of a
// feature side by side in the registers of one thread, so that what lies between the products never goes through memory. Two
// blocks form a cluster: they have the same features of other rows, and each gets half of the weights for both.
//
//   - a producer thread has TMA copy 64 inputs of rows and weights at a time, four steps ahead;
//   - each consumer warpgroup multiplies them, then applies the activation and has TMA write its half of the tile while the next one's
//     operands are already there.

#include "activation.cuh"
#include "ptx/cluster.cuh"
#include "ptx/early_start.cuh"
#include "ptx/tma.cuh"
#include "ptx/wgmma.cuh"
#include <cstddef>
#include <cuda_bf16.h>

struct Arguments {
    CUtensorMap x;      // [row][input], boxes of [128][64]
    CUtensorMap weight; // [2 features][input]: gate, then up; boxes of [128][64]
    CUtensorMap out;    // [row][feature], boxes of [64][64]
    int row_pairs, feature_tiles; // pairs of tiles of rows
    int steps, features;
};
// As `src/gated_gemm_sm90.rs` has it.
static_assert(sizeof(Arguments) == 512 && offsetof(Arguments, features) == 396);

extern __shared__ __align__(128) unsigned char dynamic_shared[];

namespace {

constexpr int warpgroup = 128; // threads
constexpr int consumers = 2, cluster = 2;
constexpr int tile_rows = 64 * consumers, tile_features = 128;
constexpr int stages = 4;
constexpr int step_inputs = 64, row_bytes = 128; // as wide as a swizzle
constexpr int x_bytes = tile_rows * row_bytes, half_weight_bytes = tile_features * row_bytes;

// Operands first, each on a multiple of the swizzle's 1,024 bytes.
struct __align__(1024) Shared {
    unsigned char x[stages][x_bytes];
    unsigned char weight[stages][2][half_weight_bytes]; // gate, up
    unsigned char out[consumers][tile_features / 64][64 * row_bytes];
    uint64_t full[stages], empty[stages];
};
// As `src/gated_gemm_sm90.rs` asks for, less what may be lost to alignment.
static_assert(sizeof(Shared) <= stages * (x_bytes + 2 * half_weight_bytes) + tile_rows * row_bytes * tile_features / 64 + 1024);

// Where a block's part of a cluster's tile lies. Tiles follow each other in bands, so that what the device works on at a time has few
// rows and few features, which stay in the second-level cache.
struct Place {
    int row, feature;

    __device__ Place(const Arguments &args, int tile, uint32_t rank) {
        constexpr int band = 8;
        int first = tile / (band * args.feature_tiles) * band, rest = tile % (band * args.feature_tiles);
        int height = min(band, args.row_pairs - first);
        row = ((first + rest % height) * cluster + int(rank)) * tile_rows;
        feature = rest / height * tile_features;
    }
};

__device__ void produce(const Arguments &args, Shared &shared, uint32_t rank) {
    Ring<stages> ring;
    constexpr uint16_t both = (1 << cluster) - 1;
    for (int tile = blockIdx.x / cluster; tile < args.row_pairs * args.feature_tiles; tile += gridDim.x / cluster) {
        Place place(args, tile, rank);
        for (int step = 0; step < args.steps; ++step) {
            uint64_t *full = &shared.full[ring.stage];
            barrier_wait(&shared.empty[ring.stage], ring.parity ^ 1);
            barrier_arrive_expect(full, x_bytes + 2 * half_weight_bytes);
            int input = step * step_inputs;
            tma_load_2d(&args.x, full, shared.x[ring.stage], input, place.row);
            tma_load_2d_multicast(&args.weight, full, shared.weight[ring.stage][rank], input,
                                  int(rank) * args.features + place.feature, both);
            ring.advance();
        }
    }
}

__device__ uint32_t packed(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&pair);
}

template <Activation activation> class Consumer {
    const Arguments &args;
    Shared &shared;
    const int index, thread; // of the warpgroup, in the warpgroup
    Ring<stages> ring;
    float d[tile_features]; // gate, then up

    // A stage may be filled again, by both blocks.
    __device__ void release(uint32_t stage) {
        if (thread < cluster) barrier_arrive_at(&shared.empty[stage], thread);
    }

    __device__ void multiply(int step) {
        barrier_wait(&shared.full[ring.stage], ring.parity);
        uint64_t x = operand(shared_address(shared.x[ring.stage] + index * 64 * row_bytes), 0, 8 * row_bytes);
        uint64_t weight = operand(shared_address(shared.weight[ring.stage][0]), 0, 8 * row_bytes);
        pin(d);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < step_inputs / 16; ++i)
            wgmma_m64n256k16(d, operand_at(x, 32 * i), operand_at(weight, 32 * i), step > 0 || i > 0);
        wgmma_commit();
    }

    __device__ void write(Place place) {
        // What the last tile left there has been read.
        if (thread == 0) tma_store_wait_read();
        named_barrier_sync(1 + index, warpgroup);
        int lane = thread % 32, row = thread / 32 * 16 + lane % 16, slab_half = lane / 16;
        uint32_t to = shared_address(shared.out[index][0]) + row * row_bytes;
#pragma unroll
        for (int c = 0; c < tile_features / 16; ++c) {
            // Two by two matrices of eight by eight: rows and eight rows on, columns and eight columns on.
            uint32_t matrices[4];
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                int i = 8 * c + 2 * m;
                matrices[m] = packed(activated<activation>(d[i]) * d[i + tile_features / 2],
                                     activated<activation>(d[i + 1]) * d[i + 1 + tile_features / 2]);
            }
            int chunk = 2 * c % 8 + slab_half;
            uint32_t address = to + c / 4 * 64 * row_bytes + ((chunk ^ row % 8) << 4);
            asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(matrices[0]),
                         "r"(matrices[1]), "r"(matrices[2]), "r"(matrices[3])
                         : "memory");
        }
        stores_before_async();
        named_barrier_sync(1 + index, warpgroup);
        if (thread == 0) {
            for (int slab = 0; slab < tile_features / 64; ++slab)
                tma_store_2d(&args.out, shared.out[index][slab], place.feature + 64 * slab, place.row + 64 * index);
            tma_store_commit();
        }
    }

public:
    __device__ Consumer(const Arguments &args, Shared &shared, int index)
        : args(args), shared(shared), index(index), thread(threadIdx.x % warpgroup) {}

    __device__ void run(uint32_t rank) {
        for (int tile = blockIdx.x / cluster; tile < args.row_pairs * args.feature_tiles; tile += gridDim.x / cluster) {
            uint32_t last = 0;
            for (int step = 0; step < args.steps; ++step) {
                multiply(step);
                if (step > 0) {
                    wgmma_wait<1>();
                    release(last);
                }
                last = ring.stage;
                ring.advance();
            }
            wgmma_wait<0>();
            pin(d);
            release(last);
            write(Place(args, tile, rank));
        }
        if (thread == 0) tma_store_wait_read();
    }
};

template <Activation activation> __device__ void gated_gemm(const Arguments &args) {
    // The runtime aligns dynamic shared memory to less than the swizzle wants; the same in both blocks.
    Shared &shared = *reinterpret_cast<Shared *>((reinterpret_cast<uintptr_t>(dynamic_shared) + 1023) & ~uintptr_t(1023));
    uint32_t rank = rank_in_cluster();
    if (threadIdx.x == 0) {
        tma_prefetch(&args.x);
        tma_prefetch(&args.weight);
        tma_prefetch(&args.out);
        for (int stage = 0; stage < stages; ++stage) {
            barrier_init(&shared.full[stage], 1);
            barrier_init(&shared.empty[stage], consumers * cluster);
        }
        barrier_init_done();
    }
    cluster_sync();
    wait_for_previous();
    if (threadIdx.x < warpgroup) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0) produce(args, shared, rank);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        Consumer<activation>(args, shared, threadIdx.x / warpgroup - 1).run(rank);
    }
    // The other block may still send weights here, and say that it has read its own.
    cluster_sync();
}

} // namespace

#define KERNEL(name, activation)                                                                                       \
    extern "C" __global__ void __cluster_dims__(cluster, 1, 1) __launch_bounds__(384, 1)                               \
        gated_gemm_sm90_##name(const __grid_constant__ Arguments args) {                                               \
        gated_gemm<Activation::activation>(args);                                                                      \
    }
KERNEL(silu, Silu)
KERNEL(gelu, Gelu)
