// Programmatic dependent launch: a kernel that was launched early gets ready while the one before it ends. sm_90.
#pragma once

// Lets the next kernel get ready, and waits until the one before has ended and what it wrote is visible. First of all in
// every kernel that `Kernel::launch_early` launches.
__device__ inline void after_previous_kernel() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
