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
