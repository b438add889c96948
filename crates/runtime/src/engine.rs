//! One model, loaded; prompts in, text out.

mod answer;
mod budget;
mod chat;
mod choice;
mod conversation;
mod error;
mod goal;
mod likelihood;
mod loading;
mod not_a_number;
mod opened;
mod options;
mod room;
mod said_tokens;
pub mod service;
mod telling;

use crate::chat_template::TemplateSource;
use crate::config::ModelConfig;
use crate::constraint::Vocabulary;
use crate::footprint::MemoryNeed;
use crate::logits::are_numbers;
use crate::model::{Model, Run};
use crate::model_files::ModelFiles;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::prefill::{OnChunk, prefill};
use crate::request::{AttentionMode, Events, Generation, Request, RunStats};
use crate::tokenizer::Tokenizer;
use answer::{Answer, Spent};
use attention::calibration::GpuKernel;
use attention::search::CostModel;
use choice::Choice;
pub use conversation::Conversation;
pub use error::EngineError;
pub(crate) use loading::{cpu_has, gpu_has};
pub use not_a_number::{Finding, Origin};
pub(crate) use opened::Opened;
pub use options::{EngineOptions, LoadProgress};
use rayon::ThreadPool;
pub(crate) use room::Room;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

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

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
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

    /// Bytes that a token stands for; none for special tokens and for ids beyond the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokenizer.token_bytes(id)
    }

    /// One token as the vocabulary spells it, special ones, too.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.tokenizer.token_text(id)
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
        let spent = Spent { report, times: run.times()?, ..Spent::default() };
        let stats = spent.stats(prompt.len(), attention.receipt.is_some(), self.options.profile);
        let need = self.predicted_memory(prompt.len(), is_sparse(attention.policy));
        Ok(RunStats { prefill_ms: ms(accepted), predicted_memory_bytes: need.total_bytes(), ..stats })
    }

    /// Whether a request can be answered behind a prompt, as far as its parameters, its goal and the number of tokens tell: before anybody
    /// waits for it. What its constraint asks for, and whether there is memory, shows when it begins.
    ///
    /// # Errors
    /// What [`generate`](Self::generate) and [`service`] would say.
    pub fn check(&self, prompt: &[u32], request: &Request) -> Result<(), EngineError> {
        choice::sampler(self, request, prompt)?;
        self.check_tokens(prompt, request.max_tokens, self.config().max_context)?;
        let search = self.search(request, prompt.len())?;
        let policy = AttentionPolicy::from(search.as_ref());
        self.check_attention(PrefillAttention { receipt: request.receipt, ..PrefillAttention::from(policy) })
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
        self.check_room_in(&self.room(), 0, tokens, sparse)
    }

    /// What may be held, as the machine is now.
    fn room(&self) -> Room {
        Room { limit: self.options.max_memory_bytes, left: self.model.available_bytes(), held: self.held_bytes }
    }

    /// Room for a run beside pages of others that take so many bytes, whether they are filled yet or not.
    fn check_room_in(&self, room: &Room, others_bytes: u64, tokens: usize, sparse: bool) -> Result<(), EngineError> {
        let need = self.predicted_memory(tokens, sparse);
        let what = || match sparse {
            true => format!("a run of {tokens} tokens with sparse attention"),
            false => format!("a run of {tokens} tokens"),
        };
        room.check(need.total_bytes() + others_bytes, what, || need.to_string())
    }
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
