//! What the search needs to know of its tiles before it looks at any key.

use attention::search::Parts;
use attention::shape::Tiles;

/// Counts of (tile, block) pairs, and where the lists of tiles may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// `[part][num_blocks + 1]`: fully visible blocks so far from the diagonal that a plan may leave out.
    pub distance_steps: Vec<u32>,
    /// `[num_tiles]`: blocks that earlier tiles see.
    pub tile_begins: Vec<i32>,
    /// Tiles without one of the last rows.
    pub sparse_tiles: usize,
    /// Blocks that every plan keeps: on the diagonal, the sink and the newest whole block, and all of the last rows'.
    pub always_steps: usize,
}

impl Geometry {
    pub(super) fn new(tiles: Tiles, last_rows: usize) -> Self {
        let (parts, distances) = (Parts::of(tiles), tiles.num_blocks() + 1);
        let mut geometry = Self {
            distance_steps: Vec::with_capacity(parts.number() * distances),
            tile_begins: Vec::with_capacity(tiles.num_tiles()),
            sparse_tiles: 0,
            always_steps: 0,
        };
        // One more at the nearest distance of a tile, one less behind its farthest: running sums count them.
        let mut changes = vec![0i64; parts.number() * (distances + 1)];
        let mut begin = 0;
        for tile in 0..tiles.num_tiles() {
            let (full, causal) = (tiles.full_blocks(tile), tiles.causal_blocks(tile));
            geometry.tile_begins.push(begin);
            begin += causal as i32;
            if tiles.has_last_rows(tile, last_rows) {
                geometry.always_steps += causal;
                continue;
            }
            geometry.sparse_tiles += 1;
            geometry.always_steps += causal - full + full.min(2);
            if full > 2 {
                let changes = &mut changes[parts.of_tile(tile) * (distances + 1)..];
                changes[tiles.distance(tile, full - 2)] += 1;
                changes[tiles.distance(tile, 1) + 1] -= 1;
            }
        }
        for changes in changes.chunks_exact(distances + 1) {
            let mut sum = 0;
            geometry.distance_steps.extend(changes[..distances].iter().map(|change| {
                sum += change;
                sum as u32
            }));
        }
        geometry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::shape::QueryRange;

    #[test]
    fn counts_what_looking_at_every_pair_counts() {
        for (q_len, kv_len) in [(1, 1), (64, 64), (100, 1000), (1000, 1000), (777, 5000), (4096, 4096), (300, 363)] {
            for last_rows in [0, 1, 64, 200, 5000] {
                let tiles = QueryRange::new(q_len, kv_len).unwrap().tiles(128).unwrap();
                let geometry = Geometry::new(tiles, last_rows);
                let parts = Parts::of(tiles);
                let mut distances = vec![vec![0; tiles.num_blocks() + 1]; parts.number()];
                let (mut always, mut sparse, mut begin) = (0, 0, 0);
                for tile in 0..tiles.num_tiles() {
                    assert_eq!(geometry.tile_begins[tile], begin);
                    begin += tiles.causal_blocks(tile) as i32;
                    let last = tiles.positions(tile).end + last_rows > kv_len;
                    sparse += !last as usize;
                    for block in 0..tiles.causal_blocks(tile) {
                        let full = tiles.full_blocks(tile);
                        if last || block >= full || block == 0 || block == full - 1 {
                            always += 1;
                        } else {
                            distances[parts.of_tile(tile)][tiles.distance(tile, block)] += 1;
                        }
                    }
                }
                assert_eq!(geometry.distance_steps, distances.concat(), "{q_len} {kv_len} {last_rows}");
                assert_eq!((geometry.sparse_tiles, geometry.always_steps), (sparse, always));
            }
        }
    }
}
