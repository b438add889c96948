//! The search: every head gets the cheapest pattern that keeps its attention.
//!
//! `cargo run --release -p sparse-accelerate-attention --example 02-search`

use attention::BLOCK_M;
use attention::attend::{Output, attend};
use attention::kv::KvPages;
use attention::plan::Plan;
use attention::planner::{Planner, Scene};
use attention::queries::Queries;
use attention::search::{Search, Target};
use attention::shape::{HeadShape, QueryRange};
use attention::simd::Simd;

const DIM: usize = 32;
const HEADS: usize = 3;

fn main() -> Result<(), attention::Error> {
    let heads = HeadShape::new(HEADS, 1, DIM)?;
    let range = QueryRange::new(6000, 6000)?;
    let simd = Simd::detect();
    let (q, k, v) = operands(range.kv_len());

    let table: Vec<u32> = (0..range.num_blocks() as u32).collect();
    let mut pages = KvPages::new(heads, table.len());
    pages.append_rows(&table, 0, &k, &v)?;
    let kv = pages.view(&table, range.kv_len())?;
    let queries = Queries::from_rows(simd, heads, &q)?;

    // Keep 90% of the attention of every head. The last 64 queries see every key, whatever the plan.
    let search = Search::new(Target::Recall(0.9))?;
    let planned = search.plan(&Scene {
        simd,
        layer: 0,
        queries: &queries,
        kv: &kv,
        tiles: range.tiles(BLOCK_M)?,
        last_rows: 64,
    })?;
    for (head, (choice, plan)) in planned.choices.iter().zip(&planned.plan.heads).enumerate() {
        let density = plan.pairs(range) as f64 / range.causal_pairs() as f64;
        println!("head {head}: {:?}, density {density:.2}, recall {:.2}", choice.pattern, choice.recall);
    }
    println!("layer: density {:.2}, recall {:.2}", planned.plan.density(range), planned.recall());

    let run = |plan: &Plan| {
        let mut output = Output::new(heads, range.q_len());
        attend(simd, &queries, &kv, range, plan, &mut output).map(|()| output)
    };
    let (dense, sparse) = (run(&Plan::dense(HEADS))?, run(&planned.plan)?);
    for head in 0..HEADS {
        let (mut error, mut size) = (0f64, 0f64);
        for row in 0..range.q_len() {
            for (d, s) in dense.row(head, row).iter().zip(sparse.row(head, row)) {
                error += (d - s).powi(2) as f64;
                size += d.powi(2) as f64;
            }
        }
        println!("head {head}: relative error {:.3}", (error / size).sqrt());
        assert!(error < 0.2 * size);
    }
    assert!(planned.plan.density(range) < 0.9, "two of the heads have structure");
    Ok(())
}

/// Head 0 looks at its neighbourhood, head 1 at one key in 500, head 2 everywhere alike.
fn operands(len: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (mut q, mut k, mut v) = (noise(1, len * HEADS * DIM), noise(2, len * DIM), noise(3, len * DIM));
    q.iter_mut().for_each(|x| *x *= 0.2);
    k.iter_mut().for_each(|x| *x *= 0.3);
    for row in 0..len {
        // Features 0 and 1 turn with the position; feature 2 marks the keys that head 1 looks for.
        let angle = row as f32 / 150.0;
        let place = [8.0 * angle.cos(), 8.0 * angle.sin()];
        let marked = row % 500 == 250;
        k[row * DIM..][..2].copy_from_slice(&place);
        k[row * DIM + 2] = if marked { 9.0 } else { 0.0 };
        q[row * HEADS * DIM..][..2].copy_from_slice(&place);
        q[(row * HEADS + 1) * DIM..][..3].copy_from_slice(&[0.0, 0.0, 6.0]);
        q[(row * HEADS + 2) * DIM..][..3].fill(0.0);
        // Values say where they are from, so that looking elsewhere shows.
        v[row * DIM] = angle.cos();
        v[row * DIM + 1] = if marked { 4.0 } else { 0.0 };
    }
    (q, k, v)
}

/// Numbers in [-1, 1) that look random and are the same on every run.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
