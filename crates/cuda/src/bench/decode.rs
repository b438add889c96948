//! Decode attention: one query a sequence over many keys.

use super::times::Times;
use super::work::gb_per_s;
use super::{KernelBench, Row};
use crate::Error;
use crate::batch::{Batch, SequencePages};
use crate::decode_attention::DecodeAttention;
use crate::device::Device;
use crate::kv::KvPages;
use crate::random::{fill, queries};
use attention::BLOCK_N;
use attention::shape::QueryRange;

/// Long enough that the host's part of a launch is hidden, as in a recorded graph.
const IN_A_ROW: usize = 20;

pub(super) fn row(bench: &KernelBench, device: &Device, keys: usize) -> Result<Row, Error> {
    let (heads, sequences) = (bench.heads, bench.sequences.max(1));
    let mut decode = DecodeAttention::new(device, heads, sequences)?;
    let pages_each = keys.div_ceil(BLOCK_N);
    let mut kv = KvPages::new(device, heads, BLOCK_N, sequences.saturating_mul(pages_each))?;
    fill(&mut kv)?;
    let q = queries(device, heads, sequences)?;
    let mut o = device.zeros(q.len())?;
    let range = QueryRange::new(1, keys)?;
    let pages: Vec<u32> = (0..kv.num_pages() as u32).collect();
    let tables: Vec<_> = pages.chunks(pages_each).map(|pages| SequencePages { range, pages }).collect();
    let batch = Batch::new(device, &tables, 1, BLOCK_N)?;
    let times = Times::measure(device, bench.runs, IN_A_ROW, || decode.launch(&q, &kv, &batch, &mut o, None))?;
    let gb_per_s = Some(gb_per_s(heads, sequences, keys, times.median_ms));
    let row = Row::new(bench, device, "decode", "decode_attention", keys, times);
    // A prefix is part of the keys.
    Ok(Row { prefix: 0, sequences, gb_per_s, ..row })
}
