//! Random batches for attention kernels, and the oracle's answer to them.

#![allow(dead_code)] // each test file uses a part

pub mod rounded;

use crate::on_device::Numbers;
use attention::oracle::{Head, attend_row};
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::shape::{HeadShape, QueryRange, Tiles};
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

    /// All keys of a head moved by one vector, several times as large as they are: as biases do.
    pub fn with_common_key(mut self, numbers: &mut Numbers) -> Self {
        let d = self.heads.head_dim();
        let common = numbers.bf16s(self.heads.num_kv_heads() * d, 10.0);
        for (range, k) in self.ranges.iter().zip(&mut self.k) {
            for (at, x) in k.iter_mut().enumerate() {
                let head = at / d / range.kv_len();
                *x = bf16::from_f32(x.to_f32() + common[head * d + at % d].to_f32());
            }
        }
        self
    }

    /// Root mean square difference of `o` from exact attention in about `rows` rows of each head, over that of exact attention.
    pub fn relative_error(&self, operands: &Operands, rows: usize) -> f64 {
        let (heads, d) = (self.heads, self.heads.head_dim());
        let o = operands.o.read().unwrap();
        let f64s = |x: &[bf16]| -> Vec<f64> { x.iter().map(|x| x.to_f64()).collect() };
        let (mut wrong, mut all) = (0.0, 0.0);
        for head in 0..heads.num_q_heads() {
            let range = self.ranges[0];
            let of_head = heads.kv_head(head) * range.kv_len() * d..(heads.kv_head(head) + 1) * range.kv_len() * d;
            let (k, v) = (f64s(&self.k[0][of_head.clone()]), f64s(&self.v[0][of_head]));
            for row in (0..range.q_len()).step_by((range.q_len() / rows).max(1)) {
                let at = (row * heads.num_q_heads() + head) * d;
                let q = f64s(&self.q[at..at + d]);
                let (expected, _) =
                    attend_row(Head { q: &q, k: &k, v: &v, head_dim: d }, 0, self.seen(range.q_start() + row));
                for (found, expected) in o[at..at + d].iter().zip(&expected) {
                    wrong += (found.to_f64() - expected).powi(2);
                    all += expected * expected;
                }
            }
        }
        (wrong / all).sqrt()
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
        self.check_keys(numbers, operands, rows_to_check, |_, _, position| self.seen(position));
    }

    /// The same for plans, one a sequence.
    pub fn check_plans(
        &self,
        numbers: &mut Numbers,
        operands: &Operands,
        plans: &[Plan],
        rows_to_check: Option<usize>,
    ) {
        self.check_keys(numbers, operands, rows_to_check, |sequence, head, position| {
            planned_keys(&plans[sequence].heads[head], self.ranges[sequence], position)
        });
    }

    fn check_keys(
        &self,
        numbers: &mut Numbers,
        operands: &Operands,
        rows_to_check: Option<usize>,
        keys: impl Fn(usize, usize, usize) -> Vec<Vec<usize>>,
    ) {
        let lse = operands.lse.read().unwrap();
        self.compare(numbers, operands, Some(lse), rows_to_check, keys);
    }

    /// The same for kernels that give no `lse`.
    pub fn check_output(&self, numbers: &mut Numbers, operands: &Operands, rows_to_check: Option<usize>) {
        self.compare(numbers, operands, None, rows_to_check, |_, _, position| self.seen(position));
    }

    /// Keys that the query at `position` sees, each by itself.
    fn seen(&self, position: usize) -> Vec<Vec<usize>> {
        (self.first_key(position)..=position).map(|key| vec![key]).collect()
    }

    /// `keys` has what the oracle attends, of a sequence, head and position.
    fn compare(
        &self,
        numbers: &mut Numbers,
        operands: &Operands,
        lse: Option<Vec<f32>>,
        rows_to_check: Option<usize>,
        keys: impl Fn(usize, usize, usize) -> Vec<Vec<usize>>,
    ) {
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
                    let keys = keys(index, head, position);
                    // Centres are rounded to bf16, which moves their logits.
                    let lse_tolerance = if keys.iter().any(|keys| keys.len() > 1) { 4e-3 } else { 1e-3 };
                    let (expected, expected_lse) = match keys.is_empty() {
                        // What a plan leaves without a key.
                        true => (vec![0.0; d], f64::NEG_INFINITY),
                        false => attend_row(operands, 0, keys),
                    };
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
                        found as f64 == expected_lse || (found as f64 - expected_lse).abs() < lse_tolerance,
                        "{}: lse of sequence {index}, head {head}, row {row}: {found}, expected {expected_lse}",
                        self.name()
                    );
                }
            }
            begin += range.q_len();
        }
    }

    /// Makes keys and values of a block of a kv head not numbers: nothing may look at them.
    pub fn poison(&mut self, sequence: usize, kv_head: usize, block: usize) {
        let (d, kv_len) = (self.heads.head_dim(), self.ranges[sequence].kv_len());
        let rows = kv_head * kv_len + block * 64..kv_head * kv_len + (block * 64 + 64).min(kv_len);
        for x in [&mut self.k, &mut self.v] {
            x[sequence][rows.start * d..rows.end * d].fill(bf16::NAN);
        }
    }

    /// Replaces queries and keys; `f` is given what is there, a head, a position and an element.
    pub fn shape(&mut self, f: impl Fn(Operand, f32, usize, usize, usize) -> f32) {
        let (heads, d) = (self.heads, self.heads.head_dim());
        let mut row = 0;
        for (range, k) in self.ranges.iter().zip(&mut self.k) {
            for (at, x) in k.iter_mut().enumerate() {
                let (head, position) = (at / d / range.kv_len(), at / d % range.kv_len());
                *x = bf16::from_f32(f(Operand::Key, x.to_f32(), head, position, at % d));
            }
            for position in range.q_start()..range.kv_len() {
                for head in 0..heads.num_q_heads() {
                    for i in 0..d {
                        let x = &mut self.q[(row * heads.num_q_heads() + head) * d + i];
                        *x = bf16::from_f32(f(Operand::Query, x.to_f32(), head, position, i));
                    }
                }
                row += 1;
            }
        }
    }

    /// Queries `[row][q_head][head_dim]`.
    pub fn queries(&self) -> Vec<f32> {
        self.q.iter().map(|x| x.to_f32()).collect()
    }

    /// Keys and values of a sequence, `[position][kv_head][head_dim]` each.
    pub fn keys_and_values(&self, sequence: usize) -> (Vec<f32>, Vec<f32>) {
        let (kv_heads, d, kv_len) = (self.heads.num_kv_heads(), self.heads.head_dim(), self.ranges[sequence].kv_len());
        let by_position = |x: &[bf16]| -> Vec<f32> {
            let at = |position: usize, head: usize, i: usize| x[(head * kv_len + position) * d + i].to_f32();
            (0..kv_len * kv_heads * d).map(|n| at(n / d / kv_heads, n / d % kv_heads, n % d)).collect()
        };
        (by_position(&self.k[sequence]), by_position(&self.v[sequence]))
    }

    pub fn name(&self) -> String {
        let lens: Vec<_> = self.ranges.iter().map(|range| (range.q_len(), range.kv_len())).collect();
        let Self { heads, page_size, window, .. } = self;
        format!("{heads:?}, pages of {page_size}, window {window:?}, (q_len, kv_len) {lens:?}")
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Operand {
    Query,
    Key,
}

/// What a plan computes for the query at `position`, straight from its definition: single keys, and the keys of a centre
/// together.
fn planned_keys(plan: &HeadPlan, range: QueryRange, position: usize) -> Vec<Vec<usize>> {
    let HeadPlan::Sparse(plan) = plan else { return (0..=position).map(|key| vec![key]).collect() };
    let tiles = plan.tiles();
    let tile = (position - range.q_start()) / tiles.block_m();
    let listed = plan.blocks(tile);
    let mut keys = Vec::new();
    for block in 0..=position / 64 {
        let of_block = block * 64..(block * 64 + 64).min(position + 1);
        if listed.contains(&(block as u32)) {
            keys.extend(of_block.map(|key| vec![key]));
        } else {
            let is_column = |key: &usize| plan.columns().binary_search(&(*key as u32)).is_ok();
            let (columns, others): (Vec<usize>, Vec<usize>) = of_block.partition(is_column);
            keys.extend(columns.into_iter().map(|key| vec![key]));
            if plan.centres() && !others.is_empty() {
                keys.push(others);
            }
        }
    }
    keys
}

/// Plans with about `density` of the blocks, `columns` columns, and centres in half of the heads if at all.
pub fn random_plan(
    numbers: &mut Numbers,
    heads: HeadShape,
    tiles: Tiles,
    density: f32,
    columns: usize,
    centres: bool,
) -> Plan {
    let kv_len = tiles.range().kv_len();
    let heads = (0..heads.num_q_heads()).map(|_| {
        if numbers.below(8) == 0 {
            return HeadPlan::Dense;
        }
        let mut own: Vec<u32> = (0..columns).map(|_| numbers.below(kv_len) as u32).collect();
        // A block all of whose keys are columns, which has no centre.
        if columns > 64 {
            let block = numbers.below(kv_len.div_ceil(64)) * 64;
            own.extend((block..(block + 64).min(kv_len)).map(|key| key as u32));
        }
        own.sort_unstable();
        own.dedup();
        let centres = centres && numbers.below(2) == 0;
        let plan = SparsePlan::from_rule(tiles, 0, own, centres, |_, keep| {
            keep.iter_mut().for_each(|keep| *keep = (numbers.next() + 1.0) / 2.0 < density);
        });
        HeadPlan::Sparse(plan.unwrap())
    });
    Plan { heads: heads.collect() }
}
