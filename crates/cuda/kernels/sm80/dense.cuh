// The walk without a plan: all that the queries of a tile see, newest first.
#pragma once
#include "tile.cuh"

namespace {

template <int PADDED, int M_TILES, Scores SCORES> class Dense {
    using Tile = ::Tile<PADDED, M_TILES, SCORES>;

    const Arguments &args;
    Tile tile;
    const int first_block; // of which some query sees a key

    __device__ void copy_keys(int row, int block) const {
        tile.copy_keys(args.k, row, tile.item.kv_len - block * block_keys);
    }

    // One step. Its keys are on their way; the keys of the next are when it ends.
    template <bool MASKED> __device__ void step(int block, int &row) {
        tile.wait_for_copies();
        tile.copy_values(args.v, row, tile.item.kv_len - block * block_keys);
        copy_commit();
        tile.read_scale(args.k_scales, row);
        bool last = block == first_block;
        int next_row = last ? 0 : cache_row(args.batch, tile.item.table, tile.item.kv_head, block - 1);
        tile.multiply_scores();
        tile.wait_for_copies();
        if (!last) copy_keys(next_row, block - 1);
        copy_commit();
        row = next_row;
        if (MASKED) tile.mask(block);
        tile.template softmax<MASKED, Tile::integers>();
        tile.multiply_output();
    }

public:
    __device__ Dense(const Arguments &args)
        : args(args), tile(args, work_item<Tile::block_m>(args.batch, blockIdx.x), shared_address(dynamic_shared)),
          first_block(max(0, tile.item.q_start + 1 - int(args.window)) / block_keys) {}

    __device__ void run() {
        const WorkItem &item = tile.item;
        int block = item.blocks() - 1;
        int row = cache_row(args.batch, item.table, item.kv_head, block);
        copy_keys(row, block);
        tile.copy_queries(); // behind, since rounding them takes longer than the keys' way
        copy_commit();
        tile.clear();
        // Blocks that every query sees whole need no mask: those before the first query, from the last one's window on.
        int whole_end = (item.q_start + 1) / block_keys;
        int whole_begin = (max(0, item.keys() - int(args.window)) + block_keys - 1) / block_keys;
        for (; block >= first_block; --block) {
            if (block < whole_end && block >= whole_begin) step<false>(block, row);
            else step<true>(block, row);
        }
        tile.write();
    }
};

} // namespace
