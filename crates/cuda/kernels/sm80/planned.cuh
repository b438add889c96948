// The walk by a plan: the blocks that it lists for a tile, newest first, then its columns and centres.
#pragma once
#include "tile.cuh"

namespace {

template <int PADDED, int M_TILES, Scores SCORES> class Planned {
    using Tile = ::Tile<PADDED, M_TILES, SCORES>;

    // What happens to the logits of a step before its softmax.
    enum class Kind { Whole, Cut, Extras };

    // Shared memory behind the operands.
    struct Shared {
        Extra extras[block_keys]; // of the step whose keys are copied
        float biases[block_keys]; // of the step whose softmax is taken
    };

    const Arguments &args;
    const int index; // of the tile of the head in `plan.items`
    Tile tile;
    Shared &shared;
    const int full_blocks; // that every query sees whole
    const int *list;       // of the blocks, the newest
    // A step is one block of the list or 64 extras; columns before centres.
    int blocks, first_centre_step, steps;
    int columns, centres; // rows they begin at

    // 0 where the step is none of a block.
    __device__ int block_at(int step) const { return step < blocks ? list[-step] : 0; }

    // First row of a step, in the cache or among the extras.
    __device__ int row_of(int step, int block) const {
        if (step < blocks) return cache_row(args.batch, tile.item.table, tile.item.kv_head, block);
        return step < first_centre_step ? columns + (step - blocks) * block_keys
                                        : centres + (step - first_centre_step) * block_keys;
    }

    // Rows of a step that hold something.
    __device__ int rows_of(int step, int block) const {
        return step < blocks ? tile.item.kv_len - block * block_keys : block_keys;
    }

    __device__ void copy_keys(int step, int row, int block) const {
        tile.copy_keys(step < blocks ? args.k : args.k_extras, row, rows_of(step, block));
        // Two extras a thread.
        if (step >= blocks && threadIdx.x < block_keys / 2) {
            int at = 2 * threadIdx.x;
            copy_async(shared_address(shared.extras + at), args.plan.extras + row + at, true);
        }
    }

    // Says which extras of the step the tile computes, and with what weight.
    __device__ void find_biases() {
        if (threadIdx.x >= block_keys) return;
        Extra extra = shared.extras[threadIdx.x];
        const unsigned *listed = args.plan.listed + size_t(index) * args.plan.words;
        bool computed = extra.block < full_blocks && !(listed[extra.block / 32] >> extra.block % 32 & 1);
        shared.biases[threadIdx.x] = computed ? extra.bias : -INFINITY;
    }

    // Where the walk is.
    struct At {
        int step;
        int row;
        int block;
        int next_block; // asked for a step ahead: the look-up of its page waits for it
    };

    // One step. Its keys are on their way; the keys of the next are when it ends.
    template <Kind KIND> __device__ void step(At &at) {
        tile.wait_for_copies();
        tile.copy_values(at.step < blocks ? args.v : args.v_extras, at.row, rows_of(at.step, at.block));
        copy_commit();
        tile.read_scale(KIND == Kind::Extras ? args.k_extras_scales : args.k_scales, at.row);
        bool last = at.step + 1 == steps;
        At next{at.step + 1, last ? 0 : row_of(at.step + 1, at.next_block), at.next_block, block_at(at.step + 2)};
        tile.multiply_scores();
        // The biases of the step before were read ahead of the barrier above; these are behind the one below.
        if constexpr (KIND == Kind::Extras) find_biases();
        tile.wait_for_copies();
        if (!last) copy_keys(next.step, next.row, next.block);
        copy_commit();
        if constexpr (KIND == Kind::Cut) tile.mask(at.block);
        if constexpr (KIND == Kind::Extras) tile.add_biases(shared.biases);
        tile.template softmax<KIND != Kind::Whole, Tile::integers && KIND != Kind::Extras>();
        tile.multiply_output();
        at = next;
    }

    __device__ Planned(const Arguments &args, int head, int tile_index, QueryTile of_sequence)
        : args(args), index(head * args.plan.num_tiles + tile_index),
          tile(args, work_item<Tile::block_m>(args.batch, of_sequence, head), shared_address(dynamic_shared)),
          shared(*reinterpret_cast<Shared *>(dynamic_shared + Tile::shared_bytes)),
          full_blocks((tile.item.q_start + 1) / block_keys) {
        PlanItem listed = args.plan.items[index];
        PlanExtras extras = args.plan.heads[of_sequence.sequence * args.batch.num_q_heads + head];
        constexpr int steps_of_extras = 128 / block_keys; // plans count them by 128
        list = args.plan.indices + listed.begin + listed.count - 1;
        blocks = listed.count;
        first_centre_step = blocks + listed.column_steps * steps_of_extras;
        steps = first_centre_step + listed.centre_steps * steps_of_extras;
        columns = extras.columns;
        centres = extras.centres;
    }

    __device__ Planned(const Arguments &args, int head, int tile_index)
        : Planned(args, head, tile_index, args.plan.tiles[tile_index]) {}

    __device__ Planned(const Arguments &args, unsigned packed)
        : Planned(args, packed >> tile_bits, packed & ((1 << tile_bits) - 1)) {}

    __device__ void walk() {
        At at{0, 0, block_at(0), block_at(1)};
        at.row = row_of(0, at.block);
        copy_keys(0, at.row, at.block);
        tile.copy_queries(); // behind, as without a plan
        copy_commit();
        while (at.step < blocks && at.block >= full_blocks) step<Kind::Cut>(at);
        while (at.step < blocks) step<Kind::Whole>(at);
        while (at.step < steps) step<Kind::Extras>(at);
    }

public:
    __device__ Planned(const Arguments &args) : Planned(args, args.plan.order[blockIdx.x]) {}

    __device__ void run() {
        tile.clear();
        // A plan may leave a tile without a key.
        if (steps > 0) walk();
        tile.write();
    }
};

} // namespace
