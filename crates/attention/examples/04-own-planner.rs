//! A pattern of your own needs no kernel: say which blocks each tile keeps, and the kernel runs it.
//!
//! `cargo run --release -p sparse-accelerate-attention --example 04-own-planner`

use attention::attend::{Output, attend};
use attention::kv::KvPages;
use attention::pattern::HeadPattern;
use attention::plan::file::SavedPlan;
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::planner::{HeadChoice, Planned, Planner, Scene};
use attention::queries::Queries;
use attention::shape::{HeadShape, QueryRange};
use attention::simd::Simd;
use attention::{BLOCK_M, Error};

/// Blocks 1, 2, 4, 8, ... back from the diagonal; what is left out is represented by its centres. Layer 0 stays dense.
struct PowersOfTwo;

impl Planner for PowersOfTwo {
    fn plan(&self, scene: &Scene) -> Result<Planned, Error> {
        scene.check()?;
        let num_q_heads = scene.queries.heads().num_q_heads();
        if scene.layer == 0 {
            return Ok(Planned::dense(num_q_heads));
        }
        // `keep` has one flag for each block that the whole tile sees; blocks on the diagonal are always computed.
        let plan = SparsePlan::from_rule(scene.tiles, scene.last_rows, Vec::new(), true, |_tile, keep| {
            let blocks = keep.len();
            for (block, keep) in keep.iter_mut().enumerate() {
                *keep = block == 0 || (blocks - block).is_power_of_two();
            }
        })?;
        // What is reported. Nothing was estimated here, which is not a number.
        let pattern =
            HeadPattern::IntervalSlash { intervals: scene.tiles.num_blocks().ilog2() as usize + 1, columns: 0 };
        let choice = HeadChoice::new(pattern, f64::NAN, f64::NAN);
        Ok(Planned {
            plan: Plan { heads: vec![HeadPlan::Sparse(plan); num_q_heads] },
            choices: vec![choice; num_q_heads],
        })
    }
}

fn main() -> Result<(), Error> {
    let heads = HeadShape::new(2, 1, 64)?;
    let range = QueryRange::new(2000, 3000)?; // 2,000 queries after 1,000 cached keys
    let simd = Simd::detect();
    let rows = noise(1, 3000 * 64);
    let table: Vec<u32> = (0..range.num_blocks() as u32).collect();
    let mut pages = KvPages::new(heads, table.len());
    pages.append_rows(&table, 0, &rows, &rows)?;
    let kv = pages.view(&table, range.kv_len())?;
    let queries = Queries::from_rows(simd, heads, &noise(2, range.q_len() * 2 * 64))?;

    for layer in 0..2 {
        let scene = Scene { simd, layer, queries: &queries, kv: &kv, tiles: range.tiles(BLOCK_M)?, last_rows: 64 };
        let planned = PowersOfTwo.plan(&scene)?;
        let mut output = Output::new(heads, range.q_len());
        attend(simd, &queries, &kv, range, &planned.plan, &mut output)?;

        // A plan is data: save it, look at it, run it elsewhere.
        let saved = SavedPlan::new(range, planned.plan)?.to_json();
        println!(
            "layer {layer}: density {:.2}, {} bytes",
            SavedPlan::from_json(&saved)?.plan().density(range),
            saved.len()
        );
        assert!(output.row(1, 1999).iter().all(|x| x.is_finite()));
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
