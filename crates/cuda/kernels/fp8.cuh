// Rows in 8-bit floats (e4m3: four bits of exponent, three of mantissa), each with an f32 scale.
#pragma once
#include "vector.cuh"
#include <cuda_fp8.h>

constexpr float fp8_largest = 448.f;

// What the elements of a row are divided by, and multiplied with before they are rounded; of a row whose largest absolute
// value is `largest`. A row of zeros has a scale, too. What is no number stays none: an infinity times zero, or itself.
struct Fp8Scale {
    float scale, inverse;
    __device__ explicit Fp8Scale(float largest) {
        largest = fmaxf(largest, 1e-30f);
        scale = largest / fp8_largest;
        inverse = fp8_largest / largest;
    }
};

__device__ inline float largest_of(const Vector &vector, float largest) {
#pragma unroll
    for (int i = 0; i < vector_len; ++i) largest = fmaxf(largest, fabsf(vector.x[i]));
    return largest;
}

__device__ inline void store_vector(__nv_fp8_storage_t *to, const Vector &vector, float factor) {
    uint32_t words[2] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float2 pair{vector.x[2 * i] * factor, vector.x[2 * i + 1] * factor};
        words[i / 2] |= uint32_t(__nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3)) << i % 2 * 16;
    }
    *reinterpret_cast<uint2 *>(to) = uint2{words[0], words[1]};
}

// Where nothing is larger, rows are as good as zero; products of two scales must not vanish.
constexpr float least_largest = 1e-12f;

// Four numbers, the first in the lowest byte.
__device__ inline uint32_t fp8_quad(float a, float b, float c, float d) {
    uint32_t low = __nv_cvt_float2_to_fp8x2(float2{a, b}, __NV_SATFINITE, __NV_E4M3);
    uint32_t high = __nv_cvt_float2_to_fp8x2(float2{c, d}, __NV_SATFINITE, __NV_E4M3);
    return low | high << 16;
}
