//! The sequences of a step, as attention kernels read them.

use crate::Error;
use crate::device::{Buffer, Device, Pointer};
use crate::kv::KvPages;
use attention::shape::{HeadShape, QueryRange};
use bytemuck::{Pod, Zeroable};
use half::bf16;

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
    /// What the table on the device holds.
    pages: Vec<u32>,
    /// Queries and keys of each sequence.
    ranges: Vec<QueryRange>,
    /// Pages of each sequence in the table.
    table_lens: Vec<usize>,
    /// Position of every query.
    pub(crate) positions: Buffer<i32>,
    /// Where every query's key and value belong: `page * page_size + place in the page`.
    pub(crate) slots: Buffer<i32>,
    num_sequences: usize,
    longest_q_len: usize,
    block_m: usize,
    page_size: usize,
    num_rows: usize,
    max_kv_len: usize,
    /// One more than the highest page of the table.
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

impl TileRow {
    pub(crate) fn new(sequence: usize, tile: usize) -> Self {
        Self { sequence: sequence as i32, tile: tile as i32 }
    }
}

/// `Batch` in `kernels/attention_batch.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct BatchArguments {
    sequences: Pointer<SequenceRow>,
    tiles: Pointer<TileRow>,
    page_table: Pointer<u32>,
    num_tiles: i32,
    num_rows: i32,
    num_q_heads: i32,
    num_kv_heads: i32,
    section_heads: i32,
    page_shift: i32,
}

