use super::*;
use crate::kv::KvPages;
use crate::oracle;
use crate::plan::{HeadPlan, SparsePlan};
use crate::{BLOCK_M, BLOCK_N};
use half::bf16;
use proptest::prelude::*;

mod one_query;
mod precision;

/// Pseudo-random numbers in [-1, 1), the same on every machine.
#[derive(Clone)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() + 1.0) / 2.0 * n as f32) as usize % n
    }

    /// bf16 values, so that both sides start from the same operands.
    fn rows(&mut self, n: usize, size: f32) -> Vec<f32> {
        (0..n).map(|_| bf16::from_f32(self.next() * size).to_f32()).collect()
    }
}

#[derive(Clone)]
struct Case {
    heads: HeadShape,
    range: QueryRange,
    plan: Plan,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    numbers: Numbers,
}

impl Case {
    fn new(seed: u64, (group, kv_heads, dim): (usize, usize, usize), q_len: usize, cached: usize) -> Self {
        let mut numbers = Numbers(seed);
        let heads = HeadShape::new(group * kv_heads, kv_heads, dim).unwrap();
        let range = QueryRange::new(q_len, q_len + cached).unwrap();
        let plan = Plan { heads: (0..heads.num_q_heads()).map(|_| random_plan(&mut numbers, range)).collect() };
        Self {
            heads,
            range,
            plan,
            q: numbers.rows(q_len * heads.num_q_heads() * dim, 3.0),
            k: numbers.rows(range.kv_len() * kv_heads * dim, 2.0),
            v: numbers.rows(range.kv_len() * kv_heads * dim, 1.0),
            numbers,
        }
    }

    /// Runs the kernel with pages in random order and NaN wherever nothing may look.
    fn run(&mut self, simd: Simd) -> Output {
        let (heads, range) = (self.heads, self.range);
        let num_pages = range.num_blocks() + 2;
        let mut table: Vec<u32> = (0..num_pages as u32).collect();
        for i in (1..num_pages).rev() {
            table.swap(i, self.numbers.below(i + 1));
        }
        let table = &table[..range.num_blocks()];
        let mut pages = KvPages::new(heads, num_pages);
        pages.plant_nan();
        // In two steps that meet inside a page, as chunked prefill and decode do.
        let width = heads.num_kv_heads() * heads.head_dim();
        let cut = self.numbers.below(range.kv_len() + 1);
        pages.append_rows(table, 0, &self.k[..cut * width], &self.v[..cut * width]).unwrap();
        pages.append_rows(table, cut, &self.k[cut * width..], &self.v[cut * width..]).unwrap();

        let queries = Queries::from_rows(simd, heads, &self.q).unwrap();
        let mut output = Output::new(heads, range.q_len());
        output.o.fill(f32::NAN);
        attend(simd, &queries, &pages.view(table, range.kv_len()).unwrap(), range, &self.plan, &mut output).unwrap();
        if range.q_len() > 1 {
            self.run_in_stretches(simd, &queries, &pages, table, &output);
        }
        output
    }

