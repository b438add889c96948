//! Flags of `eval everyday`.

use super::{ExerciseArguments, ModelArguments, choices};
use clap::Args;
use eval::tasks::everyday::Task;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Example:
  sparse-accelerate eval everyday --model model.gguf --lengths 8192 --samples 25 --lost lost --json everyday.json \\
    --texts report.txt,$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"stdlib\"))')

Without --texts those tasks run that need none: all but quote_passage and quote_function.")]
pub struct EvalEveryday {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Tasks; all of them unless given
    #[arg(long, value_delimiter = ',', value_name = "TASK,..", value_parser = choices::everyday_task())]
    pub tasks: Vec<Task>,
    /// Texts to quote from: UTF-8 files, or folders, of which the .txt, .md and .py files are read
    #[arg(long, value_delimiter = ',', value_name = "PATH,..", help_heading = "Prompt")]
    pub texts: Vec<PathBuf>,
    #[command(flatten)]
    pub asked: ExerciseArguments,
}
