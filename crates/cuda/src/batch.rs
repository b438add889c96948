//! The sequences of a step, as attention kernels read them.

use crate::Error;
use crate::device::{Buffer, Device, Pointer};
use crate::kv::KvPages;
use attention::shape::QueryRange;
use bytemuck::{Pod, Zeroable};

/// One sequence of a step: its last `q_len` positions are the queries, all `kv_len` are in the cache.
#[derive(Clone, Copy, Debug)]
pub struct SequencePages<'a> {
    /// Queries and keys.
    pub range: QueryRange,
    /// Its pages, in order of position.
    pub pages: &'a [u32],
}

/// The sequences of a step on the device, and their query tiles, those with most keys first. Queries lie one sequence
/// after the other.
///
/// Made once a step and used by every layer: nothing in it depends on the layer.
pub struct Batch {
    pub(crate) sequences: Buffer<SequenceRow>,
    pub(crate) tiles: Buffer<TileRow>,
    pub(crate) page_table: Buffer<u32>,
    block_m: usize,
    page_size: usize,
    num_rows: usize,
    max_kv_len: usize,
    pages_needed: usize,
}

/// `Sequence` in `kernels/attention_batch.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct SequenceRow {
    q_begin: i32,
    q_len: i32,
    kv_len: i32,
    table_begin: i32,
}

/// `QueryTile` in `kernels/attention_batch.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct TileRow {
    sequence: i32,
    tile: i32,
}

/// The part of a kernel's arguments that a batch fills.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct BatchArguments {
    sequences: Pointer<SequenceRow>,
    tiles: Pointer<TileRow>,
    page_table: Pointer<u32>,
}

impl Batch {
    /// Uploads the sequences of a step for a kernel of `block_m` queries a tile over pages of `page_size` tokens.
    ///
    /// # Errors
    /// When there is no sequence, one has fewer pages than its keys need, or there are too many for 31 bits.
    pub fn new(device: &Device, sequences: &[SequencePages], block_m: usize, page_size: usize) -> Result<Self, Error> {
        let mut rows = Vec::with_capacity(sequences.len());
        let mut tiles = Vec::new();
        let mut page_table = Vec::new();
        let mut num_rows = 0;
        for (index, SequencePages { range, pages }) in sequences.iter().enumerate() {
            let needed = range.kv_len().div_ceil(page_size);
            let Some(pages) = pages.get(..needed) else {
                let message = format!(
                    "sequence {index}: {} keys need {needed} pages of {page_size} tokens, found {}",
                    range.kv_len(),
                    pages.len()
                );
                return Err(attention::Error::PageTable(message).into());
            };
            rows.push(SequenceRow {
                q_begin: num_rows as i32,
                q_len: range.q_len() as i32,
                kv_len: range.kv_len() as i32,
                table_begin: page_table.len() as i32,
            });
            page_table.extend_from_slice(pages);
            for tile in 0..range.q_len().div_ceil(block_m) {
                let keys = (range.q_start() + (tile + 1) * block_m).min(range.kv_len());
                tiles.push((keys, TileRow { sequence: index as i32, tile: tile as i32 }));
            }
            num_rows += range.q_len();
        }
        if rows.is_empty() || num_rows > i32::MAX as usize || page_table.len() > i32::MAX as usize {
            let expected = "at least one sequence and fewer than 2^31 queries and pages".to_string();
            let found = format!("{} sequences, {num_rows} queries, {} pages", rows.len(), page_table.len());
            return Err(Error::Unsupported { what: "batch", expected, found });
        }
        // Longest processing time first: what is left for the end is small.
        tiles.sort_by_key(|(keys, _)| std::cmp::Reverse(*keys));
        let tiles: Vec<TileRow> = tiles.into_iter().map(|(_, tile)| tile).collect();
        Ok(Self {
            sequences: device.upload(&rows)?,
            tiles: device.upload(&tiles)?,
            page_table: device.upload(&page_table)?,
            block_m,
            page_size,
            num_rows,
            max_kv_len: sequences.iter().map(|sequence| sequence.range.kv_len()).max().unwrap_or(0),
            pages_needed: page_table.iter().max().map_or(0, |&page| page as usize + 1),
        })
    }

    /// Queries of a tile.
    pub fn block_m(&self) -> usize {
        self.block_m
    }

    /// Queries of all sequences.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Keys of the longest sequence.
    pub fn max_kv_len(&self) -> usize {
        self.max_kv_len
    }

    pub(crate) fn num_tiles(&self) -> usize {
        self.tiles.len()
    }

    pub(crate) fn arguments(&self) -> BatchArguments {
        BatchArguments {
            sequences: self.sequences.pointer(),
            tiles: self.tiles.pointer(),
            page_table: self.page_table.pointer(),
        }
    }

    /// Checks that the batch was made for these pages and a kernel of `block_m` queries a tile.
    pub(crate) fn check(&self, kv: &KvPages, block_m: usize) -> Result<(), Error> {
        Error::check_len("queries of a tile", block_m, self.block_m)?;
        Error::check_len("tokens of a page", kv.page_size(), self.page_size)?;
        if self.pages_needed > kv.num_pages() {
            let message = format!("names page {}, there are {}", self.pages_needed - 1, kv.num_pages());
            return Err(attention::Error::PageTable(message).into());
        }
        Ok(())
    }
}
