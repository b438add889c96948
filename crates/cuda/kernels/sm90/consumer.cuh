// A consumer warpgroup: 64 queries; scores, softmax and output of every step.
#pragma once
#include "arithmetic_bf16.cuh"
#include "arithmetic_fp8.cuh"
#include <type_traits>

namespace {

template <typename C> using ArithmeticOf = std::conditional_t<C::fp8, Fp8Arithmetic<C>, Bf16Arithmetic<C>>;

template <typename C> class Consumer : ArithmeticOf<C> {
    // A base, not a member: what it keeps must stay in registers.
    using Arithmetic = ArithmeticOf<C>;
    using Arithmetic::o;
    using Arithmetic::s;
    const Arguments &args;
    Shared<C> &shared;
    const int index, thread; // of the warpgroup, in the warpgroup
    Ring<C::stages> k_ring, v_ring, bias_ring;
    Ring<C::q_stages> q_ring;
    // Of this thread's two rows: the base-2 exponent that weights are relative to, the sum of the weights of its own columns, and
    // what its last rise makes of what was summed before.
    float shift[2], sum[2], correction[2];
    bool risen; // in some row of the warp

    // Named barriers; 0 is __syncthreads.
    __device__ uint32_t turn_barrier(int consumer) const { return 1 + consumer; }
    __device__ uint32_t own_barrier() const { return 1 + C::consumers + index; }

    __device__ void wait_turn() { named_barrier_sync(turn_barrier(index), 2 * warpgroup); }
    __device__ void pass_turn() {
        named_barrier_arrive(turn_barrier(index + 1 == C::consumers ? 0 : index + 1), 2 * warpgroup);
    }

    __device__ void release(uint64_t *empty) {
        if (thread % 32 == 0) barrier_arrive(empty);
    }

    __device__ void start_step_scores() { Arithmetic::start_scores(shared_address(shared.k[k_ring.stage])); }

    __device__ void start_step_output() { Arithmetic::start_output(shared_address(shared.v[v_ring.stage])); }

    __device__ void finish_scores() {
        pin(s);
        release(&shared.k_empty[k_ring.stage]);
        k_ring.advance();
    }

    __device__ void finish_output() {
        Arithmetic::pin_output();
        release(&shared.v_empty[v_ring.stage]);
        v_ring.advance();
    }

    // What a query sees of a step, in columns from this thread's first, for its first row; the second row sees eight on.
    struct Sight {
        int ends[2]; // of each half of the step, past the newest column seen
        int width;   // how far back from there
    };

    __device__ void hide(Sight sight) {
#pragma unroll
        for (int i = 0; i < step_keys / 2; ++i) {
            int column = i / 4 * 8 + i % 2, end = sight.ends[i / (step_keys / 4)] + i / 2 % 2 * 8;
            bool seen = column < end && (C::planned || column >= end - sight.width);
            if (!seen) s[i] = -INFINITY;
        }
    }

    __device__ void add_biases() {
        barrier_wait(&shared.biases_full[bias_ring.stage], bias_ring.parity);
        const float *biases = shared.biases[bias_ring.stage] + thread % 4 * 2;
#pragma unroll
        for (int i = 0; i < step_keys / 2; i += 4) {
            float2 bias = *reinterpret_cast<const float2 *>(biases + 2 * i);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                s[i + 2 * r] = fmaf(bias.x, Arithmetic::bias_factor(r), s[i + 2 * r]);
                s[i + 2 * r + 1] = fmaf(bias.y, Arithmetic::bias_factor(r), s[i + 2 * r + 1]);
            }
        }
        // Each lane for what it has read itself: that costs nothing here, and checkers can follow it.
        barrier_arrive(&shared.biases_empty[bias_ring.stage]);
        bias_ring.advance();
    }

