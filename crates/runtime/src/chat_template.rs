//! A chat as the model was trained to read it: the Jinja template that comes with the model.

mod allowance;
mod bounds;
mod escapes;
mod generation_tag;
mod guard;
mod inputs;
mod json;
mod message;
mod methods;
mod python_text;
mod spending;
mod strictness;

pub use inputs::ChatInputs;
pub use message::{FunctionCall, Message, ToolCall, ToolKind};

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

/// Why a chat could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the model's chat template failed: {0:#}; without one (`Engine::encode`) the prompt is used as it is")]
pub struct TemplateError(#[from] Error);

/// A chat template as a model brings it. It is compiled when a chat is asked for: nothing else needs it to be sound.
pub(crate) struct TemplateSource {
    pub(crate) text: String,
    pub(crate) bos: String,
    pub(crate) eos: String,
}

/// A chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Bytes of the longest piece of text that one step writes.
    longest_text: usize,
    bos: String,
    eos: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the texts of those tokens.
    ///
    /// # Errors
    /// When it is not valid Jinja, or larger than any real template.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        allowance::check_source(source)?;
        let mut environment = Environment::new();
        // As transformers renders: a tag alone on its line leaves no line behind.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        // Templates are written for Python: values print as there, and strings have methods.
        environment.set_formatter(print_as_python);
        environment.set_unknown_method_callback(methods::python_method);
        environment.add_filter("tojson", json::to_json);
        bounds::bound(&mut environment);
        strictness::add_functions(&mut environment);
        environment.add_test("iterable", is_iterable);
        environment.add_test("sequence", is_sequence);
        environment.add_function("raise_exception", refuse);
        environment.add_function("strftime_now", today);
        let longest_text = allowance::longest_text(source);
        // Jinja knows one end of a line.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        strictness::check(&source)?;
        let source = escapes::with_python_escapes(&source)?;
        let source = methods::with_reversals(&source);
        let source = guard::guarded(&generation_tag::without_generation_tags(&source))?;
        let environment = allowance::with_deep_stack(allowance::COMPILE_TIME, move || {
            environment.add_template_owned(NAME, source)?;
            Ok(environment)
        })?;
        Ok(Self { environment, longest_text, bos: bos.into(), eos: eos.into() })
    }

    /// The chat as text, up to where the assistant's turn begins when `add_generation_prompt`.
    ///
    /// # Errors
    /// As those of [`Self::render_inputs`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TemplateError> {
        self.render_inputs(&ChatInputs::of_chat(messages, &[] as &[Message], add_generation_prompt))
    }

    /// A chat with tools, documents and whatever else the template asks for, as text.
    ///
    /// # Errors
    /// When the template refuses the messages, does not end, or takes far more memory or writes far more than the messages.
    pub fn render_inputs(&self, inputs: &ChatInputs) -> Result<String, TemplateError> {
        let allowance = allowance::Allowance::of_chat(inputs.size()?, self.longest_text);
        let values = inputs.values(&self.bos, &self.eos)?;
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(allowance.steps));
        Ok(allowance::with_deep_stack(allowance.time, move || {
            spending::begin(allowance.bytes);
            let mut out = allowance::Bounded::new(allowance.bytes);
            environment.get_template(NAME)?.render_captured_to(values, &mut out)?;
            Ok(out.into_text())
        })?)
    }
}

fn print_as_python(out: &mut Output, _: &State, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => {
            spending::spend_printed(value)?;
            out.write_str(text)?;
        }
        None => out.write_str(&python_text::text(value)?)?,
    }
    Ok(())
}

/// What Python can walk: for the engine, none is an empty list as well.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && (value.as_str().is_some() || value.try_iter().is_ok())
}

/// What has a length and items, as texts and dicts have.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined)
}

/// How templates refuse a chat, such as one whose roles do not alternate.
fn refuse(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The time where the user is; Llama 3 tells the model its date.
fn today(format: String) -> Result<String, Error> {
    jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now(`{format}`): {error}")))
}

/// What a template without tokens of its own makes of one message, or why it does not.
#[cfg(test)]
fn rendered(source: &str) -> Result<String, String> {
    let render = |template: ChatTemplate| template.render(&[Message::user("abc")], true);
    ChatTemplate::new(source, "", "").and_then(render).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, TemplateError> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(&[Message::user(" hi ")], true)
    }

    #[test]
    fn renders_like_a_chat_model_expects() {
        let source = "{%- for m in messages %}\n{{- '<|' + m.role + '|>' + m['content'].strip() + eos_token }}\n{% endfor %}\n{% if add_generation_prompt %}\n<|assistant|>\n{% endif %}\n";
        assert_eq!(render(source).unwrap(), "<|user|>hi</s>\n<|assistant|>\n");
    }

    #[test]
    fn a_template_may_refuse() {
        let message = render("{{ raise_exception('roles must alternate') }}").unwrap_err().to_string();
        assert!(message.contains("roles must alternate"), "{message}");
    }

    #[test]
    fn what_is_no_template_is_an_error() {
        for source in ["{% if %}", "{{ messages", "{{ nobody_knows_this() }}", "{{ strftime_now('%!') }}"] {
            assert!(render(source).is_err(), "{source}");
        }
    }

    #[test]
    fn the_date_is_that_of_the_format() {
        let date = render("{{ strftime_now('%d %b %Y') }}").unwrap();
        assert!(jiff::civil::Date::strptime("%d %b %Y", &date).is_ok(), "{date}");
    }
}
