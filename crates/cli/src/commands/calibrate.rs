//! What the parts of attention and search cost on this machine.

use crate::arguments::Calibrate;
use crate::{json_file, table};
use attention::calibration::Calibration;
use attention::simd::Simd;
use eval::machine::Machine;
use eval::results::Meta;
use std::io::{self, Write};

pub fn run(arguments: Calibrate) -> anyhow::Result<()> {
    json_file::check(&arguments.out)?;
    let device = Machine::read().device();
    let date = Meta::now("", &device, arguments.threads).date;
    let calibration = Calibration::measure(Simd::detect(), arguments.threads, &arguments.head_dim, &device, &date)?;
    writeln!(io::stdout(), "{device}, {}, {} threads", calibration.simd(), calibration.threads())?;
    let rows: Vec<Vec<String>> = calibration
        .entries()
        .map(|(head_dim, costs)| {
            let ratios = [
                costs.gathered_step,
                costs.gather_key,
                costs.gather_centre,
                costs.tile,
                costs.score_block,
                costs.probe_block,
                costs.choose_block,
            ];
            let us = costs.step_us.map_or("".into(), |us| format!("{us:.2} us"));
            [head_dim.to_string(), us].into_iter().chain(ratios.iter().map(|ratio| format!("{ratio:.3}"))).collect()
        })
        .collect();
    let header = [
        "head_dim",
        "step",
        "gathered step",
        "gather key",
        "gather centre",
        "tile",
        "score block",
        "probe block",
        "choose block",
    ];
    table::print(&header, &rows)?;
    writeln!(io::stdout(), "A step is 64 queries times 64 keys of one head; the other columns are in steps.")?;
    json_file::write(&arguments.out, &calibration)
}
