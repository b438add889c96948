//! Paged keys and values, with the summaries that selectors read.

mod page_table;

use crate::shape::HeadShape;
use crate::simd::LANES;
use crate::{Aligned, BLOCK_N, Error};
use half::bf16;
use rayon::prelude::*;

/// The pages of one layer. A page holds 64 positions of every kv head:
///
/// * keys, bf16 row-major `[64][padded_dim]`: the left operand of `scores = K Q^T`;
/// * values, bf16 transposed `[padded_dim][64]`: the left operand of `output = V^T P`;
/// * the mean key and mean value of its filled positions, f32 `[padded_dim]`, for block scores and cluster centres;
/// * the largest distance of a key from the mean key, for bounds on what is left out.
///
/// Pages are numbered; a *page table* lists the pages of a sequence in order, so block `b` of the sequence is page
/// `table[b]`. Which page belongs to whom is the owner's business; work on a sequence touches its pages only, however many there are.
pub struct KvPages {
    heads: HeadShape,
    num_pages: usize,
    keys: Aligned<bf16>,
    values: Aligned<bf16>,
    key_means: Aligned<f32>,
    value_means: Aligned<f32>,
    key_radii: Vec<f32>,
}

impl KvPages {
    /// `num_pages` empty pages. Memory is taken as pages are first written.
    ///
    /// # Panics
    /// When the system has no such memory; see [`try_new`](Self::try_new).
    pub fn new(heads: HeadShape, num_pages: usize) -> Self {
        Self::try_new(heads, num_pages).expect("memory for keys and values")
    }

    /// As [`new`](Self::new), for caches that may be too large for the system.
    ///
    /// # Errors
    /// When it refuses them.
    pub fn try_new(heads: HeadShape, num_pages: usize) -> Result<Self, Error> {
        let rows = num_pages.saturating_mul(heads.num_kv_heads() * heads.padded_dim());
        let len = rows.saturating_mul(BLOCK_N);
        Ok(Self {
            heads,
            num_pages,
            keys: Aligned::try_zeroed("keys", len)?,
            values: Aligned::try_zeroed("values", len)?,
            key_means: Aligned::try_zeroed("means of keys", rows)?,
            value_means: Aligned::try_zeroed("means of values", rows)?,
            key_radii: vec![0.0; num_pages * heads.num_kv_heads()],
        })
    }

    /// Bytes that one page takes.
    pub fn page_bytes(heads: HeadShape) -> u64 {
        let row = 2 * BLOCK_N * size_of::<bf16>() + 2 * size_of::<f32>();
        (heads.num_kv_heads() * (heads.padded_dim() * row + size_of::<f32>())) as u64
    }

    /// Head shape.
    pub fn heads(&self) -> HeadShape {
        self.heads
    }

    /// Number of pages.
    pub fn num_pages(&self) -> usize {
        self.num_pages
    }

    /// Replaces page `to` by page `page` of other pages of the same heads.
    ///
    /// # Panics
    /// When there are no such pages, or heads differ.
    pub fn copy_page(&mut self, to: u32, from: &Self, page: u32) {
        assert_eq!(self.heads, from.heads, "pages of the same heads");
        fn copy<T: Copy>(to: &mut [T], to_page: u32, from: &[T], page: u32, len: usize) {
            to[to_page as usize * len..][..len].copy_from_slice(&from[page as usize * len..][..len]);
        }
        let rows = self.heads.num_kv_heads() * self.heads.padded_dim();
        copy(&mut self.keys, to, &from.keys, page, rows * BLOCK_N);
        copy(&mut self.values, to, &from.values, page, rows * BLOCK_N);
        copy(&mut self.key_means, to, &from.key_means, page, rows);
        copy(&mut self.value_means, to, &from.value_means, page, rows);
        copy(&mut self.key_radii, to, &from.key_radii, page, self.heads.num_kv_heads());
    }

