//! A model that panics: its request is told, others are answered, and where the model is damaged nobody is.

use super::*;
use crate::config::ModelConfig;
use crate::decoder::Part;
use crate::engine::{EngineError, EngineOptions};
use crate::footprint::MemoryNeed;
use crate::model::{Model, Outlook, PageOnHost, Pool, Run, StepRow};
use crate::ops::{AttentionReport, DeviceTimes, OpsError};
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::{Device, Event, Generation};
use crate::sequence::Sequence;
use crate::weights::RandomWeights;
use ::attention::calibration::GpuKernel;
use ::attention::search::CostModel;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// The token that it panics at in a prompt.
pub(super) const FATAL: u32 = 13;
/// Likewise, but when its chunk went through all layers.
pub(super) const FATAL_BEHIND: u32 = 14;

struct Faulty {
    model: Box<dyn Model>,
    /// Whether it computes otherwise once it panicked.
    takes_damage: bool,
    panicked: AtomicBool,
    /// The token that it panics at in an answer.
    fatal: Arc<AtomicU32>,
}

impl Faulty {
    fn check(&self, id: u32) {
        if id == self.fatal.load(Ordering::Relaxed) {
            self.panicked.store(true, Ordering::Relaxed);
            panic!("token {id} of an answer");
        }
    }
}

struct FaultyRun<'m> {
    model: &'m Faulty,
    run: Box<dyn Run + 'm>,
}

struct FaultyPool<'m> {
    model: &'m Faulty,
    pool: Box<dyn Pool<'m> + 'm>,
}

impl Model for Faulty {
    fn start(&self, prompt_len: usize, tokens: usize) -> Result<Box<dyn Run + '_>, OpsError> {
        Ok(Box::new(FaultyRun { model: self, run: self.model.start(prompt_len, tokens)? }))
    }
    fn pool(&self, tokens: usize) -> Result<Box<dyn Pool<'_> + '_>, OpsError> {
        Ok(Box::new(FaultyPool { model: self, pool: self.model.pool(tokens)? }))
    }

    fn config(&self) -> &ModelConfig {
        self.model.config()
    }
    fn device_name(&self) -> String {
        self.model.device_name()
    }
    fn chunk_tokens(&self) -> usize {
        self.model.chunk_tokens()
    }
    fn plan_block_m(&self) -> usize {
        self.model.plan_block_m()
    }
    fn check_policy(&self, policy: AttentionPolicy) -> Result<(), OpsError> {
        self.model.check_policy(policy)
    }
    fn costs(&self) -> CostModel {
        self.model.costs()
    }
    fn gpu_kernel(&self) -> Option<GpuKernel> {
        self.model.gpu_kernel()
    }
    fn parallel_steps(&self) -> usize {
        self.model.parallel_steps()
    }
    fn available_bytes(&self) -> Option<u64> {
        self.model.available_bytes()
    }
    fn peak_bytes(&self) -> Option<u64> {
        self.model.peak_bytes()
    }
    fn forget_peak(&self) -> bool {
        self.model.forget_peak()
    }
    fn memory_need(&self, tokens: usize, chunk_tokens: usize, sparse: bool) -> MemoryNeed {
        self.model.memory_need(tokens, chunk_tokens, sparse)
    }
    fn warm_up_tokens(&self) -> usize {
        self.model.warm_up_tokens()
    }
}

impl<'m> Pool<'m> for FaultyPool<'m> {
    fn start(&self, prompt_len: usize, tokens: usize, prefix: &[u32]) -> Result<Box<dyn Run + 'm>, OpsError> {
        Ok(Box::new(FaultyRun { model: self.model, run: self.pool.start(prompt_len, tokens, prefix)? }))
    }

    fn num_pages(&self) -> usize {
        self.pool.num_pages()
    }
    fn step(&mut self, rows: &mut [StepRow]) -> Result<Vec<Outlook>, OpsError> {
        rows.iter().for_each(|row| self.model.check(row.id));
        self.pool.step(rows)
    }
    fn free_pages(&self) -> usize {
        self.pool.free_pages()
    }
    fn share(&self, pages: &[u32]) {
        self.pool.share(pages);
    }
    fn release(&self, pages: &[u32]) {
        self.pool.release(pages);
    }
    fn copy_to_host(&self, page: u32) -> Result<PageOnHost, OpsError> {
        self.pool.copy_to_host(page)
    }
    fn copy_from_host(&self, copy: &PageOnHost) -> Result<u32, OpsError> {
        self.pool.copy_from_host(copy)
    }
    fn owners(&self, page: u32) -> u32 {
        self.pool.owners(page)
    }
}

