//! Keys and values on the device.

use crate::Error;
use crate::device::{Buffer, Device, HostRoom};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;
use std::ops::Range;

/// Keys and values of one layer, each bf16 `[page][kv_head][page_size][head_dim]`.
///
/// Pages of 64 keys or more, so that a kv block is one box of a page to the copy engine.
pub struct KvPages {
    heads: HeadShape,
    page_size: usize,
    num_pages: usize,
    // Only these lengths fit the counts above, which is all that launches check.
    pub(crate) k: Buffer<bf16>,
    pub(crate) v: Buffer<bf16>,
    /// Made by the first search.
    pub(crate) means: Option<Means>,
}

/// Means over the keys and over the values of each kv block, `[page][kv_head][block of the page][head_dim]`.
pub(crate) struct Means {
    pub k: Buffer<f32>,
    pub v: Buffer<f32>,
    /// As scores read them.
    pub k_bf16: Buffer<bf16>,
}

/// Rows of keys or of values, over all pages and heads.
const MAX_ROWS: usize = i32::MAX as usize;
/// Elements of the query heads of a token.
const MAX_TOKEN_ELEMENTS: usize = 1 << 20;

impl KvPages {
    /// `num_pages` pages of zeros; `page_size` in tokens.
    ///
    /// # Errors
    /// When `page_size` is not 64 times a power of two, kernels could not count the rows or the elements of a token, or
    /// there is no room.
    pub fn new(device: &Device, heads: HeadShape, page_size: usize, num_pages: usize) -> Result<Self, Error> {
        if !page_size.is_power_of_two() || page_size < BLOCK_N {
            let (expected, found) = (format!("a power of two, at least {BLOCK_N}"), page_size.to_string());
            return Err(Error::Unsupported { what: "tokens of a page", expected, found });
        }
        // Kernels count both in 32 bits.
        let rows = num_pages.checked_mul(page_size).and_then(|tokens| tokens.checked_mul(heads.num_kv_heads()));
        let of_token = heads.num_q_heads().checked_mul(heads.head_dim());
        let (Some(rows @ ..=MAX_ROWS), Some(..=MAX_TOKEN_ELEMENTS)) = (rows, of_token) else {
            return Err(Error::Unsupported {
                what: "pages of keys and values",
                expected: format!("up to {MAX_ROWS} keys over all heads, of up to {MAX_TOKEN_ELEMENTS} query elements"),
                found: format!("{num_pages} pages of {page_size} tokens of {heads:?}"),
            });
        };
        let len = rows * heads.head_dim();
        Ok(Self { heads, page_size, num_pages, k: device.zeros(len)?, v: device.zeros(len)?, means: None })
    }

    /// Bytes of a page, keys and values.
    pub fn page_bytes(heads: HeadShape, page_size: usize) -> u64 {
        (2 * page_size * heads.num_kv_heads() * heads.head_dim() * size_of::<bf16>()) as u64
    }

    /// Bytes that the means of a page take, once there was a search.
    pub fn means_bytes(heads: HeadShape, page_size: usize) -> u64 {
        let rows = page_size / BLOCK_N * heads.num_kv_heads();
        (rows * heads.head_dim() * (2 * size_of::<f32>() + size_of::<bf16>())) as u64
    }

    /// Makes room for the means of all blocks, unless there is.
    pub(crate) fn make_means(&mut self) -> Result<(), Error> {
        if self.means.is_none() {
            let (device, len) = (self.device().clone(), self.rows() / BLOCK_N * self.heads.head_dim());
            self.means = Some(Means { k: device.room(len)?, v: device.room(len)?, k_bf16: device.room(len)? });
        }
        Ok(())
    }

    /// Heads.
    pub fn heads(&self) -> HeadShape {
        self.heads
    }

    /// Tokens of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Number of pages.
    pub fn num_pages(&self) -> usize {
        self.num_pages
    }