impl Batch {
    /// Uploads the sequences of a step for a kernel of `block_m` queries a tile over pages of `page_size` tokens.
    ///
    /// # Errors
    /// When there is no sequence, one has fewer pages than its keys need, or there are too many for 31 bits.
    pub fn new(device: &Device, sequences: &[SequencePages], block_m: usize, page_size: usize) -> Result<Self, Error> {
        if block_m == 0 || page_size == 0 {
            let (expected, found) = ("at least 1 of each".into(), format!("{block_m} and {page_size}"));
            return Err(Error::Unsupported { what: "queries of a tile and tokens of a page", expected, found });
        }
        let mut rows = Vec::with_capacity(sequences.len());
        let mut tiles = Vec::new();
        let mut page_table = Vec::new();
        let (mut positions, mut slots) = (Vec::new(), Vec::new());
        let mut num_rows = 0;
        let max_rows = i32::MAX as usize;
        for (index, SequencePages { range, pages }) in sequences.iter().enumerate() {
            let needed = range.kv_len().div_ceil(page_size);
            if pages.len() < needed {
                let message = format!(
                    "sequence {index}: {} keys need {needed} pages of {page_size} tokens, found {}",
                    range.kv_len(),
                    pages.len()
                );
                return Err(attention::Error::PageTable(message).into());
            }
            rows.push(SequenceRow {
                q_begin: num_rows as i32,
                q_len: range.q_len() as i32,
                kv_len: range.kv_len() as i32,
                table_begin: page_table.len() as i32,
            });
            page_table.extend_from_slice(pages);
            for position in range.q_start()..range.kv_len() {
                positions.push(position as i32);
                slots.push(slot(pages, page_size, position)?);
            }
            for tile in 0..range.q_len().div_ceil(block_m) {
                let keys = (range.q_start() + (tile + 1) * block_m).min(range.kv_len());
                tiles.push((keys, TileRow { sequence: index as i32, tile: tile as i32 }));
            }
            num_rows += range.q_len();
        }
        if rows.is_empty() || num_rows > max_rows || page_table.len() > max_rows {
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
            positions: device.upload(&positions)?,
            slots: device.upload(&slots)?,
            num_sequences: rows.len(),
            longest_q_len: sequences.iter().map(|sequence| sequence.range.q_len()).max().unwrap_or(0),
            block_m,
            page_size,
            num_rows,
            max_kv_len: sequences.iter().map(|sequence| sequence.range.kv_len()).max().unwrap_or(0),
            pages_needed: page_table.iter().max().map_or(0, |&page| page as usize + 1),
            pages: page_table,
            table_lens: sequences.iter().map(|sequence| sequence.pages.len()).collect(),
            ranges: sequences.iter().map(|sequence| sequence.range).collect(),
        })
    }

    /// Room for one query of each of `num_sequences` sequences of up to `pages_each` pages, all below `num_pages`:
    /// [`replace`](Self::replace) says of which. Until then each is one key in the first page.
    ///
    /// # Errors
    /// When there is no sequence or page, or there are too many for 31 bits.
    pub fn of_single_queries(
        device: &Device,
        num_sequences: usize,
        block_m: usize,
        page_size: usize,
        pages_each: usize,
        num_pages: usize,
    ) -> Result<Self, Error> {
        if pages_each == 0 || num_pages == 0 {
            let (expected, found) = ("at least one".into(), format!("{pages_each} of {num_pages}"));
            return Err(Error::Unsupported { what: "pages of a sequence", expected, found });
        }
        let pages = vec![0; pages_each];
        let one = SequencePages { range: QueryRange::new(1, 1)?, pages: &pages };
        let batch = Self::new(device, &vec![one; num_sequences], block_m, page_size)?;
        Ok(Self { pages_needed: num_pages, ..batch })
    }

    /// Makes a batch of [`of_single_queries`](Self::of_single_queries) stand for these sequences, as many as before. Everything stays
    /// where it is on the device, so that what was recorded of the batch holds for them.
    ///
    /// # Errors
    /// When there are others in number, one has not one query, or pages that are too few, too many, or not there.
    pub fn replace(&mut self, sequences: &[SequencePages]) -> Result<(), Error> {
        Error::check_len("sequences of a batch", self.num_sequences, sequences.len())?;
        let pages_each = self.pages.len() / self.num_sequences;
        let (mut rows, mut positions, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        let mut page_table = self.pages.clone();
        for (index, SequencePages { range, pages }) in sequences.iter().enumerate() {
            Error::check_len("queries of a sequence", 1, range.q_len())?;
            let needed = range.kv_len().div_ceil(self.page_size);
            let used = pages.get(..needed).filter(|_| needed <= pages_each).ok_or_else(|| {
                let found = pages.len().min(pages_each);
                attention::Error::PageTable(format!("{} keys need {needed} pages, found {found}", range.kv_len()))
            })?;
            if let Some(page) = used.iter().find(|page| **page as usize >= self.pages_needed) {
                let message = format!("names page {page}, there are {}", self.pages_needed);
                return Err(attention::Error::PageTable(message).into());
            }
            page_table[index * pages_each..][..needed].copy_from_slice(used);
            rows.push(SequenceRow {
                q_begin: index as i32,
                q_len: 1,
                kv_len: range.kv_len() as i32,
                table_begin: (index * pages_each) as i32,
            });
            positions.push(range.q_start() as i32);
            slots.push(slot(used, self.page_size, range.q_start())?);
        }
        self.sequences.write(&rows)?;
        self.page_table.write(&page_table)?;
        self.positions.write(&positions)?;
        self.slots.write(&slots)?;
        self.pages = page_table;
        self.ranges = sequences.iter().map(|sequence| sequence.range).collect();
        self.max_kv_len = self.ranges.iter().map(|range| range.kv_len()).max().unwrap_or(0);
        Ok(())
    }

    /// Moves a batch of one sequence on to `range`, of as many queries as before, over the pages it was made with: `pages`
    /// are the same, as far as the keys reach.
    ///
    /// # Errors
    /// When it has another number of sequences or queries, too few pages, or others.
    pub fn advance(&mut self, range: QueryRange, pages: &[u32]) -> Result<(), Error> {
        Error::check_len("sequences to move on", 1, self.num_sequences)?;
        Error::check_len("queries to move on to", self.num_rows, range.q_len())?;
        let needed = range.kv_len().div_ceil(self.page_size);
        if needed > pages.len() || needed > self.pages.len() {
            let found = pages.len().min(self.pages.len());
            let message = format!("{} keys need {needed} pages, found {found}", range.kv_len());
            return Err(attention::Error::PageTable(message).into());
        }
        // Attention reads by the table on the device, and only the pages in it were checked against the cache.
        if let Some(at) = (0..needed).find(|&at| pages[at] != self.pages[at]) {
            let message = format!("page {at} was {} when the batch was made, is {}", self.pages[at], pages[at]);
            return Err(attention::Error::PageTable(message).into());
        }
        let (q_len, kv_len) = (range.q_len() as i32, range.kv_len() as i32);
        self.sequences.write(&[SequenceRow { q_begin: 0, q_len, kv_len, table_begin: 0 }])?;
        let positions: Vec<i32> = (range.q_start()..range.kv_len()).map(|position| position as i32).collect();
        let slots = (range.q_start()..range.kv_len()).map(|position| slot(pages, self.page_size, position));
        self.slots.write(&slots.collect::<Result<Vec<_>, _>>()?)?;
        self.positions.write(&positions)?;
        self.max_kv_len = range.kv_len();
        self.ranges[0] = range;
        Ok(())
    }

    /// Where it lies.
    pub(crate) fn device(&self) -> &Device {
        self.sequences.device()
    }

    /// Queries of a tile.
    pub fn block_m(&self) -> usize {
        self.block_m
    }

    /// Queries of all sequences.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Number of sequences.
    pub fn num_sequences(&self) -> usize {
        self.num_sequences
    }

    /// Queries and keys of each sequence.
    pub fn ranges(&self) -> &[QueryRange] {
        &self.ranges
    }

    /// Most queries that one sequence has.
    pub fn longest_q_len(&self) -> usize {
        self.longest_q_len
    }

    /// Keys of the longest sequence.
    pub fn max_kv_len(&self) -> usize {
        self.max_kv_len
    }

    pub(crate) fn num_tiles(&self) -> usize {
        self.tiles.len()
    }

    /// What kernels are told of the batch, over these pages.
    ///
    /// # Panics
    /// When the batch lies on another device.
    pub(crate) fn arguments(&self, device: &Device, kv: &KvPages) -> BatchArguments {
        assert!(device.check_owns([("batch", self.device())]).is_ok(), "launches check where their batch lies");
        let heads = kv.heads();
        BatchArguments {
            sequences: self.sequences.pointer(),
            tiles: self.tiles.pointer(),
            page_table: self.page_table.pointer(),
            num_tiles: self.num_tiles() as i32,
            num_rows: self.num_rows as i32,
            num_q_heads: heads.num_q_heads() as i32,
            num_kv_heads: heads.num_kv_heads() as i32,
            section_heads: self.section_heads(device, heads) as i32,
            page_shift: kv.page_shift(),
        }
    }

    /// The same for one of its sequences, with nothing that concerns the others.
    pub(crate) fn arguments_of(&self, device: &Device, kv: &KvPages, sequence: usize) -> BatchArguments {
        let pages_before: usize = self.table_lens[..sequence].iter().sum();
        let all = self.arguments(device, kv);
        BatchArguments { page_table: all.page_table.offset(pages_before), ..all }
    }

    /// Query heads worked on at a time: as many as keep their keys and values in five eighths of the L2 cache.
    pub(crate) fn section_heads(&self, device: &Device, heads: HeadShape) -> usize {
        let head_bytes = (self.max_kv_len * heads.head_dim() * 2 * size_of::<bf16>()).max(1);
        let room = device.properties().l2_bytes * 5 / 8 / head_bytes;
        let fits = |n: &usize| heads.num_kv_heads().is_multiple_of(*n) && *n <= room.max(1);
        (1..=heads.num_kv_heads()).rev().find(fits).unwrap_or(1) * heads.group_size()
    }

    /// Checks that everything belongs together: heads, pages, tiles, the lengths of `q`, `o` and `lse`, and the device of all
    /// of them.
    pub(crate) fn check_operands(
        &self,
        heads: HeadShape,
        block_m: usize,
        q: &Buffer<bf16>,
        kv: &KvPages,
        o: &Buffer<bf16>,
        lse: Option<&Buffer<f32>>,
    ) -> Result<(), Error> {
        Error::check_len("queries of a tile", block_m, self.block_m)?;
        self.check_pages(kv)?;
        Error::check_heads(heads, kv.heads())?;
        self.device().check_owns([("queries", q.device()), ("output", o.device())])?;
        self.device().check_owns(lse.map(|lse| ("lse", lse.device())))?;
        let rows = self.num_rows * heads.num_q_heads();
        if self.num_tiles() * heads.num_q_heads() > i32::MAX as usize {
            let (expected, found) = ("fewer than 2^31 over all heads".into(), self.num_tiles().to_string());
            return Err(Error::Unsupported { what: "tiles of a batch", expected, found });
        }
        Error::check_len("queries", rows * heads.head_dim(), q.len())?;
        Error::check_len("output", rows * heads.head_dim(), o.len())?;
        lse.map_or(Ok(()), |lse| Error::check_len("lse", rows, lse.len()))
    }

    /// Checks that the batch was made for these pages.
    pub(crate) fn check_pages(&self, kv: &KvPages) -> Result<(), Error> {
        self.device().check_owns([("keys and values", kv.device())])?;
        Error::check_len("tokens of a page", kv.page_size(), self.page_size)?;
        if self.pages_needed > kv.num_pages() {
            let message = format!("names page {}, there are {}", self.pages_needed - 1, kv.num_pages());
            return Err(attention::Error::PageTable(message).into());
        }
        Ok(())
    }
}

