//! The pool of a model on a device.

use super::running::Running;
use super::{Outlook, PageOnHost, Pool, Run, StepRow};
use crate::decoder::{Activations, Decoder};
use crate::kv_cache::KvCache;
use crate::ops::{Ops, OpsError};
use crate::sequence::Sequence;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Pages and the model that fills them.
pub(super) struct Pages<'m, O: Ops> {
    decoder: &'m Decoder<O>,
    /// By number of rows. What was recorded of them goes before the cache.
    steps: BTreeMap<usize, StepRoom<O>>,
    cache: Arc<KvCache<O>>,
}

/// Room for steps of one number of rows.
struct StepRoom<O: Ops> {
    /// Goes before what it was recorded of: fields go in order.
    recording: O::Recording,
    activations: Activations<O>,
    logits: O::LogitsRoom,
}

impl<'m, O: Ops> Pages<'m, O> {
    pub fn new(decoder: &'m Decoder<O>, tokens: usize) -> Result<Self, OpsError> {
        Ok(Self { decoder, steps: BTreeMap::new(), cache: Arc::new(decoder.kv_cache(tokens)?) })
    }
}

impl<O: Ops> Pages<'_, O> {
    /// A step of sequences that rotate alike; of some the most likely token is enough.
    fn step_alike(
        &mut self,
        ids: &[u32],
        sequences: &mut [&mut Sequence],
        likeliest: &[bool],
    ) -> Result<Vec<Outlook>, OpsError> {
        let (decoder, cache) = (self.decoder, &*self.cache);
        let StepRoom { recording, activations, logits } = match self.steps.entry(ids.len()) {
            Entry::Occupied(room) => room.into_mut(),
            Entry::Vacant(place) => place.insert(StepRoom {
                recording: O::Recording::default(),
                activations: decoder.step_activations(ids.len(), cache)?,
                logits: decoder.logits_room(ids.len())?,
            }),
        };
        decoder.step(ids, recording, activations, cache, sequences)?;
        decoder.output(activations, 0, logits)?;
        let most_likely = if likeliest.contains(&true) { decoder.likeliest(logits)? } else { Vec::new() };
        let outlook = |(row, likeliest): (usize, &bool)| match likeliest {
            true => Ok(Outlook::Likeliest(most_likely[row])),
            false => Ok(Outlook::Logits(decoder.logits(logits, row)?)),
        };
        likeliest.iter().enumerate().map(outlook).collect()
    }
}

impl<'m, O: Ops> Pool<'m> for Pages<'m, O> {
    fn num_pages(&self) -> usize {
        self.cache.num_pages()
    }

    fn free_pages(&self) -> usize {
        self.cache.free_pages()
    }

    fn start(&self, prompt_len: usize, tokens: usize, prefix: &[u32]) -> Result<Box<dyn Run + 'm>, OpsError> {
        let mut sequence = Sequence::behind(prompt_len, prefix.to_vec());
        let logits = self.decoder.logits_room(1)?;
        let cache = &self.cache;
        let behind = tokens.saturating_sub(sequence.len());
        cache.reserve(&mut sequence, behind)?;
        cache.share(prefix);
        Ok(Box::new(Running::new(self.decoder, self.cache.clone(), sequence, logits)))
    }

    fn step(&mut self, rows: &mut [StepRow]) -> Result<Vec<Outlook>, OpsError> {
        let config = self.decoder.config();
        let mut outlooks = vec![Outlook::Likeliest(None); rows.len()];
        let mut alike: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (row, of_row) in rows.iter().enumerate() {
            alike.entry(config.least_alike(of_row.run.sequence().prompt_len())).or_default().push(row);
        }
        for group in alike.into_values() {
            let of_group = rows.iter_mut().enumerate().filter(|(row, _)| group.contains(row));
            let ((ids, likeliest), mut sequences): ((Vec<u32>, Vec<bool>), Vec<&mut Sequence>) =
                of_group.map(|(_, StepRow { run, id, likeliest })| ((*id, *likeliest), run.sequence_mut())).unzip();
            let of_group = self.step_alike(&ids, &mut sequences, &likeliest)?;
            group.into_iter().zip(of_group).for_each(|(row, of_row)| outlooks[row] = of_row);
        }
        Ok(outlooks)
    }

    fn share(&self, pages: &[u32]) {
        self.cache.share(pages);
    }

    fn release(&self, pages: &[u32]) {
        self.cache.release(pages);
    }

    fn owners(&self, page: u32) -> u32 {
        self.cache.owners(page)
    }

    fn copy_to_host(&self, page: u32) -> Result<PageOnHost, OpsError> {
        Ok(PageOnHost::of(self.cache.copy_to_host(self.decoder.ops(), page)?))
    }

    fn copy_from_host(&self, copy: &PageOnHost) -> Result<u32, OpsError> {
        let copy = copy.0.downcast_ref::<O::PageOnHost>().expect("a copy of this model's page");
        self.cache.copy_from_host(self.decoder.ops(), copy)
    }
}
