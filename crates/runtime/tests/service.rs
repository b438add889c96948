//! Several prompts at once: each is answered as alone, whatever becomes of the others. On tiny random models, on every device there is.

mod small_model;

use runtime::engine::service::{Heard, PagesInUse, Service, ServiceOptions};
use runtime::engine::{Engine, EngineError, EngineOptions};
use runtime::request::{AttentionMode, Device, Event, FinishReason, Generation, Request};
use serde_json::json;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const CHUNK: usize = 64;

/// Devices, and whether answers on a GPU are written apart.
const WAYS: [(Device, bool); 3] = [(Device::Cpu, false), (Device::Cuda(0), true), (Device::Cuda(0), false)];

fn engine(device: Device) -> Option<Engine> {
    engine_of_context(device, 2048)
}

fn engine_of_context(device: Device, context: usize) -> Option<Engine> {
    engine_within(device, context, None)
}

fn engine_within(device: Device, context: usize, max_memory_bytes: Option<u64>) -> Option<Engine> {
    let folder = tempfile::tempdir().unwrap();
    small_model::write_with(folder.path(), json!({ "max_position_embeddings": context }));
    let chunk_tokens = Some(CHUNK);
    let options = EngineOptions { device, threads: 2, chunk_tokens, max_memory_bytes, ..EngineOptions::default() };
    small_model::load(folder.path(), &options)
}

/// Ids of bytes.
fn prompt(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 37 + seed * 11 + i * i * seed) % 256).collect()
}

fn request(attention: AttentionMode, max_tokens: usize) -> Request {
    Request { max_tokens, attention, stop_at_eos: false, ..Request::default() }
}

/// What a listener of a request heard.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // a few in a test
enum Said {
    Began(usize),
    Read(usize),
    Text,
    Ended(Result<Generation, EngineError>),
}

/// Hears everything, and goes on.
fn listener() -> (impl FnMut(Heard) -> ControlFlow<()> + Send + 'static, Receiver<Said>) {
    let (sender, receiver) = channel();
    let hear = move |heard: Heard| {
        let said = match heard {
            Heard::Began { cached_tokens } => Said::Began(cached_tokens),
            Heard::Event(Event::Prefill { done_tokens, .. }) => Said::Read(done_tokens),
            Heard::Event(Event::Text(_)) => Said::Text,
            Heard::Event(Event::Layer { .. } | Event::Chosen(_) | Event::Token(_)) => return ControlFlow::Continue(()),
            Heard::Ended(ended) => Said::Ended(ended),
        };
        sender.send(said).unwrap();
        ControlFlow::Continue(())
    };
    (hear, receiver)
}

/// The end of a request, and everything before it.
fn end(said: &Receiver<Said>) -> (Vec<Said>, Result<Generation, EngineError>) {
    let mut before = Vec::new();
    loop {
        match said.recv_timeout(Duration::from_secs(60)).expect("an end") {
            Said::Ended(ended) => {
                assert!(said.try_recv().is_err(), "nothing comes behind the end");
                return (before, ended);
            }
            other => before.push(other),
        }
    }
}

fn answer(said: &Receiver<Said>) -> Generation {
    end(said).1.unwrap()
}

#[test]
fn answers_are_those_of_each_alone() {
    for (device, apart_on_gpu) in WAYS {
        let Some(mut alone) = engine(device) else { continue };
        let lengths = [1, 700, 64, 130, 1200, 65, 300, 63];
        let asked: Vec<_> = (0..lengths.len())
            .map(|n| {
                let mode = [AttentionMode::Dense, AttentionMode::Auto][n % 2];
                (prompt(n as u32 + 1, lengths[n]), request(mode, 4 + 3 * n))
            })
            .collect();
        let go_on = &mut |_: Event| ControlFlow::Continue(());
        let wanted: Vec<_> = asked.iter().map(|(ids, request)| alone.generate(ids, request, go_on).unwrap()).collect();
        for max_running in [1, 3, 8] {
            let service = Service::start(
                engine(device).unwrap(),
                ServiceOptions { max_running, max_kept_tokens: Some(640), apart_on_gpu, ..ServiceOptions::default() },
            );
            let answers: Vec<_> = (asked.iter())
                .map(|(ids, request)| {
                    let (hear, said) = listener();
                    service.submit(ids.clone(), request.clone(), hear);
                    said
                })
                .collect();
            service.finish();
            for (n, (said, wanted)) in answers.iter().zip(&wanted).enumerate() {
                let (before, ended) = end(said);
                let got = ended.unwrap();
                assert_eq!(got.tokens, wanted.tokens, "request {n} of {max_running} at a time on {device}");
                assert_eq!((&got.text, got.finish_reason), (&wanted.text, wanted.finish_reason));
                assert_eq!(got.stats.density, wanted.stats.density);
                assert_eq!(got.stats.prompt_tokens, lengths[n]);
                let chunks = before.iter().filter(|said| matches!(said, Said::Read(_))).count();
                assert_eq!(chunks, lengths[n].div_ceil(CHUNK));
            }
        }
    }
}