    /// Replaces all keys and values.
    ///
    /// # Errors
    /// When there are not as many, or the driver refuses.
    pub fn write(&mut self, k: &[bf16], v: &[bf16]) -> Result<(), Error> {
        self.k.write(k)?;
        self.v.write(v)
    }

    /// All keys and all values, once the work asked for before is done.
    ///
    /// # Errors
    /// Whatever went wrong in that work, or in the copy.
    pub fn read(&self) -> Result<(Vec<bf16>, Vec<bf16>), Error> {
        Ok((self.k.read()?, self.v.read()?))
    }

    /// Keys and values of the first `kv_len` positions of the sequence of `pages`, `[position][kv_head][head_dim]` each, once
    /// the work asked for before is done.
    ///
    /// # Errors
    /// When there are too few pages, one is not there, or whatever went wrong in that work.
    pub fn read_rows(&self, pages: &[u32], kv_len: usize) -> Result<(Vec<f32>, Vec<f32>), Error> {
        let (heads, d, size) = (self.heads.num_kv_heads(), self.heads.head_dim(), self.page_size);
        let needed = kv_len.div_ceil(size);
        if pages.len() < needed || pages[..needed].iter().any(|page| *page as usize >= self.num_pages) {
            let message = format!("{kv_len} keys need {needed} pages below {}, found {pages:?}", self.num_pages);
            return Err(attention::Error::PageTable(message).into());
        }
        let (k, v) = self.read()?;
        let rows = |x: &[bf16]| -> Vec<f32> {
            let mut rows = Vec::with_capacity(kv_len * heads * d);
            for position in 0..kv_len {
                for head in 0..heads {
                    let row = (pages[position / size] as usize * heads + head) * size + position % size;
                    rows.extend(x[row * d..(row + 1) * d].iter().map(|x| x.to_f32()));
                }
            }
            rows
        };
        Ok((rows(&k), rows(&v)))
    }

    /// Asks for a copy of a page to the bytes of `room` from `at` on: keys, then values.
    ///
    /// # Errors
    /// When there is no such page or too little room, the room is another device's, or the driver refuses.
    pub fn copy_page_to(&self, page: u32, room: &mut HostRoom, at: usize) -> Result<(), Error> {
        let elements = self.elements_of(page)?;
        let values_at = at + elements.len() * size_of::<bf16>();
        self.k.view(elements.clone()).copy_to(room, at)?;
        self.v.view(elements).copy_to(room, values_at)
    }

    /// Asks for what [`copy_page_to`](Self::copy_page_to) copied to be a page again, that or another.
    ///
    /// # Errors
    /// As there.
    pub fn copy_page_from(&mut self, page: u32, room: &HostRoom, at: usize) -> Result<(), Error> {
        let elements = self.elements_of(page)?;
        let values_at = at + elements.len() * size_of::<bf16>();
        self.k.view_mut(elements.clone()).copy_from_host(room, at)?;
        self.v.view_mut(elements).copy_from_host(room, values_at)
    }

    /// Where a page is among all keys, and among all values.
    fn elements_of(&self, page: u32) -> Result<Range<usize>, Error> {
        if page as usize >= self.num_pages {
            let message = format!("a page below {} was expected, found {page}", self.num_pages);
            return Err(attention::Error::PageTable(message).into());
        }
        let of_page = self.k.len() / self.num_pages;
        Ok(page as usize * of_page..(page as usize + 1) * of_page)
    }

    /// Elements of all keys, as many as of all values.
    pub fn len(&self) -> usize {
        self.k.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.k.is_empty()
    }

    pub(crate) fn device(&self) -> &Device {
        self.k.device()
    }

    /// Rows of `head_dim` elements, of keys or values.
    pub(crate) fn rows(&self) -> usize {
        self.num_pages * self.heads.num_kv_heads() * self.page_size
    }

    /// Base-2 logarithm of the kv blocks of a page.
    pub(crate) fn page_shift(&self) -> i32 {
        (self.page_size / BLOCK_N).trailing_zeros() as i32
    }
}
