//! Random batches for attention kernels, and the oracle's answer to them.

#![allow(dead_code)] // each test file uses a part

use crate::on_device::Numbers;
use attention::oracle::{Head, attend_row};
use attention::shape::{HeadShape, QueryRange};
use cuda::batch::{Batch, SequencePages};
use cuda::device::{Buffer, Device};
use cuda::kv::KvPages;
use half::bf16;

/// A batch on the host. Pages lie in random order, and whatever no sequence owns or no query sees is NaN: of what lies
/// before a window, whole pages.
pub struct Case {
    pub heads: HeadShape,
    pub ranges: Vec<QueryRange>,
    /// Keys a query sees, its own included.
    pub window: Option<usize>,
    page_size: usize,
    num_pages: usize,
    tables: Vec<Vec<u32>>,
    /// `[row][q_head][head_dim]`
    q: Vec<bf16>,
    /// Of each sequence, `[kv_head][position][head_dim]`.
    k: Vec<Vec<bf16>>,
    v: Vec<Vec<bf16>>,
}

/// A case on the device.
pub struct Operands {
    pub q: Buffer<bf16>,
    pub kv: KvPages,
    pub batch: Batch,
    /// Filled with NaN.
    pub o: Buffer<bf16>,
    /// Filled with NaN.
    pub lse: Buffer<f32>,
}

impl Case {
    pub fn new(numbers: &mut Numbers, heads: HeadShape, page_size: usize, lens: &[(usize, usize)]) -> Self {
        let d = heads.head_dim();
        let ranges: Vec<_> = lens.iter().map(|&(q_len, kv_len)| QueryRange::new(q_len, kv_len).unwrap()).collect();
        let pages_of = |range: &QueryRange| range.kv_len().div_ceil(page_size);
        let num_pages = ranges.iter().map(pages_of).sum::<usize>() + 3;
        let mut pages: Vec<u32> = (0..num_pages as u32).collect();
        numbers.shuffle(&mut pages);
        let tables = ranges.iter().map(|range| pages.drain(..pages_of(range)).collect()).collect();
        let rows: usize = ranges.iter().map(|range| range.q_len()).sum();
        let mut of_cache = |size| -> Vec<Vec<bf16>> {
            ranges.iter().map(|range| numbers.bf16s(range.kv_len() * heads.num_kv_heads() * d, size)).collect()
        };
        let (k, v) = (of_cache(2.0), of_cache(1.0));
        let q = numbers.bf16s(rows * heads.num_q_heads() * d, 3.0);
        Self { heads, ranges, window: None, page_size, num_pages, tables, q, k, v }
    }

    /// The same under a window.
    pub fn with_window(self, window: Option<usize>) -> Self {
        Self { window, ..self }
    }

    /// The same keys up to `len`, for the queries of a case of one sequence and one query.
    pub fn cut(&self, len: usize) -> Self {
        let d = self.heads.head_dim();
        let cut = |x: &[bf16]| -> Vec<bf16> {
            x.chunks(self.ranges[0].kv_len() * d).flat_map(|head| head[..len * d].to_vec()).collect()
        };
        Self {
            ranges: vec![QueryRange::new(1, len).unwrap()],
            tables: self.tables.clone(),
            q: self.q.clone(),
            k: vec![cut(&self.k[0])],
            v: vec![cut(&self.v[0])],
            ..*self
        }
    }

    /// Pages of a sequence.
    pub fn table(&self, sequence: usize) -> &[u32] {
        &self.tables[sequence]
    }

