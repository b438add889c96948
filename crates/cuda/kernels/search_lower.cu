// Choices to a plan: lists of blocks, the order of work, gathered extras.

#include "search/arguments.cuh"

namespace {

constexpr int warps = 4;
constexpr int threads = 32 * warps;
constexpr int step_keys = 128;
constexpr int most_steps = 1024; // told apart by the order of work
constexpr int order_threads = 1024;

__device__ int steps_of(const PlanItem &item) { return (item.count + 1) / 2 + item.column_steps + item.centre_steps; }

// Columns below a position, of `count` ascending ones.
__device__ int columns_below(const int *columns, int count, int position) {
    int low = 0;
    while (low < count) {
        int middle = (low + count) / 2;
        if (columns[middle] < position) low = middle + 1;
        else count = middle;
    }
    return low;
}

__device__ int first_extra(const Search &s, int head) { return head * s.extra_rows; }
__device__ int whole_steps(int n) { return (n + step_keys - 1) / step_keys; }
__device__ int first_centre(const Search &s, int head) { return first_extra(s, head) + s.column_room; }

} // namespace

// The list of a tile of a head; by one warp.
__device__ void lower(const Search &s, int head, int tile) {
    int lane = threadIdx.x % 32;
    Choice choice = s.choices[head];
    int full = s.full_blocks(tile), causal = s.causal_blocks(tile), words = (s.num_blocks + 31) / 32;
    int up_to = s.part_levels[head * s.num_parts() + s.part_of_tile(tile)];
    bool everything = choice.family == num_families || s.sees_all(tile);
    int total = s.tile_begins[s.num_tiles - 1] + s.causal_blocks(s.num_tiles - 1);
    int begin = head * total + s.tile_begins[tile], count = 0, full_count = 0;
    size_t index = size_t(head) * s.num_tiles + tile;
    unsigned *listed = s.listed + index * words;
    constexpr int at_once = 4; // so that reads are under way together
    for (int first = 0; first < causal; first += 32 * at_once) {
        int levels[at_once];
#pragma unroll
        for (int n = 0; n < at_once; ++n) {
            int block = first + 32 * n + lane;
            bool by_level = !everything && block < full && !s.always_kept(block, full);
            if (!by_level) levels[n] = block < causal ? 0 : num_levels;
            else if (choice.family == block_cluster) levels[n] = s.levels[index * s.num_blocks + block];
            else if (choice.family == triangular) levels[n] = ceil_log2(s.distance(tile, block));
            else levels[n] = s.distance_levels[size_t(head) * (s.num_blocks + 1) + s.distance(tile, block)];
        }
#pragma unroll
        for (int n = 0; n < at_once; ++n) {
            int block = first + 32 * n + lane;
            bool keep = block < causal && (everything || levels[n] <= up_to);
            unsigned bits = __ballot_sync(~0u, keep);
            if (keep) s.indices[begin + count + __popc(bits & ((1u << lane) - 1))] = block;
            if (lane == 0 && first / 32 + n < words) listed[first / 32 + n] = bits;
            count += __popc(bits);
            full_count += __popc(__ballot_sync(~0u, keep && block < full));
        }
    }
    __syncwarp();

    const int *columns = s.columns + head * s.column_room;
    int seen_columns = everything ? 0 : columns_below(columns, choice.columns, full * block_keys);
    bool centres = !everything && s.centres;
    if (lane == 0) {
        s.items[index] = PlanItem{begin, count, whole_steps(seen_columns), centres ? whole_steps(full) : 0};
    }
    // Pairs that it computes: of whole blocks, of blocks that the diagonal cuts, of columns and centres outside.
    unsigned long long pairs = 0;
    int start = s.tile_start(tile), end = s.tile_end(tile), rows = end - start;
    for (int position = start + lane; position < end; position += 32) pairs += position + 1 - full * block_keys;
    for (int first = lane; first < seen_columns; first += 32 * at_once) {
        int column[at_once], a_block_on[at_once]; // -1 where there is none
#pragma unroll
        for (int n = 0; n < at_once; ++n) {
            int i = first + 32 * n;
            column[n] = i < seen_columns ? columns[i] : -1;
            a_block_on[n] = i + block_keys <= seen_columns ? columns[i + block_keys - 1] : -1;
        }
#pragma unroll
        for (int n = 0; n < at_once; ++n) {
            int block = column[n] / block_keys;
            if (column[n] < 0 || listed[block / 32] >> block % 32 & 1) continue;
            // A block all of whose keys are columns has no centre.
            bool whole = column[n] % block_keys == 0 && a_block_on[n] == column[n] + block_keys - 1;
            if (!(centres && whole)) pairs += rows;
        }
    }
    if (lane == 0) pairs += (unsigned long long)rows * (block_keys * full_count + (centres ? full - full_count : 0));
    for (int lanes = 16; lanes > 0; lanes /= 2) pairs += __shfl_xor_sync(~0u, pairs, lanes);
    if (lane == 0) atomicAdd(&s.totals[0], pairs);
}

