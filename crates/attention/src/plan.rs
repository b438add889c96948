//! The plan: what each head computes. One format for every pattern, one kernel family for every plan.

pub mod file;

use crate::shape::{QueryRange, Tiles};
use crate::{BLOCK_N, Error};
use serde::Serialize;

/// What one query head computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadPlan {
    /// Every causal pair.
    Dense,
    /// Blocks, columns and centres.
    Sparse(SparsePlan),
    /// Every causal pair less than so many positions apart: all that a layer with a sliding window may see.
    Window(usize),
}

/// For each q tile, of a height that the plan carries, a list of kv blocks; for the head a list of single columns that a
/// tile computes where they lie outside its blocks; and whether the blocks a tile leaves out are represented by their
/// centres.
///
/// A *centre* is one key and one value, the means over the keys of a left-out block that are not columns, weighted by
/// their number: logit `q . mean(k) * sm_scale + ln(n)`, value `mean(v)` (mean correction, FlashPrefill V2,
/// arXiv 2608.19758).
///
/// Blocks that some row of a tile does not see whole are always listed, so columns and centres never need a causal mask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SparsePlan {
    /// What it was checked against.
    #[serde(skip)]
    tiles: Tiles,
    indptr: Vec<u32>,
    indices: Vec<u32>,
    columns: Vec<u32>,
    centres: bool,
}

impl SparsePlan {
    /// Checks and keeps a plan in CSR form: tile `t` computes blocks `indices[indptr[t] .. indptr[t + 1]]`.
    ///
    /// # Errors
    /// Unless there is one list for each tile, each list is strictly ascending, causal, and holds every block that the
    /// diagonal cuts; and `columns` are strictly ascending positions below `kv_len`.
    pub fn new(
        tiles: Tiles,
        indptr: Vec<u32>,
        indices: Vec<u32>,
        columns: Vec<u32>,
        centres: bool,
    ) -> Result<Self, Error> {
        let fail = |message: String| Err(Error::Plan(message));
        if indptr.len() != tiles.num_tiles() + 1 || indptr.first() != Some(&0) {
            return fail(format!("{} tiles need {} offsets from 0", tiles.num_tiles(), tiles.num_tiles() + 1));
        }
        if indptr.last().map(|&end| end as usize) != Some(indices.len()) {
            return fail(format!("offsets end at {:?}, there are {} blocks", indptr.last(), indices.len()));
        }
        for tile in 0..tiles.num_tiles() {
            let (from, to) = (indptr[tile] as usize, indptr[tile + 1] as usize);
            let Some(list) = indices.get(from..to) else {
                return fail(format!("tile {tile}: offsets {from}..{to} of {} blocks", indices.len()));
            };
            if !list.is_sorted_by(|a, b| a < b) {
                return fail(format!("tile {tile}: blocks not strictly ascending"));
            }
            let (full, causal) = (tiles.full_blocks(tile), tiles.causal_blocks(tile));
            if list.last().is_some_and(|&b| b as usize >= causal) {
                return fail(format!("tile {tile}: block {:?} lies wholly in the future", list.last()));
            }
            let cut = list.iter().filter(|&&b| b as usize >= full).count();
            if cut != causal - full {
                return fail(format!(
                    "tile {tile}: blocks {full}..{causal} are cut by the diagonal and must be listed"
                ));
            }
        }
        if !columns.is_sorted_by(|a, b| a < b) || columns.last().is_some_and(|&c| c as usize >= tiles.range().kv_len())
        {
            return fail(format!("columns must ascend strictly below {}", tiles.range().kv_len()));
        }
        Ok(Self { tiles, indptr, indices, columns, centres })
    }

    /// Lowers a rule: `keep(tile, blocks)` marks the fully visible blocks that a tile computes (`blocks` is one flag for
    /// each, all false); blocks on the diagonal are added, and tiles with one of the last `last_rows` queries keep all.
    pub fn from_rule(
        tiles: Tiles,
        last_rows: usize,
        columns: Vec<u32>,
        centres: bool,
        mut keep: impl FnMut(usize, &mut [bool]),
    ) -> Result<Self, Error> {
        let mut indptr = Vec::with_capacity(tiles.num_tiles() + 1);
        let mut indices = Vec::new();
        let mut flags = vec![false; tiles.num_blocks()];
        indptr.push(0);
        for tile in 0..tiles.num_tiles() {
            let (full, causal) = (tiles.full_blocks(tile), tiles.causal_blocks(tile));
            if tiles.has_last_rows(tile, last_rows) {
                indices.extend(0..causal as u32);
            } else {
                let flags = &mut flags[..full];
                flags.fill(false);
                keep(tile, flags);
                indices.extend(flags.iter().enumerate().filter(|(_, keep)| **keep).map(|(b, _)| b as u32));
                indices.extend(full as u32..causal as u32);
            }
            indptr.push(u32::try_from(indices.len()).map_err(|_| Error::Plan("more than 2^32 blocks".into()))?);
        }
        Self::new(tiles, indptr, indices, columns, centres)
    }

