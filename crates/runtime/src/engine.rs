//! One model, loaded; prompts in, text out.

mod answer;
mod budget;
mod chat;
mod choice;
mod conversation;
mod not_a_number;
mod opened;
mod room;
pub mod service;
mod telling;

use crate::chat_template::{TemplateError, TemplateSource};
use crate::config::{ConfigError, ModelConfig, StretchContext};
use crate::constraint::{ConstraintError, Vocabulary};
use crate::cpu::Cpu;
use crate::decoder::Decoder;
use crate::gpu::{Gpu, GpuOptions};
use crate::memory::{Bytes, MemoryNeed, WeightsNeed};
use crate::model::{Model, Run};
use crate::model_files::{HubProgress, ModelFiles};
use crate::ops::{Ops, OpsError};
use crate::policy::{AttentionPolicy, AttentionPrecision, PrefillAttention};
use crate::prefill::{OnChunk, chunk_len, prefill};
use crate::request::{AttentionMode, Device, Events, Generation, Goal, Request, RunStats};
use crate::sampling::SamplingError;
use crate::tokenizer::{TokenText, Tokenizer, TokenizerError};
use crate::weights::{LoadError, ModelWeights, Quantization, RandomWeights};
use answer::{Answer, Spent};
use attention::calibration::GpuKernel;
use attention::search::{CostModel, Search, Target};
use attention::shape::{QueryRange, Tiles};
use attention::simd::Simd;
use attention::threads;
use budget::Fit;
use choice::Choice;
pub use conversation::Conversation;
use not_a_number::are_numbers;
pub use not_a_number::{Finding, Origin};
pub(crate) use opened::Opened;
use rayon::ThreadPool;
pub(crate) use room::Room;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// How to load a model.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where it runs.
    pub device: Device,
    /// Worker threads; 0 takes one for each core.
    pub threads: usize,
    /// Prompt tokens that go through the layers together; `None` takes what suits the device.
    pub chunk_tokens: Option<usize>,
    /// Read longer prompts than the model was trained for.
    pub stretch: Option<StretchContext>,
    /// Tokens of the context, prompt and answer together, in place of what the files say: for files that are wrong.
    pub context: Option<usize>,
    /// Weights of no training, of the shape that a `config.json` says; the model is that file, or a folder with one.
    pub random_weights: Option<RandomWeights>,
    /// Round the weights of layers when they are loaded; GPUs only.
    pub quantization: Option<Quantization>,
    /// In what attention multiplies; 8-bit floats on GPUs of compute capability 9.0 only.
    pub attention_precision: AttentionPrecision,
    /// Say what time matrix products and the stages of the search take; GPUs only, a few percent slower on short prompts.
    pub profile: bool,
    /// Refuse work that would need more; `None` takes what the machine has free.
    pub max_memory_bytes: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: Device::Auto,
            threads: 0,
            chunk_tokens: None,
            stretch: None,
            context: None,
            random_weights: None,
            quantization: None,
            attention_precision: AttentionPrecision::Bf16,
            profile: false,
            max_memory_bytes: None,
        }
    }
}

/// How far loading has come.
#[derive(Clone, Copy, Debug)]
pub enum LoadProgress<'a> {
    /// The model comes from a hub first.
    Hub(HubProgress<'a>),
    /// Layers go to the device.
    Layers {
        /// Layers that are there.
        done: u64,
        /// Layers of the model.
        total: u64,
    },
}

