//! What a model would take, before anything is loaded.

use crate::arguments::Fit;
use crate::progress;
use crate::table;
use anyhow::{Context, bail};
use runtime::dry_run::{DryRun, Place, Way, WayOut};
use runtime::footprint::MemoryNeed;
use runtime::memory::Bytes;
use runtime::precision::Quantization;
use runtime::request::AttentionMode;
use serde::Serialize;
use std::io::{self, Write};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    /// `cpu` or `gpu`.
    device: &'static str,
    context_tokens: usize,
    /// By the model's files and `--rope-scaling`.
    own_context_tokens: usize,
    chunk_tokens: usize,
    /// What was asked for.
    attention: AttentionMode,
    /// Whether the search is counted.
    sparse: bool,
    /// As `generate` says it.
    predicted_memory_bytes: u64,
    parts: Parts,
    /// Nothing where the system does not say.
    available_bytes: Option<u64>,
    fits: bool,
    /// Up to the longer of `context_tokens` and `own_context_tokens`; nothing where not even one token fits.
    longest_context_tokens: Option<usize>,
    /// What else would take less; empty where it fits.
    ways_out: Vec<Row>,
}

#[derive(Serialize)]
struct Parts {
    weights_bytes: u64,
    kv_cache_bytes: u64,
    activations_bytes: u64,
    search_bytes: u64,
    /// Working memory of products, code and tokenizer.
    rest_bytes: u64,
}

/// One thing changed.
#[derive(Serialize)]
struct Row {
    /// For people: a flag, or another file.
    way: String,
    predicted_memory_bytes: u64,
    fits: bool,
    /// Up to `context_tokens`.
    longest_context_tokens: Option<usize>,
}

pub fn run(arguments: Fit) -> anyhow::Result<()> {
    if arguments.random_weights.is_none() {
        progress::fetch(&arguments.model)?;
    }
    let place = arguments.place();
    let dry_run = DryRun::open(&arguments.model, &arguments.engine_options(), place, &mut |_| {})
        .with_context(|| format!("cannot look at the model `{}`", arguments.model))?;
    let report = Report::of(&dry_run, place, arguments.attention);
    match arguments.json {
        true => writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&report)?)?,
        false => report.print()?,
    }
    match report.available_bytes.filter(|_| !report.fits) {
        None => Ok(()),
        Some(available) => bail!(
            "{} tokens do not fit: they need {}, {} are available",
            report.context_tokens,
            Bytes(report.predicted_memory_bytes),
            Bytes(available)
        ),
    }
}

impl Report {
    fn of(dry_run: &DryRun, place: Place, attention: AttentionMode) -> Self {
        let tokens = dry_run.context();
        let asked = dry_run.predict(tokens, attention);
        let ways_out = if asked.fits { Vec::new() } else { dry_run.ways_out(tokens, attention) };
        Self {
            model: dry_run.model_name().into(),
            device: match place {
                Place::Cpu => "cpu",
                Place::Gpu { .. } => "gpu",
            },
            context_tokens: tokens,
            own_context_tokens: dry_run.own_context(),
            chunk_tokens: dry_run.chunk_tokens(),
            attention,
            sparse: asked.sparse,
            predicted_memory_bytes: asked.memory.total_bytes(),
            parts: Parts::of(&asked.memory),
            available_bytes: dry_run.available_bytes(),
            fits: asked.fits,
            longest_context_tokens: dry_run.longest(tokens.max(dry_run.own_context()), attention),
            ways_out: ways_out.iter().map(Row::of).collect(),
        }
    }

    fn print(&self) -> io::Result<()> {
        let mut out = io::stdout();
        let place = match self.device {
            "gpu" => "a GPU",
            _ => "this machine's CPU",
        };
        let searched = if self.sparse { "sparse attention" } else { "dense attention" };
        writeln!(
            out,
            "{}, {} tokens with {searched} on {place}, in chunks of {}",
            self.model, self.context_tokens, self.chunk_tokens
        )?;
        let Parts { weights_bytes, kv_cache_bytes, activations_bytes, search_bytes, rest_bytes } = self.parts;
        let rows = [
            ("weights", Some(weights_bytes)),
            ("cache of keys and values", Some(kv_cache_bytes)),
            ("activations", Some(activations_bytes)),
            ("search", Some(search_bytes)),
            ("rest", Some(rest_bytes)),
            ("in all", Some(self.predicted_memory_bytes)),
            ("available", self.available_bytes),
        ];
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".into(), |bytes| Bytes(bytes).to_string());
        table::print(&["part", "predicted"], &rows.map(|(part, of)| vec![part.into(), bytes(of)]))?;
        let longest = |tokens: Option<usize>| tokens.map_or_else(|| "none".into(), |tokens| tokens.to_string());
        let verdict = if self.fits { "It fits" } else { "It does not fit" };
        writeln!(out, "\n{verdict}; the longest context that does: {}", longest(self.longest_context_tokens))?;
        if self.context_tokens > self.own_context_tokens {
            writeln!(
                out,
                "The model's own context is {} tokens: a longer one needs --rope-scaling, as its card says",
                self.own_context_tokens
            )?;
        }
        if self.ways_out.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let rows = self.ways_out.iter().map(|row| {
            let fits = if row.fits { "yes" } else { "no" };
            let predicted = Bytes(row.predicted_memory_bytes).to_string();
            vec![row.way.clone(), predicted, fits.into(), longest(row.longest_context_tokens)]
        });
        table::print(&["what takes less", "predicted", "fits", "longest context"], &rows.collect::<Vec<_>>())
    }
}

impl Parts {
    fn of(need: &MemoryNeed) -> Self {
        let &MemoryNeed { weights_bytes, kv_cache_bytes, activations_bytes, search_bytes, .. } = need;
        let rest_bytes = need.workspace_bytes + need.program_bytes;
        Self { weights_bytes, kv_cache_bytes, activations_bytes, search_bytes, rest_bytes }
    }
}

impl Row {
    fn of(out: &WayOut) -> Self {
        let way = match out.way {
            Way::DenseAttention => "--attention dense".into(),
            Way::Bf16Attention => "--attention-precision bf16".into(),
            Way::ChunkTokens(tokens) => format!("--chunk-tokens {tokens}"),
            Way::Quantization(Quantization::Fp8) => "--quantization fp8 (Hopper and newer)".into(),
            Way::FourBitFile => "a 4-bit file of the model (Q4_0)".into(),
        };
        Self {
            way,
            predicted_memory_bytes: out.prediction.memory.total_bytes(),
            fits: out.prediction.fits,
            longest_context_tokens: out.longest_context,
        }
    }
}