    // Turns logits into weights, relative to about the largest: while no row of the warp exceeds that by more than `slack`, nothing
    // that was summed before needs to change.
    template <bool MASKED> __device__ void softmax() {
        float largest[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            largest[r] = s[2 * r];
#pragma unroll
            for (int i = 0; i < step_keys / 2; i += 4) largest[r] = fmaxf(largest[r], fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
            largest[r] = fmaf(largest[r], Arithmetic::scale(r), -Arithmetic::weight_exponent);
            correction[r] = 1.f;
        }
        risen = __any_sync(~0u, largest[0] > shift[0] + Arithmetic::slack || largest[1] > shift[1] + Arithmetic::slack);
        if (risen) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float raised = row_max(largest[r]);
                if (raised > shift[r]) {
                    correction[r] = exp2_approx(shift[r] - raised);
                    shift[r] = raised;
                    sum[r] *= correction[r];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < step_keys / 2; ++i) {
            int r = i / 2 % 2;
            // A row that has seen no key yet must not compute infinity minus infinity.
            float reference = MASKED && shift[r] == -INFINITY ? 0.f : shift[r];
            s[i] = exp2_approx(fmaf(s[i], Arithmetic::scale(r), -reference));
            sum[r] += s[i];
        }
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

    // What happens to the logits of a step before its softmax.
    enum class Kind { Whole, Cut, Extras };

    // The scores of the next step beside the output of the last.
    template <Kind KIND> __device__ void step(Sight sight = {}) {
        barrier_wait(&shared.k_full[k_ring.stage], k_ring.parity);
        wait_turn();
        wgmma_fence();
        start_step_scores();
        barrier_wait(&shared.v_full[v_ring.stage], v_ring.parity);
        start_step_output();
        pass_turn();
        wgmma_wait<1>();
        finish_scores();
        if constexpr (KIND == Kind::Cut) hide(sight);
        if constexpr (KIND == Kind::Extras) add_biases();
        float last_correction[2] = {correction[0], correction[1]};
        softmax<KIND != Kind::Whole>();
        wgmma_wait_after(sum[0] + sum[1], &shared.unused);
        wgmma_wait<0>();
        finish_output();
        Arithmetic::add_output(last_correction);
        Arithmetic::pack_weights();
        if (risen) Arithmetic::rescale_output(correction);
    }

    __device__ void write(const Task &task) {
        int lane = thread % 32, row_of_tile = index * 64 + thread / 32 * 16 + lane / 4;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float total = row_sum(sum[r]);
            // A row that a plan leaves without a key gives zeros.
            float inverse = total > 0.f ? Arithmetic::output_scale() / total : 0.f;
            int row = row_of_tile + 8 * r;
            bool inside = row < task.rows;
            size_t row_of_batch = task.row + row;
            if (!C::fp8 && inside && args.lse && lane % 4 == 0)
                args.lse[size_t(task.head) * args.batch.num_rows + row_of_batch] = shift[r] / log2_e + logf(total);
            __nv_bfloat16 *out = args.o + (row_of_batch * args.batch.num_q_heads + task.head) * C::head_dim;
#pragma unroll
            for (int group = 0; group < C::head_dim / 8; group += 4) {
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

    // The first step has no output beside it.
    __device__ void first_step(const Task &task, Sight sight) {
        barrier_wait(&shared.k_full[k_ring.stage], k_ring.parity);
        wgmma_fence();
        start_step_scores();
        wgmma_wait<0>();
        finish_scores();
        hide(sight);
        softmax<true>();
        Arithmetic::pack_weights();
        // Rounded values past the end are zeros.
        if (!C::fp8 && task.stale_from < task.stale_to) clear_stale_values(task);
    }

    __device__ void walk_dense(const Task &task, int position) {
        auto sight = [&](int step) {
            int end = position - step * step_keys;
            return Sight{{end, end}, args.window};
        };
        int at = task.last_step;
        first_step(task, sight(at));
        while (--at >= max(task.whole_to, task.first_step)) step<Kind::Cut>(sight(at));
        for (; at >= task.whole_from; --at) step<Kind::Whole>();
        for (; at >= task.first_step; --at) step<Kind::Cut>(sight(at));
    }

    __device__ void walk_planned(const Task &task, int position) {
        auto sight = [&](int step) {
            const int *first_keys = task.first_keys + 2 * step;
            return Sight{{position - first_keys[0], position - first_keys[1] + step_keys / 2}, 0};
        };
        first_step(task, sight(0));
        int at = 1;
        for (; at < task.cut_steps; ++at) step<Kind::Cut>(sight(at));
        for (; at < task.block_steps; ++at) step<Kind::Whole>();
        for (int extra = 0; extra < task.extra_steps(); ++extra) step<Kind::Extras>();
    }

    __device__ void run_task(const Task &task) {
        shift[0] = shift[1] = -INFINITY;
        sum[0] = sum[1] = 0.f;
#pragma unroll
        for (int i = 0; i < C::head_dim / 2; ++i) o[i] = 0.f;
        int lane = thread % 32;
        // One past the column of the first row's own key, were this thread's first column that of position 0.
        int position = task.q_start + index * 64 + thread / 32 * 16 + lane / 4 - lane % 4 * 2 + 1;
        if constexpr (C::planned) walk_planned(task, position);
        else walk_dense(task, position);
        // No more scores: the producer may replace the queries.
        barrier_arrive(&shared.q_empty[q_ring.stage]);
        q_ring.advance();

        barrier_wait(&shared.v_full[v_ring.stage], v_ring.parity);
        wgmma_fence();
        start_step_output();
        wgmma_wait<0>();
        finish_output();
        Arithmetic::add_output(correction);
        write(task);
    }

public:
    __device__ Consumer(const Arguments &args, Shared<C> &shared, int index)
        : Arithmetic(args), args(args), shared(shared), index(index), thread(threadIdx.x % warpgroup) {}

    __device__ void run() {
        // The first turn is nobody's to pass on.
        if (index == 0) named_barrier_arrive(turn_barrier(0), 2 * warpgroup);
        while (true) {
            // The scheduler's own barrier too: its task is read, not only the producer's queries.
            if constexpr (C::planned) barrier_wait(&shared.task_full[q_ring.stage], q_ring.parity);
            barrier_wait(&shared.q_full[q_ring.stage], q_ring.parity);
            Task task = shared.task[q_ring.stage];
            if (task.head < 0) break;
            Arithmetic::take_queries(args, shared.q[q_ring.stage] + index * 64 * row_bytes, task.head, own_barrier());
            run_task(task);
        }
    }
};

} // namespace