    /// The queries it was made for, in its tiles.
    pub fn tiles(&self) -> Tiles {
        self.tiles
    }

    /// Where each tile's blocks start among the [`indices`](Self::indices), and where the last ends.
    pub fn indptr(&self) -> &[u32] {
        &self.indptr
    }

    /// Blocks of all tiles, one list after another.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Blocks of a tile, ascending.
    pub fn blocks(&self, tile: usize) -> &[u32] {
        &self.indices[self.indptr[tile] as usize..self.indptr[tile + 1] as usize]
    }

    /// Single key positions, ascending.
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// Whether left-out blocks are represented by their centres.
    pub fn centres(&self) -> bool {
        self.centres
    }

    /// Number of q tiles.
    pub fn num_tiles(&self) -> usize {
        self.indptr.len() - 1
    }

    fn pairs(&self) -> u64 {
        // Keys that a left-out block still costs each row: its columns, and its centre unless all are columns.
        let mut extra = vec![0u64; self.tiles.num_blocks()];
        for &column in &self.columns {
            extra[column as usize / BLOCK_N] += 1;
        }
        if self.centres {
            extra.iter_mut().filter(|n| **n < BLOCK_N as u64).for_each(|n| *n += 1);
        }
        let mut pairs = 0;
        for tile in 0..self.tiles.num_tiles() {
            let (positions, full) = (self.tiles.positions(tile), self.tiles.full_blocks(tile));
            let mut keys_of_row: u64 = extra[..full].iter().sum();
            for b in self.blocks(tile).iter().map(|&b| b as usize) {
                if b < full {
                    keys_of_row += BLOCK_N as u64 - extra[b];
                } else {
                    let keys = |i: usize| (i + 1).min((b + 1) * BLOCK_N).saturating_sub(b * BLOCK_N) as u64;
                    pairs += positions.clone().map(keys).sum::<u64>();
                }
            }
            pairs += keys_of_row * positions.len() as u64;
        }
        pairs
    }
}

impl HeadPlan {
    /// Computed (query, key) pairs of the queries that it was made for; a centre counts as one key.
    pub fn pairs(&self, range: QueryRange) -> u64 {
        match self {
            HeadPlan::Dense => range.causal_pairs(),
            HeadPlan::Sparse(plan) => plan.pairs(),
            HeadPlan::Window(window) => range.window_pairs(*window),
        }
    }
}

/// The plans of all query heads of a layer. Each may have tiles of its own height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// One for each query head.
    pub heads: Vec<HeadPlan>,
}

impl Plan {
    /// Dense for every head.
    pub fn dense(num_q_heads: usize) -> Self {
        Self { heads: vec![HeadPlan::Dense; num_q_heads] }
    }

    /// Computed pairs over causal pairs, all heads together.
    pub fn density(&self, range: QueryRange) -> f64 {
        // Of a long enough sequence one head's pairs nearly fill 64 bits.
        let pairs: u128 = self.heads.iter().map(|head| head.pairs(range) as u128).sum();
        pairs as f64 / (range.causal_pairs() as f64 * self.heads.len().max(1) as f64)
    }

    pub(crate) fn check(&self, num_q_heads: usize, range: QueryRange) -> Result<(), Error> {
        if self.heads.len() != num_q_heads {
            return Err(Error::Plan(format!("{} heads planned, {num_q_heads} given", self.heads.len())));
        }
        for head in &self.heads {
            if *head == HeadPlan::Window(0) {
                return Err(Error::Plan("a window of 0 positions holds not even its own".into()));
            }
            if let HeadPlan::Sparse(plan) = head
                && plan.tiles.range() != range
            {
                return Err(other_range(plan.tiles.range(), range));
            }
        }
        Ok(())
    }
}

fn other_range(made: QueryRange, wanted: QueryRange) -> Error {
    let text = |range: QueryRange| format!("the last {} of {} positions", range.q_len(), range.kv_len());
    Error::Plan(format!("made for {}, not for {}: plan again", text(made), text(wanted)))
}
