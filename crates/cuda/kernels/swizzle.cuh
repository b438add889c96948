// Rows in shared memory whose 16-byte chunks are permuted, so that eight rows of one column lie in different banks. Rows
// are a multiple of 128 bytes, and begin on one.
#pragma once
#include <cstdint>

template <int ROW_BYTES> __device__ inline uint32_t swizzled(int row, int chunk) {
    static_assert(ROW_BYTES % 128 == 0);
    return row * ROW_BYTES + ((chunk ^ row % 8) * 16);
}

// The place `bytes` further along the row than the one at `address`, which lies in the first 32 bytes of its row;
// `bytes` is a multiple of 32. Only chunks of the same 128 bytes are permuted.
__device__ inline uint32_t along_row(uint32_t address, int bytes) { return (address ^ bytes % 128) + bytes / 128 * 128; }
