//! Tools, whichever API tells of them: what the model's template and grammar need, what an answer consists of, and how calls and their
//! results go back into a chat. How they are written in JSON is each API's own.

mod answer_blocks;
mod conversation;

pub(crate) use answer_blocks::{AnswerBlocks, Block, Change, Kind, What};
pub(crate) use conversation::Conversation;

use crate::error::ApiError;
use runtime::constraint::Constraint;
use runtime::engine::Engine;
use runtime::tool_calls::{self, CallForm, Tool, ToolChoice};

/// Tools that an answer may call.
pub(crate) struct Tools {
    pub tools: Vec<Tool>,
    pub constraint: Constraint,
    form: CallForm,
}

impl Tools {
    /// Those that may be called, several times in an answer where `parallel`; nothing where none may, as where there is no choice.
    ///
    /// # Errors
    /// When the model knows no tools, or one of these cannot be called.
    pub fn new(
        engine: &Engine,
        tools: Vec<Tool>,
        choice: Option<ToolChoice>,
        parallel: bool,
    ) -> Result<Option<Self>, ApiError> {
        let Some(choice) = choice.filter(|choice| *choice != ToolChoice::Auto || !tools.is_empty()) else {
            return Ok(None);
        };
        let form = engine.call_form().ok_or_else(|| {
            let message = "this model's chat template takes no tools, or tells of calls in a form that is not known (those of Qwen and \
                           Hermes, with `<tool_call>`, and of Llama 3 are): serve another model, or leave `tools` out";
            ApiError::invalid("tools", message)
        })?;
        let constraint = tool_calls::constraint(form, &tools, &choice, parallel)
            .map_err(|error| ApiError::invalid("tools", error.to_string()))?;
        Ok(Some(Self { tools, constraint, form }))
    }
}
