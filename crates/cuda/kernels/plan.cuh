// A plan as attention kernels read it: for every (query head, tile) a list of kv blocks, and extras. Mirrors `src/plan.rs`.
//
// *Extras* are keys and values that stand for single columns and for the centres of blocks. They lie gathered, for each
// head columns first, each part filled up with zeros to whole steps of 128. A tile computes those whose block it sees
// whole and does not list.
#pragma once
#include "attention_batch.cuh"
#include <climits>

// What one tile of one head computes.
struct PlanItem {
    int begin;        // of its blocks in `indices`
    int count;        // of its blocks, ascending; all that the diagonal cuts are among them
    int column_steps; // steps of 128 columns that hold one of a block that the tile sees whole
    int centre_steps; // likewise
};

// Where the extras of a head of a sequence begin.
struct PlanExtras {
    int columns, centres; // rows
};

// One extra.
struct Extra {
    int block;  // that it lies in, or no_block
    float bias; // added to its product with a query: sm_scale * bias = ln(keys it stands for)
};

constexpr int no_block = INT_MAX;

// Items are numbered head << tile_bits | tile, tiles sequence by sequence.
constexpr int tile_bits = 20;

struct Plan {
    const QueryTile *tiles;   // [tile], sequence by sequence
    const unsigned *order;    // [q_head * tile]: items, in the order of work
    const PlanItem *items;    // [q_head][tile]
    const unsigned *listed;   // [q_head][tile][words]: bit b % 32 of word b / 32 says whether block b is listed
    const int *indices;       // blocks
    const PlanExtras *heads;  // [sequence][q_head]
    const Extra *extras;      // [row]
    int words;                // of a tile's bits
    int num_tiles;
};
