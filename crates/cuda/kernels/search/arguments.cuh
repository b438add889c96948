// What the stages of the search are told: one layer of one sequence. Mirrors `src/search/arguments.rs`.
//
// *Tiles* are block_m queries, *blocks* 64 keys. Of the probe rows the first quarter *propose*, all *judge*; sixteen that are
// neighbours by position judge a *part* of the queries. A *level*
// says how early a family keeps a block: in each part a plan keeps levels up to one. The sink (block 0) and the newest block that a
// tile sees whole are always kept, the last rows see everything. All of this is `attention::search`'s, stage by stage.
#pragma once
#include "../plan.cuh"
#include "../ptx/early_start.cuh"
#include <cstddef>
#include <cuda_bf16.h>

constexpr int num_levels = 29; // as attention::pattern::BlockLevels has them
constexpr int most_counts = 4; // numbers of columns to choose from, zero included
constexpr int most_columns = 1024;
constexpr int judges_of_part = 16;
constexpr int most_parts = 72;

enum Family { block_cluster, interval_slash, triangular, num_families };

// What blocks add up to, by level.
enum Kind { of_blocks, of_columns, num_kinds = of_columns + most_counts - 1 };

// What the search aims at.
enum Goal { goal_recall, goal_density, goal_cost };

// As attention::search::CostModel.
struct Costs {
    double gathered_step, gather_key, gather_centre, tile;
};

// A plan that a head could have.
struct Candidate {
    int level; // of the part that keeps most; below zero: there is none
    int columns;
    double recall, cost;
};

// The plan of a head.
struct Choice {
    int family; // num_families: dense
    int level;  // of the part that keeps most
    int columns; // most attended so many
    int unused;
    double recall, cost;
};

struct Search {
    const __nv_bfloat16 *q;    // [row][q_head][head_dim]
    const __nv_bfloat16 *k, *v; // [page][kv_head][page_size][head_dim]
    float *k_means, *v_means;  // [page][kv_head][block of the page][head_dim]
    __nv_bfloat16 *k_means_bf16; // likewise
    Batch batch;

    const int *probes;              // [num_probes]: rows
    const unsigned *distance_steps; // [part][num_blocks + 1]: (tile, block) pairs so far from the diagonal, that no plan must keep
    const int *tile_begins;         // [num_tiles]: blocks that earlier tiles see

    unsigned char *levels;     // [q_head][tile][num_blocks]: of block clusters
    unsigned *level_steps;     // [q_head][part][num_levels]: blocks of each, that no plan must keep
    float *shares;             // [q_head][probe][num_blocks]: attention of each block; until normalised, log2 of its sum
    float *probe_lse;          // [q_head][probe], base 2
    unsigned char *distance_levels; // [q_head][num_blocks + 1]: of interval slashes
    unsigned *column_mass;     // [q_head][num_blocks * 64], fixed point
    int *ranked_columns;       // [q_head][most_columns]: most attended first
    int *columns_found;        // [q_head]
    unsigned *sums;            // [q_head][part][num_families][num_kinds][num_levels]: attention on the probes, fixed point
    unsigned *always;          // [q_head][part]: of what every plan keeps, fixed point
    Candidate *candidates;     // [q_head][num_families][num_counts]
    Choice *choices;           // [q_head]
    unsigned char *part_levels; // [q_head][part]: of the choice
    int *columns;              // [q_head][column_room]: of the choice, ascending
    unsigned long long *totals; // (query, key) pairs computed; pairs of all heads times their recall

    PlanItem *items;
    unsigned *order;
    unsigned *listed;
    int *indices;
    PlanExtras *heads;
    Extra *extras;
    __nv_bfloat16 *k_extras, *v_extras; // [row][head_dim]

    Costs costs;
    double dense_cost;
    double margin;
    double share;      // the goal's
    double share_of_part; // where that is a recall: what every part keeps at the least
    double dense_pairs_cost; // dense, where pairs are all that counts
    double causal_pairs; // of a head
    int goal;
    unsigned families; // bit f: family f is considered
    int counts[most_counts]; // numbers of columns, ascending multiples of 64
    int num_counts;
    int centres;       // whether left-out blocks are represented by their centres
    int sparse_tiles;  // tiles that do not see everything anyway
    unsigned always_steps; // blocks that every plan keeps
    int num_probes;
    int head_dim;
    int q_len, kv_len;
    int num_tiles, num_blocks;
    int block_m;
    int last_rows;
    int column_room;   // of a head, whole steps
    int extra_rows;    // of a head: columns, then centres
    int own_levels;    // whether each part may keep other levels: it has tiles of its own
    float sm_scale;

    __device__ int q_start() const { return kv_len - q_len; }
    __device__ int kv_head(int head) const { return head / (batch.num_q_heads / batch.num_kv_heads); }
    __device__ int tile_start(int tile) const { return q_start() + tile * block_m; }
    __device__ int tile_end(int tile) const { return min(tile_start(tile) + block_m, kv_len); }
    // Leading blocks that every query of a tile sees whole; blocks of which some query sees a key.
    __device__ int full_blocks(int tile) const { return (tile_start(tile) + 1) / block_keys; }
    __device__ int causal_blocks(int tile) const { return (tile_end(tile) + block_keys - 1) / block_keys; }
    __device__ bool sees_all(int tile) const { return tile_end(tile) + last_rows > kv_len; }
    __device__ static bool always_kept(int block, int full) { return block == 0 || block == full - 1; }
    __device__ int distance(int tile, int block) const { return tile_start(tile) / block_keys - block; }
    __device__ int proposing() const { return num_probes / 4; }
    __device__ int num_parts() const { return num_probes / judges_of_part; }
    // Where parts have own levels.
    __device__ int part_of_tile(int tile) const { return tile * num_parts() / num_tiles; }
    // Which probe is the `n`-th by position: every fourth proposes.
    __device__ int probe_by_position(int n) const { return n % 4 * proposing() + n / 4; }
    __device__ unsigned *sums_of(int head, int part, int family) const {
        return sums + ((size_t(head) * num_parts() + part) * num_families + family) * num_kinds * num_levels;
    }
    // Attention of one row in fixed point: the sum over all probe rows fits 31 bits.
    __device__ float fixed_one() const { return float((1u << 31) / num_probes); }
    // Blocks of one block of threads, of as many as a grid has in its first dimension.
    __device__ int span() const { return (num_blocks + gridDim.x - 1) / gridDim.x; }
    // First row of a block in the cache; number of a block among all blocks of the cache's kv heads.
    __device__ int row_of_block(int kv_head, int block) const {
        return cache_row(batch, batch.page_table, kv_head, block);
    }
    __device__ int cache_block(int kv_head, int block) const { return row_of_block(kv_head, block) / block_keys; }
};

// As `src/search/arguments.rs` has it.
static_assert(sizeof(Search) == 472 && offsetof(Search, sm_scale) == 468);

// Rank or distance to level: the base-2 logarithm, rounded up.
__device__ inline int ceil_log2(int n) { return n <= 1 ? 0 : 32 - __clz(n - 1); }
