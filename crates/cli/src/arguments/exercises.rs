//! Flags that `eval ruler` and `eval everyday` share.

use super::numbers::{at_least_one, whole};
use super::{GoalsArguments, choices};
use clap::Args;
use runtime::request::AttentionMode;
use std::path::PathBuf;

#[derive(Args)]
pub struct ExerciseArguments {
    /// Lengths in tokens, prompt and answer together
    #[arg(long, value_delimiter = ',', default_value = "4096,8192", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Prompts of each task and length
    #[arg(long, default_value_t = 25, value_name = "N", value_parser = at_least_one)]
    pub samples: usize,
    /// Ask without the model's chat template, which is taken where there is one
    #[arg(long, help_heading = "Prompt")]
    pub plain: bool,
    /// Attention modes
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse", value_name = "MODE,..", value_parser = choices::mode(), help_heading = "Attention")]
    pub attention: Vec<AttentionMode>,
    #[command(flatten)]
    pub goals: GoalsArguments,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 0, value_name = "S", value_parser = whole::<u64>)]
    pub seed: u64,
    /// Say of every answer what share of attention was kept, as `generate --receipt` does (CPUs)
    #[arg(long, help_heading = "Attention")]
    pub receipt: bool,
    /// Write rows, comparisons, what was lost and samples to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write the prompts of which less was found than with dense attention into a folder, made if it is not there
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub lost: Option<PathBuf>,
}
