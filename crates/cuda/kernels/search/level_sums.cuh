// Attention on probe rows added up by the level that each family gives a block, in fixed point: whatever the order, the
// sums are the same.
#pragma once
#include "rows_times_keys.cuh"

// Used by all threads of a block of `threads`. Each lane has its own sums, so that none waits for another.
struct LevelSums {
    // What the families that look at attention say of a block, and how far it is: 0 for what every plan keeps.
    struct Levels {
        unsigned char block_cluster, interval_slash;
        int distance;
    };

    const Search &s;
    const int head;
    unsigned (*sums)[num_levels][32]; // [family][level][lane] of this warp

    __device__ LevelSums(const Search &s, int head) : s(s), head(head) {
        __shared__ unsigned of_warps[warps][num_families][num_levels][32];
        unsigned *all = &of_warps[0][0][0][0];
        for (int i = threadIdx.x; i < warps * num_families * num_levels * 32; i += threads) all[i] = 0;
        sums = of_warps[threadIdx.x / 32];
        __syncthreads();
    }

    __device__ unsigned fixed(float share) const { return __float2uint_rn(share * s.fixed_one()); }

    // Of a block that the tile sees whole.
    __device__ Levels levels_of(int tile, int block) const {
        if (s.always_kept(block, s.full_blocks(tile))) return Levels{0, 0, 0};
        int distance = s.distance(tile, block);
        return Levels{s.levels[(size_t(head) * s.num_tiles + tile) * s.num_blocks + block],
                      s.distance_levels[size_t(head) * (s.num_blocks + 1) + distance], distance};
    }

    __device__ void add(const Levels &of, float share) {
        unsigned more = fixed(share);
        if (more == 0) return;
        int lane = threadIdx.x % 32, levels[num_families] = {of.block_cluster, of.interval_slash, ceil_log2(of.distance)};
        // All read before any is written: each read waits as long as all of them.
        unsigned so_far[num_families];
#pragma unroll
        for (int family = 0; family < num_families; ++family) so_far[family] = sums[family][levels[family]][lane];
#pragma unroll
        for (int family = 0; family < num_families; ++family) sums[family][levels[family]][lane] = so_far[family] + more;
    }

    // The rows of a warp are all of one part.
    __device__ void flush(int kind, int part) {
        __syncwarp();
        int lane = threadIdx.x % 32;
        for (int i = lane; i < num_families * num_levels; i += 32) {
            int family = i / num_levels, level = i % num_levels;
            unsigned sum = 0;
            for (int other = 0; other < 32; ++other) sum += sums[family][level][(other + lane) % 32];
            if (sum) atomicAdd(&s.sums_of(head, part, family)[kind * num_levels + level], sum);
        }
    }
};
