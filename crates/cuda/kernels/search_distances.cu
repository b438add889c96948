// Block diagonals ranked by the attention that proposing rows give them; then what all probe rows give the blocks of
// each level.

#include "search/level_sums.cuh"

constexpr int most_at_once = 512; // rows
// Level of every distance to the diagonal: the base-2 logarithm of its rank, rounded up. One block a head.
extern "C" __global__ void __launch_bounds__(1024) search_rank_distances(const __grid_constant__ Search s) {
    int head = blockIdx.x, proposing = s.proposing();
    float *mass = reinterpret_cast<float *>(dynamic_shared); // [num_blocks + 1]
    __shared__ int starts[most_at_once], fulls[most_at_once]; // of the tile of each row
    for (int distance = threadIdx.x; distance <= s.num_blocks; distance += blockDim.x) mass[distance] = 0.f;
    for (int first = 0; first < proposing; first += most_at_once) {
        int rows = min(most_at_once, proposing - first);
        __syncthreads();
        for (int i = threadIdx.x; i < rows; i += blockDim.x) {
            int tile = s.probes[first + i] / s.block_m;
            starts[i] = s.distance(tile, 0);
            fulls[i] = s.full_blocks(tile);
        }
        __syncthreads();
        const float *shares = s.shares + (size_t(head) * s.num_probes + first) * s.num_blocks;
        for (int distance = threadIdx.x; distance <= s.num_blocks; distance += blockDim.x) {
            float sum = mass[distance];
#pragma unroll 8
            for (int i = 0; i < rows; ++i) {
                // Read in any case, so that reads are under way together.
                int block = starts[i] - distance;
                float share = shares[size_t(i) * s.num_blocks + min(max(block, 0), s.num_blocks - 1)];
                sum += block >= 1 && block < fulls[i] ? share : 0.f;
            }
            mass[distance] = sum;
        }
    }
    __syncthreads();
    for (int distance = threadIdx.x; distance <= s.num_blocks; distance += blockDim.x) {
        float own = mass[distance];
        int rank = 1;
#pragma unroll 8
        for (int other = 0; other <= s.num_blocks; ++other) {
            float x = mass[other];
            rank += x > own || (x == own && other < distance);
        }
        s.distance_levels[size_t(head) * (s.num_blocks + 1) + distance] = ceil_log2(rank);
    }
}

// Sums of the rows' shares; each warp takes some rows.
extern "C" __global__ void __launch_bounds__(threads) search_judge(const __grid_constant__ Search s) {
    int head = blockIdx.y, lane = threadIdx.x % 32;
    LevelSums sums(s, head);
    unsigned always = 0;
    for (int probe = blockIdx.x * warps + threadIdx.x / 32; probe < s.num_probes; probe += gridDim.x * warps) {
        int tile = s.probes[probe] / s.block_m;
        if (s.sees_all(tile)) {
            if (lane == 0) always += unsigned(s.fixed_one());
            continue;
        }
        const float *shares = s.shares + (size_t(head) * s.num_probes + probe) * s.num_blocks;
        int full = s.full_blocks(tile), causal = s.causal_blocks(tile);
        for (int block = lane; block < causal; block += 32) {
            if (block < full) sums.add(tile, block, shares[block]);
            else always += __float2uint_rn(shares[block] * s.fixed_one());
        }
    }
    always = __reduce_add_sync(~0u, always);
    if (lane == 0 && always) atomicAdd(&s.always[head], always);
    sums.flush(of_blocks);
}
