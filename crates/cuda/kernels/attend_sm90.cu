// Causal attention of a batch over a paged cache, dense or by a plan, for sm_90a.
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
// Only the producer knows where keys lie, and only steps that the diagonal or a window cuts know their positions. So a
// plan needs another walk over 64-key blocks, not another pipeline. One more warp looks the next item up, since items may be
// short; columns and centres come last, with a bias for each that a third warp works out meanwhile.

#include "sm90/consumer.cuh"
#include "sm90/producer.cuh"

namespace {

template <int HEAD_DIM, int CONSUMERS, bool PLANNED> __device__ void attend(const Arguments &args) {
    using C = Config<HEAD_DIM, CONSUMERS, PLANNED>;
    // What `src/attend_sm90.rs` asks for, less what may be lost to alignment.
    constexpr int operand_bytes = C::q_stages * C::q_bytes + 2 * stages * C::kv_bytes;
    static_assert(sizeof(Shared<C>) <= operand_bytes + stages * step_keys * sizeof(float) + 1024);
    // The runtime aligns dynamic shared memory to less than the swizzle wants.
    Shared<C> &shared = *reinterpret_cast<Shared<C> *>((reinterpret_cast<uintptr_t>(dynamic_shared) + 1023) & ~uintptr_t(1023));

    if (threadIdx.x == 0) {
        tma_prefetch(&args.q);
        tma_prefetch(&args.k);
        tma_prefetch(&args.v);
        if constexpr (PLANNED) {
            tma_prefetch(&args.k_extras);
            tma_prefetch(&args.v_extras);
        }
        constexpr int threads = CONSUMERS * warpgroup, warps = threads / 32;
        for (int stage = 0; stage < C::q_stages; ++stage) {
            barrier_init(&shared.q_full[stage], 1);
            // With a plan the producer and the warp of the biases read tasks, too.
            barrier_init(&shared.q_empty[stage], threads + (PLANNED ? 1 + 32 : 0));
            barrier_init(&shared.task_full[stage], 1);
        }
        for (int stage = 0; stage < stages; ++stage) {
            barrier_init(&shared.k_full[stage], 1);
            barrier_init(&shared.v_full[stage], 1);
            barrier_init(&shared.k_empty[stage], warps);
            barrier_init(&shared.v_empty[stage], warps);
            barrier_init(&shared.biases_full[stage], 32);
            barrier_init(&shared.biases_empty[stage], threads);
        }
        barrier_init_done();
    }
    __syncthreads();

    if (threadIdx.x < warpgroup) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(C::producer_registers));
        if (threadIdx.x == 0) Producer<C>(args, shared).run();
        if constexpr (PLANNED) {
            if (threadIdx.x / 32 == 1) Biases<C>(args, shared).run();
            if (threadIdx.x == 64) Scheduler<C>(args, shared).run();
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(C::consumer_registers));
        Consumer<HEAD_DIM, C>(args, shared, threadIdx.x / warpgroup - 1).run();
    }
}

} // namespace

extern "C" __global__ void __launch_bounds__(384, 1) attend_sm90_d128(const __grid_constant__ Arguments args) {
    attend<128, 2, false>(args);
}

extern "C" __global__ void __launch_bounds__(512, 1) attend_sm90_d64(const __grid_constant__ Arguments args) {
    attend<64, 3, false>(args);
}

extern "C" __global__ void __launch_bounds__(384, 1) attend_sm90_planned_d128(const __grid_constant__ Arguments args) {
    attend<128, 2, true>(args);
}

extern "C" __global__ void __launch_bounds__(512, 1) attend_sm90_planned_d64(const __grid_constant__ Arguments args) {
    attend<64, 3, true>(args);
}
