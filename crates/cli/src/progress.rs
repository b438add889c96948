//! Progress on a terminal; in a pipe, none.

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use runtime::engine::Engine;

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
    engine.with_context(|| format!("cannot load the model `{}`", arguments.model))
}
