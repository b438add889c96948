//! A prompt and its answer, a step at a time: a chunk of the prompt, then a token of the answer each. It can be suspended between two
//! steps: then it has no pages, and reads what was in them again.

mod reading;
mod spent;
mod suspension;

pub(super) use spent::{Aside, Spent};

use super::choice::{Choice, Chosen};
use super::said_tokens::SaidTokens;
use super::{Engine, EngineError};
use crate::model::{Outlook, Run};
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::{Event, Events, FinishReason, Generation, Request, RunStats};
use crate::stop_texts::StopTexts;
use crate::tokenizer::TextStream;
use std::ops::ControlFlow;
use std::time::Instant;

/// An answer under way.
pub(super) struct Answer<'a> {
    engine: &'a Engine,
    /// Nothing once the model computed what is no number, and while it is suspended.
    run: Option<Box<dyn Run + 'a>>,
    /// Of the token after the last that went through, where they were read already.
    outlook: Option<Outlook>,
    /// Tokens that the run has room for.
    capacity: usize,
    prompt: Vec<u32>,
    /// Tokens of prompt and answer that are read before the answer goes on: the prompt or, once it was suspended, all there were.
    to_read: usize,
    request: Request,
    choice: Choice,
    accepted: Instant,
    spent: Spent,
    stats: RunStats,
    stream: TextStream<'a>,
    stops: StopTexts,
    /// Tokens without a text that end the answer.
    stop_ids: Vec<u32>,
    text: String,
    tokens: Vec<u32>,
    said: SaidTokens,
    first_at: Option<Instant>,
    finish_reason: Option<FinishReason>,
}

impl<'a> Answer<'a> {
    /// Of a run with room for `capacity` tokens that holds none or the first of the prompt's.
    pub fn new(
        engine: &'a Engine,
        run: Box<dyn Run + 'a>,
        capacity: usize,
        prompt: &[u32],
        request: &Request,
        choice: Choice,
        accepted: Instant,
    ) -> Self {
        let tokenizer = &engine.tokenizer;
        let ids_of_stops = request.stop.iter().filter_map(|stop| tokenizer.token_id(stop));
        Self {
            stop_ids: ids_of_stops.filter(|id| tokenizer.has_no_text(*id)).collect(),
            stops: StopTexts::new(&request.stop),
            // By a constraint, what is written is the text, its first space too.
            stream: if choice.is_constrained() { tokenizer.stream_within() } else { tokenizer.stream() },
            stats: RunStats { cached_tokens: run.tokens_done(), ..RunStats::default() },
            engine,
            run: Some(run),
            outlook: None,
            capacity,
            prompt: prompt.to_vec(),
            to_read: prompt.len(),
            request: request.clone(),
            choice,
            accepted,
            spent: Spent::default(),
            text: String::new(),
            tokens: Vec::new(),
            said: SaidTokens::default(),
            first_at: None,
            finish_reason: None,
        }
    }

    /// All tokens of prompt and answer so far.
    pub fn all_tokens(&self) -> Vec<u32> {
        [self.prompt.as_slice(), &self.tokens].concat()
    }

    /// Tokens of the prompt that were there before.
    pub fn cached_tokens(&self) -> usize {
        self.stats.cached_tokens
    }

    /// Does the next step, of a prompt that is read by `attention`; breaks behind the last. In the thread pool of the engine.
    ///
    /// # Errors
    /// What the device says, and when the model computes no number. There is no step behind an error.
    pub fn step(&mut self, attention: PrefillAttention, events: &mut Events) -> Result<ControlFlow<()>, EngineError> {
        if self.finish_reason.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        if self.is_reading() {
            self.finish_reason = self.read(attention, events)?;
        } else if let Some(next) = self.choose(attention.policy, events)? {
            self.forward(next)?;
        }
        Ok(if self.finish_reason.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// The next token of the answer to a prompt that was read by `policy`, to be taken through the model; nothing where the answer
    /// ends.
    ///
    /// # Errors
    /// When the model computes no number, and what the device or the constraint says. There is no step behind an error.
    pub fn choose(&mut self, policy: AttentionPolicy, events: &mut Events) -> Result<Option<u32>, EngineError> {
        if self.finish_reason.is_none() {
            match self.write(policy, events)? {
                ControlFlow::Continue(next) => return Ok(Some(next)),
                ControlFlow::Break(reason) => self.finish_reason = Some(reason),
            }
        }
        Ok(None)
    }

    /// Takes a token through the model by itself.
    ///
    /// # Errors
    /// What the device says.
    pub fn forward(&mut self, next: u32) -> Result<(), EngineError> {
        Ok(self.run.as_mut().expect("there is no step behind an error").forward_one(next)?)
    }

    /// The run, for a step with others.
    pub fn run_mut(&mut self) -> &mut (dyn Run + 'a) {
        &mut **self.run.as_mut().expect("there is no step behind an error")
    }

    /// Whether in such a step the most likely token behind its own is enough to know.
    pub fn takes_the_likeliest(&self) -> bool {
        self.choice.takes_the_likeliest()
    }

    /// Goes on by what the model said in a step with others.
    pub fn stepped(&mut self, outlook: Outlook) {
        self.outlook = Some(outlook);
    }

    /// Lets go of the room for chunks, which others need meanwhile.
    pub fn rest(&mut self) {
        if let Some(run) = &mut self.run {
            run.rest();
        }
    }

    /// The first tokens of prompt and answer, and the pages that hold them.
    pub fn held(&self) -> (Vec<u32>, &[u32]) {
        let Some(run) = &self.run else { return (Vec::new(), &[]) };
        let mut tokens = self.all_tokens();
        tokens.truncate(run.tokens_done());
        (tokens, run.sequence().table())
    }

    /// Waits for the device, and takes what it did since this was last asked for what this prompt took. Behind the last chunk that is
    /// done by itself; where others have the device meanwhile, behind each.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub fn account(&mut self) -> Result<(), EngineError> {
        if let Some(run) = &self.run {
            self.spent.times += run.times()?;
        }
        self.spent.times += self.spent.aside.take();
        Ok(())
    }

    /// Where others [leave](Self::settle) what the device did for this prompt before it did something for theirs.
    pub fn aside(&self) -> Aside {
        self.spent.aside.clone()
    }

    /// Waits for the device before it does anything for this prompt; what it did so far is another's.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub fn settle(&self, others: &Aside) -> Result<(), EngineError> {
        if let Some(run) = &self.run {
            others.put(run.times()?);
        }
        Ok(())
    }

