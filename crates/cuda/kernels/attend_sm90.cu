// Dense causal attention of a batch over a paged cache, for sm_90a.
//
//     o[row] = softmax(q[row] . k * sm_scale) v,   lse[row] = ln sum exp(q[row] . k * sm_scale)
//
// One block per multiprocessor takes work items (head, query tile), heaviest first, until none is left. In it
//   - one producer thread walks the keys of the item in steps of 128, newest first, and has TMA copy them page by page;
//   - each consumer warpgroup holds 64 queries. In every step it starts S' = Q K'^T of the step and O += P V of the step
//     before, then takes the softmax of S' while the tensor cores work on O, and on the other warpgroups' products:
//     a token passes from warpgroup to warpgroup, so that one multiplies while the next exponentiates.
// The scheme is FlashAttention-3's (Shah et al., arXiv 2407.08608); heaviest first is the longest-processing-time rule.
//
// Only the producer knows where keys lie, and only masked steps know their positions. A sparse plan needs another walk
// over 64-key blocks, not another pipeline.

#include "attention_batch.cuh"
#include "ptx/tma.cuh"
#include "ptx/wgmma.cuh"
#include "softmax.cuh"
#include <cstddef>
#include <cuda_bf16.h>

struct Arguments {
    CUtensorMap q;            // [row][q_head][head_dim], boxes of [block_m][1][64]
    CUtensorMap k, v;         // [page][kv_head][page_size][head_dim] as rows of head_dim, boxes of [64][64]
    __nv_bfloat16 *o;         // [row][q_head][head_dim]
    float *lse;               // [q_head][row], or null
    unsigned *queue;          // [2]: items taken, blocks done; zero before and after
    Batch batch;
    int kv_rows;              // rows of the cache: the first row past its end reads as zeros
    float sm_scale;
};
// As `src/attend_sm90.rs` has it.
static_assert(sizeof(Arguments) == 512 && offsetof(Arguments, kv_rows) == 456);

// Outside the namespace: names inside one without a name differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

