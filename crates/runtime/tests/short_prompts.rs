//! Short prompts beside a long one: they are read between the layers of its chunks, and every answer is that of its prompt alone. On a
//! tiny random model of several layers, on every device there is; what happens when follows from the order of events alone.

mod small_model;

use runtime::engine::service::{Heard, Service, ServiceOptions, Ticket};
use runtime::engine::{Engine, EngineError, EngineOptions};
use runtime::request::{AttentionMode, Device, Event, FinishReason, Generation, Request};
use runtime::weights::RandomWeights;
use serde_json::json;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CHUNK: usize = 1024;
const LAYERS: usize = 4;
const CONTEXT: usize = 2048;

fn engine_within(device: Device, max_memory_bytes: Option<u64>) -> Option<Engine> {
    let folder = tempfile::tempdir().unwrap();
    small_model::write_with(
        folder.path(), // Wide enough for a layer of a chunk to take longer than a few tokens.
        json!({
            "max_position_embeddings": CONTEXT, "num_hidden_layers": LAYERS, "hidden_size": 64, "intermediate_size": 512,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        }),
    );
    let options = EngineOptions {
        device,
        threads: 2,
        chunk_tokens: Some(CHUNK),
        random_weights: Some(RandomWeights::Bf16),
        max_memory_bytes,
        ..EngineOptions::default()
    };
    small_model::load(folder.path(), &options)
}

fn engine(device: Device) -> Option<Engine> {
    engine_within(device, None)
}

/// Ids of bytes.
fn prompt(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 37 + seed * 11 + i * i * seed) % 256).collect()
}

fn request(max_tokens: usize) -> Request {
    Request { max_tokens, attention: AttentionMode::Dense, stop_at_eos: false, ..Request::default() }
}

/// What was heard, of all requests in one order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    /// So many layers of a chunk were done; a GPU tells the first of these only.
    Layer(usize),
    /// So many tokens of the prompt were read.
    Read(usize),
    Chosen,
    Ended,
}

type Ended = Receiver<Result<Generation, EngineError>>;

/// A service and what its requests heard, by the names that they were given.
#[derive(Clone)]
struct Stage {
    service: Arc<Mutex<Option<Service>>>,
    log: Arc<Mutex<Vec<(&'static str, Said)>>>,
}

impl Stage {
    fn new(engine: Engine, max_running: usize) -> Self {
        let service = Service::start(engine, ServiceOptions { max_running, ..ServiceOptions::default() });
        Self { service: Arc::new(Mutex::new(Some(service))), log: Arc::default() }
    }

    fn ask(&self, name: &'static str, ids: Vec<u32>, max_tokens: usize) -> (Ticket, Ended) {
        self.ask_and(name, ids, max_tokens, |_| ControlFlow::Continue(()))
    }

    /// Asks, and does something on the engine's thread as the request hears: say, asks for more.
    fn ask_and(
        &self,
        name: &'static str,
        ids: Vec<u32>,
        max_tokens: usize,
        mut then: impl FnMut(Said) -> ControlFlow<()> + Send + 'static,
    ) -> (Ticket, Ended) {
        let (sender, receiver) = channel();
        let log = self.log.clone();
        let hear = move |heard: Heard| {
            let said = match &heard {
                Heard::Event(Event::Layer { done_layers, .. }) => Said::Layer(*done_layers),
                Heard::Event(Event::Prefill { done_tokens, .. }) => Said::Read(*done_tokens),
                Heard::Event(Event::Chosen(_)) => Said::Chosen,
                Heard::Ended(_) => Said::Ended,
                Heard::Began { .. } | Heard::Event(_) => return ControlFlow::Continue(()),
            };
            log.lock().unwrap().push((name, said));
            let flow = then(said);
            if let Heard::Ended(ended) = heard {
                sender.send(ended).unwrap();
            }
            flow
        };
        let service = self.service.lock().unwrap();
        (service.as_ref().expect("it is not over").submit(ids, request(max_tokens), hear), receiver)
    }

