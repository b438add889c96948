//! Flags: of the model those of `sparse-accelerate serve`, of the fleet those that every worker for Dynamo has.

use crate::card::Card;
use anyhow::ensure;
use clap::Parser;
use dynamo_backend_common::{CommonArgs, WorkerConfig};
use runtime::engine::EngineOptions;
use runtime::engine::service::ServiceOptions;
use runtime::precision::Products;
use runtime::request::{AttentionMode, Device, Goal};

/// Answers for a front end of NVIDIA Dynamo, with SparseAccelerate's engine
#[derive(Parser)]
#[command(version, name = "sparse-accelerate-worker")]
pub struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    /// GGUF file, Hugging Face folder, or Hugging Face id (`org/name`)
    #[arg(short, long, value_name = "MODEL", help_heading = "Model")]
    pub model: String,
    /// Name by which clients ask for it; the default is that of its files
    #[arg(long, value_name = "NAME", env = "DYN_SERVED_MODEL_NAME", help_heading = "Model")]
    pub served_model_name: Option<String>,
    /// Where the model runs: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device, help_heading = "Model")]
    device: Device,
    /// Worker threads; 0 takes one for each core
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Model")]
    threads: usize,
    /// Prompt tokens that go through the layers together; the default is 1024 on a CPU, 8192 on a GPU
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Model")]
    pub chunk_tokens: Option<usize>,
    /// Tokens of the context, where the model's files say it wrong
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Model")]
    context: Option<usize>,
    /// In what a CPU multiplies quantised weights with the tokens of a prompt: auto, bf16, int16 or int8
    #[arg(long, default_value = "auto", value_name = "KIND", value_parser = products, help_heading = "Model")]
    products: Products,
    /// Refuse work that would take more memory, in bytes; the default is what the machine has free
    #[arg(long, value_name = "BYTES", help_heading = "Model")]
    max_memory: Option<u64>,
    /// Attention of prompts: auto, dense or sparse
    #[arg(long, default_value = "auto", value_name = "MODE", value_parser = mode, help_heading = "Attention")]
    pub attention: AttentionMode,
    /// Attention mass to keep in every head, above 0, at most 1 [default: 0.98]
    #[arg(long, value_name = "R", value_parser = recall, help_heading = "Attention")]
    recall: Option<f32>,
    /// Keep as much as fits instead, like density=0.1 or cost=0.3
    #[arg(long, value_name = "KIND=SIZE", conflicts_with = "recall", help_heading = "Attention")]
    budget: Option<Goal>,
    /// Requests that are worked on at a time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = at_least_one, help_heading = "Requests")]
    pub max_running: usize,
    /// Requests that are answered or wait; more are sent back, for the front end to try another worker
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = at_least_one, help_heading = "Requests")]
    pub max_requests: usize,
    /// Tokens whose keys and values are kept for prompts that begin alike; the default is as many as there is room for
    #[arg(long, value_name = "N", help_heading = "Requests")]
    max_kept_tokens: Option<usize>,
    /// Write answers on a GPU one token of one after the other: each is to the bit what it is alone, all take longer
    #[arg(long, help_heading = "Requests")]
    apart_on_gpu: bool,
}

impl Arguments {
    /// As Dynamo's runtime wants them; its tokenizer and template are in `card`.
    ///
    /// # Errors
    /// When another role is asked for than to read prompts and write answers.
    pub fn worker_config(&self, card: &Card) -> anyhow::Result<WorkerConfig> {
        let common = self.common.clone();
        ensure!(
            common.disaggregation_mode.as_str() == "agg" && !common.route_to_encoder,
            "the role is {}: this worker reads prompts and writes answers itself (--disaggregation-mode agg, no encoder)",
            common.disaggregation_mode
        );
        let mut kinds: Vec<&str> = common.endpoint_types.split(',').map(str::trim).collect();
        for kind in &kinds {
            ensure!(
                matches!(*kind, "chat" | "completions"),
                "the endpoint type is `{kind}`: this worker answers chat and completions"
            );
        }
        if !card.has_template() && common.custom_jinja_template.is_none() {
            // The front end would not take a model for chats that does not say how they are written.
            kinds.retain(|kind| *kind != "chat");
        }
        ensure!(!kinds.is_empty(), "the model has no chat template: name one with --custom-jinja-template");
        Ok(WorkerConfig {
            namespace: common.namespace,
            component: common.component,
            endpoint: common.endpoint,
            endpoint_types: kinds.join(","),
            model_name: card.folder().display().to_string(),
            served_model_name: self.served_model_name.clone(),
            custom_jinja_template: common.custom_jinja_template,
            tool_call_parser: common.dyn_tool_call_parser,
            reasoning_parser: common.dyn_reasoning_parser,
            exclude_tools_when_tool_choice_none: common.exclude_tools_when_tool_choice_none,
            runtime: common.runtime,
            enable_rl: common.enable_rl,
            ..WorkerConfig::default()
        })
    }

    /// As the engine wants them.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            device: self.device,
            threads: self.threads,
            chunk_tokens: self.chunk_tokens,
            context: self.context,
            products: self.products,
            max_memory_bytes: self.max_memory,
            ..EngineOptions::default()
        }
    }

    /// As its service wants them.
    pub fn service_options(&self) -> ServiceOptions {
        let &Self { max_running, max_kept_tokens, apart_on_gpu, .. } = self;
        ServiceOptions { max_running, max_kept_tokens, apart_on_gpu, ..ServiceOptions::default() }
    }

    /// What sparse prefill aims at.
    pub fn goal(&self) -> Goal {
        self.budget.or(self.recall.map(Goal::Recall)).unwrap_or_default()
    }
}

fn device(text: &str) -> Result<Device, String> {
    match text {
        "auto" => Ok(Device::Auto),
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda(0)),
        _ => {
            let index = text.strip_prefix("cuda:").and_then(|index| index.parse().ok());
            index.map(Device::Cuda).ok_or_else(|| "expected auto, cpu, cuda or cuda:N".into())
        }
    }
}

fn products(text: &str) -> Result<Products, String> {
    let kinds =
        [("auto", Products::Auto), ("bf16", Products::Bf16), ("int16", Products::Int16), ("int8", Products::Int8)];
    let found = kinds.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, kind)| kind).ok_or_else(|| "expected auto, bf16, int16 or int8".into())
}

fn mode(text: &str) -> Result<AttentionMode, String> {
    let modes = [AttentionMode::Auto, AttentionMode::Dense, AttentionMode::Sparse];
    modes.into_iter().find(|mode| mode.name() == text).ok_or_else(|| "expected auto, dense or sparse".into())
}

fn recall(text: &str) -> Result<f32, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a number above 0, at most 1".into())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number above 0".into())
}
