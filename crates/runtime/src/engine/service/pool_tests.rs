//! Pools where memory is taken at once, as on a GPU.

use super::panic_tests::{end, engine, submit};
use super::*;

fn on_gpu(max_running: usize) -> Service {
    let engine = Engine { on_gpu: true, ..engine(false) };
    Service::start(engine, ServiceOptions { max_running, ..ServiceOptions::default() })
}

/// Not the token that the model panics at.
fn prompt(n: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| 20 + (i * 37 + n * 11) % 200).collect()
}

#[test]
fn a_pool_has_what_is_asked_for() {
    let on_cpu = Service::start(engine(false), ServiceOptions::default());
    let service = on_gpu(1);
    assert_eq!(service.pages(), PagesInUse::default());
    // A context has eight pages, of which a fourth comes unasked for.
    for (len, pages) in [(10, 2), (300, 7), (20, 7), (400, 8), (300, 8)] {
        let asked = prompt(len, len);
        let alone = end(&submit(&on_cpu, asked.clone())).unwrap();
        assert_eq!(end(&submit(&service, asked)).unwrap().tokens, alone.tokens);
        assert_eq!((service.pages().all, service.pages().of_requests), (pages, 0), "behind a prompt of {len}");
    }
    let again = end(&submit(&service, prompt(300, 300))).unwrap();
    assert_eq!(again.stats.cached_tokens, 256);
}

#[test]
fn a_pool_grows_once_nobody_runs() {
    let service = on_gpu(3);
    // Of the 24 pages of three contexts, six come unasked for: room for one of these.
    let together = || {
        let said: Vec<_> = (0..3).map(|n| submit(&service, prompt(n, 200))).collect();
        said.iter().map(|said| end(said).unwrap().tokens).collect::<Vec<_>>()
    };
    let first = together();
    assert!((10..=15).contains(&service.pages().all), "{:?}", service.pages());
    assert_eq!(together(), first);
}

#[test]
fn what_makes_room_on_a_gpu_comes_back_from_the_host() {
    let on_cpu = Service::start(engine(false), ServiceOptions::default());
    for (max_host_tokens, cached) in [(1024, 256), (0, 0)] {
        let engine = Engine { on_gpu: true, ..engine(false) };
        let service =
            Service::start(engine, ServiceOptions { max_running: 1, max_host_tokens, ..ServiceOptions::default() });
        // Of eight pages; each takes six, so that one makes room for the other.
        let asked: Vec<_> = [1, 2, 1, 2, 1].map(|n| prompt(n, 300)).to_vec();
        for (at, asked) in asked.into_iter().enumerate() {
            let alone = end(&submit(&on_cpu, asked.clone())).unwrap();
            let got = end(&submit(&service, asked)).unwrap();
            assert_eq!(got.tokens, alone.tokens, "prompt {at}, {max_host_tokens} on the host");
            let wanted = if at < 2 { 0..=0 } else { cached..=256 };
            assert!(wanted.contains(&got.stats.cached_tokens), "prompt {at}: {}", got.stats.cached_tokens);
        }
        assert_eq!(service.pages().of_requests, 0);
        assert_eq!(service.pages().on_host > 0, max_host_tokens > 0, "{:?}", service.pages());
    }
}

#[test]
fn what_was_read_outlives_a_pool_that_grows() {
    let engine = Engine { on_gpu: true, ..engine(false) };
    let service =
        Service::start(engine, ServiceOptions { max_running: 1, max_host_tokens: 1024, ..ServiceOptions::default() });
    let first = end(&submit(&service, prompt(1, 200))).unwrap();
    let pages = service.pages().all;
    end(&submit(&service, prompt(2, 400))).unwrap();
    assert!(service.pages().all > pages, "{:?}", service.pages());
    let again = end(&submit(&service, prompt(1, 200))).unwrap();
    assert_eq!((again.stats.cached_tokens, again.tokens), (192, first.tokens));
}
