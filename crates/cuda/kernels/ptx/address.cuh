#pragma once
#include <cstdint>

// An address in shared memory as instructions want it.
__device__ inline uint32_t shared_address(const void *p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
