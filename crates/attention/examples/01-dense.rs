//! Dense attention through the paged cache, checked against the f64 oracle.
//!
//! `cargo run --release -p sparse-accelerate-attention --example 01-dense`

use attention::attend::{Output, attend};
use attention::kv::KvPages;
use attention::oracle;
use attention::plan::Plan;
use attention::queries::Queries;
use attention::shape::{HeadShape, QueryRange};
use attention::simd::Simd;

fn main() -> Result<(), attention::Error> {
    // Four query heads share two kv heads (grouped-query attention); 200 tokens, all of them new.
    let heads = HeadShape::new(4, 2, 64)?;
    let range = QueryRange::new(200, 200)?;
    let simd = Simd::detect();

    // Operands come as rows, [token][head][head_dim].
    let q = noise(1, range.q_len() * 4 * 64);
    let k = noise(2, range.kv_len() * 2 * 64);
    let v = noise(3, range.kv_len() * 2 * 64);

    // Keys and values go into pages of 64 tokens; the table says which pages, in which order.
    let mut pages = KvPages::new(heads, 10);
    let table = [7, 2, 9, 0];
    pages.append_rows(&table, 0, &k, &v)?;

    let queries = Queries::from_rows(simd, heads, &q)?;
    let kv = pages.view(&table, range.kv_len())?;
    let mut output = Output::new(heads, range.q_len());
    attend(simd, &queries, &kv, range, &Plan::dense(4), &mut output)?;

    // The same in f64, for head 3, which reads kv head 1.
    let of_head = |rows: &[f32], heads: usize, head: usize| -> Vec<f64> {
        rows.chunks_exact(64).skip(head).step_by(heads).flatten().map(|x| *x as f64).collect()
    };
    let (q, k, v) = (of_head(&q, 4, 3), of_head(&k, 2, 1), of_head(&v, 2, 1));
    let head = oracle::Head { q: &q, k: &k, v: &v, head_dim: 64 };
    let mut worst = 0f64;
    for row in 0..range.q_len() {
        let (expected, _) = oracle::attend_row(head, row, (0..=row).map(|j| vec![j]));
        for (got, expected) in output.row(3, row).iter().zip(&expected) {
            worst = worst.max((*got as f64 - expected).abs());
        }
    }
    println!("{} tokens on {}: largest error {worst:.5}, values up to 1", range.q_len(), simd.name());
    assert!(worst < 0.02, "operands are bf16: about three digits");
    Ok(())
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
