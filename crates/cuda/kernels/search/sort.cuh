// Sorting in shared memory by all threads of a block (bitonic).
#pragma once

// Sorts `size` elements, a power of two, so that `before(a, b)` holds for none that is behind.
template <typename T, typename Before> __device__ inline void sort_shared(T *x, int size, Before before) {
    for (int run = 2; run <= size; run *= 2)
        for (int gap = run / 2; gap > 0; gap /= 2) {
            for (int i = threadIdx.x; i < size / 2; i += blockDim.x) {
                int low = (i & -gap) * 2 + (i & (gap - 1)), high = low + gap;
                T a = x[low], b = x[high];
                bool forward = (low & run) == 0;
                if (forward ? before(b, a) : before(a, b)) x[low] = b, x[high] = a;
            }
            __syncthreads();
        }
}

// The least power of two from `n` on.
__device__ inline int power_of_two_from(int n) { return n <= 1 ? 1 : 1 << (32 - __clz(n - 1)); }
