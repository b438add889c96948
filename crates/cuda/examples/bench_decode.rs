//! Decode attention: microseconds, and gigabytes of keys and values read a second, one JSON object
//! a line.
//!
//! ```console
//! $ bench_decode                       # 32/8 heads of 128, one sequence of 1K to 128K keys
//! $ bench_decode 14,2,64 8             # other heads, eight sequences
//! ```

use attention::shape::{HeadShape, QueryRange};
use cuda::batch::{Batch, SequencePages};
use cuda::decode_attention::DecodeAttention;
use cuda::device::Device;
use cuda::kv::KvPages;
use half::bf16;
use serde_json::json;
use std::error::Error;
use std::process::ExitCode;

const PAGE_SIZE: usize = 64;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let heads = arguments.next().unwrap_or("32,8,128".into());
    let heads = heads.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let &[q_heads, kv_heads, head_dim] = &heads[..] else { return Err("heads are Q,KV,DIM".into()) };
    let heads = HeadShape::new(q_heads, kv_heads, head_dim)?;
    let sequences = arguments.next().map_or(Ok(1), |n| n.parse::<usize>())?.max(1);
    let device = Device::open(0)?;
    eprintln!("{}", device.properties());
    for kv_len in [1024, 4096, 8192, 32_768, 131_072] {
        println!("{}", measure(&device, heads, sequences, kv_len)?);
    }
    Ok(())
}

fn measure(
    device: &Device,
    heads: HeadShape,
    sequences: usize,
    kv_len: usize,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let pages_each = kv_len.div_ceil(PAGE_SIZE);
    let pages: Vec<u32> = (0..(sequences * pages_each) as u32).collect();
    let kv = KvPages::new(device, heads, PAGE_SIZE, pages.len())?;
    let q = device.upload(&vec![bf16::ONE; sequences * heads.num_q_heads() * heads.head_dim()])?;
    let mut o = device.zeros::<bf16>(q.len())?;
    let range = QueryRange::new(1, kv_len)?;
    let tables: Vec<_> = pages.chunks(pages_each).map(|pages| SequencePages { range, pages }).collect();
    let batch = Batch::new(device, &tables, 1, PAGE_SIZE)?;
    let mut decode = DecodeAttention::new(device, heads, sequences)?;

    const IN_A_ROW: usize = 20;
    let mut times_us = Vec::new();
    for _ in 0..12 {
        let timer = device.timer()?;
        for _ in 0..IN_A_ROW {
            decode.launch(&q, &kv, &batch, &mut o, None)?;
        }
        times_us.push(timer.elapsed_ms()? * 1e3 / IN_A_ROW as f64);
    }
    // The first two warm up.
    let times_us = &mut times_us[2..];
    times_us.sort_by(f64::total_cmp);
    let median_us = times_us[times_us.len() / 2];
    let bytes = (sequences * kv_len) as f64 * KvPages::page_bytes(heads, PAGE_SIZE) as f64 / PAGE_SIZE as f64;
    Ok(json!({
        "kernel": "decode_attention",
        "device": device.properties().name,
        "heads": [heads.num_q_heads(), heads.num_kv_heads(), heads.head_dim()],
        "sequences": sequences,
        "tokens": kv_len,
        "median_us": median_us,
        "fastest_us": times_us[0],
        "kv_gb_per_s": bytes / median_us / 1e3,
    }))
}
