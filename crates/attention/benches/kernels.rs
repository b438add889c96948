//! Times the CPU kernels on one thread, in the units of the cost model: `cargo bench -p sparse-accelerate-attention`.
//!
//! Operands are random, so shares are near uniform and no rescaling is saved or added by chance. Numbers are medians of
//! nine runs; `docs/kernels.md` keeps those that decided something.

use attention::attend::{Output, attend};
use attention::kv::KvPages;
use attention::pattern::Triangular;
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::planner::{Planner, Scene};
use attention::queries::Queries;
use attention::search::{Search, Target};
use attention::shape::{HeadShape, QueryRange};
use attention::simd::blocks::{
    BlockFormat, Blocks, InputWidth, QuantisedPanels, QuantisedVector, Slab, multiply_integers,
};
use attention::simd::{LANES, ROW_TILE, Rows, Simd, multiply};
use attention::{Aligned, BLOCK_M, BLOCK_N};
use std::time::Instant;

fn median_us(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[4]
}

fn random(len: usize) -> Vec<f32> {
    (0..len).map(|n| ((n.wrapping_mul(2654435761) >> 9) % 2048) as f32 / 1024.0 - 1.0).collect()
}

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread").install(|| {
        memory();
        let wanted = std::env::args().nth(1).unwrap_or_default();
        for simd in Simd::available().into_iter().filter(|simd| simd.name().contains(wanted.trim_start_matches('-'))) {
            println!("== {}", simd.name());
            products(simd);
            integer_products(simd);
            few_rows(simd);
            kernels(simd, 2048, 8192, 64);
            kernels(simd, 2048, 2048, 64);
            kernels(simd, 2048, 8192, 128);
            decoding(simd);
        }
    });
}

fn products(simd: Simd) {
    for (rows, k, panels) in [(64, 64, 2), (32, 576, 16), (32, 1536, 16)] {
        let mut a = Aligned::zeroed(rows * k);
        let mut b = Aligned::zeroed(panels * k * LANES);
        let mut c = Aligned::<f32>::zeroed(panels * rows * LANES);
        a.copy_from_slice(&random(rows * k).into_iter().map(half::bf16::from_f32).collect::<Vec<_>>());
        b.copy_from_slice(&random(panels * k * LANES).into_iter().map(half::bf16::from_f32).collect::<Vec<_>>());
        let times = 200;
        let us = median_us(|| {
            for _ in 0..times {
                multiply(simd, Rows::packed(&a, rows, k), &b, panels, &mut c, rows * LANES, false);
            }
        });
        let flop = (2 * rows * k * panels * LANES * times) as f64;
        println!("product {rows} x {k} x {} tokens: {:.0} GFLOP/s", panels * LANES, flop / us / 1e3);
    }
}

/// The same in integers, with what a product of 160 tokens and a slab of weights need before.
fn integer_products(simd: Simd) {
    let (rows, panels, times) = (32, 10, 100);
    for (format, k) in [(BlockFormat::Q4_1, 576), (BlockFormat::Q5_0, 896), (BlockFormat::Q6_K, 4864)] {
        let blocks = blocks(format, rows, k);
        let x: Vec<half::bf16> = random(panels * k * LANES).into_iter().map(half::bf16::from_f32).collect();
        let mut c = Aligned::<f32>::zeroed(panels * rows * LANES);
        let (mut slab, mut integers) = (Slab::default(), QuantisedPanels::default());
        let fill = median_us(|| (0..times).for_each(|_| slab.fill(simd, &blocks, 0..rows / ROW_TILE)));
        for width in [InputWidth::OneByte, InputWidth::TwoBytes] {
            let quantise = median_us(|| (0..times / 10).for_each(|_| integers.quantise(simd, width, k, &x)));
            let us = median_us(|| {
                for _ in 0..times {
                    multiply_integers(simd, &slab, &integers, &mut c, rows * LANES, false);
                }
            });
            let flop = (2 * rows * k * panels * LANES * times) as f64;
            println!(
                "product {rows} x {k} x {} tokens, {format:?}, {width:?}: {:.0} GFLOP/s; {:.3} ns a weight to spread, {:.3} ns an input to round",
                panels * LANES,
                flop / us / 1e3,
                fill * 1e3 / (rows * k * times) as f64,
                quantise * 1e3 / (panels * k * LANES * times / 10) as f64,
            );
        }
    }
}

fn blocks(format: BlockFormat, rows: usize, k: usize) -> Blocks {
    let blocks = Blocks::fill(format, rows, k, |row, out| {
        out.codes.iter_mut().enumerate().for_each(|(k, code)| *code = ((row * 7 + k) % 16) as u8);
        out.factors.fill([half::f16::ONE; 2]);
        out.nested.fill([1; 2]);
        true
    });
    blocks.expect("room for weights")
}

