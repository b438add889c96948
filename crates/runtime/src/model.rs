//! A model on whichever device, and one prompt in it.

use crate::config::ModelConfig;
use crate::decoder::{Activations, Decoder, Part};
use crate::footprint::MemoryNeed;
use crate::kv_cache::KvCache;
use crate::ops::{AttentionReport, DeviceTimes, Ops, OpsError};
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::sequence::Sequence;
use attention::calibration::GpuKernel;
use attention::search::CostModel;

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
    fn tokens_done(&self) -> usize;

    /// Tokens of the last chunk.
    fn chunk_len(&self) -> usize;

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
    /// When nothing went through yet.
    fn logits(&mut self, token: usize) -> Result<Vec<f32>, OpsError>;
}

struct Running<'a, O: Ops> {
    decoder: &'a Decoder<O>,
    /// Of one token through the activations and the cache below, which must outlive it: fields go in order.
    recording: Option<O::Recording>,
    cache: KvCache<O>,
    sequence: Sequence,
    /// For chunks of the length of the last one.
    activations: Option<Activations<O>>,
    logits: O::LogitsRoom,
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
        let mut cache = self.kv_cache(tokens)?;
        let mut sequence = Sequence::of_prompt(prompt_len);
        cache.reserve(&mut sequence, tokens).expect("the cache was made for this sequence");
        let logits = self.logits_room()?;
        Ok(Box::new(Running { decoder: self, recording: None, cache, sequence, activations: None, logits }))
    }
}

impl<O: Ops> Running<'_, O> {
    /// Makes room for chunks of `len` tokens, unless that is what there is.
    fn make_room(&mut self, len: usize) -> Result<(), OpsError> {
        if self.chunk_len() != len {
            // The old ones, and what was recorded of them, go before the new ones come.
            self.recording = None;
            self.activations = None;
            self.activations = Some(self.decoder.activations(&self.sequence, len)?);
        }
        Ok(())
    }
}

impl<O: Ops> Run for Running<'_, O> {
    fn tokens_done(&self) -> usize {
        self.sequence.len()
    }

    fn chunk_len(&self) -> usize {
        self.activations.as_ref().map_or(0, Activations::len)
    }

    fn forward(
        &mut self,
        ids: &[u32],
        prefill: PrefillAttention,
        last_rows: usize,
    ) -> Result<AttentionReport, OpsError> {
        self.make_room(ids.len())?;
        let activations = self.activations.as_mut().expect("room was made");
        self.decoder.forward(ids, activations, &mut self.cache, &mut self.sequence, prefill, last_rows)
    }

    fn forward_watched(
        &mut self,
        ids: &[u32],
        prefill: PrefillAttention,
        last_rows: usize,
    ) -> Result<Option<(Part, usize)>, OpsError> {
        self.make_room(ids.len())?;
        let activations = self.activations.as_mut().expect("room was made");
        let (ops, mut found) = (self.decoder.ops(), None);
        let watch = |part, x: &O::Tokens| {
            if found.is_none() {
                found = ops.first_without_number(x, ids.len())?.map(|token| (part, token));
            }
            Ok(())
        };
        let (cache, sequence) = (&mut self.cache, &mut self.sequence);
        self.decoder.forward_watched(ids, activations, cache, sequence, (prefill, last_rows), watch)?;
        Ok(found)
    }

    fn rewind(&mut self, len: usize, prompt_len: usize) {
        let config = self.decoder.config();
        let same = config.rotations(self.sequence.prompt_len()).eq(config.rotations(prompt_len));
        // They know of the positions and rotations that were.
        (self.recording, self.activations) = (None, None);
        self.sequence.rewind(if same { len } else { 0 }, prompt_len);
    }

    fn forward_one(&mut self, id: u32) -> Result<(), OpsError> {
        self.make_room(1)?;
        let activations = self.activations.as_mut().expect("room was made");
        let recording = self.recording.get_or_insert_default();
        self.decoder.forward_one(id, recording, activations, &mut self.cache, &mut self.sequence)
    }

    fn times(&self) -> Result<DeviceTimes, OpsError> {
        self.decoder.ops().times()
    }

    fn logits(&mut self, token: usize) -> Result<Vec<f32>, OpsError> {
        let activations = self.activations.as_ref().expect("some tokens went through");
        self.decoder.logits(activations, token, &mut self.logits)
    }
}
