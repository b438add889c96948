//! A chat as templates read it, of APIs where calls and their results stand beside what is said.

use crate::error::ApiError;
use runtime::chat_template::{Message, ToolCall};
use std::collections::BTreeMap;

/// Grows turn by turn.
pub(crate) struct Conversation {
    /// The field of the request that it comes from.
    param: &'static str,
    messages: Vec<Message>,
    /// Calls that have no result yet: their tools, by id.
    open: BTreeMap<String, String>,
}

impl Conversation {
    /// One of nothing yet; `param` is the field of the request that it comes from.
    pub fn new(param: &'static str) -> Self {
        Self { param, messages: Vec::new(), open: BTreeMap::new() }
    }

    /// Somebody says something.
    pub fn say(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// The last message, where it is of this role.
    pub fn last_of(&mut self, role: &str) -> Option<&mut Message> {
        self.messages.last_mut().filter(|last| last.role == role)
    }

    /// The assistant calls a tool, in what it said last where nobody answered that.
    ///
    /// # Errors
    /// When another call without a result has this id.
    pub fn call(&mut self, call: ToolCall) -> Result<(), ApiError> {
        if self.open.insert(call.id.clone(), call.function.name.clone()).is_some() {
            let message = format!("two calls have the id `{}`: a result would not say which it answers", call.id);
            return Err(ApiError::invalid(self.param, message));
        }
        match self.last_of("assistant") {
            Some(last) => last.tool_calls.push(call),
            None => self.say(Message { tool_calls: vec![call], ..Message::assistant("") }),
        }
        Ok(())
    }

    /// The call of this id had this result.
    ///
    /// # Errors
    /// When there is no such call, or it has one already.
    pub fn answer(&mut self, id: String, result: String) -> Result<(), ApiError> {
        let Some(tool) = self.open.remove(&id) else {
            let message = format!(
                "a result answers the call `{id}`, and no call before it without a result has that id: send the call as well"
            );
            return Err(ApiError::invalid(self.param, message));
        };
        self.say(Message { tool_call_id: Some(id), name: Some(tool), ..Message::new("tool", result) });
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    /// When a call has no result.
    pub fn end(self) -> Result<Vec<Message>, ApiError> {
        match self.open.first_key_value() {
            Some((id, tool)) => {
                let message = format!("the call `{id}` of the tool `{tool}` has no result: send one behind it");
                Err(ApiError::invalid(self.param, message))
            }
            None => Ok(self.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::chat_template::{FunctionCall, ToolKind};
    use serde_json::Map;

    fn call(id: &str) -> ToolCall {
        let function = FunctionCall { name: format!("tool_{id}"), arguments: Map::new() };
        ToolCall { id: id.into(), kind: ToolKind::Function, function }
    }

    #[test]
    fn calls_go_to_what_was_said_and_results_behind_them() {
        let mut chat = Conversation::new("input");
        chat.say(Message::user("Where?"));
        chat.say(Message::assistant("I look."));
        chat.call(call("a")).unwrap();
        chat.call(call("b")).unwrap();
        chat.answer("b".into(), "There.".into()).unwrap();
        chat.answer("a".into(), "Here.".into()).unwrap();
        chat.call(call("a")).unwrap();
        chat.answer("a".into(), String::new()).unwrap();
        let messages = chat.end().unwrap();
        let calls = |message: &Message| message.tool_calls.iter().map(|call| call.id.clone()).collect::<String>();
        let of = |message: &Message| {
            (message.role.clone(), message.content.clone(), calls(message), message.name.clone().unwrap_or_default())
        };
        let expected = [
            ("user", "Where?", "", ""),
            ("assistant", "I look.", "ab", ""),
            ("tool", "There.", "", "tool_b"),
            ("tool", "Here.", "", "tool_a"),
            ("assistant", "", "a", ""),
            ("tool", "", "", "tool_a"),
        ];
        let expected = expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
        assert_eq!(messages.iter().map(of).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn calls_and_results_belong_together() {
        let mut chat = Conversation::new("input");
        assert!(chat.answer("a".into(), String::new()).unwrap_err().message().contains("no call before it"));
        chat.call(call("a")).unwrap();
        assert!(chat.call(call("a")).unwrap_err().message().contains("two calls have the id `a`"));
        chat.answer("a".into(), String::new()).unwrap();
        assert!(chat.answer("a".into(), String::new()).unwrap_err().message().contains("no call before it"));
        chat.call(call("b")).unwrap();
        assert!(chat.end().unwrap_err().message().contains("the call `b` of the tool `tool_b` has no result"));
    }
}
