//! A model on whichever device, and prompts in it.

mod pages;
mod running;

use crate::config::ModelConfig;
use crate::decoder::{Decoder, Part};
use crate::footprint::MemoryNeed;
use crate::ops::{AttentionReport, DeviceTimes, Ops, OpsError};
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::sequence::Sequence;
use attention::calibration::GpuKernel;
use attention::search::CostModel;
use pages::Pages;
use std::any::Any;

/// A loaded model.
pub trait Model: Send + Sync {
    /// Its shape.
    fn config(&self) -> &ModelConfig;

    /// The device, with what matters of it.
    fn device_name(&self) -> String;

    /// Tokens of a chunk that suit the device.
    fn chunk_tokens(&self) -> usize;

    /// See [`Ops::plan_block_m`].
    fn plan_block_m(&self) -> usize;

    /// See [`Ops::check_policy`].
    ///
    /// # Errors
    /// As there.
    fn check_policy(&self, policy: AttentionPolicy) -> Result<(), OpsError>;

    /// See [`Ops::costs`].
    fn costs(&self) -> CostModel;

    /// See [`Ops::gpu_kernel`].
    fn gpu_kernel(&self) -> Option<GpuKernel>;

    /// See [`Ops::parallel_steps`].
    fn parallel_steps(&self) -> usize;

    /// Memory of the device that is free; `None` where nobody says.
    fn available_bytes(&self) -> Option<u64>;

    /// Most memory that was held on the device, ever or since it was [forgotten](Self::forget_peak); `None` where nobody says.
    fn peak_bytes(&self) -> Option<u64>;

    /// Counts [`peak_bytes`](Self::peak_bytes) anew from what is held now. Whether that can be.
    fn forget_peak(&self) -> bool;

    /// Memory of a run of `tokens` tokens, prompt and new ones, whose prompt comes in chunks of `chunk_tokens`; weights
    /// included, and what plans take where `sparse`.
    fn memory_need(&self, tokens: usize, chunk_tokens: usize, sparse: bool) -> MemoryNeed;

    /// Begins a sequence of `tokens` tokens in all, of which the first `prompt_len` are the prompt.
    ///
    /// # Errors
    /// When the device has no room.
    fn start(&self, prompt_len: usize, tokens: usize) -> Result<Box<dyn Run + '_>, OpsError>;

    /// A pool of pages for so many tokens, that several sequences share. On a CPU memory is taken as pages are first written.
    ///
    /// # Errors
    /// When the device has no room.
    fn pool(&self, tokens: usize) -> Result<Box<dyn Pool<'_> + '_>, OpsError>;

    /// Tokens of a prompt for [`warm_up`](Self::warm_up) that make the device ready; 0 where nothing is to be gained.
    fn warm_up_tokens(&self) -> usize;

    /// Runs a prompt of no meaning and a few tokens behind it, and forgets them: the first request then waits for no code to
    /// load and no plan to be made.
    ///
    /// # Errors
    /// When the device has no room, and whatever else it says.
    fn warm_up(&self, prompt_len: usize) -> Result<(), OpsError> {
        let mut run = self.start(prompt_len, prompt_len + REPLAYED)?;
        run.forward(&vec![0; prompt_len], PrefillAttention::default(), 0)?;
        run.logits(prompt_len - 1)?;
        for _ in 0..REPLAYED {
            run.forward_one(0)?;
            run.logits(0)?;
        }
        // What it took is nobody's time.
        run.times().map(drop)
    }
}

/// Single tokens until a device replays them: one as it comes, one recorded, one replayed.
const REPLAYED: usize = 3;

/// One sequence on its way through a model.
pub trait Run: Send {
    /// Tokens done.
    fn tokens_done(&self) -> usize {
        self.sequence().len()
    }

    /// Tokens of the last chunk.
    fn chunk_len(&self) -> usize;

    /// Where it stands in the cache.
    fn sequence(&self) -> &Sequence;

    /// The same, for a [step](Pool::step).
    fn sequence_mut(&mut self) -> &mut Sequence;

    /// Has pages for so many tokens behind those that went through. Where it takes more than it had it [rests](Self::rest).
    ///
    /// # Errors
    /// When there are not as many free pages; it keeps what it had.
    fn reserve(&mut self, tokens: usize) -> Result<(), OpsError>;

    /// Lets go of the room for chunks; the next one makes its own. There are no logits until then.
    fn rest(&mut self);

    /// Takes the next tokens through all layers; see [`Decoder::forward`].
    ///
    /// # Errors
    /// As there.
    fn forward(
        &mut self,
        ids: &[u32],
        prefill: PrefillAttention,
        last_rows: usize,
    ) -> Result<AttentionReport, OpsError>;

    /// As [`forward`](Self::forward), looking at the residual stream behind every part: the first part that gave what is no
    /// finite number, and the first of these tokens for which it did. Slow.
    ///
    /// # Errors
    /// As there.
    fn forward_watched(
        &mut self,
        ids: &[u32],
        prefill: PrefillAttention,
        last_rows: usize,
    ) -> Result<Option<(Part, usize)>, OpsError>;

    /// Keeps the first `len` tokens, for a prompt of `prompt_len` that begins with them; none where such a prompt rotates its
    /// heads otherwise than the one before (dynamic NTK and LongRoPE look at its length).
    ///
    /// # Panics
    /// When it holds fewer tokens, or others share pages that would be written again.
    fn rewind(&mut self, len: usize, prompt_len: usize);

    /// Takes one more token through all layers, with all its keys.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn forward_one(&mut self, id: u32) -> Result<(), OpsError>;

