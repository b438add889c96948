//! What was said, and what comes next.

use crate::arguments::Chat;
use crate::interruption::Interruption;
use crate::progress::PrefillBar;
use crate::ran::Ran;
use crate::summary::summary;
use crate::{json_file, prompt};
use anyhow::Context;
use runtime::chat_template::Message;
use runtime::engine::{Conversation, Engine};
use runtime::request::{AttentionMode, Event, FinishReason, Goal, Request};
use runtime::sampling::Sampling;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub struct Session<'e> {
    engine: &'e Engine,
    conversation: Conversation<'e>,
    messages: Vec<Message>,
    /// What stands before the next question.
    attached: String,
    pub attention: AttentionMode,
    goal: Goal,
    sampling: Sampling,
    repetition_penalty: f32,
    max_tokens: Option<usize>,
    /// Of the last answer.
    summary: Option<String>,
}

impl<'e> Session<'e> {
    /// # Errors
    /// When the model has no template for chats, or there is no room for one.
    pub fn new(engine: &'e Engine, arguments: &Chat, system: Option<String>) -> anyhow::Result<Self> {
        let messages: Vec<_> = system.map(Message::system).into_iter().collect();
        // Before anything is typed.
        engine.render_chat(&[&messages[..], &[Message::user("?")]].concat())?;
        Ok(Self {
            engine,
            conversation: engine.conversation()?,
            messages,
            attached: String::new(),
            attention: arguments.attention,
            goal: arguments.goal.goal(),
            sampling: arguments.sampling.sampling(),
            repetition_penalty: arguments.sampling.repetition_penalty,
            max_tokens: arguments.max_tokens,
            summary: None,
        })
    }

    /// Puts the text of a file before the next question.
    ///
    /// # Errors
    /// When it cannot be read, or is no text.
    pub fn attach(&mut self, file: &Path) -> anyhow::Result<()> {
        let text = prompt::read(None, Some(file))?;
        let tokens = self.engine.encode(&text)?.len();
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
        self.attached += &format!("{name}:\n\n{text}\n\n");
        crate::note(&format!("{}: {tokens} tokens, read with the next question", file.display()));
        Ok(())
    }

    /// Asks, and writes the answer as it comes.
    ///
    /// # Errors
    /// What the engine says; the question and what was attached to it are then as if they had not been.
    pub fn say(&mut self, text: String, interruption: &Interruption) -> anyhow::Result<()> {
        self.messages.push(Message::user(format!("{}{text}", self.attached)));
        let answered = self.answer(interruption);
        match &answered {
            Ok(answer) if !answer.is_empty() => {
                self.messages.push(Message::assistant(answer.as_str()));
                self.attached.clear();
            }
            // No answer: the next question stands in the place of this one.
            _ => drop(self.messages.pop()),
        }
        answered.map(drop)
    }

    fn answer(&mut self, interruption: &Interruption) -> anyhow::Result<String> {
        let ids = self.engine.encode_chat(&self.messages)?;
        let room = self.conversation.room_for_new_tokens(ids.len());
        let request = Request {
            // A prompt that leaves none is refused by the engine, which says why.
            max_tokens: self.max_tokens.unwrap_or(usize::MAX).min(room).max(1),
            attention: self.attention,
            goal: self.goal,
            sampling: self.sampling,
            repetition_penalty: self.repetition_penalty,
            ..Request::default()
        };
        let mut bar = PrefillBar::new("reading", self.engine.config(), ids.len());
        let mut written = Ok(());
        let answer = self.conversation.answer(&ids, &request, &mut |event| {
            bar.hear(&event);
            if let Event::Text(text) = event {
                let mut out = io::stdout().lock();
                written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }
            match written.is_err() || interruption.came().is_some() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        bar.clear();
        let answer = answer?;
        written?;
        writeln!(io::stdout())?;
        let ran = Ran::of(self.attention, &answer.stats);
        let summary = summary(
            &answer.stats,
            &ran.to_string(),
            ran.is_sparse().then_some(request.goal),
            answer.finish_reason,
            self.engine.device_name(),
        );
        crate::note(&format!("[{summary}]"));
        if answer.finish_reason == FinishReason::Length && answer.stats.generated_tokens == room {
            let capacity = self.conversation.capacity();
            crate::note(&format!("the context of {capacity} tokens is full: /reset begins anew"));
        }
        self.summary = Some(summary);
        Ok(answer.text)
    }

    /// What the last answer took, and how full the context is.
    pub fn stats(&self) -> String {
        let tokens = self.engine.encode_chat(&self.messages).map_or(0, |ids| ids.len());
        let turns = self.messages.iter().filter(|message| message.role == "assistant").count();
        let (capacity, mode) = (self.conversation.capacity(), self.attention);
        let last = self.summary.as_ref().map_or(String::new(), |summary| format!("\nthe last answer: {summary}"));
        format!("{turns} answers, {tokens} of {capacity} tokens of the context, attention {mode}{last}")
    }

    /// Writes the messages.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, file: PathBuf) -> anyhow::Result<()> {
        json_file::write(&Some(file), &self.messages).context("the chat is not saved")
    }

    /// Forgets the messages but for the first of the system, and what was attached.
    pub fn reset(&mut self) {
        self.messages.retain(|message| message.role == "system");
        self.attached.clear();
        self.conversation.reset();
        self.summary = None;
    }
}
