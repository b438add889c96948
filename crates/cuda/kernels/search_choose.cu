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

// What a family takes and keeps in a part of the chunk, with blocks of levels up to the lane's own.
struct UpToLevel {
    unsigned steps, kept; // attention in fixed point
};

// By one warp. `steps`: of each part, family and level.
__device__ UpToLevel up_to_level(const Search &s, int head, int family, int n, int part, const unsigned *steps) {
    int lane = threadIdx.x % 32;
    bool is_level = lane < num_levels;
    const unsigned *sums = s.sums_of(head, part, family);
    unsigned of_all_columns = 0;
#pragma unroll
    for (int kind = of_columns; kind < num_kinds; ++kind)
        of_all_columns += is_level && kind < of_columns + n ? sums[kind * num_levels + lane] : 0;
    // Columns of a level may be rounded to more than its blocks: sums wrap, and come back.
    unsigned outside = (is_level ? sums[of_blocks * num_levels + lane] : 0) - of_all_columns;
    unsigned always = s.always[head * s.num_parts() + part] + __reduce_add_sync(~0u, of_all_columns);
    unsigned own_steps = is_level ? steps[(part * num_families + family) * num_levels + lane] : 0;
    return UpToLevel{running_sum(own_steps), always + running_sum(outside)};
}

// The best plan of a family with `n`-th number of columns, and its level in each part; by one warp.
__device__ Candidate best(const Search &s, int head, int family, int n, const unsigned *steps, unsigned char *part_levels) {
    int lane = threadIdx.x % 32, columns = s.counts[n];
    bool is_level = lane < num_levels, for_recall = s.goal == goal_recall, by_pairs = s.goal == goal_density;
    const Costs prices = by_pairs ? Costs{1.0, 0.0, 0.0, 0.0} : s.costs;
    double budget = s.share * (by_pairs ? s.dense_pairs_cost : s.dense_cost);
    double one = s.fixed_one(), of_all = one * s.num_probes;
    // The first level that keeps as much of a part as it must.
    auto floor_of = [&](const UpToLevel &of_part) {
        if (!for_recall) return 0;
        unsigned enough = __ballot_sync(~0u, is_level && of_part.kept >= s.share_of_part * one * judges_of_part);
        return enough ? __ffs(enough) - 1 : num_levels;
    };
    // With the lane's level in all parts, or more where a part needs it.
    unsigned kept = 0, all_steps = s.always_steps;
    int highest_floor = 0;
#pragma unroll 4 // reads are under way together, and those of kinds, too
    for (int part = 0; part < s.num_parts(); ++part) {
        UpToLevel of_part = up_to_level(s, head, family, n, part, steps);
        int floor = floor_of(of_part), level = s.own_levels ? max(lane, floor) : lane;
        highest_floor = max(highest_floor, floor);
        kept += __shfl_sync(~0u, of_part.kept, min(level, num_levels - 1));
        all_steps += __shfl_sync(~0u, of_part.steps, min(level, num_levels - 1));
    }
    int level = -1;
    if (for_recall) {
        unsigned enough = __ballot_sync(~0u, is_level && kept >= s.share * of_all);
        if (enough && highest_floor < num_levels) level = max(__ffs(enough) - 1, s.own_levels ? 0 : highest_floor);
    } else {
        unsigned good = __ballot_sync(~0u, is_level && cost_of(s, prices, all_steps, columns) <= budget);
        // Below the least that a plan costs there is still that plan.
        level = good ? 31 - __clz(good) : n == 0 ? 0 : -1;
    }
    if (columns > s.columns_found[head] || !(s.families >> family & 1)) level = -1;
    if (level < 0) return Candidate{-1, columns, 0.0, 0.0};

    kept = __shfl_sync(~0u, kept, level);
    all_steps = __shfl_sync(~0u, all_steps, level);
    int highest = 0;
    // From the last part back, which has most blocks, a level less as long as all together keep enough.
#pragma unroll 4
    for (int part = s.num_parts() - 1; part >= 0; --part) {
        UpToLevel of_part = up_to_level(s, head, family, n, part, steps);
        int floor = floor_of(of_part), own = s.own_levels ? max(level, floor) : level;
        int lower = max(own - 1, 0);
        unsigned less = __shfl_sync(~0u, of_part.kept, own) - __shfl_sync(~0u, of_part.kept, lower);
        unsigned fewer = __shfl_sync(~0u, of_part.steps, own) - __shfl_sync(~0u, of_part.steps, lower);
        if (for_recall && s.own_levels && own > floor && kept - less >= s.share * of_all) {
            own = lower;
            kept -= less;
            all_steps -= fewer;
        }
        if (lane == 0) part_levels[part] = own;
        highest = max(highest, own);
    }
    return Candidate{highest, columns, kept / of_all, cost_of(s, s.costs, all_steps, columns)};
}

