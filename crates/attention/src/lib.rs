//! Dynamic sparse prefill attention: find the cheapest pattern of each head that keeps its attention mass, and compute
//! only that.
//!
//! ```text
//! q, k, v -> search -> { triangular | interval_slash | block_cluster | dense } -> plan -> attend -> output
//! ```
//!
//! * [`shape`]: heads and ranges of positions that cannot be wrong.
//! * [`queries`] and [`kv`]: the operands, in the layouts the kernels read: packed panels of queries, pages of 64 keys.
//! * [`pattern`]: what may be kept; each pattern lowers to a [`plan`].
//! * [`planner`]: who decides what each head computes; [`search`] does, from exact probe rows and a cost model, and
//!   [`static_patterns`] do, from a file.
//! * [`offline`]: those patterns, found once on sample prompts, as the paper does it.
//! * [`calibration`]: the terms of the cost model, measured on this machine and kept in a file.
//! * [`attend`](mod@attend): one kernel family that executes any plan.
//! * [`receipt`]: what a plan kept, by exact rows that took no part in choosing it.
//! * [`oracle`]: the same attention in f64 straight from a mask, slow, for tests.
//!
//! The crate knows no model, no file and no device driver.
//!
//! # Example
//!
//! Dense attention of 100 random queries, one head, through the paged cache:
//!
//! ```
//! use attention::{attend::{attend, Output}, kv::KvPages, plan::Plan, queries::Queries, shape::{HeadShape, QueryRange}};
//! use attention::simd::Simd;
//!
//! let heads = HeadShape::new(1, 1, 64)?;
//! let range = QueryRange::new(100, 100)?;
//! let rows: Vec<f32> = (0..100 * 64).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5).collect();
//!
//! let mut pages = KvPages::new(heads, 2);
//! pages.append_rows(&[0, 1], 0, &rows, &rows)?;
//! let queries = Queries::from_rows(Simd::detect(), heads, &rows)?;
//! let mut output = Output::new(heads, range.q_len());
//! attend(Simd::detect(), &queries, &pages.view(&[0, 1], 100)?, range, &Plan::dense(1), &mut output)?;
//! assert!(output.row(0, 99).iter().all(|x| x.is_finite()));
//! # Ok::<(), attention::Error>(())
//! ```

#[macro_use]
#[allow(unsafe_code)] // the only place: intrinsics, and calls of code compiled for an instruction set
pub mod simd;

mod aligned;
pub mod attend;
pub mod bound;
pub mod calibration;
mod error;
mod file_version;
pub mod kv;
pub mod offline;
pub mod oracle;
pub mod pattern;
pub mod plan;
pub mod planner;
pub mod queries;
pub mod receipt;
pub mod search;
pub mod shape;
pub mod static_patterns;
pub mod threads;

pub use aligned::Aligned;
pub use error::Error;

/// Keys of a kv block, which is also a page of the cache ([`kv::KvPages`]) and the step of every kernel.
pub const BLOCK_N: usize = 64;
/// Query rows that the CPU kernels take at once, and rows of a tile of the plans made for them. The rows of every tile
/// ([`shape::Tiles`]) are a multiple of it.
pub const BLOCK_M: usize = 64;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
