//! Two prompts share the pages of a common prefix, and each is read in chunks. The output is that of reading it at once.
//!
//! `cargo run --release -p sparse-accelerate-attention --example 03-paged-prefix`

use attention::BLOCK_N;
use attention::attend::{Output, attend};
use attention::kv::KvPages;
use attention::plan::Plan;
use attention::queries::Queries;
use attention::shape::{HeadShape, QueryRange};
use attention::simd::Simd;

const DIM: usize = 64;
const PREFIX: usize = 8 * BLOCK_N;
const PROMPT: usize = 300;
const CHUNK: usize = 128;

fn main() -> Result<(), attention::Error> {
    let heads = HeadShape::new(1, 1, DIM)?;
    let simd = Simd::detect();

    // Pages 0..8 hold the prefix, a whole number of pages: a page that two sequences write could not be shared.
    let mut pages = KvPages::new(heads, 8 + 2 * PROMPT.div_ceil(BLOCK_N));
    let prefix: Vec<u32> = (0..8).collect();
    let prefix_keys = noise(1, PREFIX * DIM);
    pages.append_rows(&prefix, 0, &prefix_keys, &prefix_keys)?;

    let mut free = 8..pages.num_pages() as u32;
    for prompt in 0..2 {
        // The table of this prompt: the shared pages, then its own.
        let own = free.by_ref().take(PROMPT.div_ceil(BLOCK_N));
        let table: Vec<u32> = prefix.iter().copied().chain(own).collect();
        let rows = noise(2 + prompt, PROMPT * DIM);

        let mut in_chunks: Vec<Vec<f32>> = Vec::new();
        for from in (0..PROMPT).step_by(CHUNK) {
            let to = (from + CHUNK).min(PROMPT);
            let chunk = &rows[from * DIM..to * DIM];
            pages.append_rows(&table, PREFIX + from, chunk, chunk)?;
            // The last `to - from` of all positions so far: the prefix and earlier chunks are only read.
            let range = QueryRange::new(to - from, PREFIX + to)?;
            let mut output = Output::new(heads, range.q_len());
            let queries = Queries::from_rows(simd, heads, chunk)?;
            let kv = pages.view(&table, range.kv_len())?;
            attend(simd, &queries, &kv, range, &Plan::dense(1), &mut output)?;
            in_chunks.extend((0..range.q_len()).map(|row| output.row(0, row)));
        }

        let range = QueryRange::new(PROMPT, PREFIX + PROMPT)?;
        let mut output = Output::new(heads, PROMPT);
        let kv = pages.view(&table, range.kv_len())?;
        attend(simd, &Queries::from_rows(simd, heads, &rows)?, &kv, range, &Plan::dense(1), &mut output)?;
        let at_once: Vec<Vec<f32>> = (0..PROMPT).map(|row| output.row(0, row)).collect();

        let differences = in_chunks.iter().flatten().zip(at_once.iter().flatten()).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0f32, f32::max);
        println!("prompt {prompt}: {PREFIX} shared + {PROMPT} own tokens, chunks of {CHUNK}: differs by {worst:e}");
        assert!(worst < 1e-3);
    }
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
