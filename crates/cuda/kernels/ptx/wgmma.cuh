// Warpgroup matrix products (wgmma), operands in bf16 or 8-bit floats, f32 accumulators. sm_90a.
//
// D fragment of m64nNk16, thread t of the warpgroup, i in 0 .. N / 2:
//     row = 16 * (t / 32) + (t % 32) / 4 + 8 * (i / 2 % 2),   column = 8 * (i / 4) + 2 * (t % 4) + i % 2
// Packed to bf16 pairs, registers 8 k .. 8 k + 8 of D are the A fragment of columns 16 k .. 16 k + 16. The A fragment of 8-bit floats
// has four neighbours of 32 columns in a register: 4 * (t % 4) .. of the row, of the row eight further; then 16 columns further.
#pragma once
#include "barrier.cuh"

// The order of 16-byte chunks in rows of as many bytes, as TMA writes them.
enum class Swizzle : uint64_t { Bytes128 = 1, Bytes64 = 2 };

// Operand rows of 128 or 64 bytes in a swizzle, eight rows to a group.
//
// K-major (rows are M or N, the row holds K): groups of eight rows are `group_bytes` apart.
// MN-major (rows are K, the row holds 64 of N): groups of eight k are `group_bytes` apart, the next 64 of N is
// `slab_bytes` further.
__device__ inline uint64_t operand(uint32_t address, uint32_t slab_bytes, uint32_t group_bytes,
                                   Swizzle swizzle = Swizzle::Bytes128) {
    return uint64_t(swizzle) << 62 | uint64_t(group_bytes >> 4) << 32 | uint64_t(slab_bytes >> 4) << 16 | address >> 4;
}

// The same operand `bytes` further on; both must lie below 256 KiB.
__device__ inline uint64_t operand_at(uint64_t operand, uint32_t bytes) { return operand + (bytes >> 4); }

// Before the first product that reads or writes registers touched since the last one.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most `PENDING` committed groups are unfinished.
template <int PENDING> __device__ inline void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Keeps the next wait behind the arithmetic that ends in `x`, which must not be negative.
//
// The assembler moves a wait up across arithmetic, and what should run beside the products then runs after them. It does
// not move one across a store: this one is never taken, but depends on `x`.
__device__ inline void wgmma_wait_after(float x, float *never_written) {
    asm volatile("{\n.reg .pred negative;\n"
                 "setp.lt.f32 negative, %0, 0f00000000;\n"
                 "@negative st.shared.f32 [%1], %0;\n}" ::"f"(x),
                 "r"(shared_address(never_written))
                 : "memory");
}

// Registers that a product reads or writes behind the compiler's back: no use may move across this point.
template <int N> __device__ inline void pin(float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(x[i])::"memory");
}

template <int N> __device__ inline void pin(uint32_t (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+r"(x[i])::"memory");
}

// A thread's accumulators in a product: their places in its text, and what they are.
#define REGISTERS_32                                                                                                   \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                           \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS_64                                                                                                   \
    REGISTERS_32 ", "                                                                                                  \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                 \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_128                                                                                                  \
    REGISTERS_64 ", "                                                                                                  \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                                 \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                                 \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "                     \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define ACCUMULATORS_32(d)                                                                                             \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),                    \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),              \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),            \
    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define ACCUMULATORS_64(d)                                                                                             \
    ACCUMULATORS_32(d),                                                                                                \
    "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),            \
    "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),            \
    "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),            \
    "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define ACCUMULATORS_128(d)                                                                                            \
    ACCUMULATORS_64(d),                                                                                                \
    "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]),            \
    "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]),            \
    "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]),            \
    "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]),            \
    "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]),        \
    "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]),    \
    "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]),    \
    "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])

// d += a b; a [64][16] in registers, b [16][64] MN-major in shared memory.
__device__ inline void wgmma_m64n64k16(float (&d)[32], const uint32_t *a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        REGISTERS_32
        "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
        : ACCUMULATORS_32(d)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// d = a b, or d += a b where `accumulate`; a [64][16] K-major, b [64][16] K-major, both in shared memory. d[column / 8] has the
// four elements of a thread in columns of eight.
__device__ inline void wgmma_m64n64k16(float (&d)[8][4], uint64_t a, uint64_t b, bool accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        REGISTERS_32
        "}, %32, %33, p, 1, 1, 0, 0;\n}"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
        "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
        "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
        : "l"(a), "l"(b), "r"(int(accumulate)));
}

// d = a b, or d += a b where `accumulate`; a [64][16] K-major, b [128][16] K-major, both in shared memory.
__device__ inline void wgmma_m64n128k16(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        REGISTERS_64
        "}, %64, %65, p, 1, 1, 0, 0;\n}"
        : ACCUMULATORS_64(d)
        : "l"(a), "l"(b), "r"(int(accumulate)));
}

// d = a b, or d += a b where `accumulate`; a [64][16] K-major, b [256][16] K-major, both in shared memory.
__device__ inline void wgmma_m64n256k16(float (&d)[128], uint64_t a, uint64_t b, bool accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        REGISTERS_128
        "}, %128, %129, p, 1, 1, 0, 0;\n}"
        : ACCUMULATORS_128(d)
        : "l"(a), "l"(b), "r"(int(accumulate)));
}

// d += a b; a [64][16] in registers, b [16][128] MN-major in shared memory.
__device__ inline void wgmma_m64n128k16(float (&d)[64], const uint32_t *a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        REGISTERS_64
        "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
        : ACCUMULATORS_64(d)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// d = a b, or d += a b where `accumulate`, in 8-bit floats; a [64][32] K-major, b [128][32] K-major in shared memory.
__device__ inline void wgmma_e4m3_m64n128k32(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
        REGISTERS_64
        "}, %64, %65, p, 1, 1;\n}"
        : ACCUMULATORS_64(d)
        : "l"(a), "l"(b), "r"(int(accumulate)));
}

// d = a b, or d += a b where `accumulate`, in 8-bit floats; a [64][32] in registers, b [128][32] K-major in shared memory.
__device__ inline void wgmma_e4m3_m64n128k32(float (&d)[64], const uint32_t *a, uint64_t b, bool accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
        REGISTERS_64
        "}, {%64, %65, %66, %67}, %68, p, 1, 1;\n}"
        : ACCUMULATORS_64(d)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)));
}

// d = a b, or d += a b where `accumulate`, in 8-bit floats; a [64][32] in registers, b [64][32] K-major in shared memory.
__device__ inline void wgmma_e4m3_m64n64k32(float (&d)[32], const uint32_t *a, uint64_t b, bool accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
        REGISTERS_32
        "}, {%32, %33, %34, %35}, %36, p, 1, 1;\n}"
        : ACCUMULATORS_32(d)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)));
}

#undef REGISTERS_32
#undef REGISTERS_64
#undef REGISTERS_128
#undef ACCUMULATORS_32
#undef ACCUMULATORS_64
#undef ACCUMULATORS_128