impl Run for FaultyRun<'_> {
    fn forward(&mut self, ids: &[u32], prefill: PrefillAttention, rows: usize) -> Result<AttentionReport, OpsError> {
        if ids.contains(&FATAL) {
            self.model.panicked.store(true, Ordering::Relaxed);
            panic!("token {FATAL}");
        }
        let report = self.run.forward(ids, prefill, rows)?;
        if ids.contains(&FATAL_BEHIND) {
            self.model.panicked.store(true, Ordering::Relaxed);
            panic!("token {FATAL_BEHIND}");
        }
        Ok(report)
    }
    fn likeliest(&mut self, token: usize) -> Result<Option<u32>, OpsError> {
        self.run.likeliest(token)
    }
    fn logits(&mut self, token: usize) -> Result<Vec<f32>, OpsError> {
        let mut logits = self.run.logits(token)?;
        if self.model.takes_damage && self.model.panicked.load(Ordering::Relaxed) {
            logits.reverse();
        }
        Ok(logits)
    }

    fn sequence(&self) -> &Sequence {
        self.run.sequence()
    }
    fn sequence_mut(&mut self) -> &mut Sequence {
        self.run.sequence_mut()
    }
    fn reserve(&mut self, tokens: usize) -> Result<(), OpsError> {
        self.run.reserve(tokens)
    }
    fn rest(&mut self) {
        self.run.rest();
    }
    fn chunk_len(&self) -> usize {
        self.run.chunk_len()
    }
    fn forward_watched(
        &mut self,
        ids: &[u32],
        prefill: PrefillAttention,
        rows: usize,
    ) -> Result<Option<(Part, usize)>, OpsError> {
        self.run.forward_watched(ids, prefill, rows)
    }
    fn rewind(&mut self, len: usize, prompt_len: usize) {
        self.run.rewind(len, prompt_len);
    }
    fn forward_one(&mut self, id: u32) -> Result<(), OpsError> {
        self.model.check(id);
        self.run.forward_one(id)
    }
    fn times(&self) -> Result<DeviceTimes, OpsError> {
        self.run.times()
    }
}

pub(super) fn engine(takes_damage: bool) -> Engine {
    engine_that_fails_at(takes_damage, Arc::new(AtomicU32::new(u32::MAX)))
}

fn engine_that_fails_at(takes_damage: bool, fatal: Arc<AtomicU32>) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 256,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let options = EngineOptions {
        device: Device::Cpu,
        threads: 2,
        chunk_tokens: Some(64),
        random_weights: Some(RandomWeights::Bf16),
        ..EngineOptions::default()
    };
    let engine = Engine::load(folder.path().to_str().unwrap(), &options, &mut |_| {}).unwrap();
    let faulty = Faulty { model: engine.model, takes_damage, panicked: AtomicBool::new(false), fatal };
    Engine { model: Box::new(faulty), ..engine }
}

/// Submits a prompt; where the answer's end arrives.
pub(super) fn submit(service: &Service, prompt: Vec<u32>) -> Receiver<Result<Generation, EngineError>> {
    submit_and(service, prompt, |_| {})
}

