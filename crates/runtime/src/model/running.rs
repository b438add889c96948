//! A sequence in a pool of pages, on its way through a model.

use super::Run;
use crate::decoder::{Activations, Decoder, Part};
use crate::kv_cache::KvCache;
use crate::ops::{AttentionReport, DeviceTimes, Ops, OpsError};
use crate::policy::PrefillAttention;
use crate::sequence::Sequence;
use std::sync::Arc;

pub(super) struct Running<'m, O: Ops> {
    decoder: &'m Decoder<O>,
    /// Of one token through the activations and the cache below, which must outlive it: fields go in order.
    recording: Option<O::Recording>,
    cache: Arc<KvCache<O>>,
    sequence: Sequence,
    /// For chunks of the length of the last one.
    activations: Option<Activations<O>>,
    logits: O::LogitsRoom,
}

impl<'m, O: Ops> Running<'m, O> {
    /// Of a sequence whose pages are reserved.
    pub fn new(decoder: &'m Decoder<O>, cache: Arc<KvCache<O>>, sequence: Sequence, logits: O::LogitsRoom) -> Self {
        Self { decoder, recording: None, cache, sequence, activations: None, logits }
    }

    /// Makes room for chunks of `len` tokens, unless that is what there is.
    fn make_room(&mut self, len: usize) -> Result<(), OpsError> {
        if self.chunk_len() != len {
            self.rest();
            self.activations = Some(self.decoder.activations(&self.sequence, len)?);
        }
        Ok(())
    }

    /// Makes logits of the token after one of the last chunk.
    fn output(&mut self, token: usize) -> Result<(), OpsError> {
        let activations = self.activations.as_ref().expect("some tokens went through");
        self.decoder.output(activations, token, &mut self.logits)
    }
}

impl<O: Ops> Drop for Running<'_, O> {
    fn drop(&mut self) {
        self.cache.release(self.sequence.table());
    }
}

impl<O: Ops> Run for Running<'_, O> {
    fn chunk_len(&self) -> usize {
        self.activations.as_ref().map_or(0, Activations::len)
    }

    fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    fn sequence_mut(&mut self) -> &mut Sequence {
        &mut self.sequence
    }

    fn reserve(&mut self, tokens: usize) -> Result<(), OpsError> {
        let before = self.sequence.table().len();
        self.cache.reserve(&mut self.sequence, tokens)?;
        if self.sequence.table().len() > before {
            // A GPU's know the pages that were.
            self.rest();
        }
        Ok(())
    }

    fn rest(&mut self) {
        // What was recorded of activations goes before they do.
        (self.recording, self.activations) = (None, None);
    }

    fn forward(
        &mut self,
        ids: &[u32],
        prefill: PrefillAttention,
        last_rows: usize,
    ) -> Result<AttentionReport, OpsError> {
        self.make_room(ids.len())?;
        let activations = self.activations.as_mut().expect("room was made");
        let cache = &self.cache;
        self.decoder.forward(ids, activations, cache, &mut self.sequence, prefill, last_rows)
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
        let (cache, sequence) = (&self.cache, &mut self.sequence);
        self.decoder.forward_watched(ids, activations, cache, sequence, (prefill, last_rows), watch)?;
        Ok(found)
    }

    fn rewind(&mut self, len: usize, prompt_len: usize) {
        let config = self.decoder.config();
        let same = config.least_alike(self.sequence.prompt_len()) == config.least_alike(prompt_len);
        let len = if same { len } else { 0 };
        let shared = self.cache.is_shared_behind(&self.sequence, len);
        assert!(!shared, "what others read must not be written again");
        // They know of the positions and rotations that were.
        self.rest();
        self.sequence.rewind(len, prompt_len);
    }

    fn forward_one(&mut self, id: u32) -> Result<(), OpsError> {
        self.make_room(1)?;
        let activations = self.activations.as_mut().expect("room was made");
        let recording = self.recording.get_or_insert_default();
        self.decoder.forward_one(id, recording, activations, &self.cache, &mut self.sequence)
    }

    fn times(&self) -> Result<DeviceTimes, OpsError> {
        self.decoder.ops().times()
    }

    fn logits(&mut self, token: usize) -> Result<Vec<f32>, OpsError> {
        self.output(token)?;
        self.decoder.logits(&self.logits, 0)
    }

    fn likeliest(&mut self, token: usize) -> Result<Option<u32>, OpsError> {
        self.output(token)?;
        Ok(self.decoder.likeliest(&mut self.logits)?[0])
    }
}