    /// Ends it with what there is.
    pub fn cancel(&mut self) {
        self.finish_reason.get_or_insert(FinishReason::Cancelled);
    }

    /// The answer, and the run with the tokens it holds; none behind an error or where it is suspended.
    pub fn finish(mut self) -> (Generation, Option<Box<dyn Run + 'a>>) {
        let run = self.run.take();
        if self.stats.prompt_tokens == 0 {
            // Cancelled within the prompt.
            self.finish_reading(None);
        }
        let mut stats = self.stats;
        stats.measured_memory_bytes = self.engine.model.peak_bytes().filter(|_| self.engine.peak_is_known);
        stats.generated_tokens = self.tokens.len();
        if let (Some(first_at), 2..) = (self.first_at, self.tokens.len()) {
            stats.decode_tokens_per_s = (self.tokens.len() - 1) as f64 / first_at.elapsed().as_secs_f64();
        }
        let finish_reason = self.finish_reason.unwrap_or(FinishReason::Cancelled);
        let said_tokens = self.said.into_said();
        (Generation { text: self.text, tokens: self.tokens, said_tokens, finish_reason, stats }, run)
    }

    /// Takes one more token from the logits: what is to go through the model, or why nothing is.
    fn write(
        &mut self,
        policy: AttentionPolicy,
        events: &mut Events,
    ) -> Result<ControlFlow<FinishReason, u32>, EngineError> {
        if self.tokens.len() == self.request.max_tokens {
            return Ok(ControlFlow::Break(self.end(FinishReason::Length, events)));
        }
        let run = self.run.as_mut().expect("there is no step behind an error");
        let outlook = match self.outlook.take() {
            Some(outlook) => outlook,
            None => {
                let last = run.chunk_len() - 1;
                self.choice.look(&mut **run, last)?
            }
        };
        let (next, likely) = match self.choice.next(outlook, self.said.chars)? {
            Chosen::Token(next, likely) => (next, likely),
            Chosen::End => return Ok(ControlFlow::Break(self.end(FinishReason::End, events))),
            Chosen::NoNumber => {
                let position = run.tokens_done();
                // What looks for the place needs the room.
                self.run = None;
                return Err(self.engine.no_number(position, &self.prompt, &self.tokens, policy));
            }
        };
        let first_at = *self.first_at.get_or_insert_with(Instant::now);
        self.stats.ttft_ms.get_or_insert((first_at - self.accepted).as_secs_f64() * 1e3);
        if self.stop_ids.contains(&next) {
            return Ok(ControlFlow::Break(FinishReason::Stop));
        }
        let ends = self.request.stop_at_eos || self.choice.is_constrained();
        if ends && self.engine.tokenizer.eos_ids().contains(&next) {
            return Ok(ControlFlow::Break(self.end(FinishReason::End, events)));
        }
        self.tokens.push(next);
        if events(Event::Chosen(next)).is_break() {
            return Ok(ControlFlow::Break(FinishReason::Cancelled));
        }
        likely.into_iter().for_each(|token| self.said.hold(token));
        if let Some(piece) = self.stream.push(next) {
            self.said.chars += piece.chars().count();
            let (piece, stopped) = self.stops.push(&piece);
            let goes_on = self.say(&piece, events);
            if stopped {
                return Ok(ControlFlow::Break(FinishReason::Stop));
            }
            if goes_on.is_break() {
                return Ok(ControlFlow::Break(FinishReason::Cancelled));
            }
        }
        if self.choice.take(next)? {
            return Ok(ControlFlow::Break(self.end(FinishReason::End, events)));
        }
        if self.tokens.len() == self.request.max_tokens {
            return Ok(ControlFlow::Break(self.end(FinishReason::Length, events)));
        }
        Ok(ControlFlow::Continue(next))
    }

    /// Says what was held back: half a character, or what might have become a stop text.
    fn end(&mut self, finish_reason: FinishReason, events: &mut Events) -> FinishReason {
        let (rest, stopped) = self.stops.push(&self.stream.finish().unwrap_or_default());
        // The answer ends in any case.
        let _ = self.say(&rest, events);
        if stopped {
            return FinishReason::Stop;
        }
        let held = self.stops.finish();
        if self.say(&held, events).is_continue() {
            let _ = self.said.say_rest(events);
        }
        finish_reason
    }

    /// Adds to the text; the tokens that it begins with are told first.
    fn say(&mut self, piece: &str, events: &mut Events) -> ControlFlow<()> {
        self.text.push_str(piece);
        if piece.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.said.say(piece, events) {
            ControlFlow::Continue(()) => events(Event::Text(piece)),
            enough => enough,
        }
    }
}