/// One token, and one token of each of several sequences, four tiles of weights at a time as a model takes them.
fn few_rows(simd: Simd) {
    let counts = [1, 2, 4, 8, 16];
    for (format, rows, k) in [
        (BlockFormat::Q4_0, 1536, 576),
        (BlockFormat::Q8_0, 1536, 576),
        (BlockFormat::Q5_0, 4864, 896),
        (BlockFormat::Q4_K, 8192, 2048),
        (BlockFormat::Q6_K, 8192, 2048),
    ] {
        let weights = blocks(format, rows, k);
        let input: Vec<half::bf16> = random(k).into_iter().map(half::bf16::from_f32).collect();
        let inputs: Vec<QuantisedVector> = (0..16).map(|_| QuantisedVector::new(simd, &input)).collect();
        let mut out = vec![0.0; 16 * 4 * ROW_TILE];
        let times = (1 << 24) / (rows * k) + 1;
        let us = counts.map(|count| {
            median_us(|| {
                for tile in (0..times).flat_map(|_| (0..rows / ROW_TILE).step_by(4)) {
                    let out = &mut out[..count * 4 * ROW_TILE];
                    weights.multiply_vectors(simd, tile..tile + 4, &inputs[..count], out);
                }
            })
        });
        let one = us[0] * 1e3 / (times * rows * k) as f64;
        let more: Vec<String> =
            counts.iter().zip(us).skip(1).map(|(count, of)| format!("{count}: {:.2}", of / us[0])).collect();
        println!("row of {rows} x {k}, {format:?}: {one:.4} ns a weight; so many rows by one: {}", more.join(", "));
    }
}

/// One token after many, by the heads of SmolLM2-135M and Qwen2.5-0.5B; beside it the same as units of panels, which a plan that
/// lists every block asks for.
fn decoding(simd: Simd) {
    for ((q_heads, kv_heads), len) in [((9, 3), 2048), ((9, 3), 8192), ((14, 2), 2048), ((14, 2), 8192)] {
        let heads = HeadShape::new(q_heads, kv_heads, 64).expect("heads");
        let range = QueryRange::new(1, len).expect("a range");
        let table: Vec<u32> = (0..range.num_blocks() as u32).collect();
        let mut pages = KvPages::new(heads, table.len());
        let width = kv_heads * 64;
        pages.append_rows(&table, 0, &random(len * width), &random(len * width)).expect("room");
        let queries = Queries::from_rows(simd, heads, &random(q_heads * 64)).expect("whole rows");
        let (view, mut output) = (pages.view(&table, len).expect("a table"), Output::new(heads, 1));
        let tiles = range.tiles(BLOCK_M).expect("tiles");
        let all = SparsePlan::from_rule(tiles, 0, Vec::new(), false, |_, keep| keep.fill(true)).expect("every block");
        let as_panels = Plan { heads: vec![HeadPlan::Sparse(all); q_heads] };
        let [us, of_panels] = [Plan::dense(q_heads), as_panels].map(|plan| {
            median_us(|| attend(simd, &queries, &view, range, &plan, &mut output).expect("a plan of this range"))
        });
        let bytes = (len * width * 2 * size_of::<half::bf16>()) as f64;
        println!(
            "attend 1 of {len}, {q_heads} heads on {kv_heads}: {us:.0} us, {:.1} GB/s of keys and values; as panels {of_panels:.0} us",
            bytes / us / 1e3
        );
    }
}

/// What no product of one token can be faster than.
fn memory() {
    let words: Vec<u64> = (0..64 << 20).collect();
    let us = median_us(|| {
        let sum = words.chunks_exact(8).fold([0u64; 8], |sum, words| std::array::from_fn(|n| sum[n] ^ words[n]));
        std::hint::black_box(sum);
    });
    println!("reading memory, one thread: {:.1} GB/s", (words.len() * size_of::<u64>()) as f64 / us / 1e3);
}

fn kernels(simd: Simd, q_len: usize, kv_len: usize, head_dim: usize) {
    let heads = HeadShape::new(1, 1, head_dim).expect("a head");
    let range = QueryRange::new(q_len, kv_len).expect("a range");
    let tiles = range.tiles(BLOCK_M).expect("the height of the kernels");
    let table: Vec<u32> = (0..range.num_blocks() as u32).collect();
    let mut pages = KvPages::new(heads, table.len());
    pages.append_rows(&table, 0, &random(kv_len * head_dim), &random(kv_len * head_dim)).expect("room");
    let queries = Queries::from_rows(simd, heads, &random(q_len * head_dim)).expect("whole rows");
    let view = pages.view(&table, kv_len).expect("a table");
    let mut output = Output::new(heads, q_len);
    let mut time = |plan: &Plan| {
        median_us(|| attend(simd, &queries, &view, range, plan, &mut output).expect("a plan of this range"))
    };

    let steps: usize = (0..tiles.num_tiles()).map(|tile| tiles.causal_blocks(tile)).sum();
    let dense = time(&Plan::dense(1));
    let step = dense / steps as f64;
    println!("attend head_dim {head_dim}, {q_len} of {kv_len}: dense {dense:.0} us, {step:.2} us a block step");

    let window = |columns: Vec<u32>, centres| {
        let plan = Triangular { sink: BLOCK_N, window: BLOCK_N }.plan(tiles, 0, columns, centres);
        Plan { heads: vec![HeadPlan::Sparse(plan.expect("a plan"))] }
    };
    let columns: Vec<u32> = (64..kv_len as u32 / 2).step_by(4).take(1024).collect();
    let (near, gathered, centred) =
        (time(&window(Vec::new(), false)), time(&window(columns.clone(), false)), time(&window(Vec::new(), true)));
    println!(
        "  window only {:.1} steps; {} columns +{:.1}; centres +{:.1} (in steps)",
        near / step,
        columns.len(),
        (gathered - near) / step,
        (centred - near) / step
    );
    let search = Search::new(Target::Recall(0.95)).expect("a recall");
    let scene = Scene { simd, layer: 0, queries: &queries, kv: &view, tiles, last_rows: 64 };
    let us = median_us(|| drop(search.plan(&scene).expect("a plan")));
    println!("  search {:.1} steps, {:.1}% of dense", us / step, 100.0 * us / dense);
}
