// Rows in 8-bit integers, between -127 and 127, each or some together with an f32 scale.
#pragma once
#include "vector.cuh"
#include <cmath>

constexpr float largest_integer = 127.f;

// The largest absolute value with `largest`; infinity where one is no number.
__device__ inline float largest_number(const Vector &vector, float largest) {
#pragma unroll
    for (int i = 0; i < vector_len; ++i) {
        float size = fabsf(vector.x[i]);
        largest = fmaxf(largest, size <= 3.4e38f ? size : INFINITY);
    }
    return largest;
}

// What elements are divided by; of some whose largest absolute value is `largest`. Where one is no number, the scale is none: there
// is no integer to say it.
__device__ inline float integer_scale(float largest) { return largest < INFINITY ? largest / largest_integer : NAN; }

// Eight elements, the first in the lowest byte.
__device__ inline uint2 rounded(const Vector &vector, float factor) {
    uint32_t words[2] = {};
#pragma unroll
    for (int i = 0; i < vector_len; ++i)
        words[i / 4] |= uint32_t(uint8_t(__float2int_rn(vector.x[i] * factor))) << i % 4 * 8;
    return uint2{words[0], words[1]};
}