/// What the engine refuses or cannot do; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A property of the model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The model has no chat template.
    #[error("the model has no chat template: give the prompt without one (`Engine::encode`)")]
    NoTemplate,
    /// Sampling parameters.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// What the answer must look like.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// Attention parameters.
    #[error(transparent)]
    Attention(#[from] attention::Error),
    /// The device.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// Nothing to answer.
    #[error("the prompt is empty: give at least one token")]
    EmptyPrompt,
    /// A token that is not the model's.
    #[error("token {id} is not below the vocabulary size {vocab_size}")]
    Token {
        /// Token.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// Too long for the model.
    #[error(
        "{prompt_tokens} prompt tokens and {max_tokens} new ones exceed the model's context of {max_context}: shorten the prompt by {excess} tokens, ask for fewer new ones (`Request::max_tokens`), stretch the context (`EngineOptions::stretch`), or set it (`EngineOptions::context`) where the model's files say it wrong"
    )]
    Context {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// New tokens asked for.
        max_tokens: usize,
        /// Longest sequence of the model.
        max_context: usize,
        /// Tokens too many.
        excess: usize,
    },
    /// Nobody draws rows there.
    #[error("a receipt is drawn on CPUs only so far: run on the CPU, or without `Request::receipt`")]
    ReceiptOnGpu,
    /// Too large for the machine.
    #[error("{what} needs {need}, {} are available: close other programs, use a smaller model or a shorter prompt, or raise `EngineOptions::max_memory_bytes`", Bytes(*available))]
    Memory {
        /// What for.
        what: String,
        /// Bytes needed.
        need: String,
        /// Bytes available for all of it, what is held already included.
        available: u64,
    },
    /// Logits that say nothing.
    #[error("the model computed no number (infinity or NaN) for the token at position {position}; {finding}")]
    NoNumber {
        /// Position of the token to be predicted; the first of a prompt is at 0.
        position: usize,
        /// Where it begins.
        finding: Finding,
    },
    /// Nobody knows how long a step takes here.
    #[error(
        "a time budget needs to know this machine: run `sparse-accelerate calibrate`, and give what it measured (`Engine::set_costs`)"
    )]
    TimeBudgetNeedsCalibration,
    /// Nobody measured a step on such a GPU.
    #[error(
        "a time budget needs to know {device}: run `sparse-accelerate calibrate --device cuda:N` and give what it measured (`Engine::set_costs`), or set `Goal::Density` or `Goal::Cost`"
    )]
    TimeBudgetUnknown {
        /// Name of the GPU.
        device: String,
    },
    /// The search would take all of it.
    #[error(
        "a budget of {budget_ms:.0} ms is too small for this prompt: finding patterns alone takes about {search_ms:.0} ms, dense attention {dense_ms:.0} ms"
    )]
    TimeBudget {
        /// Asked for.
        budget_ms: f64,
        /// Predicted for the search.
        search_ms: f64,
        /// Predicted for dense attention.
        dense_ms: f64,
    },
    /// No plan is that small.
    #[error(
        "a budget of {asked} is too small for a prompt of {prompt_tokens} tokens: every 64 queries or more compute the first block and the newest ones, {least} at the least; ask for that or more, or for less with a longer prompt"
    )]
    Budget {
        /// Asked for, as [`Goal`] is written.
        asked: String,
        /// The least, in the same form.
        least: String,
        /// Tokens of the prompt.
        prompt_tokens: usize,
    },
}

/// A loaded model.
pub struct Engine {
    model: Box<dyn Model>,
    tokenizer: Tokenizer,
    /// Its tokens by their bytes, once a constraint was asked for.
    vocabulary: OnceLock<Arc<Vocabulary>>,
    template: Option<TemplateSource>,
    pool: ThreadPool,
    options: EngineOptions,
    chunk_tokens: usize,
    model_name: String,
    model_files: Option<ModelFiles>,
    device_name: String,
    on_gpu: bool,
    own_context: usize,
    /// Between runs.
    held_bytes: u64,
    costs: CostModel,
    /// Whether the most memory held is what was held since it was to be forgotten.
    peak_is_known: bool,
}

