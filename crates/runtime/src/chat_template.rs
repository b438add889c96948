//! A chat as the model was trained to read it: the Jinja template that comes with the model.

use minijinja::{Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Text.
    pub content: String,
}

impl Message {
    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }
}

/// Why a chat could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the model's chat template failed: {0:#}; without --chat the prompt is used as it is")]
pub struct TemplateError(#[from] Error);

/// A chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the texts of those tokens.
    ///
    /// # Errors
    /// When it is not valid Jinja.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // As transformers renders: a tag alone on its line leaves no line behind.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        // Templates are written for Python: strings have methods there.
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source.to_string())?;
        Ok(Self { environment, bos: bos.into(), eos: eos.into() })
    }

    /// The chat as text, up to where the assistant's turn begins when `add_generation_prompt`.
    ///
    /// # Errors
    /// When the template refuses the messages.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TemplateError> {
        let values = context! { messages, add_generation_prompt, bos_token => self.bos, eos_token => self.eos };
        Ok(self.environment.get_template(NAME)?.render(values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_like_a_chat_model_expects() {
        let source = "{%- for m in messages %}\n{{- '<|' + m.role + '|>' + m['content'].strip() + eos_token }}\n{% endfor %}\n{% if add_generation_prompt %}\n<|assistant|>\n{% endif %}\n";
        let template = ChatTemplate::new(source, "<s>", "</s>").unwrap();
        assert_eq!(template.render(&[Message::user(" hi ")], true).unwrap(), "<|user|>hi</s>\n<|assistant|>\n");
    }

    #[test]
    fn a_template_may_refuse() {
        let template = ChatTemplate::new("{{ raise_exception('roles must alternate') }}", "", "").unwrap();
        let message = template.render(&[], true).unwrap_err().to_string();
        assert!(message.contains("roles must alternate"), "{message}");
        assert!(ChatTemplate::new("{% if %}", "", "").is_err());
    }
}
