// For building llama.cpp on a CPU with AMX with a GCC whose <amxtileintrin.h> tells the optimiser that `ldtilecfg` reads
// only 8 bytes, and that `tileloadd` reads none (seen with GCC 12.2): the stores that fill the rest of the configuration
// are then dropped, and the first matrix product faults. These say that memory is read. See bench/llama_cpp.py.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#undef _tile_loadd
#define _tile_loadd(tile, base, stride) amx_fix_loadd(tile, base, stride)
#define amx_fix_loadd(tile, base, stride) \
    __asm__ volatile("tileloadd\t(%0,%1,1), %%tmm" #tile ::"r"((const void *)(base)), "r"((long)(stride)) : "memory")
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg\t(%0)" ::"r"((const void *)(config)) : "memory")
#endif