/// As [`submit`]; `then` hears of everything first.
pub(super) fn submit_and(
    service: &Service,
    prompt: Vec<u32>,
    mut then: impl FnMut(&Heard) + Send + 'static,
) -> Receiver<Result<Generation, EngineError>> {
    let (sender, receiver) = channel();
    let request = Request { max_tokens: 100, stop_at_eos: false, ..Request::default() };
    service.submit(prompt, request, move |heard| {
        then(&heard);
        if let Heard::Ended(ended) = heard {
            sender.send(ended).unwrap();
        }
        ControlFlow::Continue(())
    });
    receiver
}

pub(super) fn end(receiver: &Receiver<Result<Generation, EngineError>>) -> Result<Generation, EngineError> {
    receiver.recv_timeout(Duration::from_secs(60)).expect("an end")
}

#[test]
fn a_panic_ends_its_request_and_no_other() {
    let service = Service::start(engine(false), ServiceOptions::default());
    let alone = end(&submit(&service, vec![7; 200])).unwrap();
    let (before, fatal, after) =
        (submit(&service, vec![7; 300]), submit(&service, vec![FATAL; 200]), submit(&service, vec![7; 200]));
    let told = end(&fatal);
    assert!(matches!(told, Err(EngineError::Panicked)), "{told:?}");
    assert_eq!(end(&before).unwrap().tokens.len(), 100);
    assert_eq!(end(&after).unwrap().tokens, alone.tokens);
    // What was kept before is not trusted any more, what is kept since then is.
    assert!(service.is_sound());
    assert!(end(&submit(&service, vec![7; 200])).unwrap().stats.cached_tokens > 0);
}

#[test]
fn a_panic_of_a_step_of_several_is_told_to_whose_it_is() {
    let fatal = Arc::new(AtomicU32::new(u32::MAX));
    let service = Service::start(engine_that_fails_at(false, fatal.clone()), ServiceOptions::default());
    let is_fatal = |id: &u32| [FATAL, FATAL_BEHIND].contains(id);
    let prompt = |n: u32| (0..70).map(|i| (i * 37 + n * 11 + i * i * n) % 256).filter(|id| !is_fatal(id)).collect();
    let prompts: Vec<Vec<u32>> = (0..3).map(prompt).collect();
    let alone: Vec<_> = prompts.iter().map(|prompt| end(&submit(&service, prompt.clone())).unwrap().tokens).collect();
    let only = |token: &&u32| !alone[0].contains(token) && !alone[2].contains(token);
    fatal.store(*alone[1].iter().find(only).expect("answers differ"), Ordering::Relaxed);
    let said: Vec<_> = prompts.iter().map(|prompt| submit(&service, prompt.clone())).collect();
    assert_eq!(end(&said[0]).unwrap().tokens, alone[0]);
    let told = end(&said[1]);
    assert!(matches!(told, Err(EngineError::Panicked)), "{told:?}");
    assert_eq!(end(&said[2]).unwrap().tokens, alone[2]);
    assert!(service.is_sound());
    assert_eq!(service.pages().of_requests, 0);
}

#[test]
fn an_engine_that_took_damage_answers_nobody() {
    let service = Service::start(engine(true), ServiceOptions::default());
    let (before, fatal, after) =
        (submit(&service, vec![7; 300]), submit(&service, vec![FATAL; 20]), submit(&service, vec![7; 200]));
    assert!(matches!(end(&fatal), Err(EngineError::Panicked)));
    for other in [before, after, submit(&service, vec![7; 20])] {
        let told = end(&other);
        assert!(matches!(told, Err(EngineError::Broken)), "{told:?}");
    }
    assert!(!service.is_sound());
}

#[test]
fn who_panics_at_what_it_hears_is_not_heard_of_again() {
    let service = Service::start(engine(false), ServiceOptions::default());
    let (sender, receiver) = channel();
    service.submit(vec![7; 200], Request::default(), move |heard| {
        match heard {
            Heard::Event(Event::Prefill { .. }) => panic!("a listener"),
            Heard::Ended(ended) => sender.send(ended).unwrap(),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    assert_eq!(end(&receiver).unwrap().finish_reason, crate::request::FinishReason::Cancelled);
    assert!(end(&submit(&service, vec![7; 20])).is_ok() && service.is_sound());
}
