//! What a template is given.

use super::allowance::ChatSize;
use super::spending::too_much;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names under which the reasoning of a message is known, the common one first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A chat and what comes with it, read from JSON by the names that `apply_chat_template` of transformers has.
///
/// ```
/// use runtime::chat_template::{ChatInputs, ChatTemplate};
///
/// let inputs: ChatInputs =
///     serde_json::from_str(r#"{"messages": [{"role": "user", "content": "Hi"}], "enable_thinking": false}"#)?;
/// let template = ChatTemplate::new("{{ messages[0].content }}, {{ enable_thinking }}", "<s>", "</s>")?;
/// assert_eq!(template.render_inputs(&inputs)?, "Hi, False");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ChatInputs {
    /// With whatever fields the template reads: `role`, `content` (text or parts), `tool_calls` and others.
    messages: Vec<Value>,
    /// JSON schemas of functions.
    tools: Option<Vec<Value>>,
    /// Texts to answer from.
    documents: Option<Vec<Value>>,
    #[serde(default)]
    add_generation_prompt: bool,
    /// Other variables of the template.
    #[serde(flatten)]
    variables: BTreeMap<String, Value>,
}

impl ChatInputs {
    /// Of messages, and of tools where there are any.
    pub(crate) fn of_chat(messages: &[impl Serialize], tools: &[impl Serialize], add_generation_prompt: bool) -> Self {
        let messages = messages.iter().map(Value::from_serialize).collect();
        let tools = (!tools.is_empty()).then(|| tools.iter().map(Value::from_serialize).collect());
        Self { messages, tools, add_generation_prompt, ..Self::default() }
    }

    pub(super) fn size(&self) -> Result<ChatSize, Error> {
        let mut size = ChatSize::default();
        let lists = [&self.tools, &self.documents].into_iter().flatten().flatten();
        self.messages.iter().chain(lists).chain(self.variables.values()).try_for_each(|value| size.add(value))?;
        Ok(size)
    }

    /// The variables of the template.
    ///
    /// # Errors
    /// When a message has no fields.
    pub(super) fn values(&self, bos: &str, eos: &str) -> Result<Value, Error> {
        let messages: Vec<Value> = self.messages.iter().map(normalized).collect::<Result<_, _>>()?;
        // Templates ask whether tools and documents are none, which an undefined variable is not.
        let own = [
            ("bos_token", Value::from(bos)),
            ("eos_token", Value::from(eos)),
            ("messages", Value::from(messages)),
            ("tools", Value::from(self.tools.clone())),
            ("documents", Value::from(self.documents.clone())),
            ("add_generation_prompt", Value::from(self.add_generation_prompt)),
        ];
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.clone()));
        Ok(own.into_iter().chain(variables).collect())
    }
}

/// A message as transformers hands it to templates: without fields that are null, with its reasoning under the names that
/// templates know.
fn normalized(message: &Value) -> Result<Value, Error> {
    if message.kind() != ValueKind::Map {
        return Err(too_much(format!("a message is an object with a role and a content, found {}", message.kind())));
    }
    let mut fields = Vec::new();
    for name in message.try_iter()? {
        let value = message.get_item(&name)?;
        if !value.is_none() {
            fields.push((name, value));
        }
    }
    let reasoning = REASONING
        .iter()
        .find_map(|name| message.get_attr(name).ok().filter(|value| !value.is_none() && !value.is_undefined()));
    if let Some(reasoning) = reasoning {
        let place_of =
            |fields: &[(Value, Value)], name: &str| fields.iter().position(|(key, _)| key.as_str() == Some(name));
        // The order matters to templates that print a message whole.
        let thinking = place_of(&fields, REASONING[1]).map(|at| fields.remove(at).1);
        fields.insert(0, (REASONING[1].into(), thinking.unwrap_or_else(|| reasoning.clone())));
        if place_of(&fields, REASONING[0]).is_none() {
            fields.push((REASONING[0].into(), reasoning));
        }
    }
    Ok(fields.into_iter().collect())
}
