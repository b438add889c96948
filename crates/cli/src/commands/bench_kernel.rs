//! How long the kernels of attention take on a GPU, and how fast they are.

use crate::arguments::BenchKernel;
use crate::{json_file, progress, table};
use anyhow::{Context, bail};
use cuda::Error;
use cuda::bench::Row;
use cuda::device::Device as Gpu;
use eval::results::Meta;
use runtime::request::Device;
use serde::Serialize;
use std::io::{self, Write};

const ON_THE_CPU: &str =
    "bench kernel measures GPUs; `cargo bench -p sparse-accelerate-attention` measures the kernels of the CPU";

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    rows: &'a [Row],
}

pub fn run(arguments: BenchKernel) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let gpu = open(arguments.device)?;
    let device = gpu.properties().to_string();
    let meta = Meta::now("", &device, 0);
    let bench = arguments.bench();
    let bar = progress::bar("timing", arguments.lengths.len() as u64);
    let mut rows = Vec::new();
    let mut all = || -> anyhow::Result<()> {
        for &tokens in &arguments.lengths {
            rows.extend(bench.run(&gpu, tokens).with_context(|| format!("cannot measure {tokens} tokens"))?);
            bar.inc(1);
        }
        Ok(())
    };
    // What was measured before an error is worth showing.
    let outcome = all();
    bar.finish_and_clear();
    if !rows.is_empty() {
        writeln!(io::stdout(), "{device}")?;
        print(&rows)?;
    }
    outcome?;
    json_file::write(&arguments.json, &Results { meta, rows: &rows })
}

fn open(device: Device) -> anyhow::Result<Gpu> {
    let ordinal = match device {
        Device::Auto => 0,
        Device::Cuda(ordinal) => ordinal,
        Device::Cpu => bail!("{ON_THE_CPU}"),
    };
    match Gpu::open(ordinal) {
        // Its own advice is the CPU, which is no help here.
        Err(Error::NoDriver) => bail!("no NVIDIA driver: libcuda was not found; {ON_THE_CPU}"),
        gpu => Ok(gpu?),
    }
}

fn print(rows: &[Row]) -> io::Result<()> {
    let header =
        ["what", "tokens", "prefix", "density", "ms", "min .. max", "TFLOP/s", "with extras", "of dense", "GB/s"];
    table::print(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn cells(row: &Row) -> Vec<String> {
    let cell = |value: Option<f64>, digits: usize| value.map_or("".into(), |value| format!("{value:.digits$}"));
    let (median, fastest, slowest) = (row.times.median_ms, row.times.fastest_ms, row.times.slowest_ms);
    vec![
        what(row),
        row.tokens.to_string(),
        row.prefix.to_string(),
        cell(row.density, 3),
        ms(median),
        format!("{} .. {}", ms(fastest), ms(slowest)),
        cell(row.tflops, 0),
        cell(row.tflops_with_extras, 0),
        row.of_dense.map_or("".into(), |share| format!("{:.1}%", 100.0 * share)),
        cell(row.gb_per_s, 0),
    ]
}

/// `sparse, 256 columns, centres`, or a stage below its search.
fn what(row: &Row) -> String {
    let mut what = match &row.stage {
        Some(stage) => format!("  {stage}"),
        None => row.what.to_string(),
    };
    if let Some(columns @ 1..) = row.columns {
        what += &format!(", {columns} columns");
    }
    if row.centres == Some(true) {
        what += ", centres";
    }
    if row.sequences > 1 {
        what += &format!(", {} sequences", row.sequences);
    }
    what
}

/// Four digits: kernels differ by percents.
fn ms(ms: f64) -> String {
    let before = if ms > 0.0 { ms.log10().floor() as i32 } else { 0 };
    format!("{ms:.digits$}", digits = (3 - before).clamp(0, 6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cuda::bench::Times;

    fn row() -> Row {
        Row {
            what: "sparse",
            stage: None,
            kernel: "attend_sm90",
            device: "a GPU".into(),
            heads: [32, 8, 128],
            tokens: 8192,
            prefix: 0,
            sequences: 1,
            density: Some(0.0787),
            block_density: Some(0.065),
            columns: Some(256),
            centres: Some(true),
            times: Times { median_ms: 0.12142, fastest_ms: 0.12, slowest_ms: 1.5 },
            runs: 9,
            tflops: Some(426.4),
            tflops_with_extras: Some(500.0),
            of_dense: Some(0.1496),
            gb_per_s: None,
        }
    }

    #[test]
    fn rows_say_what_they_are() {
        let cells = cells(&row());
        assert_eq!(cells[0], "sparse, 256 columns, centres");
        assert_eq!(cells[3..], ["0.079", "0.1214", "0.1200 .. 1.500", "426", "500", "15.0%", ""]);
        let stage = Row { stage: Some("scores".into()), columns: None, centres: None, ..row() };
        assert_eq!(what(&stage), "  scores");
        let decode = Row { what: "decode", columns: Some(0), centres: None, sequences: 8, ..row() };
        assert_eq!(what(&decode), "decode, 8 sequences");
    }

    #[test]
    fn times_have_four_digits() {
        assert_eq!([0.010912, 0.8108, 12.912, 1234.5, 0.0].map(ms), ["0.01091", "0.8108", "12.91", "1234", "0.000"]);
    }

    #[test]
    fn json_leaves_out_what_does_not_belong() {
        let json = serde_json::to_value(row()).unwrap();
        assert_eq!(
            (&json["median_ms"], &json["what"], &json["heads"][2]),
            (&0.12142.into(), &"sparse".into(), &128.into())
        );
        assert!(json.get("stage").is_none() && json.get("gb_per_s").is_none());
    }
}
