// Eight bf16 elements at a time, 16 bytes, in f32.
#pragma once
#include <cstdint>
#include <cuda_bf16.h>

constexpr int vector_len = 8;

struct Vector {
    float x[vector_len];
};

__device__ inline Vector load_vector(const __nv_bfloat16 *from) {
    uint4 bits = *reinterpret_cast<const uint4 *>(from);
    uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
    Vector vector;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        vector.x[2 * i] = __uint_as_float(words[i] << 16);
        vector.x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
    return vector;
}

__device__ inline Vector load_vector(const float *from) {
    float4 low = reinterpret_cast<const float4 *>(from)[0], high = reinterpret_cast<const float4 *>(from)[1];
    return Vector{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ inline void store_vector(__nv_bfloat16 *to, const Vector &vector) {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(vector.x[2 * i], vector.x[2 * i + 1]);
        words[i] = *reinterpret_cast<uint32_t *>(&pair);
    }
    *reinterpret_cast<uint4 *>(to) = uint4{words[0], words[1], words[2], words[3]};
}

__device__ inline void store_vector(float *to, const Vector &vector) {
    const float *x = vector.x;
    reinterpret_cast<float4 *>(to)[0] = float4{x[0], x[1], x[2], x[3]};
    reinterpret_cast<float4 *>(to)[1] = float4{x[4], x[5], x[6], x[7]};
}
