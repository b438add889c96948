// Which plan each head gets: the best of each family with each number of columns, and the best of those. One block a
// head, a warp a candidate, a lane a level; more warps to sort columns.

#include "search/arguments.cuh"
#include "search/sort.cuh"

namespace {

constexpr int threads = sort_threads;
static_assert(threads >= 32 * num_families * most_counts);

// Sums over levels up to the lane's own.
__device__ unsigned running_sum(unsigned x) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        unsigned lower = __shfl_up_sync(~0u, x, lanes);
        if (lane >= lanes) x += lower;
    }
    return x;
}

// `steps` blocks, and in each sparse tile the gathered columns and centres.
__device__ double cost_of(const Search &s, const Costs &costs, double steps, int columns) {
    auto groups = [](int n) { return (n + block_keys - 1) / block_keys; };
    int centres = s.centres ? s.num_blocks : 0;
    return steps + costs.tile * s.num_tiles + costs.gathered_step * (double(s.sparse_tiles) * (groups(columns) + groups(centres))) +
           costs.gather_key * columns + costs.gather_centre * centres;
}

// The best plan of a family with `n`-th number of columns; by one warp.
__device__ Candidate best(const Search &s, int head, int family, int n, const unsigned *steps) {
    int lane = threadIdx.x % 32, columns = s.counts[n];
    bool is_level = lane < num_levels;
    bool by_pairs = s.goal == goal_density;
    const Costs prices = by_pairs ? Costs{1.0, 0.0, 0.0, 0.0} : s.costs;
    double budget = s.share * (by_pairs ? s.dense_pairs_cost : s.dense_cost);
    double kept_steps = running_sum(is_level ? steps[lane] : 0);
    // In fixed point. Columns of a level may be rounded to more than its blocks: sums wrap, and come back.
    unsigned kept = 0, least = ~0u;
#pragma unroll 4 // reads are under way together, and those of kinds, too
    for (int part = 0; part < s.num_parts(); ++part) {
        const unsigned *sums = s.sums_of(head, part, family);
        unsigned of_all_columns = 0;
#pragma unroll
        for (int kind = of_columns; kind < num_kinds; ++kind)
            of_all_columns += is_level && kind < of_columns + n ? sums[kind * num_levels + lane] : 0;
        unsigned outside = (is_level ? sums[of_blocks * num_levels + lane] : 0) - of_all_columns;
        unsigned of_part = s.always[head * s.num_parts() + part] + __reduce_add_sync(~0u, of_all_columns) + running_sum(outside);
        kept += of_part;
        least = min(least, of_part);
    }
    double one = s.fixed_one(), recall = kept / (one * s.num_probes);
    double cost = cost_of(s, s.costs, kept_steps, columns);
    int level = -1;
    if (s.goal == goal_recall) {
        unsigned good = __ballot_sync(~0u, is_level && recall >= s.share && least >= s.share_of_part * one * judges_of_part);
        level = good ? __ffs(good) - 1 : -1;
    } else {
        unsigned good = __ballot_sync(~0u, is_level && cost_of(s, prices, kept_steps, columns) <= budget);
        // Below the least that a plan costs there is still that plan.
        level = good ? 31 - __clz(good) : n == 0 ? 0 : -1;
    }
    if (columns > s.columns_found[head] || !(s.families >> family & 1)) level = -1;
    return Candidate{level, columns, __shfl_sync(~0u, recall, max(level, 0)), __shfl_sync(~0u, cost, max(level, 0))};
}

__device__ Choice choose(const Search &s, const Candidate *candidates) {
    Choice dense{num_families, 0, 0, 0, 1.0, s.dense_cost}, choice = dense;
    bool chosen = false;
    for (int i = 0; i < num_families * s.num_counts; ++i) {
        const Candidate &candidate = candidates[i];
        if (candidate.level < 0) continue;
        bool better = s.goal == goal_recall ? candidate.cost < choice.cost : candidate.recall > choice.recall;
        if (!chosen || better)
            choice = Choice{i / s.num_counts, candidate.level, candidate.columns, 0, candidate.recall, candidate.cost};
        chosen = true;
    }
    return s.goal == goal_recall && choice.cost >= s.margin * s.dense_cost ? dense : choice;
}

} // namespace

extern "C" __global__ void __launch_bounds__(threads, 1) search_choose(const __grid_constant__ Search s) {
    wait_for_previous();
    int head = blockIdx.x;
    __shared__ unsigned steps[num_families][num_levels];
    __shared__ Candidate candidates[num_families * most_counts];
    __shared__ Choice choice;
    __shared__ int exchange[2][sort_threads];
    for (int i = threadIdx.x; i < num_families * num_levels; i += threads) {
        int family = i / num_levels, level = i % num_levels;
        steps[family][level] = family == block_cluster ? s.level_steps[head * num_levels + level] : 0;
    }
    __syncthreads();
    if (threadIdx.x < num_families) atomicAdd(&steps[threadIdx.x][0], s.always_steps);
    for (int distance = threadIdx.x; distance <= s.num_blocks; distance += threads) {
        unsigned at_distance = s.distance_steps[distance];
        if (at_distance == 0) continue;
        atomicAdd(&steps[interval_slash][s.distance_levels[size_t(head) * (s.num_blocks + 1) + distance]], at_distance);
        atomicAdd(&steps[triangular][ceil_log2(distance)], at_distance);
    }
    __syncthreads();
    int warp = threadIdx.x / 32;
    if (warp < num_families * s.num_counts) {
        int family = warp / s.num_counts;
        Candidate candidate = best(s, head, family, warp % s.num_counts, steps[family]);
        if (threadIdx.x % 32 == 0) {
            candidates[warp] = candidate;
            s.candidates[head * num_families * s.num_counts + warp] = candidate;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        choice = choose(s, candidates);
        s.choices[head] = choice;
        atomicAdd(&s.totals[1], (unsigned long long)(choice.recall * s.causal_pairs + 0.5));
    }
    __syncthreads();
    // Its columns, ascending.
    static_assert(most_columns == sort_threads);
    int at = threadIdx.x, own = at < choice.columns ? s.ranked_columns[head * most_columns + at] : INT_MAX;
    own = sort_block(own, power_of_two_from(choice.columns), exchange, [](int a, int b) { return a < b; });
    if (at < choice.columns) s.columns[head * s.column_room + at] = own;
}