// And which candidate it is, if any.
__device__ Choice choose(const Search &s, const Candidate *candidates, int &chosen) {
    Choice dense{num_families, 0, 0, 0, 1.0, s.dense_cost}, choice = dense;
    chosen = -1;
    for (int i = 0; i < num_families * s.num_counts; ++i) {
        const Candidate &candidate = candidates[i];
        if (candidate.level < 0) continue;
        bool better = s.goal == goal_recall ? candidate.cost < choice.cost : candidate.recall > choice.recall;
        if (chosen >= 0 && !better) continue;
        choice = Choice{i / s.num_counts, candidate.level, candidate.columns, 0, candidate.recall, candidate.cost};
        chosen = i;
    }
    return s.goal == goal_recall && choice.cost >= s.margin * s.dense_cost ? dense : choice;
}

} // namespace

extern "C" __global__ void __launch_bounds__(threads, 1) search_choose(const __grid_constant__ Search s) {
    wait_for_previous();
    int head = blockIdx.x;
    __shared__ unsigned steps[most_parts * num_families * num_levels];
    __shared__ unsigned char part_levels[num_families * most_counts][most_parts];
    __shared__ Candidate candidates[num_families * most_counts];
    __shared__ Choice choice;
    __shared__ int chosen, exchange[2][sort_threads];
    auto steps_of = [&](int part, int family) { return steps + (part * num_families + family) * num_levels; };
    int parts = s.num_parts();
    for (int i = threadIdx.x; i < parts * num_families * num_levels; i += threads) {
        int level = i % num_levels, family = i / num_levels % num_families, part = i / num_levels / num_families;
        steps[i] = family == block_cluster ? s.level_steps[(head * parts + part) * num_levels + level] : 0;
    }
    __syncthreads();
#pragma unroll 4
    for (int i = threadIdx.x; i < parts * (s.num_blocks + 1); i += threads) {
        int part = i / (s.num_blocks + 1), distance = i % (s.num_blocks + 1);
        unsigned at_distance = s.distance_steps[i];
        int level = s.distance_levels[size_t(head) * (s.num_blocks + 1) + distance];
        if (at_distance == 0) continue;
        atomicAdd(&steps_of(part, interval_slash)[level], at_distance);
        atomicAdd(&steps_of(part, triangular)[ceil_log2(distance)], at_distance);
    }
    __syncthreads();
    int warp = threadIdx.x / 32;
    if (warp < num_families * s.num_counts) {
        int family = warp / s.num_counts;
        Candidate candidate = best(s, head, family, warp % s.num_counts, steps, part_levels[warp]);
        if (threadIdx.x % 32 == 0) {
            candidates[warp] = candidate;
            s.candidates[head * num_families * s.num_counts + warp] = candidate;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        choice = choose(s, candidates, chosen);
        s.choices[head] = choice;
        atomicAdd(&s.totals[1], (unsigned long long)(choice.recall * s.causal_pairs + 0.5));
    }
    __syncthreads();
    // Its levels, and its columns, ascending.
    for (int part = threadIdx.x; part < parts; part += threads)
        s.part_levels[head * parts + part] = chosen < 0 ? 0 : part_levels[chosen][part];
    static_assert(most_columns == sort_threads);
    int at = threadIdx.x, own = at < choice.columns ? s.ranked_columns[head * most_columns + at] : INT_MAX;
    own = sort_block(own, power_of_two_from(choice.columns), exchange, [](int a, int b) { return a < b; });
    if (at < choice.columns) s.columns[head * s.column_room + at] = own;
}
