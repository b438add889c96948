//! End tokens as the JSON files beside a `tokenizer.json` name them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use tokenizers::tokenizer::Tokenizer as HuggingFace;

/// A special token in `tokenizer_config.json`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum TokenText {
    /// Its text.
    Plain(String),
    /// Its text among its properties.
    Added {
        /// Text.
        content: String,
    },
}

impl TokenText {
    /// The text.
    pub(crate) fn into_text(self) -> String {
        match self {
            TokenText::Plain(text) | TokenText::Added { content: text } => text,
        }
    }
}

/// All end tokens that any of the files names: each is written by another tool, and a fine-tune often changes one only.
pub(super) fn eos_ids(folder: &Path, inner: &HuggingFace) -> Vec<u32> {
    let configs = ["generation_config.json", "config.json"].into_iter();
    let mut ids: Vec<u32> = configs
        .filter_map(|name| read::<Ids>(&folder.join(name)))
        .filter_map(|config| config.eos_token_id)
        .flat_map(OneOrMany::into_vec)
        .collect();
    let text = read::<Text>(&folder.join("tokenizer_config.json")).and_then(|config| config.eos_token);
    ids.extend(text.and_then(|text| inner.token_to_id(&text.into_text())));
    ids
}

/// What a file says, if it is there and says it: others report what is wrong with it.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    crate::formats::python_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[derive(Deserialize)]
struct Ids {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
struct Text {
    eos_token: Option<TokenText>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<u32> {
        match self {
            OneOrMany::One(id) => vec![id],
            OneOrMany::Many(ids) => ids,
        }
    }
}
