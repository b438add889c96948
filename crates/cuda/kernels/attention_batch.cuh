// What every attention kernel is told of its batch, and the order of its work. Mirrors `src/batch.rs`.
#pragma once
#include <cstdint>

// The last `q_len` of `kv_len` positions of one sequence.
struct Sequence {
    int q_begin; // row of its first query in q, o and lse
    int q_len;
    int kv_len;
    int table_begin; // where its pages begin in the page table
};

// `block_m` queries of one sequence, from row `tile * block_m` of its queries on.
struct QueryTile {
    int sequence;
    int tile;
};

struct Batch {
    const Sequence *sequences;
    const QueryTile *tiles; // most keys first
    const int *page_table;
    int num_tiles, num_rows;
    int num_q_heads, num_kv_heads;
    int section_heads; // q heads worked on together, so that their keys stay in the L2 cache; divides num_q_heads
    int page_shift;    // log2 of kv blocks a page
};

// Keys of a kv block: the unit of pages, plans and copies.
constexpr int block_keys = 64;

// One query tile of one head.
struct WorkItem {
    int head, kv_head;
    int row;     // of the first query, in q, o and lse
    int rows;    // queries
    int q_start; // position of the first query
    int kv_len;
    const int *table;

    // Keys that some query sees.
    __device__ int keys() const { return q_start + rows; }
    __device__ int blocks() const { return (keys() + block_keys - 1) / block_keys; }
};

// A tile of a head.
template <int BLOCK_M> __device__ inline WorkItem work_item(const Batch &batch, QueryTile tile, int head) {
    Sequence sequence = batch.sequences[tile.sequence];
    int q_row = tile.tile * BLOCK_M;
    WorkItem item;
    item.head = head;
    item.kv_head = head / (batch.num_q_heads / batch.num_kv_heads);
    item.row = sequence.q_begin + q_row;
    item.rows = min(BLOCK_M, sequence.q_len - q_row);
    item.q_start = sequence.kv_len - sequence.q_len + q_row;
    item.kv_len = sequence.kv_len;
    item.table = batch.page_table + sequence.table_begin;
    return item;
}

// Items in the order of work: sections of heads; in each, the tiles with most keys first; of each tile, all heads of the
// section, those that share keys beside each other.
template <int BLOCK_M> __device__ inline WorkItem work_item(const Batch &batch, unsigned index) {
    unsigned section_items = batch.num_tiles * batch.section_heads;
    unsigned section = index / section_items, in_section = index % section_items;
    int head = section * batch.section_heads + in_section % batch.section_heads;
    return work_item<BLOCK_M>(batch, batch.tiles[in_section / batch.section_heads], head);
}

// First row of a kv block in the cache, [page][kv_head][page_size] rows of head_dim.
__device__ inline int cache_row(const Batch &batch, const int *table, int kv_head, int block) {
    int page = table[block >> batch.page_shift];
    int in_page = block & ((1 << batch.page_shift) - 1);
    return (((page * batch.num_kv_heads + kv_head) << batch.page_shift) + in_page) * block_keys;
}
