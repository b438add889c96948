// What proposing rows attend to: how much they give each key far from the diagonal, the most attended of these, and the ranks of
// block diagonals.

#include "search/column_mass.cuh"
#include "search/rows_times_keys.cuh"
#include "search/sort.cuh"

FOR_HEAD_DIMS(search_column_mass)

constexpr int rank_threads = sort_threads;
constexpr int digit_bits = 11, digits = 1 << digit_bits;

// Level of every distance to the diagonal: the base-2 logarithm of its rank, rounded up. Where there are more threads than
// distances, several share one: each sums some rows, and counts some of the distances that come before it.
__device__ void rank_distances(const Search &s, int head) {
    constexpr int most_rows = 512; // at once
    __shared__ int starts[most_rows], fulls[most_rows]; // of the tile of each row
    __shared__ int ranks[rank_threads];
    int n = s.num_blocks + 1, width = (n + 31) / 32 * 32, parts = max(rank_threads / width, 1);
    int part = threadIdx.x / width, own = threadIdx.x % width, proposing = s.proposing();
    int stride = min(width, rank_threads);
    if (part >= parts) own = n; // nothing to do
    float *distance_mass = reinterpret_cast<float *>(dynamic_shared); // [parts][num_blocks + 1]
    for (int distance = own; distance < n; distance += stride) distance_mass[part * n + distance] = 0.f;
    for (int first = 0; first < proposing; first += most_rows) {
        int rows = min(most_rows, proposing - first);
        __syncthreads();
        for (int i = threadIdx.x; i < rows; i += rank_threads) {
            int tile = s.probes[first + i] / s.block_m;
            starts[i] = s.distance(tile, 0);
            fulls[i] = s.full_blocks(tile);
        }
        __syncthreads();
        const float *shares = s.shares + (size_t(head) * s.num_probes + first) * s.num_blocks;
        for (int distance = own; distance < n; distance += stride) {
            float sum = distance_mass[part * n + distance];
#pragma unroll 16
            for (int i = part; i < rows; i += parts) {
                // Read in any case, so that reads are under way together.
                int block = starts[i] - distance;
                float share = shares[size_t(i) * s.num_blocks + min(max(block, 0), s.num_blocks - 1)];
                sum += block >= 1 && block < fulls[i] ? share : 0.f;
            }
            distance_mass[part * n + distance] = sum;
        }
    }
    __syncthreads();
    if (threadIdx.x < n && parts > 1) {
        float sum = 0.f;
        for (int i = 0; i < parts; ++i) sum += distance_mass[i * n + threadIdx.x];
        distance_mass[threadIdx.x] = sum;
        ranks[threadIdx.x] = 1;
    }
    __syncthreads();
    unsigned char *levels = s.distance_levels + size_t(head) * n;
    for (int distance = own; distance < n; distance += stride) {
        float mass = distance_mass[distance];
        int rank = 0;
#pragma unroll 8
        for (int other = part * n / parts; other < (part + 1) * n / parts; ++other) {
            float x = distance_mass[other];
            rank += x > mass || (x == mass && other < distance);
        }
        if (parts > 1) atomicAdd(&ranks[distance], rank);
        else levels[distance] = ceil_log2(rank + 1);
    }
    if (parts == 1) return;
    __syncthreads();
    if (threadIdx.x < n) levels[threadIdx.x] = ceil_log2(ranks[threadIdx.x]);
}

// Adds to every entry those behind it; two entries a thread.
__device__ void sum_from_behind(unsigned (&x)[digits]) {
    static_assert(digits == 2 * rank_threads);
    __shared__ unsigned of_warps[rank_threads / 32];
    // Thread 0 has the last two.
    int at = digits - 2 - 2 * threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned high = x[at + 1], low = x[at], sum = high + low;
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        unsigned before = __shfl_up_sync(~0u, sum, lanes);
        if (lane >= lanes) sum += before;
    }
    if (lane == 31) of_warps[warp] = sum;
    __syncthreads();
    unsigned before = lane < warp ? of_warps[lane] : 0;
    before = __reduce_add_sync(~0u, before) + sum - high - low;
    x[at + 1] = before + high;
    x[at] = before + high + low;
    __syncthreads();
}

// Grows with `x`: six bits behind its leading one, and where that is.
__device__ unsigned leading_digit(unsigned x) {
    int past_six = max(25 - __clz(x | 63), 0); // bits behind those
    return 64 * past_six + (x >> past_six);
}

