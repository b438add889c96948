//! Progress on a terminal; in a pipe, none.

mod prefill_bar;
mod prefill_estimate;

use anyhow::Context;
use attention::calibration::Calibration;
use attention::search::CostModel;
use attention::simd::Simd;
use eval::machine::Machine;
use indicatif::{ProgressBar, ProgressStyle};
use runtime::engine::{Engine, LoadProgress};
use runtime::model_files::{HubProgress, ModelFiles};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::arguments::ModelArguments;
use crate::note;

pub use prefill_bar::PrefillBar;

/// Steps may take long; the time left is counted down meanwhile.
const DRAWN_EVERY: Duration = Duration::from_millis(250);

/// A bar of `total` steps. indicatif draws on standard error, and only when that is a terminal.
pub fn bar(label: &str, total: u64) -> ProgressBar {
    let template = match is_narrow() {
        true => "{prefix} {pos}/{len} {eta} {wide_bar}",
        false => "{prefix} {bar:30} {pos}/{len} {msg} {eta}",
    };
    let style = ProgressStyle::with_template(template).expect("a constant template");
    let bar = ProgressBar::new(total).with_style(style).with_prefix(label.to_string());
    keep_drawing(&bar);
    bar
}

/// Draws the bar again while a step takes long, by a thread of its own. indicatif panics where the system starts none, and starts one
/// where nothing is drawn as well: without it a bar moves with its steps.
fn keep_drawing(bar: &ProgressBar) {
    let starts_threads = || thread::Builder::new().spawn(|| ()).is_ok_and(|probe| probe.join().is_ok());
    if !bar.is_hidden() && starts_threads() {
        bar.enable_steady_tick(DRAWN_EVERY);
    }
}

/// Lets `ask` hand over its `total` answers: a bar counts them, and each gets a line above it.
///
/// # Errors
/// What `ask` says, or that a line could not be written.
pub fn answers<S, T>(
    total: usize,
    line: fn(&S) -> String,
    ask: impl FnOnce(&mut dyn FnMut(&S)) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let bar = bar("asking", total as u64);
    let mut printed = Ok(());
    let outcome = ask(&mut |answer| {
        bar.inc(1);
        if printed.is_ok() {
            printed = bar.suspend(|| writeln!(io::stdout(), "{}", line(answer)));
        }
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    printed?;
    Ok(outcome)
}

/// Whether standard error is a terminal that has no room for a bar and words beside it.
fn is_narrow() -> bool {
    terminal_size::terminal_size_of(io::stderr()).is_some_and(|(width, _)| width.0 < 60)
}

/// What loading shows: a line when a hub is asked, a bar of bytes for each file from there, then a bar of layers.
struct Loading {
    bar: ProgressBar,
    /// The file that comes.
    file: Option<String>,
    has_layers: bool,
}

impl Loading {
    fn new() -> Self {
        // How much there is to do is not known yet.
        let style = ProgressStyle::with_template("{prefix} {spinner}").expect("a constant template");
        let bar = ProgressBar::new_spinner().with_style(style).with_prefix("loading");
        keep_drawing(&bar);
        Self { bar, file: None, has_layers: false }
    }

    fn show(&mut self, progress: LoadProgress) {
        match progress {
            LoadProgress::Hub(HubProgress::Asks { id, endpoint }) => {
                note(&format!("`{id}` is no file or folder here: looking for it at {endpoint}"));
            }
            LoadProgress::Hub(HubProgress::Downloads { file, done_bytes, total_bytes }) => {
                if self.file.as_deref() != Some(file) {
                    self.bar.finish_and_clear();
                    self.bar = bytes_bar(file, total_bytes);
                    self.bar.set_position(done_bytes);
                    // What an earlier run brought says nothing about this one's rate.
                    self.bar.reset_eta();
                    self.file = Some(file.into());
                }
                self.bar.set_position(done_bytes);
            }
            LoadProgress::Layers { done, total } => {
                if !self.has_layers {
                    self.has_layers = true;
                    self.bar.finish_and_clear();
                    self.bar = bar("loading", total);
                }
                self.bar.set_position(done);
            }
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// One line with bytes, rate and estimate.
fn bytes_bar(file: &str, total_bytes: u64) -> ProgressBar {
    let template = "{prefix} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_bar}";
    let style = ProgressStyle::with_template(template).expect("a constant template");
    ProgressBar::new(total_bytes).with_style(style).with_prefix(file.to_string())
}

/// Gets a model that is no path here from the hub, so that its files can be looked at before it is loaded.
pub fn fetch(model: &str) -> anyhow::Result<()> {
    if !Path::new(model).exists() {
        let mut loading = Loading::new();
        let found = ModelFiles::locate_with(model, &mut |step| loading.show(LoadProgress::Hub(step)));
        found.with_context(|| format!("cannot load the model `{model}`"))?;
    }
    Ok(())
}

/// Loads the model with a bar.
pub fn load(arguments: &ModelArguments) -> anyhow::Result<Engine> {
    let mut loading = Loading::new();
    let engine = Engine::load(&arguments.model, &arguments.engine_options(), &mut |step| loading.show(step));
    drop(loading);
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
