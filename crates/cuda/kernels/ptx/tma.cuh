// The copy engine (TMA) and the order between it and ordinary stores. sm_90.
#pragma once
#include "barrier.cuh"
#include <cuda.h>

__device__ inline void tma_prefetch(const CUtensorMap *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

__device__ inline void tma_load_2d(const CUtensorMap *map, uint64_t *barrier, void *to, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 ::"r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
                 : "memory");
}

__device__ inline void tma_load_3d(const CUtensorMap *map, uint64_t *barrier, void *to, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
                 ::"r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
                 : "memory");
}

// Makes this thread's stores to shared memory visible to TMA and wgmma.
__device__ inline void stores_before_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
