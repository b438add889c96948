//! Tools that a model may call: how they are told, what a call looks like, and how it is read back.
//!
//! Models are trained on one form of a call or another, and their chat templates tell which. What a model writes is constrained by a
//! grammar made of the tools ([`constraint`]), so that a call always names a tool and its arguments always parse;
//! [`CallReader`] takes calls and text apart while they come.

mod grammar;
mod reader;

use crate::chat_template::ToolKind;
pub use grammar::constraint;
pub use reader::{CallReader, Written};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of the longest name of a function.
const MOST_NAME_BYTES: usize = 64;

/// What a model may call, as templates read it and OpenAI's API has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// The function.
    pub function: Function,
}

/// A function of the caller's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Letters, digits, `_` and `-`; 64 at most.
    pub name: String,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON schema of the object that holds its arguments; nothing for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Refuse a schema with words that are not known; else they are passed over.
    #[serde(default, skip_serializing)]
    pub strict: Option<bool>,
}

/// Whether tools are called, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model says something or calls a tool.
    Auto,
    /// It calls one.
    Required,
    /// It calls this one.
    Named(String),
}

/// What a call looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallForm {
    /// `<tool_call>`, a line of JSON with `name` and `arguments`, `</tool_call>`, behind text or not, or the JSON alone where the tag was forgotten: Hermes, Qwen2.5, Qwen3.
    Tagged,
    /// JSON with `name` and `parameters` and nothing else: Llama 3.
    Bare,
}

impl CallForm {
    /// The form that a chat template tells of.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let has = |text: &str| source.contains(text);
        match () {
            () if !has("tools") => None,
            // Qwen3-Coder's calls are XML within.
            () if has("<tool_call>") && has("arguments") && !has("<function=") => Some(Self::Tagged),
            () if has("\"parameters\": ") && has("ipython") => Some(Self::Bare),
            () => None,
        }
    }

    /// What is written before the name, between it and the arguments, and behind those.
    const fn around(self) -> [&'static str; 3] {
        match self {
            Self::Tagged => ["{\"name\": \"", "\", \"arguments\": ", "}"],
            Self::Bare => ["{\"name\": \"", "\", \"parameters\": ", "}"],
        }
    }
}

/// Around a call in [`CallForm::Tagged`].
const OPENING: &str = "<tool_call>";
const CLOSING: &str = "</tool_call>";

/// Why tools cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// A name that no call could have.
    #[error("a tool is named `{0}`: expected 1 to {MOST_NAME_BYTES} letters, digits, `_` and `-`")]
    Name(String),
    /// Two of the same name.
    #[error("two tools are named `{0}`: a call would not say which")]
    Twice(String),
    /// A choice that is not among them.
    #[error("the tool `{0}` is to be called and is not among the tools: choose one of those")]
    Unknown(String),
    /// Arguments are fields of an object.
    #[error("the parameters of tool `{0}` are no JSON schema of an object: expected `\"type\": \"object\"`")]
    Parameters(String),
    /// Nothing that could be called.
    #[error("a tool is to be called and there is none: give tools")]
    None,
}

#[cfg(test)]
mod tests;
