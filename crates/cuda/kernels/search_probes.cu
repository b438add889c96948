// Probe rows by products of warps, and what their sums are as shares.

#include "search/probes.cuh"
#include "search/rows_times_keys.cuh"

FOR_HEAD_DIMS(search_probes)

// Log2 of sums to shares, and each row's sum: one warp a row.
extern "C" __global__ void __launch_bounds__(threads) search_shares(const __grid_constant__ Search s) {
    wait_for_previous();
    int probe = blockIdx.x * warps + threadIdx.x / 32, head = blockIdx.y, lane = threadIdx.x % 32;
    if (probe >= s.num_probes) return;
    float *shares = s.shares + (size_t(head) * s.num_probes + probe) * s.num_blocks;
    float largest = -INFINITY, sum = 0.f;
    for (int block = lane; block < s.num_blocks; block += 32) largest = fmaxf(largest, shares[block]);
    for (int lanes = 16; lanes > 0; lanes /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
    for (int block = lane; block < s.num_blocks; block += 32) sum += exp2_approx(shares[block] - largest);
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    float lse = largest + log2f(sum);
    for (int block = lane; block < s.num_blocks; block += 32) shares[block] = exp2_approx(shares[block] - lse);
    if (lane == 0) s.probe_lse[head * s.num_probes + probe] = lse;
}