/// Keys a query sees, its own included, as kernels are told: without a window more than there can be.
pub(crate) fn window_argument(window: Option<usize>) -> Result<i32, Error> {
    match window {
        Some(0) => {
            let (expected, found) = ("at least the query's own key".into(), "none".into());
            Err(Error::Unsupported { what: "sliding window", expected, found })
        }
        Some(keys) => Ok(i32::try_from(keys).unwrap_or(i32::MAX)),
        None => Ok(i32::MAX),
    }
}

/// Where the key of a position belongs in a cache.
fn slot(pages: &[u32], page_size: usize, position: usize) -> Result<i32, Error> {
    let page = pages[position / page_size];
    let slot = (page as usize).checked_mul(page_size).and_then(|first| first.checked_add(position % page_size));
    slot.and_then(|slot| i32::try_from(slot).ok()).ok_or_else(|| {
        let message = format!("page {page} of {page_size} tokens is beyond what a kernel can count");
        attention::Error::PageTable(message).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_fit_a_kernel() {
        let told = |window| window_argument(window).unwrap();
        assert_eq!([None, Some(1), Some(usize::MAX)].map(told), [i32::MAX, 1, i32::MAX]);
        assert!(window_argument(Some(0)).is_err());
    }

    #[test]
    fn slots_are_counted_or_refused() {
        assert_eq!(slot(&[7, 2], 64, 65).unwrap(), 2 * 64 + 1);
        assert_eq!(slot(&[(1 << 25) - 1], 64, 63).unwrap(), i32::MAX);
        assert!(slot(&[1 << 25], 64, 0).is_err());
        assert!(slot(&[u32::MAX], usize::MAX, 0).is_err());
    }
}