// The least that has this leading digit, and the bits behind it.
__device__ uint2 least_of_digit(unsigned digit) {
    unsigned past_six = digit < 128 ? 0 : digit / 64 - 1;
    return uint2{digit - 64 * past_six << past_six, past_six};
}

// The most attended columns of a head, most attended first; of equal ones the lower.
__device__ void rank_columns(const Search &s, int head) {
    int keys = s.num_blocks * block_keys, lane = threadIdx.x % 32;
    const unsigned *mass = s.column_mass + size_t(head) * keys;
    // What is found, and while it is looked for how many columns there are from each digit on.
    __shared__ unsigned long long found[2][most_columns];
    unsigned(&histogram)[digits] = reinterpret_cast<unsigned(&)[digits]>(found[1]);
    static_assert(most_columns == sort_threads && sizeof(histogram) <= sizeof(found[1]));
    __shared__ unsigned num_found, digit;

    // What a column has, and below it the place, the lower one first. Columns of the sink are always kept as a block.
    auto key_of = [&](int i) -> unsigned long long {
        unsigned x = mass[i];
        return i >= block_keys && i < s.kv_len && x > 0 ? (unsigned long long)x << 32 | (~0u - i) : 0;
    };
    // The least of those wanted: first to six bits, whatever its size, then some bits at a time, until all that begin like it are
    // among them.
    unsigned long long least = 0;
    unsigned wanted = s.counts[s.num_counts - 1];
    int settled = 64; // bits from here on
    while (true) {
        bool leading = settled == 64;
        int shift = max(settled - digit_bits, 0);
        for (int i = threadIdx.x; i < digits; i += rank_threads) histogram[i] = 0;
        __syncthreads();
#pragma unroll 8
        for (int i = threadIdx.x; i < keys; i += rank_threads) {
            unsigned long long key = key_of(i);
            unsigned of_key = leading ? leading_digit(key >> 32) : key >> shift & (digits - 1);
            if (key && (leading || key >> settled == least >> settled)) atomicAdd(&histogram[of_key], 1);
        }
        __syncthreads();
        sum_from_behind(histogram);
        if (histogram[0] < wanted) break; // there are no more than wanted
        for (int i = threadIdx.x; i < digits; i += rank_threads)
            if (histogram[i] >= wanted && (i + 1 == digits || histogram[i + 1] < wanted)) digit = i;
        __syncthreads();
        bool exact = histogram[digit] == wanted;
        wanted -= digit + 1 < digits ? histogram[digit + 1] : 0;
        if (leading) {
            uint2 of_digit = least_of_digit(digit);
            least = (unsigned long long)of_digit.x << 32;
            settled = 32 + of_digit.y;
        } else {
            // The last two digits overlap: what they share is settled, and the same.
            least |= (unsigned long long)digit << shift;
            settled = shift;
        }
        if (exact || settled == 0) break;
        __syncthreads();
    }
    if (threadIdx.x == 0) num_found = 0;
    found[0][threadIdx.x] = 0;
    __syncthreads();
#pragma unroll 8
    for (int i = threadIdx.x; i < keys; i += rank_threads) {
        unsigned long long key = key_of(i);
        bool is_found = key && key >= least;
        unsigned of_warp = __ballot_sync(~0u, is_found), at = 0;
        if (of_warp && lane == 0) at = atomicAdd(&num_found, __popc(of_warp));
        at = __shfl_sync(~0u, at, 0) + __popc(of_warp & ((1u << lane) - 1));
        if (is_found) found[0][at] = key;
    }
    __syncthreads();
    int count = num_found;
    unsigned long long own = found[0][threadIdx.x];
    __syncthreads();
    own = sort_block(own, power_of_two_from(count), found, [](unsigned long long a, unsigned long long b) { return a > b; });
    if (threadIdx.x < count) s.ranked_columns[head * most_columns + threadIdx.x] = ~0u - unsigned(own);
    if (threadIdx.x == 0) s.columns_found[head] = count;
}

// Ranks of columns and of distances, side by side: a block of threads a head and kind.
extern "C" __global__ void __launch_bounds__(rank_threads) search_rank(const __grid_constant__ Search s) {
    wait_for_previous();
    if (blockIdx.y == 0) rank_distances(s, blockIdx.x);
    else rank_columns(s, blockIdx.x);
}
