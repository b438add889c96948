// Levels of block clusters, by products of warps.

#include "search/levels.cuh"
#include "search/rows_times_keys.cuh"

FOR_HEAD_DIMS(search_levels)
// Tiles of 192 queries.
FOR_HEAD_DIM(search_levels, d64_tall, 64, 3)