    /// First key that the query at `position` sees.
    fn first_key(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    fn num_rows(&self) -> usize {
        self.ranges.iter().map(|range| range.q_len()).sum()
    }

    pub fn upload(&self, device: &Device, block_m: usize) -> Operands {
        let sequences: Vec<_> =
            (self.ranges.iter().zip(&self.tables)).map(|(&range, pages)| SequencePages { range, pages }).collect();
        let mut kv = KvPages::new(device, self.heads, self.page_size, self.num_pages).unwrap();
        kv.write(&self.in_pages(&self.k), &self.in_pages(&self.v)).unwrap();
        let rows = self.num_rows();
        Operands {
            q: device.upload(&self.q).unwrap(),
            kv,
            batch: Batch::new(device, &sequences, block_m, self.page_size).unwrap(),
            o: device.upload(&vec![bf16::NAN; self.q.len()]).unwrap(),
            lse: device.upload(&vec![f32::NAN; rows * self.heads.num_q_heads()]).unwrap(),
        }
    }

    fn in_pages(&self, sequences: &[Vec<bf16>]) -> Vec<bf16> {
        let (kv_heads, d, size) = (self.heads.num_kv_heads(), self.heads.head_dim(), self.page_size);
        let mut pages = vec![bf16::NAN; self.num_pages * kv_heads * size * d];
        for ((range, table), rows) in self.ranges.iter().zip(&self.tables).zip(sequences) {
            let first_page = self.first_key(range.q_start()) / size;
            for head in 0..kv_heads {
                for position in first_page * size..range.kv_len() {
                    let page = table[position / size] as usize;
                    let to = ((page * kv_heads + head) * size + position % size) * d;
                    let from = (head * range.kv_len() + position) * d;
                    pages[to..to + d].copy_from_slice(&rows[from..from + d]);
                }
            }
        }
        pages
    }

    /// Compares `o` and `lse` with the oracle, in every row or in about `rows_to_check` of each head: the first, the
    /// last and random ones.
    pub fn check(&self, numbers: &mut Numbers, operands: &Operands, rows_to_check: Option<usize>) {
        let lse = operands.lse.read().unwrap();
        self.compare(numbers, operands, Some(lse), rows_to_check);
    }

    /// The same for kernels that give no `lse`.
    pub fn check_output(&self, numbers: &mut Numbers, operands: &Operands, rows_to_check: Option<usize>) {
        self.compare(numbers, operands, None, rows_to_check);
    }

    fn compare(&self, numbers: &mut Numbers, operands: &Operands, lse: Option<Vec<f32>>, rows_to_check: Option<usize>) {
        let (heads, d) = (self.heads, self.heads.head_dim());
        let o = operands.o.read().unwrap();
        assert!(o.iter().all(|x| x.is_finite()), "{}: an output is not finite or was not written", self.name());
        let f64s = |x: &[bf16]| -> Vec<f64> { x.iter().map(|x| x.to_f64()).collect() };
        let mut begin = 0;
        for (index, range) in self.ranges.iter().enumerate() {
            let share = rows_to_check.map_or(1.0, |rows| rows as f64 / range.q_len() as f64);
            for head in 0..heads.num_q_heads() {
                let of_head = heads.kv_head(head) * range.kv_len() * d..(heads.kv_head(head) + 1) * range.kv_len() * d;
                let (k, v) = (f64s(&self.k[index][of_head.clone()]), f64s(&self.v[index][of_head]));
                for row in 0..range.q_len() {
                    let edge = row == 0 || row + 1 == range.q_len();
                    if !edge && (numbers.next() as f64 + 1.0) / 2.0 >= share {
                        continue;
                    }
                    let at = ((begin + row) * heads.num_q_heads() + head) * d;
                    let q = f64s(&self.q[at..at + d]);
                    let operands = Head { q: &q, k: &k, v: &v, head_dim: d };
                    let position = range.q_start() + row;
                    let keys = (self.first_key(position)..=position).map(|key| vec![key]);
                    let (expected, expected_lse) = attend_row(operands, 0, keys);
                    // Values are below 1: weights rounded to 8 bits cost at most 2^-9, the output's rounding as much.
                    for (i, (found, expected)) in o[at..at + d].iter().zip(&expected).enumerate() {
                        let error = (found.to_f64() - expected).abs();
                        assert!(
                            error < 6e-3,
                            "{}: sequence {index}, head {head}, row {row}, element {i}: {found}, expected {expected}",
                            self.name()
                        );
                    }
                    let Some(lse) = &lse else { continue };
                    let found = lse[head * self.num_rows() + begin + row];
                    assert!(
                        (found as f64 - expected_lse).abs() < 1e-3,
                        "{}: lse of sequence {index}, head {head}, row {row}: {found}, expected {expected_lse}",
                        self.name()
                    );
                }
            }
            begin += range.q_len();
        }
    }

    pub fn name(&self) -> String {
        let lens: Vec<_> = self.ranges.iter().map(|range| (range.q_len(), range.kv_len())).collect();
        let Self { heads, page_size, window, .. } = self;
        format!("{heads:?}, pages of {page_size}, window {window:?}, (q_len, kv_len) {lens:?}")
    }
}
