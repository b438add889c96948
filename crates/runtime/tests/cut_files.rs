//! Every file of a model cut at every byte: an error, or a model that answers; a panic fails the test.

mod small_model;

use runtime::chat_template::Message;
use runtime::engine::{Engine, EngineOptions};
use runtime::request::{AttentionMode, Device, Request};
use runtime::tokenizer::Tokenizer;
use runtime::weights::ModelWeights;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Loads, renders a chat and answers; whether that went well.
fn use_model(folder: &Path) -> bool {
    let options = EngineOptions { device: Device::Cpu, threads: 1, ..EngineOptions::default() };
    let Ok(mut engine) = Engine::load(folder.to_str().expect("UTF-8"), &options, &mut |_| {}) else {
        return false;
    };
    let chat = engine.render_chat(&[Message::user("cut")]).is_ok();
    let prompt = engine.encode("cut").expect("a tokenizer that was read reads text");
    let request = Request { attention: AttentionMode::Dense, max_tokens: 2, ..Request::default() };
    engine.generate(&prompt, &request, &mut |_| ControlFlow::Continue(())).is_ok() && chat
}

/// What becomes of every cut of a file, at all bytes or at every `step`th.
fn cuts(name: &str, step: usize, mut use_folder: impl FnMut(&Path) -> bool) -> Vec<bool> {
    let folder = tempfile::tempdir().unwrap();
    small_model::write(folder.path());
    assert!(use_folder(folder.path()), "{name} is good when it is whole");
    let path = folder.path().join(name);
    let file = fs::File::options().write(true).open(&path).unwrap();
    // From the end on, so that nothing is written: file systems may wait for the disk when a file is written anew.
    let len = file.metadata().unwrap().len() as usize;
    let cuts = (0..len).step_by(step).rev();
    let mut used: Vec<bool> = cuts
        .map(|cut| {
            file.set_len(cut as u64).unwrap();
            use_folder(folder.path())
        })
        .collect();
    used.reverse();
    used
}

fn all_refused(name: &str, step: usize, use_folder: impl FnMut(&Path) -> bool) {
    let used = cuts(name, step, use_folder).iter().position(|used| *used);
    assert_eq!(used.map(|n| n * step), None, "{name} was used though cut");
}

#[test]
fn what_says_how_the_model_is_made() {
    all_refused("config.json", 1, use_model);
    // It only adds tokens that end a text: one that cannot be read adds none.
    cuts("generation_config.json", 1, use_model);
    all_refused("tokenizer_config.json", 1, use_model);
    all_refused("model.safetensors.index.json", 3, use_model);
}

#[test]
fn the_tokenizer() {
    let read = |folder: &Path| Tokenizer::from_folder(folder).and_then(|tokenizer| tokenizer.encode("cut")).is_ok();
    all_refused("tokenizer.json", 1, read);
    all_refused("tokenizer.json", 97, use_model);
}

#[test]
fn the_chat_template_is_an_error_or_renders() {
    let used = cuts("chat_template.jinja", 1, use_model);
    assert!(used.contains(&true) && used.contains(&false), "{used:?}");
}

#[test]
fn the_weights() {
    for (name, _) in small_model::files().iter().filter(|(name, _)| name.ends_with("safetensors")) {
        let open = |folder: &Path| ModelWeights::open_folder(folder).is_ok();
        all_refused(name, 1, open);
        all_refused(name, 997, use_model);
    }
}
