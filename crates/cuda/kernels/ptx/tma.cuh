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

// To the same place in the shared memory of every block of the cluster that `blocks` has the bit of, each of whose barriers is told.
__device__ inline void tma_load_2d_multicast(const CUtensorMap *map, uint64_t *barrier, void *to, int x, int y, uint16_t blocks) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
                 "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "h"(blocks)
                 : "memory");
}

// Part of this thread's current group of stores; what lies past the tensor's end is left out.
__device__ inline void tma_store_2d(const CUtensorMap *map, const void *from, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(shared_address(from)), "r"(x), "r"(y)
                 : "memory");
}

__device__ inline void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Waits until what this thread's stores read may be written again.
__device__ inline void tma_store_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

// Makes this thread's stores to shared memory visible to TMA and wgmma.
__device__ inline void stores_before_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