impl Engine {
    /// Loads a model: a GGUF file, a Hugging Face folder or a Hugging Face id.
    ///
    /// # Errors
    /// When the files do not hold, the device is not there, or memory would not suffice; the last is known before any
    /// weight is read.
    pub fn load(
        model: &str,
        options: &EngineOptions,
        progress: &mut (dyn FnMut(LoadProgress) + Send),
    ) -> Result<Self, EngineError> {
        let Opened { weights, files, name, own_context } =
            Opened::open(model, options, &mut |step| progress(LoadProgress::Hub(step)))?;
        let options = options.clone();
        let gpu = open_gpu(&options, weights.config())?;
        let on_gpu = gpu.is_some();
        // Before the tokenizer and the threads: where memory ends in those, libraries end the process.
        match &gpu {
            Some(gpu) => check_room_for_weights(gpu, &weights, &options, &name)?,
            None => {
                let cpu = Cpu::new(Simd::detect());
                check_room_for_weights(&cpu, &weights, &options, &name)?;
                check_room_for_loading(&cpu, &weights, &name)?;
            }
        }
        let (tokenizer, template) = tokenizer_and_template(files.as_ref(), &weights)?;
        let pool = threads::pool(options.threads)?;
        let model: Box<dyn Model> = pool.install(|| match gpu {
            Some(gpu) => load_on(gpu, weights, &options, &name, progress),
            None => load_on(Cpu::new(Simd::detect()), weights, &options, &name, progress),
        })?;
        let device_name = pool.install(|| model.device_name());
        let held_bytes = model.memory_need(1, 1, false).held_bytes();
        let costs = model.costs();
        let chunk_tokens = options.chunk_tokens.unwrap_or_else(|| model.chunk_tokens());
        Ok(Self {
            chunk_tokens,
            model,
            tokenizer,
            vocabulary: OnceLock::new(),
            template,
            pool,
            options,
            model_name: name,
            model_files: files,
            device_name,
            on_gpu,
            own_context,
            held_bytes,
            costs,
            peak_is_known: true,
        })
    }

    /// Lets the search reckon with the costs of this machine ([`attention::calibration`]) instead of typical ones. A file
    /// holds measurements only: margin and share of far blocks are for the caller to take from [`costs`](Self::costs).
    pub fn set_costs(&mut self, costs: CostModel) {
        self.costs = costs;
    }

    /// Takes prompts in chunks of so many tokens from here on, as [`EngineOptions::chunk_tokens`].
    pub fn set_chunk_tokens(&mut self, tokens: usize) {
        self.chunk_tokens = tokens;
    }

    /// The costs that the search reckons with.
    pub fn costs(&self) -> &CostModel {
        &self.costs
    }

    /// What calibration files call the kernel of this model on its GPU; `None` on a CPU.
    pub fn gpu_kernel(&self) -> Option<GpuKernel> {
        self.model.gpu_kernel()
    }

    /// Name for results.
    pub fn model_name(&self) -> &str {
        &self.model_name
    }

    /// Where the model was found; `None` where its weights are random.
    pub fn model_files(&self) -> Option<&ModelFiles> {
        self.model_files.as_ref()
    }

    /// The device, with what matters of it: `cpu (amx-bf16, 2 threads)`.
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// Whether that is a GPU.
    pub fn on_gpu(&self) -> bool {
        self.on_gpu
    }

    /// Tokens of the context by the model's files and its stretching, whatever [`EngineOptions::context`] asked for.
    pub fn own_context(&self) -> usize {
        self.own_context
    }

