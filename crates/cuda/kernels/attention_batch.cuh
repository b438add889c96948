// What every attention kernel is told of its batch. Mirrors `src/batch.rs`.
#pragma once
#include <cstdint>

// The last `q_len` of `kv_len` positions of one sequence.
struct Sequence {
    int q_begin; // row of its first query in q, o and lse
    int q_len;
    int kv_len;
    int table_begin; // where its pages begin in the page table
};

// `block_m` queries of one sequence, from row `tile * block_m` of its queries on.
struct QueryTile {
    int sequence;
    int tile;
};

// Keys of a kv block: the unit of pages, plans and copies.
constexpr int block_keys = 64;

constexpr float log2_e = 1.4426950408889634f;
constexpr float ln_2 = 0.6931471805599453f;

__device__ inline float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// `low` in the lower half.
__device__ inline uint32_t bf16_pair(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
