//! What the front end must know of a model: its tokenizer, chat template and end tokens, as a Hugging Face folder has them.
//!
//! Dynamo reads no GGUF files, so of those the worker writes such a folder. It is named by what is in it: workers of a model are taken for
//! alike where the path of its folder and the files are the same.

use anyhow::{Context, ensure};
use runtime::formats::gguf::Gguf;
use runtime::model_files::ModelFiles;
use runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Where a GGUF file has its chat template.
const TEMPLATE: &str = "tokenizer.chat_template";

/// A folder with the files.
pub struct Card {
    folder: PathBuf,
    has_template: bool,
}

impl Card {
    /// Of a model: its own folder, or of a GGUF file one in the user's cache.
    ///
    /// # Errors
    /// When there is no such model, or its folder cannot be written.
    pub fn of(model: &str) -> anyhow::Result<Self> {
        let files = ModelFiles::locate(model)?;
        let weights = files.open()?;
        match (&files, weights.gguf()) {
            (_, Some(gguf)) => {
                let config = weights.config();
                let shape = json!({
                    "max_position_embeddings": config.max_context,
                    "num_hidden_layers": config.num_layers,
                    "num_attention_heads": config.num_q_heads,
                    "vocab_size": config.vocab_size,
                });
                Ok(Self { folder: write(&contents(gguf, shape)?)?, has_template: gguf.get(TEMPLATE).is_some() })
            }
            (ModelFiles::Folder(folder) | ModelFiles::Gguf(folder), None) => {
                Ok(Self { folder: folder.clone(), has_template: has_template(folder) })
            }
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it says how chats are written.
    pub fn has_template(&self) -> bool {
        self.has_template
    }
}

/// The folder in the user's cache that holds these files.
fn write(contents: &[(&str, String)]) -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    let parent = cache()?;
    let folder = parent.join(format!("worker-{:016x}", hasher.finish()));
    if !folder.exists() {
        // It is there whole or not at all: other workers of the model may begin at the same time.
        let write = || {
            fs::create_dir_all(&parent)?;
            let begun = tempfile::tempdir_in(&parent)?;
            for (name, content) in contents {
                fs::write(begun.path().join(name), content)?;
            }
            fs::rename(begun.path(), &folder).or_else(|error| if folder.exists() { Ok(()) } else { Err(error) })
        };
        write().with_context(|| format!("cannot write {}: set XDG_CACHE_HOME to where it can be", folder.display()))?;
    }
    Ok(folder)
}

/// Whether a Hugging Face folder has a chat template.
fn has_template(folder: &Path) -> bool {
    let in_config = || {
        let config: Value = serde_json::from_slice(&fs::read(folder.join("tokenizer_config.json")).ok()?).ok()?;
        config.get("chat_template").filter(|template| !template.is_null()).map(drop)
    };
    ["chat_template.jinja", "chat_template.json"].iter().any(|name| folder.join(name).exists()) || in_config().is_some()
}

/// The files, by name.
fn contents(gguf: &Gguf, shape: Value) -> anyhow::Result<Vec<(&'static str, String)>> {
    let tokenizer = Tokenizer::from_gguf(gguf)?;
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
    let template = gguf.get(TEMPLATE).map(|_| gguf.text(TEMPLATE)).transpose()?;
    let ends = json!({"bos_token_id": tokenizer.bos_id(), "eos_token_id": tokenizer.eos_ids()});
    let mut config = shape;
    config["bos_token_id"] = ends["bos_token_id"].clone();
    config["eos_token_id"] = ends["eos_token_id"].clone();
    // Which model it is matters to nobody but the engine.
    config["architectures"] = json!([]);
    config["model_type"] = json!("llama");
    let texts = json!({
        "bos_token": text(tokenizer.bos_id()),
        "eos_token": text(tokenizer.eos_ids().first().copied()),
        "chat_template": template,
    });
    Ok(vec![
        ("config.json", config.to_string()),
        ("generation_config.json", ends.to_string()),
        ("tokenizer.json", tokenizer.to_json()?),
        ("tokenizer_config.json", texts.to_string()),
    ])
}

/// Where programs of this user keep what they can make again.
fn cache() -> anyhow::Result<PathBuf> {
    let named = |variable| env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    let cache = cache.context("no folder for the model's tokenizer: set XDG_CACHE_HOME")?;
    ensure!(cache.is_absolute(), "XDG_CACHE_HOME is {}: expected an absolute path", cache.display());
    Ok(cache.join("sparse-accelerate"))
}
