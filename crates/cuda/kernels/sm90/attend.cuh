// A block of threads: barriers, then each warpgroup in its role.
#pragma once
#include "../ptx/early_start.cuh"
#include "consumer.cuh"
#include "producer.cuh"

namespace {

template <typename C> __device__ void attend(const Arguments &args) {
    // What `src/attend_sm90.rs` asks for, less what may be lost to alignment.
    constexpr int operand_bytes = C::q_stages * C::q_bytes + 2 * C::stages * C::kv_bytes;
    static_assert(sizeof(Shared<C>) <= operand_bytes + C::stages * step_keys * sizeof(float) + 1024);
    // The runtime aligns dynamic shared memory to less than the swizzle wants.
    Shared<C> &shared = *reinterpret_cast<Shared<C> *>((reinterpret_cast<uintptr_t>(dynamic_shared) + 1023) & ~uintptr_t(1023));

    if (threadIdx.x == 0) {
        tma_prefetch(&args.q);
        tma_prefetch(&args.k);
        tma_prefetch(&args.v);
        if constexpr (C::planned) {
            tma_prefetch(&args.k_extras);
            tma_prefetch(&args.v_extras);
        }
        constexpr int threads = C::consumers * warpgroup, warps = threads / 32;
        for (int stage = 0; stage < C::q_stages; ++stage) {
            barrier_init(&shared.q_full[stage], 1);
            // With a plan the producer and the warp of the biases read tasks, too.
            barrier_init(&shared.q_empty[stage], threads + (C::planned ? 1 + 32 : 0));
            barrier_init(&shared.task_full[stage], 1);
        }
        for (int stage = 0; stage < C::stages; ++stage) {
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
    wait_for_previous();

    if (threadIdx.x < warpgroup) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(C::producer_registers));
        if (threadIdx.x == 0) Producer<C>(args, shared).run();
        if constexpr (C::planned) {
            if (threadIdx.x / 32 == 1) Biases<C>(args, shared).run();
            if (threadIdx.x == 64) Scheduler<C>(args, shared).run();
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(C::consumer_registers));
        Consumer<C>(args, shared, threadIdx.x / warpgroup - 1).run();
    }
}

} // namespace
