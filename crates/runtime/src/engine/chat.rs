//! Chats as prompts.

use super::{Engine, EngineError};
use crate::chat_template::{ChatInputs, ChatTemplate, Message};
use crate::tokenizer::Marks;
use crate::tool_calls::{CallForm, Tool};
use serde::Serialize;
use serde_json::Value;

impl Engine {
    /// The chat as the model's template writes it, ready for the assistant's turn.
    ///
    /// # Errors
    /// When the model has no template, one that does not compile, or one that refuses the messages.
    pub fn render_chat(&self, messages: &[Message]) -> Result<String, EngineError> {
        self.render_inputs(&ChatInputs::of_chat(messages, &[] as &[Tool], true))
    }

    fn render_inputs(&self, inputs: &ChatInputs) -> Result<String, EngineError> {
        let source = self.template.as_ref().ok_or(EngineError::NoTemplate)?;
        Ok(ChatTemplate::new(&source.text, &source.bos, &source.eos)?.render_inputs(inputs)?)
    }

    /// Token ids of a chat, ready for the assistant's turn. Control tokens are those that the template writes: spelt out in a
    /// message (`<|im_end|>`) they stay text.
    ///
    /// # Errors
    /// As [`render_chat`](Self::render_chat), and when the tokenizer cannot represent the chat.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>, EngineError> {
        self.encode_chat_with_tools(messages, &[], "")
    }

    /// As [`encode_chat`](Self::encode_chat), of a chat whose assistant has written `opening` already and goes on from there.
    ///
    /// # Errors
    /// As `encode_chat`.
    pub fn encode_opened_chat(&self, messages: &[Message], opening: &str) -> Result<Vec<u32>, EngineError> {
        self.encode_chat_with_tools(messages, &[], opening)
    }

    /// As [`encode_opened_chat`](Self::encode_opened_chat), of a chat whose assistant may call tools; what is spelt out in those stays
    /// text, too.
    ///
    /// # Errors
    /// As `encode_chat`.
    pub fn encode_chat_with_tools(
        &self,
        messages: &[Message],
        tools: &[Tool],
        opening: &str,
    ) -> Result<Vec<u32>, EngineError> {
        let (mut messages, mut tools) = (as_json(messages), as_json(tools));
        let mut texts = vec![opening];
        messages.iter().chain(&tools).for_each(|value| collect_texts(value, &mut texts));
        let marks = Marks::new(&self.tokenizer, texts.into_iter());
        messages.iter_mut().chain(&mut tools).for_each(|value| mark(value, &marks));
        let chat = self.render_inputs(&ChatInputs::of_chat(&messages, &tools, true))?;
        Ok(self.tokenizer.encode_marked(&(chat + &marks.put_into(opening)), &marks)?)
    }

    /// Whether the model has a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// How this model writes calls of tools; nothing where its template takes no tools, or wants calls in a form that is not known.
    pub fn call_form(&self) -> Option<CallForm> {
        CallForm::of_template(&self.template.as_ref()?.text)
    }
}

/// What has text, numbers and names only is JSON.
fn as_json(parts: &[impl Serialize]) -> Vec<Value> {
    parts.iter().map(|part| serde_json::to_value(part).unwrap_or_default()).collect()
}

fn collect_texts<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            texts.push(name);
            collect_texts(value, texts);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Marks every text of strangers: contents, and names, descriptions and arguments as well.
fn mark(value: &mut Value, marks: &Marks) {
    match value {
        Value::String(text) => *text = marks.put_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mark(item, marks)),
        Value::Object(fields) => {
            let marked = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                mark(&mut value, marks);
                (marks.put_into(&name), value)
            });
            *fields = marked.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
