// The stages of the search that multiply many rows, by products of warpgroups.

#include "search/column_mass.cuh"
#include "search/levels.cuh"
#include "search/probes.cuh"
#include "search/warpgroup_rows_times_keys.cuh"

// M_TILES products of 64 rows for each of two warpgroups.
#define KERNEL(name, suffix, padded, m_tiles, blocks)                                                                  \
    extern "C" __global__ void __launch_bounds__(256, blocks) name##_sm90_##suffix(const __grid_constant__ Search s) { \
        name<WarpgroupRowsTimesKeys<padded, m_tiles, 2, blocks>>(s);                                                   \
    }

KERNEL(search_levels, d128, 128, 2, 2)
KERNEL(search_levels, d64, 64, 3, 2) // tiles of 192 queries
KERNEL(search_probes, d128, 128, 1, 3)
KERNEL(search_probes, d64, 64, 1, 3)
KERNEL(search_column_mass, d128, 128, 1, 2)
KERNEL(search_column_mass, d64, 64, 1, 3)
