// Blocks of threads that run side by side and reach each other's shared memory. sm_90.
#pragma once
#include "address.cuh"

__device__ inline uint32_t rank_in_cluster() {
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// Every thread of the cluster waits for all others, and sees what they wrote.
__device__ inline void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// Arrives at the barrier in the same place of another block's shared memory.
__device__ inline void barrier_arrive_at(uint64_t *barrier, uint32_t rank) {
    asm volatile("{\n.reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(barrier)),
                 "r"(rank)
                 : "memory");
}
