// Sorting by all threads of a block, one element a thread (bitonic).
#pragma once

constexpr int sort_threads = 1024;

// Sorts the elements of the first `size` threads, a power of two, so that `before(a, b)` holds for none that is behind; returns the
// thread's own. Neighbours within a warp compare by shuffles; others through shared memory, in turn through either of `exchange`,
// which nobody uses any more, so that one barrier a step is enough.
template <typename T, typename Before>
__device__ inline T sort_block(T own, int size, T (*exchange)[sort_threads], Before before) {
    int buffer = 0;
    for (int run = 2; run <= size; run *= 2)
        for (int gap = run / 2; gap > 0; gap /= 2) {
            T other;
            if (gap < 32) {
                other = __shfl_xor_sync(~0u, own, gap);
            } else {
                exchange[buffer][threadIdx.x] = own;
                __syncthreads();
                other = exchange[buffer][threadIdx.x ^ gap];
                buffer ^= 1;
            }
            bool forward = (threadIdx.x & run) == 0, wants_first = ((threadIdx.x & gap) == 0) == forward;
            if (wants_first ? before(other, own) : before(own, other)) own = other;
        }
    return own;
}

// The least power of two from `n` on.
__device__ inline int power_of_two_from(int n) { return n <= 1 ? 1 : 1 << (32 - __clz(n - 1)); }