    /// See [`Ops::times`].
    ///
    /// # Errors
    /// As there.
    fn times(&self) -> Result<DeviceTimes, OpsError>;

    /// Logits `[vocab_size]` of the token after `token` of the last chunk.
    ///
    /// # Errors
    /// What the device says, of this and of everything asked for before.
    ///
    /// # Panics
    /// When nothing went through since the run began or [rested](Self::rest).
    fn logits(&mut self, token: usize) -> Result<Vec<f32>, OpsError>;

    /// The most likely token after `token` of the last chunk, the lowest id where several are equal; nothing where a logit is no finite
    /// number. On a GPU logits stay there.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    ///
    /// # Panics
    /// As there.
    fn likeliest(&mut self, token: usize) -> Result<Option<u32>, OpsError>;
}

/// What a model says of the token that comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Outlook {
    /// Logits `[vocab_size]`.
    Logits(Vec<f32>),
    /// The most likely alone; nothing where a logit is no finite number.
    Likeliest(Option<u32>),
}

/// One of the runs of a [step](Pool::step).
pub struct StepRow<'r, 'm> {
    /// Of the pool.
    pub run: &'r mut (dyn Run + 'm),
    /// Its next token.
    pub id: u32,
    /// Whether the most likely token behind it is enough, without logits.
    pub likeliest: bool,
}

impl<O: Ops> Model for Decoder<O> {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    fn device_name(&self) -> String {
        self.ops().name()
    }

    fn chunk_tokens(&self) -> usize {
        self.ops().footprint().chunk_tokens(self.config())
    }

    fn warm_up_tokens(&self) -> usize {
        self.ops().warm_up_tokens().min(self.config().max_context)
    }

    fn available_bytes(&self) -> Option<u64> {
        self.ops().available_bytes()
    }

    fn peak_bytes(&self) -> Option<u64> {
        self.ops().peak_bytes()
    }

    fn forget_peak(&self) -> bool {
        self.ops().forget_peak()
    }

    fn plan_block_m(&self) -> usize {
        self.ops().plan_block_m()
    }

    fn check_policy(&self, policy: AttentionPolicy) -> Result<(), OpsError> {
        self.ops().check_policy(policy)
    }

    fn costs(&self) -> CostModel {
        self.ops().costs()
    }

    fn gpu_kernel(&self) -> Option<GpuKernel> {
        self.ops().gpu_kernel()
    }

    fn parallel_steps(&self) -> usize {
        self.ops().parallel_steps()
    }

    fn memory_need(&self, tokens: usize, chunk_tokens: usize, sparse: bool) -> MemoryNeed {
        self.ops().footprint().memory_need(self.config(), self.weights_need(), tokens, chunk_tokens, sparse)
    }

    fn start(&self, prompt_len: usize, tokens: usize) -> Result<Box<dyn Run + '_>, OpsError> {
        Pages::new(self, tokens)?.start(prompt_len, tokens, &[])
    }

    fn pool(&self, tokens: usize) -> Result<Box<dyn Pool<'_> + '_>, OpsError> {
        Ok(Box::new(Pages::new(self, tokens)?))
    }
}

/// Pages of keys and values that several sequences share, each with runs and others that have it. All of one owner, who takes one step
/// at a time.
pub trait Pool<'m>: Send {
    /// All pages, of [`attention::BLOCK_N`] tokens.
    fn num_pages(&self) -> usize;

    /// Pages that nobody has.
    fn free_pages(&self) -> usize;

    /// Begins a sequence of `tokens` tokens in all, of which the first `prompt_len` are the prompt; the first of the prompt's are in
    /// full pages that somebody has, which it shares. Its pages are given back when the run is dropped.
    ///
    /// # Errors
    /// When there are not as many free pages, or the device has no room.
    fn start(&self, prompt_len: usize, tokens: usize, prefix: &[u32]) -> Result<Box<dyn Run + 'm>, OpsError>;

    /// Takes one more token of each of several runs of this pool through all layers together, with all its keys: what comes after
    /// it, of each run what was asked for. Weights are read once for all of them. On a CPU each run comes out as by
    /// [`Run::forward_one`], bit for bit; on a GPU sums of several rows are made in another order.
    ///
    /// # Errors
    /// When a run has no page reserved for its token, and what the device says.
    fn step(&mut self, rows: &mut [StepRow]) -> Result<Vec<Outlook>, OpsError>;

    /// One more has these pages, until they are [released](Self::release).
    ///
    /// # Panics
    /// When nobody has one of them.
    fn share(&self, pages: &[u32]);

    /// One fewer has these pages; those that nobody has any more are free.
    ///
    /// # Panics
    /// When nobody had one of them.
    fn release(&self, pages: &[u32]);

    /// How many have a page.
    ///
    /// # Panics
    /// When there is no such page.
    fn owners(&self, page: u32) -> u32;

    /// A copy of a full page in memory of the host.
    ///
    /// # Errors
    /// When the host has no room, and what the device says.
    fn copy_to_host(&self, page: u32) -> Result<PageOnHost, OpsError>;

    /// Brings a copy back into a free page, which its caller has from then on. The copy may be another pool's of the same model.
    ///
    /// # Errors
    /// When no page is free, and what the device says.
    fn copy_from_host(&self, copy: &PageOnHost) -> Result<u32, OpsError>;
}

/// Keys and values of a page, in memory of the host.
pub struct PageOnHost(Box<dyn Any + Send>);

impl PageOnHost {
    /// Of what a device makes of it.
    pub(crate) fn of(copy: impl Any + Send) -> Self {
        Self(Box::new(copy))
    }
}