// A key and value of a column or centre, beside the others of its head; by one warp.
__device__ void gather(const Search &s, int head, int at) {
    int lane = threadIdx.x % 32;
    Choice choice = s.choices[head];
    if (choice.family == num_families) return;
    int kv_head = s.kv_head(head), block = at - s.column_room;
    const int *columns = s.columns + head * s.column_room;
    size_t row = first_extra(s, head) + at, to = row * s.head_dim;
    Extra extra{no_block, 0.f};
    auto store = [&](int i, float2 k, float2 v) {
        reinterpret_cast<__nv_bfloat162 *>(s.k_extras + to)[i] = __float22bfloat162_rn(k);
        reinterpret_cast<__nv_bfloat162 *>(s.v_extras + to)[i] = __float22bfloat162_rn(v);
    };
    auto pair_at = [&](const __nv_bfloat16 *from, int column, int i) {
        size_t row_of_cache = s.row_of_block(kv_head, column / block_keys) + column % block_keys;
        return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162 *>(from + row_of_cache * s.head_dim)[i]);
    };
    if (block < 0) {
        if (at >= whole_steps(choice.columns) * step_keys) return;
        bool there = at < choice.columns;
        if (there) extra = Extra{columns[at] / block_keys, 0.f};
        for (int i = lane; i < s.head_dim / 2; i += 32)
            there ? store(i, pair_at(s.k, columns[at], i), pair_at(s.v, columns[at], i)) : store(i, {}, {});
    } else {
        if (!s.centres || block >= whole_steps(s.num_blocks) * step_keys) return;
        // Only blocks that some tile sees whole are ever represented, so their means are of 64 keys.
        int first = columns_below(columns, choice.columns, block * block_keys);
        int last = columns_below(columns, choice.columns, (block + 1) * block_keys);
        int rest = block_keys - (last - first);
        bool there = block < s.num_blocks && rest > 0;
        if (there) extra = Extra{block, logf(float(rest)) / s.sm_scale};
        for (int i = lane; i < s.head_dim / 2; i += 32) {
            float2 k{}, v{};
            if (there) {
                size_t mean = size_t(s.cache_block(kv_head, block)) * (s.head_dim / 2) + i;
                k = reinterpret_cast<const float2 *>(s.k_means)[mean];
                v = reinterpret_cast<const float2 *>(s.v_means)[mean];
                if (first < last) {
                    float2 of_k{}, of_v{};
                    for (int column = first; column < last; ++column) {
                        float2 more_k = pair_at(s.k, columns[column], i), more_v = pair_at(s.v, columns[column], i);
                        of_k.x += more_k.x, of_k.y += more_k.y, of_v.x += more_v.x, of_v.y += more_v.y;
                    }
                    k = float2{(k.x * block_keys - of_k.x) / rest, (k.y * block_keys - of_k.y) / rest};
                    v = float2{(v.x * block_keys - of_v.x) / rest, (v.y * block_keys - of_v.y) / rest};
                }
            }
            store(i, k, v);
        }
    }
    if (lane == 0) s.extras[row] = extra;
}

// Lists of tiles, and extras beside them: neither waits for the other.
extern "C" __global__ void __launch_bounds__(threads) search_lower(const __grid_constant__ Search s) {
    wait_for_previous();
    int of_tiles = (s.num_tiles + warps - 1) / warps, head = blockIdx.y, warp = threadIdx.x / 32;
    if (blockIdx.x == 0 && threadIdx.x == 0) s.heads[head] = PlanExtras{first_extra(s, head), first_centre(s, head)};
    if (blockIdx.x >= of_tiles) gather(s, head, (blockIdx.x - of_tiles) * warps + warp);
    else if (int tile = blockIdx.x * warps + warp; tile < s.num_tiles) lower(s, head, tile);
}

// Extras of lists that the host made.
extern "C" __global__ void __launch_bounds__(threads) search_gather(const __grid_constant__ Search s) {
    gather(s, blockIdx.y, blockIdx.x * warps + threadIdx.x / 32);
}

// The order of work: sections of heads whose keys fit the second-level cache one after the other, in each the items with
// most steps first. One block a section.
extern "C" __global__ void __launch_bounds__(order_threads) search_order(const __grid_constant__ Search s) {
    wait_for_previous();
    __shared__ unsigned begins[most_steps];
    int first_head = blockIdx.x * s.batch.section_heads;
    unsigned count = s.batch.section_heads * s.num_tiles;
    const PlanItem *items = s.items + size_t(first_head) * s.num_tiles;
    int most = (s.num_blocks + 1) / 2 + 2 + whole_steps(s.num_blocks) + s.column_room / step_keys;
    int shift = 0;
    while (most >> shift >= most_steps) ++shift;
    auto place_of = [&](unsigned i) { return most_steps - 1 - (steps_of(items[i]) >> shift); };
    for (int i = threadIdx.x; i < most_steps; i += blockDim.x) begins[i] = 0;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) atomicAdd(&begins[place_of(i)], 1);
    __syncthreads();
    // Counts to begins, a thread each: what lies before it in its warp, and in the warps before.
    static_assert(most_steps == order_threads);
    __shared__ unsigned of_warps[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned own = begins[threadIdx.x], up_to_own = own;
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        unsigned lower = __shfl_up_sync(~0u, up_to_own, lanes);
        if (lane >= lanes) up_to_own += lower;
    }
    if (lane == 31) of_warps[warp] = up_to_own;
    __syncthreads();
    begins[threadIdx.x] = up_to_own - own + __reduce_add_sync(~0u, lane < warp ? of_warps[lane] : 0);
    __syncthreads();
    unsigned *order = s.order + size_t(first_head) * s.num_tiles;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
        // Items are laid out head by head.
        unsigned head = first_head + i / s.num_tiles, tile = i % s.num_tiles;
        order[atomicAdd(&begins[place_of(i)], 1)] = head << tile_bits | tile;
    }
}
