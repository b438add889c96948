// The producer: walks the keys of each work item and has TMA copy them.
#pragma once
#include "shared.cuh"

namespace {

template <typename C> class Producer {
    const Arguments &args;
    Shared<C> &shared;
    Ring<stages> k_ring, v_ring;
    uint32_t q_parity = 0;
    WorkItem item;
    int first_block = 0; // that a query of the item sees

    // 128 keys: where each half of them begins.
    struct Rows {
        int first, second;
        bool extras;
    };

    // First row of a kv block in the cache; of one that no query sees or that is not there, a row that reads as zeros.
    __device__ int row_of(int block) const {
        return block >= first_block && block < item.blocks() ? cache_row(args.batch, item.table, item.kv_head, block) : args.kv_rows;
    }

    __device__ void load(const CUtensorMap *map, Ring<stages> &ring, uint64_t *full, uint64_t *empty,
                         unsigned char (*buffers)[C::kv_bytes], Rows rows) {
        barrier_wait(&empty[ring.stage], ring.parity ^ 1);
        barrier_arrive_expect(&full[ring.stage], C::kv_bytes);
        unsigned char *to = buffers[ring.stage];
#pragma unroll
        for (int slab = 0; slab < C::slabs; ++slab) {
            unsigned char *slab_to = to + slab * C::kv_slab_bytes;
            tma_load_2d(map, &full[ring.stage], slab_to, slab * 64, rows.first);
            tma_load_2d(map, &full[ring.stage], slab_to + C::block_slab_bytes, slab * 64, rows.second);
        }
        ring.advance();
    }

    __device__ void load_keys(Rows rows) {
        load(C::planned && rows.extras ? &args.k_extras : &args.k, k_ring, shared.k_full, shared.k_empty, shared.k, rows);
    }
    __device__ void load_values(Rows rows) {
        load(C::planned && rows.extras ? &args.v_extras : &args.v, v_ring, shared.v_full, shared.v_empty, shared.v, rows);
    }

    __device__ void publish(const Task &task, uint32_t bytes) {
        barrier_wait(&shared.q_empty, q_parity ^ 1);
        shared.task = task;
        barrier_arrive_expect(&shared.q_full, bytes);
        q_parity ^= 1;
    }

    // Copies the queries, and the keys and values of `steps` steps; keys a step ahead of values.
    template <typename RowsOf> __device__ void copy(const Task &task, int steps, RowsOf rows_of) {
        // Asked for early, so that the look-up's latency passes while the ring is full.
        Rows ahead = rows_of(0);
        publish(task, C::q_bytes);
#pragma unroll
        for (int slab = 0; slab < C::slabs; ++slab)
            tma_load_3d(&args.q, &shared.q_full, shared.q + slab * C::q_slab_bytes, slab * 64, item.head, item.row);
        load_keys(ahead);
        for (int step = 1; step < steps; ++step) {
            Rows behind = ahead;
            ahead = rows_of(step);
            load_keys(ahead);
            load_values(behind);
        }
        load_values(ahead);
    }

    __device__ Task task_of_item() const {
        Task task;
        task.head = item.head;
        task.q_start = item.q_start;
        task.row = item.row;
        task.rows = item.rows;
        return task;
    }

    __device__ void run_dense(unsigned index) {
        item = work_item<C::block_m>(args.batch, index);
        Task task = task_of_item();
        int end = item.keys();
        task.last_step = (end - 1) / step_keys;
        int first_seen = max(0, item.q_start + 1 - args.window);
        first_block = first_seen / block_keys;
        task.first_step = first_seen / step_keys;
        task.whole_to = (item.q_start + 1) / step_keys;
        task.whole_from = (max(0, end - args.window) + step_keys - 1) / step_keys;
        int first_key = task.last_step * step_keys;
        task.stale_from = item.kv_len - first_key;
        task.stale_to = item.blocks() * block_keys - first_key;
        int last = task.last_step;
        copy(task, last - task.first_step + 1, [&](int step) {
            int first = 2 * (last - step);
            return Rows{row_of(first), row_of(first + 1), false};
        });
    }

    // Two listed blocks a step, newest first. Where their number is odd, the first step has one, in its second half.
    __device__ void run_planned(unsigned index) {
        const Plan &plan = args.plan;
        unsigned packed = plan.order[index];
        int head = packed >> tile_bits, tile = packed & ((1 << tile_bits) - 1);
        QueryTile of_sequence = plan.tiles[tile];
        item = work_item<C::block_m>(args.batch, of_sequence, head);
        Task task = task_of_item();
        task.index = head * plan.num_tiles + tile;
        PlanItem listed = plan.items[task.index];
        PlanExtras extras = plan.heads[of_sequence.sequence * args.batch.num_q_heads + head];
        const int *list = plan.indices + listed.begin;
        // A missing block lies before all there are.
        auto block_at = [&](int slot) {
            int at = listed.count - 1 - slot;
            return at >= 0 ? list[at] : -1;
        };
        bool odd = listed.count % 2;
        auto slot_of = [&](int step) { return step == 0 ? 0 : 2 * step - odd; };

        task.full_blocks = (item.q_start + 1) / block_keys;
        // A tile without any block still has one step, of which nothing is seen.
        task.block_steps = max(1, (listed.count + 1) / 2);
        task.cut_steps = max(1, (item.blocks() - task.full_blocks + odd + 1) / 2);
        task.column_steps = listed.column_steps;
        task.centre_steps = listed.centre_steps;
        task.columns = extras.columns;
        task.centres = extras.centres;
        // Of two halves the second has the newer block.
        auto halves_of = [&](int step) {
            int slot = slot_of(step);
            return int2{step == 0 && odd ? -1 : block_at(slot + 1), block_at(slot)};
        };
        auto first_key_of = [](int block) { return block < 0 ? 1 << 30 : block * block_keys; };
#pragma unroll
        for (int step = 0; step < most_cut_steps; ++step) {
            if (step < task.cut_steps) {
                int2 halves = halves_of(step);
                task.first_keys[2 * step] = first_key_of(halves.x);
                task.first_keys[2 * step + 1] = first_key_of(halves.y);
            }
        }
        int first_key = block_at(0) * block_keys;
        task.stale_from = block_keys + item.kv_len - first_key;
        task.stale_to = step_keys;
        copy(task, task.block_steps + task.extra_steps(), [&](int step) {
            if (step >= task.block_steps) {
                int row = task.extra_row(step - task.block_steps);
                return Rows{row, row + block_keys, true};
            }
            int2 halves = halves_of(step);
            return Rows{row_of(halves.x), row_of(halves.y), false};
        });
    }

public:
    __device__ Producer(const Arguments &args, Shared<C> &shared) : args(args), shared(shared) {}

    __device__ void run() {
        unsigned tiles = C::planned ? args.plan.num_tiles : args.batch.num_tiles;
        unsigned items = tiles * args.batch.num_q_heads;
        unsigned index = blockIdx.x;
        while (index < items) {
            // Taken ahead: the answer arrives while this item is copied.
            unsigned next = gridDim.x + atomicAdd(&args.queue[0], 1);
            if constexpr (C::planned) run_planned(index);
            else run_dense(index);
            index = next;
        }
        Task none;
        none.head = -1;
        publish(none, 0);
        // Whoever is last leaves the queue as it was found.
        if (atomicAdd(&args.queue[1], 1) == gridDim.x - 1) {
            args.queue[0] = 0;
            args.queue[1] = 0;
        }
    }
};

// One warp of the producer's warpgroup: says for every step of extras which of them the tile computes, and with what
// weight.
template <typename C> class Biases {
    const Arguments &args;
    Shared<C> &shared;
    Ring<stages> ring;
    uint32_t q_parity = 0;

    __device__ void run_step(const Task &task, int row) {
        int lane = threadIdx.x % 32;
        const unsigned *listed = args.plan.listed + size_t(task.index) * args.plan.words;
        float biases[step_keys / 32];
#pragma unroll
        for (int i = 0; i < step_keys / 32; ++i) {
            Extra extra = args.plan.extras[row + 32 * i + lane];
            bool computed = extra.block < task.full_blocks && !(listed[extra.block / 32] >> extra.block % 32 & 1);
            biases[i] = computed ? extra.bias : -INFINITY;
        }
        barrier_wait(&shared.biases_empty[ring.stage], ring.parity ^ 1);
#pragma unroll
        for (int i = 0; i < step_keys / 32; ++i) shared.biases[ring.stage][32 * i + lane] = biases[i];
        __syncwarp();
        if (lane == 0) barrier_arrive(&shared.biases_full[ring.stage]);
        ring.advance();
    }

public:
    __device__ Biases(const Arguments &args, Shared<C> &shared) : args(args), shared(shared) {}

    __device__ void run() {
        while (true) {
            barrier_wait(&shared.q_full, q_parity);
            q_parity ^= 1;
            Task task = shared.task;
            __syncwarp();
            if (threadIdx.x % 32 == 0) barrier_arrive(&shared.q_empty);
            if (task.head < 0) break;
            for (int step = 0; step < task.extra_steps(); ++step) run_step(task, task.extra_row(step));
        }
    }
};

} // namespace