    /// Writes tokens at positions `start ..` of the sequence of `table`, from f32 *panels*: panel `p` of `keys` and of
    /// `values` is `[num_kv_heads * head_dim][16]` and starts at `p * stride`; lanes past `len` are ignored.
    ///
    /// Pages are written in parallel, each by one thread.
    ///
    /// # Errors
    /// When the table does not reach `start + len`, names a page twice or one that is not there, or a panel is missing.
    pub fn append_panels(
        &mut self,
        table: &[u32],
        start: usize,
        len: usize,
        keys: &[f32],
        values: &[f32],
        stride: usize,
    ) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        let (d, dp, kv_heads) = (self.heads.head_dim(), self.heads.padded_dim(), self.heads.num_kv_heads());
        let needed = (len.div_ceil(LANES) - 1) * stride + kv_heads * d * LANES;
        for (what, panels) in [("key panels", keys), ("value panels", values)] {
            if panels.len() < needed {
                return Err(Error::Length { what, expected: needed, found: panels.len() });
            }
        }
        let blocks = start / BLOCK_N..(start + len).div_ceil(BLOCK_N);
        page_table::check(table, blocks.end, self.num_pages)?;
        let mut written: Vec<(u32, usize)> = blocks.clone().map(|block| (table[block], block)).collect();
        written.sort_unstable();
        let pages = written.iter().map(|(page, _)| *page as usize);
        let page_rows = kv_heads * dp;
        each_page(&mut self.keys, page_rows * BLOCK_N, pages.clone())
            .zip(each_page(&mut self.values, page_rows * BLOCK_N, pages.clone()))
            .zip(each_page(&mut self.key_means, page_rows, pages.clone()))
            .zip(each_page(&mut self.value_means, page_rows, pages.clone()))
            .zip(each_page(&mut self.key_radii, kv_heads, pages))
            .zip(written.par_iter())
            .for_each(|(((((page_keys, page_values), key_means), value_means), key_radii), &(_, block))| {
                let from = start.max(block * BLOCK_N);
                let to = (start + len).min((block + 1) * BLOCK_N);
                for head in 0..kv_heads {
                    let page_keys = &mut page_keys[head * dp * BLOCK_N..][..dp * BLOCK_N];
                    let page_values = &mut page_values[head * dp * BLOCK_N..][..dp * BLOCK_N];
                    for position in from..to {
                        let (token, slot) = (position - start, position % BLOCK_N);
                        let at = token / LANES * stride + head * d * LANES + token % LANES;
                        for i in 0..d {
                            page_keys[slot * dp + i] = bf16::from_f32(keys[at + i * LANES]);
                        }
                        for i in 0..d {
                            page_values[i * BLOCK_N + slot] = bf16::from_f32(values[at + i * LANES]);
                        }
                    }
                    let filled = to - block * BLOCK_N;
                    let key_mean = &mut key_means[head * dp..][..dp];
                    mean_of_rows(page_keys, filled, key_mean);
                    key_radii[head] = radius_of_rows(page_keys, filled, key_mean);
                    mean_of_columns(page_values, filled, &mut value_means[head * dp..][..dp]);
                }
            });
        Ok(())
    }

    /// Writes tokens from f32 rows `[token][num_kv_heads][head_dim]`; otherwise as
    /// [`append_panels`](Self::append_panels).
    ///
    /// # Errors
    /// As `append_panels`, and when `keys` and `values` are not the same whole number of tokens.
    pub fn append_rows(&mut self, table: &[u32], start: usize, keys: &[f32], values: &[f32]) -> Result<(), Error> {
        let width = self.heads.num_kv_heads() * self.heads.head_dim();
        let len = keys.len() / width;
        Error::check_len("key rows", len * width, keys.len())?;
        Error::check_len("value rows", keys.len(), values.len())?;
        let stride = width * LANES;
        let to_panels = |rows: &[f32]| {
            let mut panels = vec![0.0; len.div_ceil(LANES) * stride];
            for (token, row) in rows.chunks_exact(width).enumerate() {
                for (i, x) in row.iter().enumerate() {
                    panels[token / LANES * stride + i * LANES + token % LANES] = *x;
                }
            }
            panels
        };
        self.append_panels(table, start, len, &to_panels(keys), &to_panels(values), stride)
    }

    /// The first `kv_len` positions of the sequence of `table`.
    ///
    /// # Errors
    /// When the table does not reach `kv_len`, names a page twice or one that is not there.
    pub fn view<'a>(&'a self, table: &'a [u32], kv_len: usize) -> Result<KvView<'a>, Error> {
        page_table::check(table, kv_len.div_ceil(BLOCK_N), self.num_pages)?;
        Ok(KvView { pages: self, table, kv_len })
    }

    /// NaN in every element of every slot; only the padding of the head dimension keeps its zeros.
    #[cfg(test)]
    pub(crate) fn plant_nan(&mut self) {
        let (d, dp) = (self.heads.head_dim(), self.heads.padded_dim());
        self.keys.chunks_exact_mut(dp).for_each(|row| row[..d].fill(bf16::NAN));
        self.values.chunks_exact_mut(dp * BLOCK_N).for_each(|page| page[..d * BLOCK_N].fill(bf16::NAN));
        self.key_means.fill(f32::NAN);
        self.value_means.fill(f32::NAN);
        self.key_radii.fill(f32::NAN);
    }
}