namespace {

constexpr int warpgroup = 128; // threads
constexpr int step_keys = 128;
constexpr int row_bytes = 128; // 64 elements: the widest row a swizzle takes, so head_dim lies in slabs of 64
constexpr int stages = 2;

template <int HEAD_DIM, int CONSUMERS> struct Config {
    static constexpr int block_m = 64 * CONSUMERS;
    static constexpr int slabs = HEAD_DIM / 64;
    static constexpr int q_slab_bytes = block_m * row_bytes;
    static constexpr int kv_slab_bytes = step_keys * row_bytes;
    static constexpr int block_slab_bytes = block_keys * row_bytes;
    static constexpr int q_bytes = slabs * q_slab_bytes;
    static constexpr int kv_bytes = slabs * kv_slab_bytes;
    // Registers a thread: 64 Ki shared by all, multiples of 8.
    static constexpr int producer_registers = CONSUMERS == 2 ? 40 : 32;
    static constexpr int consumer_registers = CONSUMERS == 2 ? 232 : 160;
};

// What consumers need to know of a work item.
struct Task {
    int head; // below zero: no work is left
    int steps;
    int whole_steps; // leading steps that every query sees whole
    int q_start;     // position of the first query
    int row;         // its row in o
    int rows;        // queries
    int stale_from;  // keys of the last step that its pages hold but the sequence does not: from here ...
    int stale_to;    // ... up to here, as rows of the step
};

// Shared memory; operands first, each on a multiple of the swizzle's 1,024 bytes.
template <typename C> struct __align__(1024) Shared {
    unsigned char q[C::q_bytes];
    unsigned char k[stages][C::kv_bytes];
    unsigned char v[stages][C::kv_bytes];
    uint64_t q_full, q_empty;
    uint64_t k_full[stages], k_empty[stages];
    uint64_t v_full[stages], v_empty[stages];
    Task task; // written before q_full, read before q_empty
    float unused;
};

template <typename C> class Producer {
    const Arguments &args;
    Shared<C> &shared;
    Ring<stages> k_ring, v_ring;
    uint32_t q_parity = 0;
    WorkItem item;

    // First row of a kv block in the cache; past the last block, a row that reads as zeros.
    __device__ int row_of(int block) const {
        return block < item.blocks() ? cache_row(args.batch, item.table, item.kv_head, block) : args.kv_rows;
    }

    struct Rows {
        int first, second;
    };

    // Asked for early, so that the look-up's latency passes while the ring is full.
    __device__ Rows rows_of(int step) const { return {row_of(2 * step), row_of(2 * step + 1)}; }

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

    __device__ void load_keys(Rows rows) { load(&args.k, k_ring, shared.k_full, shared.k_empty, shared.k, rows); }
    __device__ void load_values(Rows rows) { load(&args.v, v_ring, shared.v_full, shared.v_empty, shared.v, rows); }

    __device__ void publish(const Task &task, uint32_t bytes) {
        barrier_wait(&shared.q_empty, q_parity ^ 1);
        shared.task = task;
        barrier_arrive_expect(&shared.q_full, bytes);
        q_parity ^= 1;
    }

    __device__ void run_item(unsigned index) {
        item = work_item<C::block_m>(args.batch, index);
        int steps = (item.keys() + step_keys - 1) / step_keys, first_key = (steps - 1) * step_keys;
        Task task;
        task.head = item.head;
        task.steps = steps;
        task.whole_steps = (item.q_start + 1) / step_keys;
        task.q_start = item.q_start;
        task.row = item.row;
        task.rows = item.rows;
        task.stale_from = item.kv_len - first_key;
        task.stale_to = item.blocks() * block_keys - first_key;

        Rows ahead = rows_of(steps - 1);
        publish(task, C::q_bytes);
#pragma unroll
        for (int slab = 0; slab < C::slabs; ++slab)
            tma_load_3d(&args.q, &shared.q_full, shared.q + slab * C::q_slab_bytes, slab * 64, item.head, item.row);
        load_keys(ahead);
        for (int step = steps - 2; step >= 0; --step) {
            Rows behind = ahead;
            ahead = rows_of(step);
            load_keys(ahead);
            load_values(behind);
        }
        load_values(ahead);
    }

public:
    __device__ Producer(const Arguments &args, Shared<C> &shared) : args(args), shared(shared) {}

    __device__ void run() {
        unsigned items = args.batch.num_tiles * args.batch.num_q_heads;
        unsigned index = blockIdx.x;
        while (index < items) {
            // Taken ahead: the answer arrives while this item is copied.
            unsigned next = gridDim.x + atomicAdd(&args.queue[0], 1);
            run_item(index);
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

template <int HEAD_DIM, typename C> class Consumer {
    const Arguments &args;
    Shared<C> &shared;
    const int index, thread; // of the warpgroup, in the warpgroup
    const float scale;       // of logits to base-2 exponents
    const uint64_t q_operand;
    Ring<stages> k_ring, v_ring;
    uint32_t q_parity = 0;

    float o[HEAD_DIM / 2];
    float s[step_keys / 2];
    uint32_t p[step_keys / 4];
    // Of this thread's two rows; the sums are its own columns' only.
    float maximum[2], sum[2], correction[2];

    // Named barriers; 0 is __syncthreads.
    __device__ uint32_t turn_barrier(int consumer) const { return 1 + consumer; }
    __device__ uint32_t own_barrier() const { return 1 + CONSUMERS + index; }
    static constexpr int CONSUMERS = C::block_m / 64;

    __device__ void wait_turn() { named_barrier_sync(turn_barrier(index), 2 * warpgroup); }
    __device__ void pass_turn() {
        named_barrier_arrive(turn_barrier(index + 1 == CONSUMERS ? 0 : index + 1), 2 * warpgroup);
    }

    __device__ void release(uint64_t *empty) {
        if (thread % 32 == 0) barrier_arrive(empty);
    }

    __device__ void start_scores() {
        uint64_t k = operand(shared_address(shared.k[k_ring.stage]), 0, 1024);
#pragma unroll
        for (int i = 0; i < HEAD_DIM / 16; ++i) {
            int in_row = i % 4 * 32;
            wgmma_m64n128k16(s, operand_at(q_operand, i / 4 * C::q_slab_bytes + in_row),
                             operand_at(k, i / 4 * C::kv_slab_bytes + in_row), i > 0);
        }
        wgmma_commit();
    }

    __device__ void start_output() {
        uint64_t v = operand(shared_address(shared.v[v_ring.stage]), C::kv_slab_bytes, 1024);
#pragma unroll
        for (int i = 0; i < step_keys / 16; ++i) {
            uint64_t rows = operand_at(v, i * 16 * row_bytes);
            if constexpr (HEAD_DIM == 128) wgmma_m64n128k16(o, p + 4 * i, rows);
            else wgmma_m64n64k16(o, p + 4 * i, rows);
        }
        wgmma_commit();
    }

    __device__ void finish_scores() {
        pin(s);
        release(&shared.k_empty[k_ring.stage]);
        k_ring.advance();
    }

    __device__ void finish_output() {
        pin(o);
        pin(p);
        release(&shared.v_empty[v_ring.stage]);
        v_ring.advance();
    }

    // Turns logits into weights, and what has been summed so far to the new maximum by `correction`.
    //
    // `visible` is the number of leading columns, from this thread's first, that its first row sees; its second row sees
    // eight more.
    template <bool MASKED> __device__ void softmax(int visible) {
        if constexpr (MASKED) {
#pragma unroll
            for (int i = 0; i < step_keys / 2; ++i) {
                int column = i / 4 * 8 + i % 2, row = i / 2 % 2 * 8;
                if (column >= visible + row) s[i] = -INFINITY;
            }
        }
        float shift[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float largest = maximum[r];
#pragma unroll
            for (int i = 0; i < step_keys / 2; i += 4) largest = fmaxf(largest, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
            largest = row_max(largest);
            // A row that has seen no key yet must not compute infinity minus infinity.
            float reference = MASKED && largest == -INFINITY ? 0.f : largest;
            correction[r] = exp2_approx((maximum[r] - reference) * scale);
            maximum[r] = largest;
            shift[r] = reference * scale;
            sum[r] *= correction[r];
        }
#pragma unroll
        for (int i = 0; i < step_keys / 2; ++i) {
            int r = i / 2 % 2;
            s[i] = exp2_approx(fmaf(s[i], scale, -shift[r]));
            sum[r] += s[i];
        }
    }

    __device__ void pack_weights() {
#pragma unroll
        for (int i = 0; i < step_keys / 4; ++i) p[i] = bf16_pair(s[2 * i], s[2 * i + 1]);
    }

    __device__ void rescale_output() {
#pragma unroll
        for (int i = 0; i < HEAD_DIM / 2; ++i) o[i] *= correction[i / 2 % 2];
    }

    // Zeros values past the end of the sequence: their weights are zero, but they may hold NaN.
    //
    // Every warpgroup writes all of them, so that none waits for another.
    __device__ void clear_stale_values(const Task &task) {
        barrier_wait(&shared.v_full[v_ring.stage], v_ring.parity);
        int quarters = row_bytes / 16;
        for (int i = thread; i < (task.stale_to - task.stale_from) * quarters * C::slabs; i += warpgroup) {
            int slab = i % C::slabs, in_row = i / C::slabs % quarters, row = task.stale_from + i / C::slabs / quarters;
            unsigned char *at = shared.v[v_ring.stage] + slab * C::kv_slab_bytes + row * row_bytes + in_row * 16;
            *reinterpret_cast<uint4 *>(at) = uint4{0, 0, 0, 0};
        }
        stores_before_async();
        named_barrier_sync(own_barrier(), warpgroup);
    }

    // The scores of the next step beside the output of the last.
    template <bool MASKED> __device__ void step(int visible) {
        barrier_wait(&shared.k_full[k_ring.stage], k_ring.parity);
        wait_turn();
        wgmma_fence();
        start_scores();
        barrier_wait(&shared.v_full[v_ring.stage], v_ring.parity);
        start_output();
        pass_turn();
        wgmma_wait<1>();
        finish_scores();
        softmax<MASKED>(visible);
        wgmma_wait_after(sum[0] + sum[1], &shared.unused);
        wgmma_wait<0>();
        finish_output();
        pack_weights();
        rescale_output();
    }

    __device__ void write(const Task &task) {
        int lane = thread % 32, row_of_tile = index * 64 + thread / 32 * 16 + lane / 4;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float total = row_sum(sum[r]);
            float inverse = 1.f / total;
            int row = row_of_tile + 8 * r;
            bool inside = row < task.rows;
            size_t row_of_batch = task.row + row;
            if (inside && args.lse && lane % 4 == 0)
                args.lse[size_t(task.head) * args.batch.num_rows + row_of_batch] = fmaf(maximum[r], args.sm_scale, logf(total));
            __nv_bfloat16 *out = args.o + (row_of_batch * args.batch.num_q_heads + task.head) * HEAD_DIM;
#pragma unroll
            for (int group = 0; group < HEAD_DIM / 8; group += 4) {
                uint32_t pairs[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float *pair = o + 4 * (group + i) + 2 * r;
                    pairs[i] = bf16_pair(pair[0] * inverse, pair[1] * inverse);
                }
                uint4 columns = gather_columns(pairs, lane);
                if (inside) *reinterpret_cast<uint4 *>(out + (group + lane % 4) * 8) = columns;
            }
        }
    }

    __device__ void run_task(const Task &task) {
        maximum[0] = maximum[1] = -INFINITY;
        sum[0] = sum[1] = 0.f;
#pragma unroll
        for (int i = 0; i < HEAD_DIM / 2; ++i) o[i] = 0.f;
        int lane = thread % 32;
        int position = task.q_start + index * 64 + thread / 32 * 16 + lane / 4;
        auto visible = [&](int step) { return position - step * step_keys - lane % 4 * 2 + 1; };

        int at = task.steps - 1;
        barrier_wait(&shared.k_full[k_ring.stage], k_ring.parity);
        wgmma_fence();
        start_scores();
        wgmma_wait<0>();
        finish_scores();
        softmax<true>(visible(at));
        pack_weights();
        if (task.stale_from < task.stale_to) clear_stale_values(task);
        while (--at >= task.whole_steps) step<true>(visible(at));
        for (; at >= 0; --at) step<false>(0);
        // No more scores: the producer may replace the queries.
        release(&shared.q_empty);

        barrier_wait(&shared.v_full[v_ring.stage], v_ring.parity);
        wgmma_fence();
        start_output();
        wgmma_wait<0>();
        finish_output();
        write(task);
    }

public:
    __device__ Consumer(const Arguments &args, Shared<C> &shared, int index)
        : args(args), shared(shared), index(index), thread(threadIdx.x % warpgroup), scale(args.sm_scale * log2_e),
          q_operand(operand(shared_address(shared.q) + index * 64 * row_bytes, 0, 1024)) {}

    __device__ void run() {
        // The first turn is nobody's to pass on.
        if (index == 0) named_barrier_arrive(turn_barrier(0), 2 * warpgroup);
        while (true) {
            barrier_wait(&shared.q_full, q_parity);
            q_parity ^= 1;
            Task task = shared.task;
            // Every lane has read before one of them tells the producer so for its warp.
            __syncwarp();
            if (task.head < 0) break;
            run_task(task);
        }
    }
};

template <int HEAD_DIM, int CONSUMERS> __device__ void attend(const Arguments &args) {
    using C = Config<HEAD_DIM, CONSUMERS>;
    // The runtime aligns dynamic shared memory to less than the swizzle wants.
    Shared<C> &shared = *reinterpret_cast<Shared<C> *>((reinterpret_cast<uintptr_t>(dynamic_shared) + 1023) & ~uintptr_t(1023));

    if (threadIdx.x == 0) {
        tma_prefetch(&args.q);
        tma_prefetch(&args.k);
        tma_prefetch(&args.v);
        constexpr int warps = CONSUMERS * warpgroup / 32;
        barrier_init(&shared.q_full, 1);
        barrier_init(&shared.q_empty, warps);
        for (int stage = 0; stage < stages; ++stage) {
            barrier_init(&shared.k_full[stage], 1);
            barrier_init(&shared.v_full[stage], 1);
            barrier_init(&shared.k_empty[stage], warps);
            barrier_init(&shared.v_empty[stage], warps);
        }
        barrier_init_done();
    }
    __syncthreads();

    if (threadIdx.x < warpgroup) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(C::producer_registers));
        if (threadIdx.x == 0) Producer<C>(args, shared).run();
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(C::consumer_registers));
        Consumer<HEAD_DIM, C>(args, shared, threadIdx.x / warpgroup - 1).run();
    }
}

} // namespace

extern "C" __global__ void __launch_bounds__(384, 1) attend_sm90_d128(const __grid_constant__ Arguments args) {
    attend<128, 2>(args);
}

extern "C" __global__ void __launch_bounds__(512, 1) attend_sm90_d64(const __grid_constant__ Arguments args) {
    attend<64, 3>(args);
}
