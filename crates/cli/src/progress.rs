//! Progress on a terminal; in a pipe, none.

use anyhow::Context;
use attention::calibration::Calibration;
use attention::search::CostModel;
use attention::simd::Simd;
use eval::machine::Machine;
use indicatif::{ProgressBar, ProgressStyle};
use runtime::engine::Engine;
use std::path::Path;

use crate::arguments::ModelArguments;

/// A bar of `total` steps. indicatif draws on standard error, and only when that is a terminal.
pub fn bar(label: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg} {eta}").expect("a constant template");
    ProgressBar::new(total).with_style(style).with_prefix(label.to_string())
}

/// Loads the model with a bar.
pub fn load(arguments: &ModelArguments) -> anyhow::Result<Engine> {
    let bar = bar("loading", 0);
    let engine = Engine::load(&arguments.model, &arguments.engine_options(), &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    let mut engine = engine.with_context(|| format!("cannot load the model `{}`", arguments.model))?;
    let (context, own) = (engine.config().max_context, engine.own_context());
    if context > own {
        eprintln!(
            "the context is {context} tokens, as asked for; the model's files say {own}, and answers may be poor beyond that"
        );
    }
    if let Some(path) = &arguments.calibration {
        let costs = costs(path, &engine).with_context(|| format!("cannot use {}", path.display()))?;
        engine.set_costs(costs);
    }
    Ok(engine)
}

/// What a calibration file says of the device that runs the model.
fn costs(path: &Path, engine: &Engine) -> anyhow::Result<CostModel> {
    let calibration = Calibration::from_json(&std::fs::read_to_string(path)?)?;
    let measured = match engine.gpu_kernel() {
        Some(kernel) => calibration.gpu_costs(&kernel).with_context(|| {
            format!("the model runs on {}: leave --calibration out for typical costs", engine.device_name())
        })?,
        None => calibration.costs(&Machine::read().device(), Simd::detect(), engine.config().head_dim)?,
    };
    // Policy, which differs between devices and is not measured.
    let CostModel { far_share, margin, .. } = *engine.costs();
    Ok(CostModel { far_share, margin, ..measured })
}
