// Kernels that are put on the device while the one before them ends (programmatic dependent launch, sm_90). For older ones nothing
// needs to be done.
#pragma once

// First of all in a kernel that `Kernel::started_early` launches, in all its threads: lets the next one come, and waits until all that was asked for before is
// done and seen. Nothing but arguments may be read before.
__device__ inline void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;\n"
                 "griddepcontrol.wait;" ::: "memory");
#endif
}