/// The elements of some pages of `len` each, whose numbers ascend.
fn each_page<T: Send>(
    elements: &mut [T],
    len: usize,
    pages: impl Iterator<Item = usize>,
) -> rayon::vec::IntoIter<&mut [T]> {
    let (mut rest, mut behind) = (elements, 0);
    let mut take = |page: usize| {
        let (_, from) = std::mem::take(&mut rest).split_at_mut((page - behind) * len);
        let (own, others) = from.split_at_mut(len);
        (rest, behind) = (others, page + 1);
        own
    };
    pages.map(&mut take).collect::<Vec<_>>().into_par_iter()
}

fn mean_of_rows(rows: &[bf16], filled: usize, mean: &mut [f32]) {
    mean.fill(0.0);
    for row in rows.chunks_exact(mean.len()).take(filled) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += wide(*x);
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= filled as f32);
}

/// Largest distance of a row from `mean`.
fn radius_of_rows(rows: &[bf16], filled: usize, mean: &[f32]) -> f32 {
    let squared_distance = |row: &[bf16]| {
        let mut sums = [0f32; LANES];
        for (row, mean) in row.as_chunks::<LANES>().0.iter().zip(mean.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                let off = wide(row[lane]) - mean[lane];
                sums[lane] += off * off;
            }
        }
        sums.iter().sum::<f32>()
    };
    rows.chunks_exact(mean.len()).take(filled).map(squared_distance).fold(0.0, f32::max).sqrt()
}

fn mean_of_columns(columns: &[bf16], filled: usize, mean: &mut [f32]) {
    for (mean, column) in mean.iter_mut().zip(columns.chunks_exact(BLOCK_N)) {
        let (whole, rest) = column[..filled].as_chunks::<LANES>();
        let mut sums = [0f32; LANES];
        for column in whole {
            for lane in 0..LANES {
                sums[lane] += wide(column[lane]);
            }
        }
        *mean = (sums.iter().sum::<f32>() + rest.iter().map(|x| wide(*x)).sum::<f32>()) / filled as f32;
    }
}

/// As `to_f32`, which looks for NaN and so takes one number at a time: a page is summed up again with each of its tokens.
#[inline(always)]
fn wide(x: bf16) -> f32 {
    f32::from_bits((x.to_bits() as u32) << 16)
}

/// One sequence in [`KvPages`]: what attention and search read.
#[derive(Clone, Copy)]
pub struct KvView<'a> {
    pages: &'a KvPages,
    table: &'a [u32],
    kv_len: usize,
}

impl<'a> KvView<'a> {
    /// Number of positions.
    pub fn kv_len(&self) -> usize {
        self.kv_len
    }

    /// Head shape.
    pub fn heads(&self) -> HeadShape {
        self.pages.heads
    }

    /// Number of blocks, the last maybe partly filled.
    pub fn num_blocks(&self) -> usize {
        self.kv_len.div_ceil(BLOCK_N)
    }

    fn row(&self, block: usize, kv_head: usize) -> usize {
        let heads = self.pages.heads;
        (self.table[block] as usize * heads.num_kv_heads() + kv_head) * heads.padded_dim()
    }

    /// Keys of a block, `[64][padded_dim]`. Slots past [`kv_len`](Self::kv_len) hold whatever was there before.
    pub fn keys(&self, block: usize, kv_head: usize) -> &'a [bf16] {
        &self.pages.keys[self.row(block, kv_head) * BLOCK_N..][..self.pages.heads.padded_dim() * BLOCK_N]
    }

    /// Values of a block, `[padded_dim][64]`; otherwise as [`keys`](Self::keys).
    pub fn values(&self, block: usize, kv_head: usize) -> &'a [bf16] {
        &self.pages.values[self.row(block, kv_head) * BLOCK_N..][..self.pages.heads.padded_dim() * BLOCK_N]
    }

    /// Mean key of the filled slots of a block, `[padded_dim]`.
    pub fn key_mean(&self, block: usize, kv_head: usize) -> &'a [f32] {
        &self.pages.key_means[self.row(block, kv_head)..][..self.pages.heads.padded_dim()]
    }

    /// Largest distance of a key from the mean key, over the filled slots of a block.
    pub fn key_radius(&self, block: usize, kv_head: usize) -> f32 {
        self.pages.key_radii[self.table[block] as usize * self.pages.heads.num_kv_heads() + kv_head]
    }

    /// Mean value of the filled slots of a block, `[padded_dim]`.
    pub fn value_mean(&self, block: usize, kv_head: usize) -> &'a [f32] {
        &self.pages.value_means[self.row(block, kv_head)..][..self.pages.heads.padded_dim()]
    }
}
