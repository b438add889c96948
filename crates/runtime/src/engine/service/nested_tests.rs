//! A model that panics while a short prompt is read between the layers of a long one: whoever it was is told, the other is answered.

use super::panic_tests::{FATAL, FATAL_BEHIND, end, engine, submit_and};
use super::*;
use crate::engine::EngineError;
use crate::request::Event;
use std::sync::mpsc::channel;

/// Asks for `long`, and for `short` when its chunk begins; how both end, in the order in which they are named here.
fn both(service: &Arc<Mutex<Service>>, long: Vec<u32>, short: Vec<u32>) -> [Result<Vec<u32>, EngineError>; 2] {
    let (sender, asked) = channel();
    let (asks, mut short) = (service.clone(), Some(short));
    let long = submit_and(&service.lock().unwrap(), long, move |heard| {
        if matches!(heard, Heard::Event(Event::Layer { done_layers: 0, .. }))
            && let Some(short) = short.take()
        {
            sender.send(submit_and(&asks.lock().unwrap(), short, |_| {})).unwrap();
        }
    });
    [end(&long), end(&asked.recv().unwrap())].map(|ended| ended.map(|generation| generation.tokens))
}

#[test]
fn a_panic_of_a_prompt_read_between_layers_or_of_the_one_around_it_ends_no_other() {
    let mut engine = engine(false);
    engine.set_chunk_tokens(512);
    let service = Arc::new(Mutex::new(Service::start(engine, ServiceOptions::default())));
    let with = |id: u32, len: usize| [vec![7; len - 1], vec![id]].concat();
    let [long, short] = both(&service, with(7, 400), with(8, 90)).map(Result::unwrap);

    let [answered, told] = both(&service, with(7, 400), with(FATAL, 90));
    assert!(matches!(told, Err(EngineError::Panicked)), "{told:?}");
    assert_eq!(answered.unwrap(), long);

    // Behind its layers, between which the short one was read.
    let [told, answered] = both(&service, with(FATAL_BEHIND, 400), with(8, 90));
    assert!(matches!(told, Err(EngineError::Panicked)), "{told:?}");
    assert_eq!(answered.unwrap(), short);

    let service = service.lock().unwrap();
    assert!(service.is_sound());
    assert_eq!(service.pages().of_requests, 0);
}
