// The producer: has TMA copy the keys and values of each work item. Without a plan it finds them itself; with one, a
// scheduler has looked the item up while the one before was copied, and a third warp says how much extras weigh.
#pragma once
#include "shared.cuh"

namespace {

// Takes items until none is left. The last to leave leaves the queue as it was found.
template <typename Run> __device__ void take_items(const Arguments &args, unsigned items, Run run) {
    unsigned index = blockIdx.x;
    while (index < items) {
        // Taken ahead: the answer arrives while this item is worked on.
        unsigned next = gridDim.x + atomicAdd(&args.queue[0], 1);
        run(index);
        index = next;
    }
    if (atomicAdd(&args.queue[1], 1) == gridDim.x - 1) {
        args.queue[0] = 0;
        args.queue[1] = 0;
    }
}

__device__ inline Task task_of_item(const WorkItem &item) {
    Task task;
    task.head = item.head;
    task.q_start = item.q_start;
    task.row = item.row;
    task.rows = item.rows;
    return task;
}

// One thread that looks up the items of a plan.
template <typename C> class Scheduler {
    const Arguments &args;
    Shared<C> &shared;
    Ring<C::q_stages> ring;

    __device__ void publish(const Task &task) {
        barrier_wait(&shared.q_empty[ring.stage], ring.parity ^ 1);
        shared.task[ring.stage] = task;
        barrier_arrive(&shared.task_full[ring.stage]);
        ring.advance();
    }

    __device__ Task look_up(unsigned index) const {
        const Plan &plan = args.plan;
        unsigned packed = plan.order[index];
        int head = packed >> tile_bits, tile = packed & ((1 << tile_bits) - 1);
        int at = head * plan.num_tiles + tile;
        PlanItem listed = plan.items[at];
        QueryTile of_sequence = plan.tiles[tile];
        PlanExtras extras = plan.heads[of_sequence.sequence * args.batch.num_q_heads + head];
        WorkItem item = work_item<C::block_m>(args.batch, of_sequence, head);
        Task task = task_of_item(item);
        task.index = at;
        task.blocks = plan.indices + listed.begin;
        task.table = item.table;
        task.count = listed.count;
        task.kv_head = item.kv_head;
        task.causal_blocks = item.blocks();
        task.full_blocks = (item.q_start + 1) / block_keys;
        // A tile without any block still has one step, of which nothing is seen.
        task.block_steps = max(1, (listed.count + 1) / 2);
        task.cut_steps = max(1, (item.blocks() - task.full_blocks + listed.count % 2 + 1) / 2);
        task.column_steps = listed.column_steps;
        task.centre_steps = listed.centre_steps;
        task.columns = extras.columns;
        task.centres = extras.centres;
        auto first_key_of = [](int block) { return block < 0 ? 1 << 30 : block * block_keys; };
#pragma unroll
        for (int step = 0; step < most_cut_steps; ++step) {
            if (step < task.cut_steps) {
                int2 halves = task.halves(step);
                task.first_keys[2 * step] = first_key_of(halves.x);
                task.first_keys[2 * step + 1] = first_key_of(halves.y);
            }
        }
        int first_key = task.halves(0).y * block_keys;
        task.stale_from = block_keys + item.kv_len - first_key;
        task.stale_to = step_keys;
        return task;
    }

public:
    __device__ Scheduler(const Arguments &args, Shared<C> &shared) : args(args), shared(shared) {}

    __device__ void run() {
        take_items(args, args.plan.num_tiles * args.batch.num_q_heads, [&](unsigned index) { publish(look_up(index)); });
        Task none;
        none.head = -1;
        publish(none);
    }
};

template <typename C> class Producer {
    const Arguments &args;
    Shared<C> &shared;
    Ring<C::stages> k_ring, v_ring;
    Ring<C::q_stages> q_ring;

    // 128 keys: where each half of them begins.
    struct Rows {
        int first, second;
        bool extras;
    };

    __device__ void load(const CUtensorMap *map, Ring<C::stages> &ring, uint64_t *full, uint64_t *empty,
                         unsigned char (*buffers)[C::kv_bytes], Rows rows) {
        barrier_wait(&empty[ring.stage], ring.parity ^ 1);
        barrier_arrive_expect(&full[ring.stage], C::kv_bytes);
        unsigned char *to = buffers[ring.stage];
        if constexpr (C::fp8) {
            tma_load_2d(map, &full[ring.stage], to, 0, rows.first);
            tma_load_2d(map, &full[ring.stage], to + C::kv_bytes / 2, 0, rows.second);
        } else {
#pragma unroll
            for (int slab = 0; slab < C::slabs; ++slab) {
                unsigned char *slab_to = to + slab * C::kv_slab_bytes;
                tma_load_2d(map, &full[ring.stage], slab_to, slab * 64, rows.first);
                tma_load_2d(map, &full[ring.stage], slab_to + C::block_slab_bytes, slab * 64, rows.second);
            }
        }
        ring.advance();
    }

    __device__ void load_keys(Rows rows) {
        load(C::planned && rows.extras ? &args.k_extras : &args.k, k_ring, shared.k_full, shared.k_empty, shared.k, rows);
    }
    __device__ void load_values(Rows rows) {
        if constexpr (C::fp8) {
            // A block transposed has a row for each element.
            rows.first = rows.first / block_keys * C::head_dim;
            rows.second = rows.second / block_keys * C::head_dim;
        }
        load(C::planned && rows.extras ? &args.v_extras : &args.v, v_ring, shared.v_full, shared.v_empty, shared.v, rows);
    }

    // Copies the queries, and the keys and values of `steps` steps; keys a step ahead of values. `publish` makes the task
    // known to the consumers once there is room for its queries.
    template <typename RowsOf, typename Publish>
    __device__ void copy(int head, int row, int steps, RowsOf rows_of, Publish publish) {
        // Asked for early, so that the look-up's latency passes while the ring is full.
        Rows ahead = rows_of(0);
        publish();
        uint64_t *full = &shared.q_full[q_ring.stage];
        barrier_arrive_expect(full, C::q_bytes);
#pragma unroll
        for (int slab = 0; slab < C::slabs; ++slab)
            tma_load_3d(&args.q, full, shared.q[q_ring.stage] + slab * C::q_slab_bytes, slab * 64, head, row);
        q_ring.advance();
        load_keys(ahead);
        for (int step = 1; step < steps; ++step) {
            Rows behind = ahead;
            ahead = rows_of(step);
            load_keys(ahead);
            load_values(behind);
        }
        load_values(ahead);
    }

    __device__ void publish(const Task &task) {
        barrier_wait(&shared.q_empty[q_ring.stage], q_ring.parity ^ 1);
        shared.task[q_ring.stage] = task;
    }

    __device__ void run_dense(unsigned index) {
        WorkItem item = work_item<C::block_m>(args.batch, index);
        Task task = task_of_item(item);
        int end = item.keys(), first_seen = max(0, item.q_start + 1 - args.window);
        task.last_step = (end - 1) / step_keys;
        task.first_step = first_seen / step_keys;
        task.whole_to = (item.q_start + 1) / step_keys;
        task.whole_from = (max(0, end - args.window) + step_keys - 1) / step_keys;
        int first_key = task.last_step * step_keys;
        task.stale_from = item.kv_len - first_key;
        task.stale_to = item.blocks() * block_keys - first_key;
        int last = task.last_step, first_block = first_seen / block_keys;
        // Of a block that no query sees, a row that reads as zeros.
        auto row_of = [&](int block) {
            bool seen = block >= first_block && block < item.blocks();
            return seen ? cache_row(args.batch, item.table, item.kv_head, block) : args.kv_rows;
        };
        auto rows_of = [&](int step) {
            int first = 2 * (last - step);
            return Rows{row_of(first), row_of(first + 1), false};
        };
        copy(item.head, item.row, last - task.first_step + 1, rows_of, [&] { publish(task); });
    }

    __device__ void run_planned(const Task &task) {
        auto row_of = [&](int block) {
            return block >= 0 ? cache_row(args.batch, task.table, task.kv_head, block) : args.kv_rows;
        };
        auto rows_of = [&](int step) {
            if (step >= task.block_steps) {
                int row = task.extra_row(step - task.block_steps);
                return Rows{row, row + block_keys, true};
            }
            int2 halves = task.halves(step);
            return Rows{row_of(halves.x), row_of(halves.y), false};
        };
        copy(task.head, task.row, task.block_steps + task.extra_steps(), rows_of, [] {});
    }

public:
    __device__ Producer(const Arguments &args, Shared<C> &shared) : args(args), shared(shared) {}

    __device__ void run() {
        if constexpr (C::planned) {
            while (true) {
                barrier_wait(&shared.task_full[q_ring.stage], q_ring.parity);
                Task task = shared.task[q_ring.stage];
                barrier_arrive(&shared.q_empty[q_ring.stage]);
                if (task.head < 0) break;
                run_planned(task);
            }
        } else {
            take_items(args, args.batch.num_tiles * args.batch.num_q_heads, [&](unsigned index) { run_dense(index); });
            Task none;
            none.head = -1;
            publish(none);
        }
        // Nobody waits for queries of no task.
        barrier_arrive(&shared.q_full[q_ring.stage]);
    }
};

// One warp: says for every step of extras which of them the tile computes, and with what
// weight.
template <typename C> class Biases {
    const Arguments &args;
    Shared<C> &shared;
    Ring<C::stages> ring;
    Ring<C::q_stages> q_ring;

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
        barrier_arrive(&shared.biases_full[ring.stage]);
        ring.advance();
    }

public:
    __device__ Biases(const Arguments &args, Shared<C> &shared) : args(args), shared(shared) {}

    __device__ void run() {
        while (true) {
            barrier_wait(&shared.task_full[q_ring.stage], q_ring.parity);
            Task task = shared.task[q_ring.stage];
            barrier_arrive(&shared.q_empty[q_ring.stage]);
            q_ring.advance();
            if (task.head < 0) break;
            for (int step = 0; step < task.extra_steps(); ++step) run_step(task, task.extra_row(step));
        }
    }
};

} // namespace
