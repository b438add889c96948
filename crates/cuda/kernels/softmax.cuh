// Numbers of the online softmax. Logits are exponentiated in base 2: MUFU.EX2 is what the hardware has.
#pragma once
#include <cstdint>

constexpr float log2_e = 1.4426950408889634f;

__device__ inline float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Over the four lanes that hold one row of a product.
__device__ inline float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

// Two numbers rounded to bf16, `low` in the lower half.
__device__ inline uint32_t bf16_pair(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Four lanes of a row hold two columns each of four groups of eight, x[group]. Transposed, each holds the eight columns
// of group lane % 4: 16 bytes to write at once.
__device__ inline uint4 gather_columns(uint32_t (&x)[4], int lane) {
    bool odd = lane & 1, high = lane & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t got = __shfl_xor_sync(~0u, odd ? x[i] : x[i + 1], 1);
        (odd ? x[i] : x[i + 1]) = got;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        uint32_t got = __shfl_xor_sync(~0u, high ? x[i] : x[i + 2], 2);
        (high ? x[i] : x[i + 2]) = got;
    }
    return uint4{x[0], x[1], x[2], x[3]};
}
