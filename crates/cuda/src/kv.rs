//! Keys and values on the device.

use crate::Error;
use crate::device::{Buffer, Device};
use attention::BLOCK_N;
use attention::shape::HeadShape;
use half::bf16;

/// Keys and values of one layer, each bf16 `[page][kv_head][page_size][head_dim]`.
///
/// Pages of 64 keys or more, so that a kv block is one box of a page to the copy engine.
pub struct KvPages {
    heads: HeadShape,
    page_size: usize,
    num_pages: usize,
    /// Keys.
    pub k: Buffer<bf16>,
    /// Values.
    pub v: Buffer<bf16>,
}

impl KvPages {
    /// `num_pages` pages of zeros; `page_size` in tokens.
    ///
    /// # Errors
    /// When `page_size` is not 64 times a power of two, or there is no room.
    pub fn new(device: &Device, heads: HeadShape, page_size: usize, num_pages: usize) -> Result<Self, Error> {
        if !page_size.is_power_of_two() || page_size < BLOCK_N {
            let (expected, found) = (format!("a power of two, at least {BLOCK_N}"), page_size.to_string());
            return Err(Error::Unsupported { what: "tokens of a page", expected, found });
        }
        let len = num_pages * page_size * heads.num_kv_heads() * heads.head_dim();
        Ok(Self { heads, page_size, num_pages, k: device.zeros(len)?, v: device.zeros(len)? })
    }

    /// Bytes of a page, keys and values.
    pub fn page_bytes(heads: HeadShape, page_size: usize) -> u64 {
        (2 * page_size * heads.num_kv_heads() * heads.head_dim() * size_of::<bf16>()) as u64
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

    /// Rows of `head_dim` elements, of keys or values.
    pub(crate) fn rows(&self) -> usize {
        self.num_pages * self.heads.num_kv_heads() * self.page_size
    }

    /// Base-2 logarithm of the kv blocks of a page.
    pub(crate) fn page_shift(&self) -> i32 {
        (self.page_size / BLOCK_N).trailing_zeros() as i32
    }
}
