//! What the parts of attention and search cost on this machine.

use crate::arguments::Calibrate;
use crate::{json_file, table};
use anyhow::Context;
use attention::calibration::Calibration;
use attention::search::CostModel;
use attention::shape::HeadShape;
use attention::simd::Simd;
use cuda::Error;
use cuda::calibrate::{Comparison, calibrate, compare, kernel};
use cuda::device::Device as Gpu;
use eval::machine::Machine;
use eval::results::Meta;
use runtime::precision::AttentionPrecision;
use runtime::request::Device;
use std::io::{self, Write};

pub fn run(arguments: Calibrate) -> anyhow::Result<()> {
    json_file::check(&arguments.out)?;
    let calibration = match open_gpu(arguments.device)? {
        Some(gpu) => of_gpu(&gpu, &arguments)?,
        None => of_cpu(&arguments)?,
    };
    json_file::write(&arguments.out, &with_others(calibration, &arguments))
}

/// The GPU that `device` means, if it means one.
fn open_gpu(device: Device) -> Result<Option<Gpu>, Error> {
    match device {
        Device::Cpu => Ok(None),
        Device::Cuda(ordinal) => Gpu::open(ordinal).map(Some),
        Device::Auto => match Gpu::open(0) {
            Ok(gpu) => Ok(Some(gpu)),
            Err(Error::NoDriver | Error::NoDevice { .. } | Error::OldDriver { .. }) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

fn of_cpu(arguments: &Calibrate) -> anyhow::Result<Calibration> {
    anyhow::ensure!(arguments.heads.is_none(), "--heads is for GPUs: on a CPU every head costs the same");
    let precision = arguments.attention_precision;
    anyhow::ensure!(precision == AttentionPrecision::Bf16, "--attention-precision is for GPUs: give --device cuda too");
    let device = Machine::read().device();
    let date = Meta::now("", &device, arguments.threads).date;
    let calibration = Calibration::measure(Simd::detect(), arguments.threads, &arguments.head_dim, &device, &date)?;
    let (simd, threads) = (calibration.simd().unwrap_or_default(), calibration.threads().unwrap_or_default());
    writeln!(io::stdout(), "{device}, {simd}, {threads} threads")?;
    let rows: Vec<_> = calibration.entries().map(|(head_dim, costs)| row(head_dim.to_string(), &costs)).collect();
    table::print(&HEADER, &rows)?;
    writeln!(io::stdout(), "A step is 64 queries times 64 keys of one head; the other columns are in steps.")?;
    Ok(calibration)
}

fn of_gpu(gpu: &Gpu, arguments: &Calibrate) -> anyhow::Result<Calibration> {
    let (q_heads, kv_heads) = arguments.heads.unwrap_or((32, 8));
    let precision = arguments.attention_precision;
    let mut head_dims = arguments.head_dim.clone();
    head_dims.sort_unstable();
    head_dims.dedup();
    // What cannot be is refused before anything is measured.
    let kernels = head_dims.into_iter().map(|head_dim| {
        let heads = HeadShape::new(q_heads, kv_heads, head_dim)?;
        kernel(gpu, heads, precision).with_context(|| format!("cannot measure head_dim {head_dim}"))
    });
    let kernels = kernels.collect::<anyhow::Result<Vec<_>>>()?;
    writeln!(io::stdout(), "{}, {q_heads} query heads, {kv_heads} kv heads", gpu.properties())?;
    let mut measured = Vec::new();
    let mut comparisons = Vec::new();
    for kernel in kernels {
        let costs = calibrate(gpu, kernel.heads, precision)?;
        let compared = compare(gpu, kernel.heads, precision, &costs)?;
        comparisons.extend(compared.into_iter().map(|comparison| (kernel.heads.head_dim(), comparison)));
        measured.push((kernel, costs));
    }
    let rows: Vec<_> = measured.iter().map(|(kernel, costs)| row(kernel.heads.head_dim().to_string(), costs)).collect();
    table::print(&HEADER, &rows)?;
    for (kernel, _) in &measured {
        let (head_dim, block_m, name) = (kernel.heads.head_dim(), kernel.block_m, &kernel.kernel);
        writeln!(
            io::stdout(),
            "head_dim {head_dim}: a step is {block_m} queries times 64 keys of one head, all of the GPU at once ({name})."
        )?;
    }
    writeln!(io::stdout(), "The other columns are in steps.\n\nPredicted, and measured where nothing was fitted:")?;
    let rows: Vec<_> = comparisons.iter().map(|(head_dim, comparison)| compared_row(*head_dim, comparison)).collect();
    table::print(&["what", "head_dim", "predicted", "measured", "error"], &rows)?;
    let device = &gpu.properties().name;
    Ok(Calibration::of_gpus(measured, &Meta::now("", device, arguments.threads).date)?)
}

/// With what the file has of other devices. One that cannot be read is written anew, as the measurement was asked for.
fn with_others(calibration: Calibration, arguments: &Calibrate) -> Calibration {
    let text = arguments.out.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    match text.map(|text| Calibration::from_json(&text)) {
        Some(Ok(older)) => calibration.or(older),
        _ => calibration,
    }
}

const HEADER: [&str; 10] = [
    "head_dim",
    "step",
    "gathered step",
    "gather key",
    "gather centre",
    "tile",
    "score block",
    "probe block",
    "choose block",
    "search head",
];

fn row(head_dim: String, costs: &CostModel) -> Vec<String> {
    let us = costs.step_us.map_or("".into(), |us| match us {
        ..0.1 => format!("{:.2} ns", us * 1e3),
        _ => format!("{us:.2} us"),
    });
    let ratios = [
        costs.gathered_step,
        costs.gather_key,
        costs.gather_centre,
        costs.tile,
        costs.score_block,
        costs.probe_block,
        costs.choose_block,
    ];
    let ratios = ratios.iter().map(|ratio| match ratio {
        // Small beside one, and as telling.
        ..0.1 => format!("{ratio:.4}"),
        _ => format!("{ratio:.3}"),
    });
    [head_dim, us].into_iter().chain(ratios).chain([format!("{:.0}", costs.search_head)]).collect()
}

fn compared_row(head_dim: usize, comparison: &Comparison) -> Vec<String> {
    let Comparison { what, predicted_ms, measured_ms } = comparison;
    vec![
        what.clone(),
        head_dim.to_string(),
        table::time(*predicted_ms),
        table::time(*measured_ms),
        format!("{:+.1}%", comparison.error_percent()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_gpu_are_readable() {
        let costs = CostModel { step_us: Some(6.13e-3), score_block: 0.0093, search_head: 614.7, ..Default::default() };
        let row = row("128".into(), &costs);
        assert_eq!(row.len(), HEADER.len());
        assert_eq!((row[1].as_str(), row[6].as_str(), row[9].as_str()), ("6.13 ns", "0.0093", "615"));
    }

    #[test]
    fn an_error_has_its_sign() {
        let comparison = Comparison { what: "attention".into(), predicted_ms: 0.9, measured_ms: 1.0 };
        assert_eq!(compared_row(64, &comparison), ["attention", "64", "0.90 ms", "1.00 ms", "-10.0%"]);
    }
}