    /// What was heard, once everything is answered. The service ends in this thread, whoever else has the stage.
    fn finish(self) -> Vec<(&'static str, Said)> {
        let service = self.service.lock().unwrap().take().expect("it is not over");
        assert_eq!(service.pages().of_requests, 0);
        service.finish();
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

fn end(ended: &Ended) -> Result<Generation, EngineError> {
    ended.recv_timeout(Duration::from_secs(60)).expect("an end")
}

fn tokens(ended: &Ended) -> Vec<u32> {
    end(ended).unwrap().tokens
}

fn alone(device: Device, ids: &[u32], max_tokens: usize) -> Generation {
    engine(device).unwrap().generate(ids, &request(max_tokens), &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Where something was heard first.
fn at(log: &[(&str, Said)], what: (&str, Said)) -> usize {
    log.iter().position(|said| *said == what).unwrap_or_else(|| panic!("no {what:?} in {log:?}"))
}

/// Calls `work` once, when the first chunk begins.
fn once(mut work: impl FnMut() + Send + 'static) -> impl FnMut(Said) -> ControlFlow<()> + Send + 'static {
    let mut is_done = false;
    move |said| {
        if said == Said::Layer(0) && !std::mem::replace(&mut is_done, true) {
            work();
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn short_prompts_are_answered_within_a_chunk_of_a_long_one() {
    for device in [Device::Cpu, Device::Cuda(0)] {
        let Some(engine) = engine(device) else { continue };
        let stage = Stage::new(engine, 8);
        let (sender, asked) = channel();
        let asks = stage.clone();
        let names = ["first", "second", "third"];
        let (_, long) = stage.ask_and(
            "long",
            prompt(1, 2000),
            5,
            once(move || {
                for (n, name) in names.into_iter().enumerate() {
                    let short = asks.ask(name, prompt(2 + n as u32, 40 + 100 * n), 2).1;
                    sender.send(short).unwrap();
                }
            }),
        );
        let got = end(&long).unwrap();
        let wanted = alone(device, &prompt(1, 2000), 5);
        assert_eq!((&got.tokens, got.stats.density), (&wanted.tokens, wanted.stats.density), "on {device}");
        for (n, short) in asked.iter().enumerate() {
            assert_eq!(tokens(&short), alone(device, &prompt(2 + n as u32, 40 + 100 * n), 2).tokens, "on {device}");
        }
        let log = stage.finish();
        // Two tokens come in the turn that reads the prompt; whose turn is next depends on the clock, but for the order.
        assert!(at(&log, ("first", Said::Ended)) < at(&log, ("long", Said::Read(CHUNK))), "{log:?}");
        assert!(at(&log, ("third", Said::Ended)) < at(&log, ("long", Said::Chosen)), "{log:?}");
        let firsts = names.map(|name| at(&log, (name, Said::Chosen)));
        assert!(firsts.is_sorted(), "{log:?}");
    }
}

/// What is written before the first layer of a chunk is done is written within it.
#[test]
fn answers_go_on_within_a_layer_on_a_cpu() {
    let stage = Stage::new(engine(Device::Cpu).unwrap(), 8);
    let (sender, written) = channel();
    let (writes, answer) = stage.ask_and("writes", prompt(2, 10), 2000, move |said| {
        if said == Said::Chosen {
            // Nobody listens any more.
            let _ = sender.send(());
        }
        ControlFlow::Continue(())
    });
    assert_eq!(written.iter().take(3).count(), 3);
    drop(written);
    let (_, long) = stage.ask("long", prompt(1, 2000), 2);
    assert_eq!(tokens(&long), alone(Device::Cpu, &prompt(1, 2000), 2).tokens);
    writes.cancel();
    let said = end(&answer).unwrap().tokens;
    assert_eq!(said, alone(Device::Cpu, &prompt(2, 10), said.len()).tokens);
    let log = stage.finish();
    let begins = (0..log.len()).filter(|n| log[*n] == ("long", Said::Layer(0)));
    let within = begins.map(|n| log[n..].iter().take_while(|said| **said != ("long", Said::Layer(1))));
    let chosen: usize = within.map(|said| said.filter(|said| **said == ("writes", Said::Chosen)).count()).sum();
    assert!(chosen > 0, "{log:?}");
}

/// Asks for another whenever one is answered, until it is told to end.
fn stream(stage: &Stage, name: &'static str, seed: u32, is_over: Arc<Mutex<bool>>) {
    let asks = stage.clone();
    stage.ask_and(name, prompt(seed, 30), 1, move |said| {
        if said == Said::Ended && !*is_over.lock().unwrap() {
            stream(&asks, name, seed + 7, is_over.clone());
        }
        ControlFlow::Continue(())
    });
}

#[test]
fn a_stream_of_short_prompts_starves_no_long_one() {
    let stage = Stage::new(engine(Device::Cpu).unwrap(), 8);
    let is_over = Arc::new(Mutex::new(false));
    let (asks, over) = (stage.clone(), is_over.clone());
    let mut begin = once(move || {
        for (seed, name) in ["a", "b", "c"].into_iter().enumerate() {
            stream(&asks, name, seed as u32, is_over.clone());
        }
    });
    let (_, long) = stage.ask_and("long", prompt(1, 2000), 1, move |said| {
        *over.lock().unwrap() |= said == Said::Ended;
        begin(said)
    });
    assert_eq!(tokens(&long), alone(Device::Cpu, &prompt(1, 2000), 1).tokens);
    // What the streams asked for last is answered by the end of the service.
    let service = stage.service.lock().unwrap().take().expect("it is not over");
    service.finish();
    let log = stage.log.lock().unwrap().clone();
    let ends = |log: &[(&str, Said)]| log.iter().filter(|said| said.0 != "long" && said.1 == Said::Ended).count();
    let layers: Vec<_> =
        (0..log.len()).filter(|n| log[*n].0 == "long" && matches!(log[*n].1, Said::Layer(_))).collect();
    assert_eq!(layers.len(), 2 * (LAYERS + 1));
    let mut within = 0;
    for pair in layers.windows(2) {
        if log[pair[1]].1 != Said::Layer(0) {
            let between = ends(&log[pair[0]..pair[1]]);
            assert!(between <= 1, "{between} between two layers: {log:?}");
            within += between;
        }
    }
    assert!(within > 0, "{log:?}");
}

#[test]
fn whoever_is_cancelled_between_layers_ends_and_the_other_does_not() {
    // The short one while it waits, in its own chunk, or when it has a token; then the long one when the short one has.
    for cancelled in 0..4 {
        let stage = Stage::new(engine(Device::Cpu).unwrap(), 8);
        let (sender, asked) = channel();
        let asks = stage.clone();
        let ticket: Arc<Mutex<Option<Ticket>>> = Arc::default();
        let of_long = ticket.clone();
        let begin = once(move || {
            let of_long = of_long.clone();
            let (of_short, short) = asks.ask_and("short", prompt(2, 100), 8, move |said| match (cancelled, said) {
                (1, Said::Layer(1)) | (2, Said::Chosen) => ControlFlow::Break(()),
                (3, Said::Chosen) => {
                    of_long.lock().unwrap().as_ref().expect("it is asked for").cancel();
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            });
            if cancelled == 0 {
                of_short.cancel();
            }
            sender.send(short).unwrap();
        });
        let mut place = ticket.lock().unwrap();
        let (of_long, long) = stage.ask_and("long", prompt(1, 2000), 3, begin);
        *place = Some(of_long);
        drop(place);
        let (long, short) = (end(&long).unwrap(), end(&asked.recv().unwrap()).unwrap());
        let log = stage.finish();
        let wanted = [alone(Device::Cpu, &prompt(1, 2000), 3).tokens, alone(Device::Cpu, &prompt(2, 100), 8).tokens];
        let read = ("long", Said::Read(CHUNK));
        if cancelled == 3 {
            assert_eq!((long.finish_reason, long.tokens.len()), (FinishReason::Cancelled, 0));
            assert_eq!(short.tokens, wanted[1]);
            assert!(!log.contains(&read), "it ended with its layer: {log:?}");
        } else {
            assert_eq!(long.tokens, wanted[0], "{cancelled}");
            assert_eq!(short.finish_reason, FinishReason::Cancelled, "{cancelled}");
            assert_eq!(short.tokens.len(), usize::from(cancelled == 2));
            assert!(at(&log, ("short", Said::Ended)) < at(&log, read), "{cancelled}: {log:?}");
        }
    }
}

#[test]
fn who_asks_wrongly_is_told_within_a_chunk() {
    let stage = Stage::new(engine(Device::Cpu).unwrap(), 8);
    let (sender, asked) = channel();
    let asks = stage.clone();
    let (_, long) = stage.ask_and(
        "long",
        prompt(1, 2000),
        3,
        once(move || {
            sender.send(asks.ask("empty", Vec::new(), 2).1).unwrap();
            sender.send(asks.ask("unknown", vec![1, 999_999], 2).1).unwrap();
        }),
    );
    assert_eq!(tokens(&long), alone(Device::Cpu, &prompt(1, 2000), 3).tokens);
    let told: Vec<_> = asked.iter().map(|asked| end(&asked).unwrap_err()).collect();
    assert!(matches!(told[..], [EngineError::EmptyPrompt, EngineError::Token { id: 999_999, .. }]), "{told:?}");
    let log = stage.finish();
    assert!(at(&log, ("unknown", Said::Ended)) < at(&log, ("long", Said::Read(CHUNK))), "{log:?}");
}

/// Where one at a time is worked on, and where memory is for one chunk at a time: the short one is read when the chunk is over.
#[test]
fn without_a_place_or_memory_for_a_second_chunk_a_short_prompt_waits() {
    let need = engine(Device::Cpu).unwrap().predicted_memory(CONTEXT, false);
    // Pages of a whole context and two more, and nothing for a second chunk.
    let scarce = need.total_bytes() + 2 * need.kv_cache_bytes / (CONTEXT / 64) as u64;
    for (max_running, max_memory_bytes, behind) in
        [(1, None, ("long", Said::Ended)), (8, Some(scarce), ("long", Said::Read(CHUNK)))]
    {
        let stage = Stage::new(engine_within(Device::Cpu, max_memory_bytes).unwrap(), max_running);
        let (sender, asked) = channel();
        let asks = stage.clone();
        let begin = once(move || sender.send(asks.ask("short", prompt(2, 100), 2).1).unwrap());
        let (_, long) = stage.ask_and("long", prompt(1, 2000), 3, begin);
        assert_eq!(tokens(&long), alone(Device::Cpu, &prompt(1, 2000), 3).tokens);
        assert_eq!(tokens(&asked.recv().unwrap()), alone(Device::Cpu, &prompt(2, 100), 2).tokens);
        let log = stage.finish();
        assert!(at(&log, behind) < at(&log, ("short", Said::Layer(0))), "{log:?}");
    }
}
