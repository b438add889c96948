//! Dense attention: milliseconds and TFLOP/s, one JSON object a line.
//!
//! ```console
//! $ bench_attention                                  # 32/8 heads of 128, 1K to 128K tokens
//! $ bench_attention --kernel sm80
//! $ bench_attention --heads 14,2,64 --lengths 8192,32768 --runs 30
//! ```
//!
//! A causal pair counts as 4 head_dim operations and a sequence as length squared over two pairs, as is usual.

use attention::shape::{HeadShape, QueryRange};
use cuda::attend::Attend;
use cuda::attend_sm80::AttendSm80;
use cuda::batch::{Batch, SequencePages};
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
    let mut heads = HeadShape::new(32, 8, 128)?;
    let mut lengths = vec![1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072];
    let (mut runs, mut sm80) = (20, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let numbers: Vec<usize> = value.split(',').flat_map(str::parse).collect();
        match (flag.as_str(), &numbers[..]) {
            ("--heads", &[q, kv, dim]) => heads = HeadShape::new(q, kv, dim)?,
            ("--lengths", lens) if !lens.is_empty() => lengths = lens.to_vec(),
            ("--runs", &[n]) => runs = n.max(1),
            ("--kernel", []) if value == "sm80" => sm80 = true,
            ("--kernel", []) if value == "best" => sm80 = false,
            _ => return Err(format!("cannot read {flag} {value}").into()),
        }
    }
    let device = Device::open(0)?;
    eprintln!("{}", device.properties());
    let attend = if sm80 { Attend::Sm80(AttendSm80::new(&device, heads)?) } else { Attend::new(&device, heads)? };
    for len in lengths {
        println!("{}", measure(&device, &attend, heads, len, runs)?);
    }
    Ok(())
}

fn measure(
    device: &Device,
    attend: &Attend,
    heads: HeadShape,
    len: usize,
    runs: usize,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let d = heads.head_dim();
    let pages: Vec<u32> = (0..len.div_ceil(PAGE_SIZE) as u32).collect();
    let mut kv = KvPages::new(device, heads, PAGE_SIZE, pages.len())?;
    kv.write(&noise(kv.len()), &noise(kv.len()))?;
    let q = device.upload(&noise(len * heads.num_q_heads() * d))?;
    let mut o = device.zeros::<bf16>(q.len())?;
    let mut lse = device.zeros::<f32>(len * heads.num_q_heads())?;
    let sequence = SequencePages { range: QueryRange::new(len, len)?, pages: &pages };
    let batch = Batch::new(device, &[sequence], attend.block_m(), PAGE_SIZE)?;

    // Short ones several times in a row, so that the host's part of a launch is hidden, as it is inside a model.
    let in_a_row = (32_768 / len).clamp(1, 16);
    let mut times_ms = Vec::new();
    for run in 0..runs + 3 {
        let timer = device.timer()?;
        for _ in 0..in_a_row {
            attend.launch(&q, &kv, &batch, &mut o, Some(&mut lse), None)?;
        }
        let elapsed = timer.elapsed_ms()? / in_a_row as f64;
        if run >= 3 {
            times_ms.push(elapsed);
        }
    }
    times_ms.sort_by(f64::total_cmp);
    let median = times_ms[times_ms.len() / 2];
    let flop = 4.0 * d as f64 * heads.num_q_heads() as f64 * (len as f64).powi(2) / 2.0;
    Ok(json!({
        "kernel": attend.name(),
        "device": device.properties().name,
        "heads": [heads.num_q_heads(), heads.num_kv_heads(), d],
        "tokens": len,
        "median_ms": median,
        "fastest_ms": times_ms[0],
        "slowest_ms": times_ms[times_ms.len() - 1],
        "tflops": flop / median / 1e9,
        "runs": runs,
    }))
}

/// About normal numbers, as activations are: the clock of a GPU depends on what it multiplies.
fn noise(n: usize) -> Vec<bf16> {
    let mut state = n as u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let period = n.min(1 << 20);
    let values: Vec<bf16> =
        (0..period).map(|_| bf16::from_f32((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect();
    values.iter().copied().cycle().take(n).collect()
}