#[test]
fn a_long_prompt_holds_up_nobody() {
    let service = Service::start(engine(Device::Cpu).unwrap(), ServiceOptions::default());
    let (hear, long) = listener();
    let ticket = service.submit(prompt(1, 2000), request(AttentionMode::Dense, 4), hear);
    assert!(matches!(long.recv().unwrap(), Said::Began(0)));
    let (hear, short) = listener();
    service.submit(prompt(2, 100), request(AttentionMode::Dense, 8), hear);
    assert_eq!(answer(&short).tokens.len(), 8);
    // Two chunks of the short one, and eight tokens beside which the long one had a chunk each; its other eighteen come later.
    let read =
        long.try_iter().filter_map(|said| if let Said::Read(tokens) = said { Some(tokens) } else { None }).last();
    assert!(read.is_none_or(|tokens| tokens < 2000), "{read:?}");
    ticket.cancel();
    let (_, ended) = end(&long);
    assert_eq!(ended.unwrap().finish_reason, FinishReason::Cancelled);
}

/// Not for a chunk of it, even: answers go on between its layers.
#[test]
fn answers_go_on_between_the_layers_of_a_chunk() {
    for device in [Device::Cpu, Device::Cuda(0)] {
        let Some(engine) = engine(device) else { continue };
        let service = Service::start(engine, ServiceOptions::default());
        let (sender, written) = channel();
        let (within_chunk, texts_within) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (inside, texts) = (within_chunk.clone(), texts_within.clone());
        let writes = service.submit(prompt(2, 10), request(AttentionMode::Dense, 2000), move |heard| {
            if matches!(heard, Heard::Event(Event::Text(_))) {
                texts.fetch_add(usize::from(inside.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
            sender.send(matches!(heard, Heard::Ended(_))).unwrap();
            ControlFlow::Continue(())
        });
        // Several chunks, since not every token is a text.
        let said = written.iter().take(5).collect::<Vec<_>>();
        assert!(!said.contains(&true), "it has much to write");
        let (mut hear, long) = listener();
        service.submit(prompt(1, 1500), request(AttentionMode::Dense, 1), move |heard| {
            match heard {
                Heard::Event(Event::Layer { done_layers: 0, .. }) => within_chunk.store(true, Ordering::Relaxed),
                Heard::Event(Event::Prefill { .. }) => within_chunk.store(false, Ordering::Relaxed),
                _ => {}
            }
            hear(heard)
        });
        assert_eq!(answer(&long).tokens.len(), 1);
        assert!(texts_within.load(Ordering::Relaxed) > 0, "nothing was written within a chunk on {device}");
        writes.cancel();
    }
}

#[test]
fn what_is_cancelled_ends_and_others_do_not() {
    let service = Service::start(
        engine(Device::Cpu).unwrap(),
        ServiceOptions { max_running: 1, max_kept_tokens: Some(0), ..ServiceOptions::default() },
    );
    let (hear, first) = listener();
    let ticket = service.submit(prompt(1, 1900), request(AttentionMode::Dense, 100), hear);
    let (hear, waiting) = listener();
    service.submit(prompt(2, 100), request(AttentionMode::Dense, 4), hear).cancel();
    let (hear, last) = listener();
    service.submit(prompt(3, 100), request(AttentionMode::Dense, 4), hear);
    let ended = answer(&waiting);
    assert_eq!((ended.finish_reason, ended.tokens.len()), (FinishReason::Cancelled, 0));
    assert!(matches!(first.recv().unwrap(), Said::Began(_)));
    ticket.cancel();
    assert_eq!(answer(&first).finish_reason, FinishReason::Cancelled);
    assert_eq!(answer(&last).tokens.len(), 4);
    // A listener that wants no more is as good as a ticket.
    let (sender, said) = channel();
    service.submit(prompt(4, 900), request(AttentionMode::Dense, 4), move |heard| match heard {
        Heard::Ended(ended) => {
            sender.send(ended).unwrap();
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Break(()),
    });
    assert_eq!(said.recv().unwrap().unwrap().finish_reason, FinishReason::Cancelled);
}

#[test]
fn who_asks_wrongly_is_told_and_others_are_answered() {
    let service = Service::start(engine(Device::Cpu).unwrap(), ServiceOptions::default());
    let (hear, good) = listener();
    service.submit(prompt(1, 200), request(AttentionMode::Auto, 4), hear);
    for (ids, says) in
        [(vec![1, 999_999], "vocabulary"), (Vec::new(), "the prompt is empty"), (prompt(1, 2050), "context")]
    {
        let (hear, bad) = listener();
        service.submit(ids, request(AttentionMode::Auto, 4), hear);
        let (before, ended) = end(&bad);
        let message = ended.unwrap_err().to_string();
        assert!(before.is_empty() && message.contains(says), "{message}");
    }
    assert_eq!(answer(&good).tokens.len(), 4);
}

#[test]
fn what_was_read_is_not_read_again() {
    for device in [Device::Cpu, Device::Cuda(0)] {
        let Some(mut alone) = engine(device) else { continue };
        let service = Service::start(engine(device).unwrap(), ServiceOptions::default());
        let ask = |ids: &[u32], request: Request| {
            let (hear, said) = listener();
            service.submit(ids.to_vec(), request, hear);
            answer(&said)
        };
        let first = prompt(1, 600);
        let answered = ask(&first, request(AttentionMode::Dense, 5));
        // The next turn of a chat, and a prompt that shares its beginning.
        let next = [&first[..], &answered.tokens, &prompt(2, 70)].concat();
        let got = ask(&next, request(AttentionMode::Dense, 5));
        assert_eq!(got.stats.cached_tokens, 576, "nine full pages of 604 tokens");
        let branch = [&first[..300], &prompt(3, 200)].concat();
        let got_branch = ask(&branch, request(AttentionMode::Dense, 5));
        assert_eq!(got_branch.stats.cached_tokens, 256);
        let go_on = &mut |_: Event| ControlFlow::Continue(());
        let dense = request(AttentionMode::Dense, 5);
        for (ids, got) in [(&next, &got), (&branch, &got_branch)] {
            assert_eq!(got.tokens, alone.generate(ids, &dense, go_on).unwrap().tokens, "on {device}");
        }
        // What was attended sparsely serves nobody who asks for every pair.
        let sparse = ask(&prompt(9, 400), request(AttentionMode::Sparse, 2));
        assert_eq!(sparse.stats.cached_tokens, 0);
        assert_eq!(ask(&prompt(9, 400), request(AttentionMode::Dense, 2)).stats.cached_tokens, 0);
        assert_eq!(ask(&prompt(9, 400), request(AttentionMode::Sparse, 2)).stats.cached_tokens, 384);
    }
}

#[test]
fn a_service_that_is_dropped_ends_what_it_does() {
    let service =
        Service::start(engine(Device::Cpu).unwrap(), ServiceOptions { max_running: 1, ..ServiceOptions::default() });
    let all: Vec<_> = (0..3)
        .map(|n| {
            let (hear, said) = listener();
            service.submit(prompt(n, 1500), request(AttentionMode::Dense, 500), hear);
            said
        })
        .collect();
    drop(service);
    for said in &all {
        assert_eq!(answer(said).finish_reason, FinishReason::Cancelled);
    }
}

/// Eight prompts of 1K to 8K tokens at once, with and without a beginning in common.
#[test]
fn long_prompts_together_are_answered_as_alone() {
    for (device, apart_on_gpu) in WAYS {
        let Some(mut alone) = engine_of_context(device, 8192) else { continue };
        let beginning = prompt(99, 900);
        for shared in [&[][..], &beginning] {
            let of_length = |n: u32| [shared, &prompt(n, 1024 * n as usize - 20 - shared.len())].concat();
            let prompts: Vec<_> = (1..=8).map(of_length).collect();
            let dense = request(AttentionMode::Dense, 12);
            let go_on = &mut |_: Event| ControlFlow::Continue(());
            let wanted: Vec<_> = prompts.iter().map(|ids| alone.generate(ids, &dense, go_on).unwrap().tokens).collect();
            let options = ServiceOptions { apart_on_gpu, ..ServiceOptions::default() };
            let service = Service::start(engine_of_context(device, 8192).unwrap(), options);
            let submit = |ids: &Vec<u32>| {
                let (hear, said) = listener();
                service.submit(ids.clone(), dense.clone(), hear);
                said
            };
            let said: Vec<_> = prompts.iter().map(submit).collect();
            let answers: Vec<_> = said.iter().map(answer).collect();
            for (n, (got, wanted)) in answers.iter().zip(&wanted).enumerate() {
                assert_eq!(&got.tokens, wanted, "prompt {n} on {device}");
            }
            let used = service.pages();
            assert!(used.of_requests == 0 && used.kept > 0, "{used:?}");
            // Asked for again, all of it is there but the page with the last token.
            for (ids, wanted) in prompts.iter().zip(&wanted) {
                let again = answer(&submit(ids));
                // A GPU has pages for what was asked for, and not for all of it to be kept.
                if device == Device::Cpu {
                    assert_eq!(again.stats.cached_tokens, (ids.len() - 1) / 64 * 64);
                }
                assert_eq!(&again.tokens, wanted);
            }
        }
    }
}

#[test]
fn what_is_kept_makes_room_and_what_ends_is_free() {
    let service =
        Service::start(engine(Device::Cpu).unwrap(), ServiceOptions { max_running: 1, ..ServiceOptions::default() });
    let ask = |ids: Vec<u32>, max_tokens| {
        let (hear, said) = listener();
        (service.submit(ids, request(AttentionMode::Dense, max_tokens), hear), said)
    };
    answer(&ask(prompt(1, 1000), 4).1);
    assert_eq!(service.pages(), PagesInUse { all: 32, of_requests: 0, kept: 15, on_host: 0 });
    // One that needs all pages: while it is read nothing is kept but what it has itself.
    let (ticket, said) = ask(prompt(2, 1900), 149);
    assert!(matches!(said.recv().unwrap(), Said::Began(0)));
    assert_eq!(service.pages(), PagesInUse { all: 32, of_requests: 32, kept: 0, on_host: 0 });
    ticket.cancel();
    assert_eq!(answer(&said).finish_reason, FinishReason::Cancelled);
    assert_eq!(service.pages().of_requests, 0, "whoever hears of the end finds the pages free");
    answer(&ask(prompt(3, 2040), 9).1);
    assert_eq!(service.pages().kept, 32);
}

/// Two at a time whose beginning is the same share its pages: both have room where two of their own would not.
#[test]
fn a_beginning_is_shared_by_those_who_are_answered_at_once() {
    let service =
        Service::start(engine(Device::Cpu).unwrap(), ServiceOptions { max_running: 2, ..ServiceOptions::default() });
    let beginning = prompt(1, 1536);
    let ask = |seed, max_tokens| {
        let (hear, said) = listener();
        let ids = [&beginning[..], &prompt(seed, 64)].concat();
        (service.submit(ids, request(AttentionMode::Dense, max_tokens), hear), said)
    };
    answer(&ask(2, 1).1);
    let (first, second) = (ask(3, 400), ask(4, 400));
    for (_, said) in [&first, &second] {
        assert!(matches!(said.recv().unwrap(), Said::Began(1536)));
    }
    // 24 pages of both, and of each alone one of its prompt and four for its answer, which grows.
    let used = service.pages();
    assert_eq!((used.all, used.of_requests), (64, 24 + 2 * 5), "{used:?}");
    assert_eq!(answer(&first.1).tokens.len(), 400);
    assert_eq!(answer(&second.1).tokens.len(), 400);
}

/// Nothing is kept in the pool beyond a page, so all comes from there.
#[test]
fn what_a_gpu_keeps_on_the_host_comes_back() {
    let device = Device::Cuda(0);
    let (Some(gpu), Some(mut alone)) = (engine(device), engine(device)) else { return };
    let options = ServiceOptions {
        max_running: 1,
        max_kept_tokens: Some(64),
        max_host_tokens: 4096,
        ..ServiceOptions::default()
    };
    let service = Service::start(gpu, options);
    let asks = |seed: u32, len: usize| (prompt(seed, len), request(AttentionMode::Dense, 12));
    for (seed, len, cached) in [(1, 1000, 0), (2, 700, 0), (1, 1000, 960), (2, 700, 640), (1, 1300, 960)] {
        let (ids, request) = asks(seed, len);
        let (hear, said) = listener();
        service.submit(ids.clone(), request.clone(), hear);
        let got = answer(&said);
        let wanted = alone.generate(&ids, &request, &mut |_: Event| ControlFlow::Continue(())).unwrap();
        assert_eq!((got.stats.cached_tokens, got.tokens), (cached, wanted.tokens), "{len} tokens of prompt {seed}");
    }
    assert!(service.pages().on_host > 20, "{:?}", service.pages());
}

/// Two tokens as likely as each other to so much (in nats) may change places when sums are made in another order.
const TIE: f64 = 0.02;

/// Answers that need several times the pages there are, in a service with room for one whole context: those that were preempted read
/// their tokens again, side by side, so that ties alone may be decided otherwise.
#[test]
fn answers_that_outgrow_the_pages_go_on_where_they_stood() {
    for (device, apart_on_gpu) in WAYS {
        let Some(mut alone) = engine(device) else { continue };
        let one_context = alone.predicted_memory(2048, true).total_bytes();
        let asks: Vec<_> =
            (1..=6).map(|n| (prompt(n, 150 * n as usize), request(AttentionMode::Dense, 1000))).collect();
        let options = ServiceOptions { max_running: 6, apart_on_gpu, ..ServiceOptions::default() };
        let service = Service::start(engine_within(device, 2048, Some(one_context)).unwrap(), options);
        let submit = |(ids, request): &(Vec<u32>, Request)| {
            let (hear, said) = listener();
            service.submit(ids.clone(), request.clone(), hear);
            said
        };
        let said: Vec<_> = asks.iter().map(submit).collect();
        let mut preemptions = 0;
        for ((ids, request), said) in asks.iter().zip(&said) {
            let got = answer(said);
            assert_eq!((got.tokens.len(), got.finish_reason), (1000, FinishReason::Length));
            assert_eq!((got.stats.prompt_tokens, got.stats.generated_tokens), (ids.len(), 1000));
            let mut ask =
                |ids: &[u32], request| alone.generate(ids, &request, &mut |_| ControlFlow::Continue(())).unwrap();
            let wanted = ask(ids, request.clone()).tokens;
            if let Some(at) = got.tokens.iter().zip(&wanted).position(|(got, wanted)| got != wanted) {
                assert!(
                    got.stats.preemptions > 0 || (device != Device::Cpu && !apart_on_gpu),
                    "token {at} on {device}"
                );
                let likely = Request { log_probabilities: Some(256), max_tokens: 1, ..request.clone() };
                let said = ask(&[&ids[..], &wanted[..at]].concat(), likely).said_tokens.remove(0);
                let of = |id| said.most_likely.iter().find(|other| other.id == id).expect("all tokens").log_probability;
                let apart = (of(got.tokens[at]) - of(wanted[at])).abs();
                assert!(apart < TIE, "token {at} of a prompt of {} on {device}: {apart}", ids.len());
            }
            preemptions += got.stats.preemptions;
        }
        assert!(preemptions >= 2, "{preemptions} on {device}");
        let used = service.pages();
        assert_eq!(used.of_requests, 0, "{used:?}");
    }
}

/// Whoever goes away while it is suspended ends with what there was; the others go on.
#[test]
fn what_is_cancelled_while_suspended_ends() {
    let device = Device::Cpu;
    let one_context = engine(device).unwrap().predicted_memory(2048, true).total_bytes();
    let options = ServiceOptions { max_running: 6, ..ServiceOptions::default() };
    let service = Service::start(engine_within(device, 2048, Some(one_context)).unwrap(), options);
    let asks: Vec<_> = (1..=6)
        .map(|n| {
            let (hear, said) = listener();
            (service.submit(prompt(n, 100 * n as usize), request(AttentionMode::Dense, 1400), hear), said)
        })
        .collect();
    // The first has all that it needs: by its end the others that began have given theirs up.
    assert_eq!(answer(&asks[0].1).tokens.len(), 1400);
    let mut ends = Vec::new();
    for (ticket, said) in &asks[2..] {
        ticket.cancel();
        ends.push(answer(said));
    }
    assert!(ends.iter().all(|end| end.finish_reason == FinishReason::Cancelled));
    assert!(ends.iter().any(|end| end.stats.preemptions > 0 && !end.tokens.is_empty()));
    assert_eq!(answer(&asks[1].1).tokens.len(), 1400);
    assert_eq!(service.pages().of_requests, 0);
}
