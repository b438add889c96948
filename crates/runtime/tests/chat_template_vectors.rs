//! Chat templates against Hugging Face transformers (`scripts/reference/chat_template_vectors.py`).

use runtime::chat_template::{ChatInputs, ChatTemplate, Message};
use runtime::formats::gguf::Gguf;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Vectors {
    chats: Vec<Vec<Message>>,
    /// For each model and chat: without and with the beginning of the assistant's turn.
    models: BTreeMap<String, Vec<[Rendered; 2]>>,
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    feature: String,
    template: String,
    rendered: Rendered,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rendered {
    Text(String),
    Refused { error: String },
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("reference/chat_template.json")).expect("vectors are as the script writes them")
}

fn check(what: &str, template: &ChatTemplate, chat: &[Message], add_generation_prompt: bool, expected: &Rendered) {
    match (template.render(chat, add_generation_prompt), expected) {
        (Ok(text), Rendered::Text(expected)) => assert_eq!(&text, expected, "{what}"),
        (Err(found), Rendered::Refused { error }) => assert!(found.to_string().contains(error), "{what}: {found}"),
        (found, _) => panic!("{what}: {found:?}"),
    }
}

#[test]
fn features_render_as_in_transformers() {
    let Vectors { chats, features, .. } = vectors();
    for Feature { feature, template, rendered } in features {
        let template = ChatTemplate::new(&template, "<s>", "</s>").unwrap_or_else(|error| panic!("{feature}: {error}"));
        check(&feature, &template, &chats[1], true, &rendered);
    }
}

#[test]
fn models_own_templates_render_as_in_transformers() {
    let Vectors { chats, models, .. } = vectors();
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS")
        .map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"), PathBuf::from);
    for (model, expected) in models {
        let Ok(file) = std::fs::read(folder.join(&model)) else {
            eprintln!("SKIPPED: {model} is not there; scripts/fetch-model gets it");
            continue;
        };
        let gguf = Gguf::parse(&file).expect("a whole model");
        let token = |key| gguf.texts("tokenizer.ggml.tokens").unwrap()[gguf.size(key).unwrap()];
        let (bos, eos) = (token("tokenizer.ggml.bos_token_id"), token("tokenizer.ggml.eos_token_id"));
        let template = ChatTemplate::new(gguf.text("tokenizer.chat_template").unwrap(), bos, eos).unwrap();
        for (chat, [without, with]) in chats.iter().zip(&expected) {
            check(&model, &template, chat, false, without);
            check(&model, &template, chat, true, with);
        }
    }
}

/// The templates of a folder over conversations, as `chat_template_vectors.py --folder` writes them.
#[derive(Deserialize)]
struct Folder {
    conversations: Vec<Conversation>,
    /// By file name, for each conversation.
    templates: BTreeMap<String, Vec<Rendered>>,
}

#[derive(Deserialize)]
struct Conversation {
    name: String,
    inputs: ChatInputs,
}

/// What is rendered otherwise than expected, and a line on each template.
fn differences(folder: &Path) -> Vec<String> {
    let read =
        |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let Folder { conversations, templates } =
        serde_json::from_str(&read("expected.json")).expect("vectors are as the script writes them");
    assert!(!templates.is_empty(), "{} has no templates", folder.display());
    let mut differences = Vec::new();
    for (name, expected) in &templates {
        let before = differences.len();
        let template = ChatTemplate::new(&read(name), "<s>", "</s>");
        for (Conversation { name: chat, inputs }, expected) in conversations.iter().zip(expected) {
            let found = template.as_ref().map_err(ToString::to_string);
            let found = found.and_then(|template| template.render_inputs(inputs).map_err(|error| error.to_string()));
            let agree = match (&found, expected) {
                (Ok(text), Rendered::Text(expected)) => text == expected,
                (Err(found), Rendered::Refused { error }) => found.contains(error),
                _ => false,
            };
            if !agree {
                differences.push(format!("{name}, {chat}:\n  found    {found:?}\n  expected {expected:?}"));
            }
        }
        println!("{name}: {} of {} agree", expected.len() + before - differences.len(), expected.len());
    }
    differences
}

#[test]
fn what_published_templates_do_renders_as_in_transformers() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/chat_templates");
    let theirs = std::env::var_os("CHAT_TEMPLATES").map(PathBuf::from);
    let differences: Vec<String> = [ours].into_iter().chain(theirs).flat_map(|folder| differences(&folder)).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
