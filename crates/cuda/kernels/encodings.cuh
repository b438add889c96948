// Weights as GGUF files store them: blocks of quantised elements, decoded eight at a time. The layouts are GGML's.
#pragma once
#include "vector.cuh"
#include <cuda_fp16.h>

struct Block4_0 { static constexpr int elements = 32, bytes = 18; };  // scale; 4-bit values around 8
struct Block4_1 { static constexpr int elements = 32, bytes = 20; };  // scale, minimum; 4-bit values
struct Block5_0 { static constexpr int elements = 32, bytes = 22; };  // scale; fifth bits; values around 16
struct Block5_1 { static constexpr int elements = 32, bytes = 24; };  // scale, minimum; fifth bits; values
struct Block8_0 { static constexpr int elements = 32, bytes = 34; };  // scale; 8-bit values
struct Block4_k { static constexpr int elements = 256, bytes = 144; }; // 8 groups: 6-bit scales and minima; 4-bit values
struct Block5_k { static constexpr int elements = 256, bytes = 176; }; // likewise; fifth bits
struct Block6_k { static constexpr int elements = 256, bytes = 210; }; // low nibbles, high pairs, 16 8-bit scales, scale

// Blocks have an even number of bytes and no better alignment.
__device__ inline float half_at(const unsigned char *at) { return __half2float(*reinterpret_cast<const __half *>(at)); }

__device__ inline uint2 eight_bytes(const unsigned char *at) {
    const unsigned short *words = reinterpret_cast<const unsigned short *>(at);
    return uint2{words[0] | unsigned(words[1]) << 16, words[2] | unsigned(words[3]) << 16};
}

__device__ inline int byte_of(uint2 bytes, int i) { return ((i < 4 ? bytes.x : bytes.y) >> i % 4 * 8) & 255; }

// Of 32 elements the first 16 are the low nibbles of 16 bytes, the others the high ones.
__device__ inline Vector nibbles(const unsigned char *packed, unsigned fifth, int from, float scale, float offset) {
    uint2 bytes = eight_bytes(packed + from % 16);
    Vector out;
#pragma unroll
    for (int i = 0; i < vector_len; ++i)
        out.x[i] = fmaf(byte_of(bytes, i) >> from / 16 * 4 & 15 | (fifth >> from + i & 1) << 4, scale, offset);
    return out;
}

__device__ inline unsigned fifth_bits(const unsigned char *at) {
    const unsigned short *words = reinterpret_cast<const unsigned short *>(at);
    return words[0] | unsigned(words[1]) << 16;
}

// Scale and minimum of one of eight groups, six bits each, spread over twelve bytes.
__device__ inline float2 group_scale(const unsigned char *packed, int group) {
    int scale, minimum;
    if (group < 4) {
        scale = packed[group] & 63;
        minimum = packed[group + 4] & 63;
    } else {
        scale = packed[group + 4] & 15 | packed[group - 4] >> 6 << 4;
        minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
    }
    return float2{float(scale), float(minimum)};
}

// Two groups share 32 bytes of nibbles; `fifth` has one bit plane a group, or is null.
__device__ inline Vector of_groups(const unsigned char *block, const unsigned char *fifth, const unsigned char *packed,
                                   int from) {
    int group = from / 32, in_group = from % 32;
    float2 scale = group_scale(block + 4, group);
    scale.x *= half_at(block);
    scale.y *= half_at(block + 2);
    uint2 bytes = eight_bytes(packed + group / 2 * 32 + in_group);
    uint2 high = fifth ? eight_bytes(fifth + in_group) : uint2{0, 0};
    Vector out;
#pragma unroll
    for (int i = 0; i < vector_len; ++i)
        out.x[i] = fmaf(byte_of(bytes, i) >> group % 2 * 4 & 15 | (byte_of(high, i) >> group & 1) << 4, scale.x, -scale.y);
    return out;
}

// Elements `from .. from + 8` of a block.
__device__ inline Vector decode(Block4_0, const unsigned char *block, int from) {
    float scale = half_at(block);
    return nibbles(block + 2, 0, from, scale, -8.f * scale);
}

__device__ inline Vector decode(Block4_1, const unsigned char *block, int from) {
    return nibbles(block + 4, 0, from, half_at(block), half_at(block + 2));
}

__device__ inline Vector decode(Block5_0, const unsigned char *block, int from) {
    float scale = half_at(block);
    return nibbles(block + 6, fifth_bits(block + 2), from, scale, -16.f * scale);
}

__device__ inline Vector decode(Block5_1, const unsigned char *block, int from) {
    return nibbles(block + 8, fifth_bits(block + 4), from, half_at(block), half_at(block + 2));
}

__device__ inline Vector decode(Block8_0, const unsigned char *block, int from) {
    float scale = half_at(block);
    uint2 bytes = eight_bytes(block + 2 + from);
    Vector out;
#pragma unroll
    for (int i = 0; i < vector_len; ++i) out.x[i] = scale * static_cast<signed char>(byte_of(bytes, i));
    return out;
}

__device__ inline Vector decode(Block4_k, const unsigned char *block, int from) {
    return of_groups(block, nullptr, block + 16, from);
}

__device__ inline Vector decode(Block5_k, const unsigned char *block, int from) {
    return of_groups(block, block + 16, block + 48, from);
}

__device__ inline Vector decode(Block6_k, const unsigned char *block, int from) {
    int half = from / 128, quarter = from % 128 / 32, i = from % 32;
    float scale = half_at(block + 208) * static_cast<signed char>(block[192 + half * 8 + quarter * 2 + i / 16]);
    uint2 low = eight_bytes(block + half * 64 + quarter % 2 * 32 + i), high = eight_bytes(block + 128 + half * 32 + i);
    Vector out;
#pragma unroll
    for (int j = 0; j < vector_len; ++j) {
        int nibble = byte_of(low, j) >> quarter / 2 * 4 & 15, pair = byte_of(high, j) >> quarter * 2 & 3;
        out.x[j] = scale * ((nibble | pair << 4) - 32);
    }
    return out;
}

// Elements `8 unit .. 8 unit + 8` of a row of whole blocks.
template <typename Block> __device__ inline Vector decode_unit(const unsigned char *row, unsigned unit) {
    constexpr unsigned units = Block::elements / vector_len;
    return decode(Block{}, row + size_t(unit / units) * Block::bytes, unit % units * vector_len);
}

// A kernel for each encoding, by the names that `src/quantised.rs` gives them.
#define FOR_EACH_ENCODING(KERNEL)                                                                                      \
    KERNEL(q4_0, Block4_0)                                                                                             \
    KERNEL(q4_1, Block4_1)                                                                                             \
    KERNEL(q5_0, Block5_0)                                                                                             \
    KERNEL(q5_1, Block5_1)                                                                                             \
    KERNEL(q8_0, Block8_0)                                                                                             \
    KERNEL(q4_k, Block4_k)                                                                                             \
    KERNEL(q5_k, Block5_k)                                                                                             \
    KERNEL(q6_k, Block6_k)