    /// The same some units at a time, from pages that lie elsewhere each time.
    fn run_in_stretches(&mut self, simd: Simd, queries: &Queries, pages: &KvPages, table: &[u32], whole: &Output) {
        let (heads, range) = (self.heads, self.range);
        let mut elsewhere = KvPages::new(heads, table.len());
        elsewhere.plant_nan();
        let turned: Vec<u32> = (0..table.len() as u32).rev().collect();
        elsewhere.append_rows(&turned, 0, &self.k, &self.v).unwrap();
        let views = [pages.view(table, range.kv_len()).unwrap(), elsewhere.view(&turned, range.kv_len()).unwrap()];
        let mut output = Output::new(heads, range.q_len());
        output.o.fill(f32::NAN);
        let plan = self.plan.clone();
        let stretches = Stretches::new(simd, queries, &views[0], range, &plan).unwrap();
        let mut from = 0;
        while from < stretches.units() {
            let to = (from + 1 + self.numbers.below(stretches.units())).min(stretches.units());
            stretches.run(&views[self.numbers.below(2)], from..to, &mut output).unwrap();
            from = to;
        }
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&output.o), bits(&whole.o));
        assert_eq!(bits(&output.lse), bits(&whole.lse));
    }

    /// What query row `row` of `head` computes, from the definition of the plan.
    fn keys_of_row(&self, head: usize, row: usize) -> Vec<Vec<usize>> {
        let position = self.range.q_start() + row;
        let plan = match &self.plan.heads[head] {
            HeadPlan::Dense => return (0..=position).map(|j| vec![j]).collect(),
            HeadPlan::Window(window) => {
                return ((position + 1).saturating_sub(*window)..=position).map(|j| vec![j]).collect();
            }
            HeadPlan::Sparse(plan) => plan,
        };
        let block_m = plan.tiles().block_m();
        let kept = plan.blocks(row / block_m);
        let first_of_tile = self.range.q_start() + row / block_m * block_m;
        let mut keys = Vec::new();
        for block in 0..=position / BLOCK_N {
            let all: Vec<usize> = (block * BLOCK_N..(block + 1) * BLOCK_N).filter(|&j| j <= position).collect();
            if kept.contains(&(block as u32)) {
                keys.extend(all.into_iter().map(|j| vec![j]));
            } else {
                assert!((block + 1) * BLOCK_N <= first_of_tile + 1);
                let (columns, rest): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(|&j| plan.columns().contains(&(j as u32)));
                keys.extend(columns.into_iter().map(|j| vec![j]));
                if plan.centres() && !rest.is_empty() {
                    keys.push(rest);
                }
            }
        }
        keys
    }

    fn check(&self, output: &Output, simd: Simd) -> Result<(), TestCaseError> {
        let (heads, d) = (self.heads, self.heads.head_dim());
        let of_head = |rows: &[f32], count: usize, head: usize| -> Vec<f64> {
            rows.chunks_exact(d).skip(head).step_by(count).flatten().map(|x| *x as f64).collect()
        };
        for head in 0..heads.num_q_heads() {
            let q = of_head(&self.q, heads.num_q_heads(), head);
            let k = of_head(&self.k, heads.num_kv_heads(), heads.kv_head(head));
            let v = of_head(&self.v, heads.num_kv_heads(), heads.kv_head(head));
            let operands = oracle::Head { q: &q, k: &k, v: &v, head_dim: d };
            for row in 0..self.range.q_len() {
                let (want, lse) = oracle::attend_row(operands, row, self.keys_of_row(head, row));
                let got = output.row(head, row);
                // bf16 keeps 8 bits: scaled queries round to 2^-9 of logits up to about 10, p to 2^-9 of values to 1.
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    prop_assert!((*got as f64 - want).abs() < 0.02, "{simd:?} {head} {row} {i}: {got} {want}");
                }
                let got = output.lse(head, row) as f64;
                // A row whose plan names no key has output 0 and -inf on both sides.
                prop_assert!(
                    got == lse || (got - lse).abs() < 0.02,
                    "{simd:?} head {head} row {row}: lse {got}, {lse}"
                );
            }
        }
        Ok(())
    }
}