    /// New tokens that the context leaves room for behind a prompt of this length.
    pub fn room_for_new_tokens(&self, prompt_len: usize) -> usize {
        // The last of them is never fed back.
        (self.config().max_context + 1).saturating_sub(prompt_len)
    }

    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// Token ids of `text`; see [`Tokenizer::encode`].
    ///
    /// # Errors
    /// When the tokenizer cannot represent it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(self.tokenizer.encode(text)?)
    }

    /// Text of tokens; see [`Tokenizer::decode`].
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// Memory that a run of this many tokens, prompt and new ones, will hold, weights included; with `sparse`, what finds and
    /// executes plans included.
    pub fn predicted_memory(&self, tokens: usize, sparse: bool) -> MemoryNeed {
        self.model.memory_need(tokens, self.chunk_tokens, sparse)
    }

    /// Counts the most memory held anew, for [`RunStats::measured_memory_bytes`] of what is run next. Where the system cannot,
    /// runs say nothing of it from here on.
    pub fn forget_peak_memory(&mut self) {
        self.peak_is_known = self.model.forget_peak();
    }

    /// Runs a prompt.
    ///
    /// # Errors
    /// When the prompt is empty, too long or not of this vocabulary, a parameter is out of range or nothing that the device
    /// can, or memory would not suffice; all known before the work starts. And when the model computes no number.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        request: &Request,
        events: &mut Events,
    ) -> Result<Generation, EngineError> {
        let search = self.search_with_room(request, prompt.len(), tokens_in_context(prompt, request.max_tokens))?;
        let mut generation = self.generate_with(prompt, request, AttentionPolicy::from(search.as_ref()), events)?;
        generation.stats.search_left_out = request.attention == AttentionMode::Auto && search.is_none();
        Ok(generation)
    }

    /// As [`generate`](Self::generate), by a policy of the caller's, whatever attention `request` asks for.
    ///
    /// # Errors
    /// As `generate`, and what the policy refuses.
    pub fn generate_with<'p>(
        &mut self,
        prompt: &[u32],
        request: &Request,
        attention: impl Into<PrefillAttention<'p>>,
        events: &mut Events,
    ) -> Result<Generation, EngineError> {
        let accepted = Instant::now();
        let attention: PrefillAttention = attention.into();
        let attention = PrefillAttention { receipt: attention.receipt.or(request.receipt), ..attention };
        let choice = Choice::new(self, request, prompt)?;
        self.check_prompt(prompt, request.max_tokens, attention)?;
        let tokens = tokens_in_context(prompt, request.max_tokens);
        self.pool.install(|| {
            let run = self.model.start(prompt.len(), tokens)?;
            let mut answer = Answer::new(self, run, tokens, prompt, request, choice, accepted);
            while answer.step(attention, events)?.is_continue() {}
            Ok(answer.finish().0)
        })
    }

    /// Takes a prompt through the model by a policy of the caller's, and answers nothing: for studies of attention.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn prefill_with<'p>(
        &mut self,
        prompt: &[u32],
        attention: impl Into<PrefillAttention<'p>>,
    ) -> Result<RunStats, EngineError> {
        let accepted = Instant::now();
        let attention = attention.into();
        self.check_prompt(prompt, 1, attention)?;
        self.pool.install(|| {
            let mut run = self.model.start(prompt.len(), prompt.len())?;
            let stats = self.prefill(&mut *run, prompt, attention, accepted, &mut |_| Ok(ControlFlow::Continue(())))?;
            let logits = run.logits(run.chunk_len() - 1)?;
            drop(run);
            match are_numbers(&logits) {
                true => Ok(stats),
                false => Err(self.no_number(prompt.len(), prompt, &[], attention.policy)),
            }
        })
    }

    /// Negative log-likelihood, in nats, of each of the last `tail` tokens of `ids` given all tokens before it, with the
    /// prefill attention of `request`. At most all tokens but the first are rated.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn tail_nll(
        &mut self,
        ids: &[u32],
        tail: usize,
        request: &Request,
    ) -> Result<(Vec<f64>, RunStats), EngineError> {
        let search = self.search_with_room(request, ids.len(), ids.len())?;
        let policy = AttentionPolicy::from(search.as_ref());
        let attention = PrefillAttention { receipt: request.receipt, ..policy.into() };
        self.tail_nll_with(ids, tail, attention)
    }

    /// As [`tail_nll`](Self::tail_nll), by a policy of the caller's.
    ///
    /// # Errors
    /// As there, and what the policy refuses.
    pub fn tail_nll_with<'p>(
        &mut self,
        ids: &[u32],
        tail: usize,
        attention: impl Into<PrefillAttention<'p>>,
    ) -> Result<(Vec<f64>, RunStats), EngineError> {
        let accepted = Instant::now();
        let attention = attention.into();
        let (_, prompt) = ids.split_last().ok_or(EngineError::EmptyPrompt)?;
        self.check_prompt(ids, 1, attention)?;
        self.check_prompt(prompt, 1, attention)?;
        let first = prompt.len().saturating_sub(tail);
        let (mut nll, mut no_number_at) = (Vec::new(), None);
        let stats = self.pool.install(|| {
            let mut run = self.model.start(prompt.len(), prompt.len())?;
            self.prefill(&mut *run, prompt, attention, accepted, &mut |run| {
                let start = run.tokens_done() - run.chunk_len();
                for position in first.max(start)..run.tokens_done() {
                    let logits = run.logits(position - start)?;
                    if !are_numbers(&logits) {
                        no_number_at.get_or_insert(position + 1);
                    }
                    nll.push(surprise(&logits, ids[position + 1]));
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        match no_number_at {
            None => Ok((nll, stats)),
            Some(position) => Err(self.pool.install(|| self.no_number(position, prompt, &[], attention.policy))),
        }
    }

    /// Takes a prompt through the model, whose run ends with it.
    fn prefill(
        &self,
        run: &mut dyn Run,
        prompt: &[u32],
        attention: PrefillAttention<'_>,
        accepted: Instant,
        on_chunk: &mut OnChunk,
    ) -> Result<RunStats, EngineError> {
        let (report, _) = prefill(run, prompt, self.chunk_tokens, attention, on_chunk)?;
        let spent = Spent { report, times: run.times()? };
        let stats = spent.stats(prompt.len(), attention.receipt.is_some(), self.options.profile);
        let need = self.predicted_memory(prompt.len(), is_sparse(attention.policy));
        Ok(RunStats { prefill_ms: ms(accepted), predicted_memory_bytes: need.total_bytes(), ..stats })
    }

    /// The search that a request with a prompt of this length gets; nothing when it asks for dense attention.
    ///
    /// # Errors
    /// When its goal cannot be, or the device has no such search.
    pub fn search(&self, request: &Request, prompt_len: usize) -> Result<Option<Search>, EngineError> {
        self.search_behind(0, request, prompt_len)
    }

    /// As [`search`](Self::search), for the tokens of a prompt behind those that are `cached`.
    fn search_behind(
        &self,
        cached: usize,
        request: &Request,
        prompt_len: usize,
    ) -> Result<Option<Search>, EngineError> {
        match request.attention {
            AttentionMode::Dense => Ok(None),
            AttentionMode::Auto | AttentionMode::Sparse => {
                let mut search = self.search_of_chunks(request.goal, cached..prompt_len)?;
                search.guarantee = request.guarantee;
                self.model.check_policy(AttentionPolicy::Search(&search))?;
                Ok(Some(search))
            }
        }
    }

    /// The search for a goal on a prompt of this length, at the costs of this device.
    ///
    /// # Errors
    /// When the goal cannot be.
    pub fn search_for(&self, goal: Goal, prompt_len: usize) -> Result<Search, EngineError> {
        self.search_of_chunks(goal, 0..prompt_len)
    }

    fn search_of_chunks(&self, goal: Goal, positions: Range<usize>) -> Result<Search, EngineError> {
        let mut search = Search::new(self.target_of_chunks(goal, positions.clone())?)?;
        search.cost = self.costs.clone();
        let prompt_len = positions.end;
        let chunks = self.chunks(positions)?;
        match budget::fit(&search, &chunks)? {
            Fit::Fits(search) => Ok(search),
            Fit::Least(least) => {
                let asked = goal.to_string();
                let least = match goal {
                    // What is over the budget by this much may be over by as much of its time.
                    Goal::AttentionMs(ms) => format!("time={:.0}ms", (ms * least.over).ceil()),
                    Goal::Cost(_) => format!("cost={:.3}", least.share),
                    Goal::Density(_) | Goal::Recall(_) => format!("density={:.3}", least.share),
                };
                Err(EngineError::Budget { asked, least, prompt_tokens: prompt_len })
            }
        }
    }

    /// The chunks that these positions of a prompt are taken in, in tiles, and how many of its last rows are in each.
    fn chunks(&self, positions: Range<usize>) -> Result<Vec<(Tiles, usize)>, EngineError> {
        let (mut start, mut chunks) = (positions.start, Vec::new());
        while start < positions.end {
            let (len, last_rows) = chunk_len(start, positions.end - start, self.chunk_tokens);
            start += len;
            chunks.push((QueryRange::new(len, start)?.tiles(self.model.plan_block_m())?, last_rows));
        }
        Ok(chunks)
    }

    /// As [`search`](Self::search), but nothing where the mode is left to us and only dense attention has room.
    fn search_with_room(
        &self,
        request: &Request,
        prompt_len: usize,
        tokens: usize,
    ) -> Result<Option<Search>, EngineError> {
        let search = self.search(request, prompt_len)?;
        let optional = request.attention == AttentionMode::Auto;
        Ok(search.filter(|_| !optional || self.check_room(tokens, true).is_ok()))
    }

    /// What a goal is on a prompt of this length, as it stands: [`search_for`](Self::search_for) spreads it over the chunks.
    ///
    /// # Errors
    /// When a time is asked for and nobody knows what a step takes here, or it is too short for the search.
    pub fn target(&self, goal: Goal, prompt_len: usize) -> Result<Target, EngineError> {
        self.target_of_chunks(goal, 0..prompt_len)
    }

    fn target_of_chunks(&self, goal: Goal, positions: Range<usize>) -> Result<Target, EngineError> {
        let budget_ms = match goal {
            Goal::Recall(share) => return Ok(Target::Recall(share)),
            Goal::Density(share) => return Ok(Target::Density(share)),
            Goal::Cost(share) => return Ok(Target::Cost(share)),
            Goal::AttentionMs(ms) => ms,
        };
        let (mut dense, mut search) = (0.0, 0.0);
        for (tiles, _) in self.chunks(positions)? {
            dense += self.costs.dense(tiles);
            search += self.costs.search(tiles);
        }
        let heads = (self.config().num_layers * self.config().num_q_heads) as f64;
        let parallel = self.pool.install(|| self.model.parallel_steps()) as f64;
        let ms_of = |steps: f64| {
            self.costs.us(heads * steps).map(|us| us / parallel / 1e3).ok_or_else(|| match self.on_gpu {
                true => EngineError::TimeBudgetUnknown { device: self.device_name.clone() },
                false => EngineError::TimeBudgetNeedsCalibration,
            })
        };
        let (dense_ms, search_ms) = (ms_of(dense)?, ms_of(search)?);
        if budget_ms >= dense_ms {
            return Ok(Target::Cost(1.0));
        }
        match (budget_ms - search_ms) / dense_ms {
            share if share > 0.0 => Ok(Target::Cost(share as f32)),
            _ => Err(EngineError::TimeBudget { budget_ms, search_ms, dense_ms }),
        }
    }

    fn check_prompt(&self, prompt: &[u32], max_tokens: usize, attention: PrefillAttention) -> Result<(), EngineError> {
        let tokens = self.check_tokens(prompt, max_tokens, self.config().max_context)?;
        self.check_attention(attention)?;
        self.check_room(tokens, is_sparse(attention.policy))
    }

    fn check_attention(&self, attention: PrefillAttention) -> Result<(), EngineError> {
        if attention.receipt.is_some() && self.on_gpu {
            return Err(EngineError::ReceiptOnGpu);
        }
        Ok(self.model.check_policy(attention.policy)?)
    }

    /// How many tokens a prompt and its answer are, all of the vocabulary and no more than `max_context`.
    fn check_tokens(&self, prompt: &[u32], max_tokens: usize, max_context: usize) -> Result<usize, EngineError> {
        let (config, tokens) = (self.config(), tokens_in_context(prompt, max_tokens));
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(&id) = prompt.iter().find(|id| **id as usize >= config.vocab_size) {
            return Err(EngineError::Token { id, vocab_size: config.vocab_size });
        }
        if tokens > max_context {
            let (prompt_tokens, excess) = (prompt.len(), tokens - max_context);
            return Err(EngineError::Context { prompt_tokens, max_tokens, max_context, excess });
        }
        Ok(tokens)
    }

    fn check_room(&self, tokens: usize, sparse: bool) -> Result<(), EngineError> {
        self.check_room_beside(0, tokens, sparse)
    }

    /// Room for a run beside caches of others that take so many bytes, whether they are filled yet or not.
    fn check_room_beside(&self, others_bytes: u64, tokens: usize, sparse: bool) -> Result<(), EngineError> {
        let need = self.predicted_memory(tokens, sparse);
        let what = || match sparse {
            true => format!("a run of {tokens} tokens with sparse attention"),
            false => format!("a run of {tokens} tokens"),
        };
        let room =
            Room { limit: self.options.max_memory_bytes, left: self.model.available_bytes(), held: self.held_bytes };
        room.check(need.total_bytes() + others_bytes, what, || need.to_string())
    }
}

/// What the files say of texts; of random weights, bytes are tokens.
fn tokenizer_and_template(
    files: Option<&ModelFiles>,
    weights: &ModelWeights,
) -> Result<(Tokenizer, Option<TemplateSource>), EngineError> {
    let Some(files) = files else { return Ok((Tokenizer::of_bytes()?, None)) };
    let tokenizer = match (files, weights.gguf()) {
        (_, Some(gguf)) => Tokenizer::from_gguf(gguf)?,
        (ModelFiles::Folder(folder) | ModelFiles::Gguf(folder), None) => Tokenizer::from_folder(folder)?,
    };
    let template = chat_template(files, weights, &tokenizer)?;
    Ok((tokenizer, template))
}

fn check_room_for_weights<O: Ops>(
    ops: &O,
    weights: &ModelWeights,
    options: &EngineOptions,
    name: &str,
) -> Result<(), EngineError> {
    let bytes = WeightsNeed::of(ops.footprint(), weights)?.total_bytes();
    let room = Room { limit: options.max_memory_bytes, left: ops.available_bytes(), held: 0 };
    room.check(bytes, || format!("loading {name}"), || Bytes(bytes).to_string())
}

/// The same of the host, with what lies beside the weights meanwhile: past a limit of the system nobody returns an error.
fn check_room_for_loading(cpu: &Cpu, weights: &ModelWeights, name: &str) -> Result<(), EngineError> {
    let bytes = WeightsNeed::of(cpu.footprint(), weights)?.total_bytes() + MemoryNeed::of_loading(weights)?;
    let room = Room { limit: None, left: cpu.available_bytes(), held: 0 };
    room.check(bytes, || format!("loading {name}"), || Bytes(bytes).to_string())
}

/// Whether a CPU has what is asked for.
pub(crate) fn cpu_has(options: &EngineOptions) -> Result<(), OpsError> {
    match (options.quantization, options.attention_precision) {
        (Some(quantization), _) => Err(OpsError::Quantization { quantization }),
        (None, AttentionPrecision::Bf16) => Ok(()),
        (None, precision) => Err(OpsError::AttentionPrecision { precision }),
    }
}

/// The GPU that `device` means, if it means one.
fn open_gpu(options: &EngineOptions, config: &ModelConfig) -> Result<Option<Gpu>, OpsError> {
    use cuda::Error;
    let &EngineOptions { profile, quantization, attention_precision, .. } = options;
    let open = |ordinal| Gpu::open(ordinal, config, GpuOptions { profile, quantization, attention_precision });
    let in_bf16 = attention_precision == AttentionPrecision::Bf16;
    match (options.device, quantization) {
        (Device::Cpu, _) => cpu_has(options).map(|()| None),
        (Device::Cuda(ordinal), _) => open(ordinal).map(Some),
        (Device::Auto, Some(_)) => open(0).map(Some),
        (Device::Auto, None) if !in_bf16 => open(0).map(Some),
        (Device::Auto, None) => match open(0) {
            Ok(gpu) => Ok(Some(gpu)),
            // No GPU, or none that can run this model.
            Err(OpsError::Cuda(
                Error::NoDriver | Error::NoDevice { .. } | Error::OldDriver { .. } | Error::Unsupported { .. },
            )) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

fn load_on<O: Ops>(
    ops: O,
    weights: ModelWeights,
    options: &EngineOptions,
    name: &str,
    progress: &mut (dyn FnMut(LoadProgress) + Send),
) -> Result<Box<dyn Model>, EngineError> {
    // Again: tokenizer and threads have taken theirs.
    check_room_for_weights(&ops, &weights, options, name)?;
    let total = weights.config().num_layers as u64;
    let decoder = Decoder::load(ops, weights, &mut |done| progress(LoadProgress::Layers { done: done as u64, total }))?;
    warm_up(&decoder, options)?;
    Ok(Box::new(decoder))
}

/// Warms a model up, unless memory is so scarce that only a shorter prompt would fit.
fn warm_up(model: &dyn Model, options: &EngineOptions) -> Result<(), EngineError> {
    let tokens = model.warm_up_tokens();
    if tokens == 0 {
        return Ok(());
    }
    let need = model.memory_need(2 * tokens, tokens, false);
    let room = Room { limit: options.max_memory_bytes, left: model.available_bytes(), held: need.held_bytes() };
    match room.check(need.total_bytes(), String::new, String::new) {
        Ok(()) => Ok(model.warm_up(tokens)?),
        Err(_) => Ok(()),
    }
}

/// Negative logarithm of the probability of `token`, in nats.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let sum: f64 = logits.iter().map(|&x| (x as f64 - top).exp()).sum();
    top + sum.ln() - logits[token as usize] as f64
}

fn is_sparse(policy: AttentionPolicy) -> bool {
    !matches!(policy, AttentionPolicy::Dense)
}

/// The last new token is never fed back, so it needs no place in the context.
fn tokens_in_context(prompt: &[u32], max_tokens: usize) -> usize {
    prompt.len() + max_tokens.saturating_sub(1)
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The template beside the weights: in GGUF metadata, `chat_template.jinja` or `tokenizer_config.json`.
fn chat_template(
    files: &ModelFiles,
    weights: &ModelWeights,
    tokenizer: &Tokenizer,
) -> Result<Option<TemplateSource>, EngineError> {
    #[derive(serde::Deserialize, Default)]
    struct TokenizerConfig {
        chat_template: Option<String>,
        bos_token: Option<TokenText>,
        eos_token: Option<TokenText>,
    }
    let text_of = |token: Option<TokenText>| token.map(TokenText::into_text).unwrap_or_default();
    let (source, bos, eos) = match (files, weights.gguf()) {
        (_, Some(gguf)) => {
            let key = "tokenizer.chat_template";
            let source = gguf.get(key).map(|_| gguf.text(key)).transpose().map_err(TokenizerError::from)?;
            let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
            (source.map(String::from), text(tokenizer.bos_id()), text(tokenizer.eos_ids().first().copied()))
        }
        (ModelFiles::Folder(folder) | ModelFiles::Gguf(folder), None) => {
            let path = folder.join("tokenizer_config.json");
            let config: TokenizerConfig =
                if path.exists() { crate::config::read_json(&path)? } else { TokenizerConfig::default() };
            let source = std::fs::read_to_string(folder.join("chat_template.jinja")).ok().or(config.chat_template);
            (source, text_of(config.bos_token), text_of(config.eos_token))
        }
    };
    Ok(source.map(|text| TemplateSource { text, bos, eos }))
}
