//! What a message says: a text, or parts of one.

use crate::error::ApiError;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl Content {
    /// The text, put together from parts of these kinds; `refuse` says that another kind, or one without text, is not taken.
    pub fn into_text(self, kinds: &[&str], refuse: impl Fn(&str) -> ApiError) -> Result<String, ApiError> {
        let text = |Part { kind, text }: Part| match text {
            Some(text) if kinds.contains(&kind.as_str()) => Ok(text),
            _ => Err(refuse(&kind)),
        };
        match self {
            Self::Text(text) => Ok(text),
            Self::Parts(parts) => parts.into_iter().map(text).collect(),
        }
    }
}