fn random_plan(numbers: &mut Numbers, range: QueryRange) -> HeadPlan {
    match numbers.below(6) {
        0 => return HeadPlan::Dense,
        1 => return HeadPlan::Window(1 + numbers.below(range.kv_len() + 100)),
        _ => {}
    }
    let columns = match numbers.below(3) {
        0 => Vec::new(),
        n => (0..range.kv_len() as u32).filter(|_| numbers.below(30) < n * n * n).collect(),
    };
    let tiles = range.tiles(BLOCK_M * (1 + numbers.below(4))).unwrap();
    let centres = numbers.below(2) == 0;
    let rate = 1 + numbers.below(4);
    let last_rows = numbers.below(80);
    let rule = |_: usize, keep: &mut [bool]| keep.iter_mut().for_each(|keep| *keep = numbers.below(5) < rate);
    HeadPlan::Sparse(SparsePlan::from_rule(tiles, last_rows, columns, centres, rule).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_plan_equals_the_oracle_on_every_instruction_set(
        seed: u64,
        shape in prop::sample::select(vec![(1, 1, 64), (3, 1, 64), (2, 2, 32), (7, 1, 12), (1, 2, 80), (4, 1, 128)]),
        q_len in 1usize..300, cached in prop::sample::select(vec![0usize, 0, 1, 63, 64, 100, 256, 500]),
    ) {
        let mut case = Case::new(seed, shape, q_len, cached);
        for simd in Simd::available() {
            let output = case.run(simd);
            case.check(&output, simd)?;
        }
    }

    #[test]
    fn density_is_the_oracles_count(seed: u64, q_len in 1usize..300, cached in 0usize..300) {
        let case = Case::new(seed, (2, 1, 4), q_len, cached);
        for (head, plan) in case.plan.heads.iter().enumerate() {
            let counted: usize = (0..q_len).map(|row| case.keys_of_row(head, row).len()).sum();
            prop_assert_eq!(plan.pairs(case.range), counted as u64);
        }
    }
}

#[test]
fn refuses_operands_that_do_not_belong_together() {
    let heads = HeadShape::new(2, 1, 32).unwrap();
    let range = QueryRange::new(10, 74).unwrap();
    let pages = KvPages::new(heads, 2);
    let view = pages.view(&[0, 1], 74).unwrap();
    let mut output = Output::new(heads, 10);
    let mut run =
        |queries: &Queries, range, plan: &Plan| attend(Simd::Portable, queries, &view, range, plan, &mut output);
    let queries = Queries::zeroed(heads, 10);
    assert!(run(&queries, range, &Plan::dense(2)).is_ok());
    assert!(matches!(run(&queries, range, &Plan::dense(3)), Err(Error::Plan(_))));
    assert!(matches!(run(&Queries::zeroed(heads, 11), range, &Plan::dense(2)), Err(Error::Length { .. })));
    assert!(matches!(run(&queries, QueryRange::new(10, 75).unwrap(), &Plan::dense(2)), Err(Error::Length { .. })));
    let other = Queries::zeroed(HeadShape::new(2, 2, 32).unwrap(), 10);
    assert!(matches!(run(&other, range, &Plan::dense(2)), Err(Error::Plan(_))));
    assert!(matches!(pages.view(&[0], 74), Err(Error::PageTable(_))));
    assert!(matches!(pages.view(&[0, 0], 74), Err(Error::PageTable(_))));
    assert!(matches!(pages.view(&[0, 2], 74), Err(Error::PageTable(_))));
}

#[test]
fn a_batch_is_its_sequences_one_by_one() {
    let (shape, simd) = ((2, 2, 64), Simd::detect());
    // A long prompt, a decode step behind a long prefix, one token, a chunk behind a prefix: in pages of one pool.
    let cases: Vec<Case> = [(300, 0), (1, 500), (1, 0), (70, 130)]
        .into_iter()
        .map(|(q, cached)| Case::new(q as u64, shape, q, cached))
        .collect();
    let heads = cases[0].heads;
    let mut pages = KvPages::new(heads, 24);
    pages.plant_nan();
    let mut next = 0..24u32;
    let tables: Vec<Vec<u32>> =
        cases.iter().map(|case| next.by_ref().take(case.range.num_blocks()).collect()).collect();
    for (case, table) in cases.iter().zip(&tables) {
        pages.append_rows(table, 0, &case.k, &case.v).unwrap();
    }
    let queries: Vec<Queries> = cases.iter().map(|case| Queries::from_rows(simd, heads, &case.q).unwrap()).collect();
    let view = |n: usize| pages.view(&tables[n], cases[n].range.kv_len()).unwrap();
    let mut outputs: Vec<Output> = cases.iter().map(|case| Output::new(heads, case.range.q_len())).collect();
    let mut batch: Vec<Sequence> = (outputs.iter_mut().enumerate())
        .map(|(n, output)| {
            let Case { range, plan, .. } = &cases[n];
            Sequence { queries: &queries[n], kv: view(n), range: *range, plan, output }
        })
        .collect();
    attend_batch(simd, &mut batch).unwrap();
    batch[2].range = QueryRange::new(1, 2).unwrap();
    assert!(matches!(attend_batch(simd, &mut batch), Err(Error::Length { .. })));
    attend_batch(simd, &mut []).unwrap();
    for (n, case) in cases.iter().enumerate() {
        case.check(&outputs[n], simd).unwrap();
        let mut alone = Output::new(heads, case.range.q_len());
        attend(simd, &queries[n], &view(n), case.range, &case.plan, &mut alone).unwrap();
        assert!(outputs[n].o[..] == alone.o[..] && outputs[n].lse == alone.lse, "sequence {n}");
    }
}

/// Sparse plans alone, so that every height meets every kind of range: tiles cut short, prefixes that end inside a block.
#[test]
fn tiles_of_every_height_equal_the_oracle() {
    for block_m in [64, 128, 192, 256] {
        for (q_len, cached) in [(400, 0), (385, 63), (257, 100), (128, 37), (300, 320), (65, 63), (1, 63), (1, 700)] {
            let mut case = Case::new(q_len as u64 * 7 + block_m as u64, (4, 2, 32), q_len, cached);
            let tiles = case.range.tiles(block_m).unwrap();
            let all = tiles.range().kv_len() as u32;
            for head in 0..4 {
                let columns = (0..all).filter(|_| head % 2 == 1 && case.numbers.below(20) == 0).collect();
                let numbers = &mut case.numbers;
                let rule = |_: usize, keep: &mut [bool]| keep.iter_mut().for_each(|keep| *keep = numbers.below(3) == 0);
                let plan = SparsePlan::from_rule(tiles, 0, columns, head >= 2, rule).unwrap();
                case.plan.heads[head] = HeadPlan::Sparse(plan);
                let counted: usize = (0..q_len).map(|row| case.keys_of_row(head, row).len()).sum();
                assert_eq!(case.plan.heads[head].pairs(case.range), counted as u64);
            }
            for simd in Simd::available() {
                let output = case.run(simd);
                case.check(&output, simd).unwrap_or_else(|error| panic!("{block_m} {q_len} {cached}: {error}"));
            }
        }
    }
}

/// Keys that have left every window may hold anything.
#[test]
fn a_window_looks_at_nothing_older() {
    let heads = HeadShape::new(1, 1, 32).unwrap();
    let mut numbers = Numbers(3);
    let (len, window, q_len) = (640, 100, 130);
    let (mut k, v) = (numbers.rows(len * 32, 1.0), numbers.rows(len * 32, 1.0));
    let range = QueryRange::new(q_len, len).unwrap();
    let first_block = (range.q_start() + 1 - window) / BLOCK_N;
    k[..first_block * BLOCK_N * 32].fill(f32::NAN);
    let table: Vec<u32> = (0..10).collect();
    let mut pages = KvPages::new(heads, 10);
    pages.append_rows(&table, 0, &k, &v).unwrap();
    for simd in Simd::available() {
        let queries = Queries::from_rows(simd, heads, &numbers.rows(q_len * 32, 1.0)).unwrap();
        let mut output = Output::new(heads, q_len);
        let plan = Plan { heads: vec![HeadPlan::Window(window)] };
        attend(simd, &queries, &pages.view(&table, len).unwrap(), range, &plan, &mut output).unwrap();
        assert!(
            (0..q_len).all(|row| output.lse(0, row).is_finite() && output.row(0, row).iter().all(|x| x.is_finite()))
        );
    }
}
