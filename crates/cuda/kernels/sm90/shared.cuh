// What the roles of the sm_90a attention kernel share: arguments, tasks, shared memory.
#pragma once
#include "../plan.cuh"
#include "../ptx/tma.cuh"
#include "../ptx/wgmma.cuh"
#include "../softmax.cuh"
#include <cstddef>
#include <cuda_bf16.h>

struct Arguments {
    CUtensorMap q; // [row][q_head][head_dim], boxes of [block_m][1][64]
    // [page][kv_head][page_size][head_dim] as rows of head_dim, boxes of [64][64]. In 8-bit floats keys in boxes of
    // [64][head_dim], and values of each block transposed: rows of 64 keys, boxes of [head_dim][64].
    CUtensorMap k, v;
    CUtensorMap k_extras, v_extras; // [row][head_dim], boxes likewise; not used without a plan
    __nv_bfloat16 *o;               // [row][q_head][head_dim]
    float *lse;                     // [q_head][row], or null; not written in 8-bit floats
    unsigned *queue;                // [2]: items taken, blocks done; zero before and after
    Batch batch;
    Plan plan;    // not used without one
    int kv_rows;  // rows of the cache: the first row past its end reads as zeros
    int window;   // positions that a query sees, its own included; not used with a plan
    float sm_scale;
    const float2 *kv_scales; // [kv_head]: of keys, of values; not used in bf16
};
// As `src/attend_sm90.rs` has it.
static_assert(sizeof(Arguments) == 896 && offsetof(Arguments, kv_scales) == 792);

// Outside the namespace: names inside one without a name differ from build to build.
extern __shared__ __align__(128) unsigned char dynamic_shared[];

namespace {

constexpr int warpgroup = 128; // threads
constexpr int step_keys = 128;
constexpr int row_bytes = 128; // 64 elements of bf16: the widest row a swizzle takes, so head_dim lies in slabs of 64
constexpr int most_cut_steps = 3; // of a plan: 192 queries cut at most four blocks, and one may be missing

// FP8: keys and values are 8-bit floats, values transposed; queries come as bf16 and are rounded by the consumers.
template <int HEAD_DIM, int CONSUMERS, bool PLANNED, bool FP8 = false> struct Config {
    static constexpr int head_dim = HEAD_DIM;
    static constexpr bool planned = PLANNED;
    static constexpr bool fp8 = FP8;
    static constexpr int consumers = CONSUMERS;
    // Of keys and of values. Products of 8-bit floats take half as long, and so do copies, but not their latency.
    static constexpr int stages = FP8 ? 4 : 2;
    // Tiles of plans can be short, so the next one's queries come while this one's are still needed.
    static constexpr int q_stages = PLANNED ? 2 : 1;
    static constexpr int block_m = 64 * CONSUMERS;
    static constexpr int slabs = HEAD_DIM / 64;
    static constexpr int q_slab_bytes = block_m * row_bytes;
    static constexpr int kv_slab_bytes = step_keys * row_bytes;
    static constexpr int block_slab_bytes = block_keys * row_bytes;
    static constexpr int q_bytes = slabs * q_slab_bytes;
    static constexpr int kv_bytes = FP8 ? step_keys * HEAD_DIM : slabs * kv_slab_bytes;
    // Registers a thread: as many in all as a launch gives, which is what the launch bounds leave (168 or 128) for each; multiples of 8.
    static constexpr int producer_registers = CONSUMERS == 2 ? 40 : 32;
    static constexpr int consumer_registers = CONSUMERS == 2 ? 232 : 160;
    static_assert(!PLANNED || block_m <= 192, "see most_cut_steps");
};

// What consumers need to know of a work item. Steps are numbered from the newest keys on with a plan, from position 0 on
// without one.
struct Task {
    int head; // below zero: no work is left
    int row;        // of the first query in o
    int rows;       // queries
    int q_start;    // position of the first query
    int stale_from; // keys of the first step that its pages hold but the sequence does not: from here ...
    int stale_to;   // ... up to here, as rows of the step

    // Without a plan.
    int first_step, last_step; // walked downwards
    int whole_from, whole_to;  // steps that every query sees whole

    // With one.
    const int *blocks, *table;               // its list and the pages of its sequence
    int count, kv_head, causal_blocks;       // blocks in the list; of which some query sees a key
    int block_steps;                         // steps of listed blocks; the first few hold all that the diagonal cuts
    int cut_steps;                           // those
    int first_keys[2 * most_cut_steps];      // position of the first key of each half of them
    int index;                               // in plan.items
    int full_blocks;                         // that every query sees whole
    int column_steps, columns, centre_steps, centres; // of extras, and the rows they begin at

    // The blocks of a step of listed ones, -1 where there is none: newest first, the newer of two in the second half. Where
    // their number is odd, the first step has one.
    __device__ int2 halves(int step) const {
        bool odd = count % 2;
        int second = count - 1 - (step == 0 ? 0 : 2 * step - odd);
        auto block_at = [&](int at) { return at >= 0 ? blocks[at] : -1; };
        return int2{step == 0 && odd ? -1 : block_at(second - 1), block_at(second)};
    }

    __device__ int extra_steps() const { return column_steps + centre_steps; }
    __device__ int extra_row(int step) const {
        return step < column_steps ? columns + step * step_keys : centres + (step - column_steps) * step_keys;
    }
};

// Shared memory; operands first, each on a multiple of the swizzle's 1,024 bytes.
template <typename C> struct __align__(1024) Shared {
    unsigned char q[C::q_stages][C::q_bytes];
    unsigned char k[C::stages][C::kv_bytes];
    unsigned char v[C::stages][C::kv_bytes];
    float biases[C::stages][C::planned ? step_keys : 1];
    uint64_t q_full[C::q_stages], q_empty[C::q_stages];
    uint64_t task_full[C::q_stages]; // with a plan: the task is there, its queries not yet
    uint64_t k_full[C::stages], k_empty[C::stages];
    uint64_t v_full[C::stages], v_empty[C::stages];
    uint64_t biases_full[C::stages], biases_empty[C::stages];
    Task task[C::q_stages]; // written before q_full, read before q_empty
    float unused;
};

} // namespace
