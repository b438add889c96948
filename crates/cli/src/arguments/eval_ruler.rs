//! Flags of `eval ruler`.

use super::{ExerciseArguments, ModelArguments, choices};
use clap::Args;
use eval::tasks::ruler::Task;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Example:
  scripts/fetch-ruler-texts ruler-texts
  sparse-accelerate eval ruler --model model.gguf --sources ruler-texts --lengths 4096,8192 --samples 25 --json ruler.json

Without --sources those tasks run that need no texts: niah_multikey_3, vt and fwe.")]
pub struct EvalRuler {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Tasks; all of them unless given
    #[arg(long, value_delimiter = ',', value_name = "TASK,..", value_parser = choices::ruler_task())]
    pub tasks: Vec<Task>,
    /// Folder of the texts, which scripts/fetch-ruler-texts fills
    #[arg(long, value_name = "DIR")]
    pub sources: Option<PathBuf>,
    #[command(flatten)]
    pub asked: ExerciseArguments,
}
