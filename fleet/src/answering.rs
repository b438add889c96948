//! An answer on its way to the front end.

use crate::load::Load;
use crate::refusal::{gone, of_engine};
use crate::request::Asked;
use dynamo_backend_common::{
    AsyncEngineContext, CompletionUsage, DynamoError, LLMEngineOutput, LLMEngineOutputExt, PromptTokensDetails,
    TopLogprob, chunk, usage,
};
use futures::stream::{self, BoxStream, StreamExt};
use runtime::engine::EngineError;
use runtime::engine::service::{Heard, Service, Ticket};
use runtime::log_probabilities::{LikelyToken, SaidToken};
use runtime::request::{Event, FinishReason, Generation, RunStats};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What JSON can write of a token that cannot be.
const LEAST_LOG_PROBABILITY: f64 = -9999.0;

/// What comes of an answer.
enum Said {
    Began { cached_tokens: usize },
    Token(Box<LLMEngineOutput>),
    Ended { generation: Box<Result<Generation, EngineError>>, at_stop_id: bool },
}

/// An answer under way. Dropped, as where the front end goes away, it is cancelled.
pub struct Answering {
    service: Arc<Service>,
    load: Arc<Load>,
    said: UnboundedReceiver<Said>,
    ticket: Ticket,
    /// Says when nobody wants more.
    context: Arc<dyn AsyncEngineContext>,
    prompt_tokens: usize,
    cached_tokens: usize,
    new_tokens: usize,
    _place: OwnedSemaphorePermit,
}

impl Answering {
    /// Asks for it.
    pub fn ask(
        service: Arc<Service>,
        load: Arc<Load>,
        place: OwnedSemaphorePermit,
        asked: Asked,
        context: Arc<dyn AsyncEngineContext>,
    ) -> Self {
        let Asked { prompt, request, stop_ids } = asked;
        let (sender, said) = unbounded_channel();
        let prompt_tokens = prompt.len();
        let hear = listener(sender, stop_ids, request.log_probabilities.is_some());
        let ticket = service.submit(prompt, request, hear);
        Self { service, load, said, ticket, context, prompt_tokens, cached_tokens: 0, new_tokens: 0, _place: place }
    }

    /// Its tokens one by one, then why there are no more, or an error; nothing behind either.
    pub fn into_stream(self) -> BoxStream<'static, Result<LLMEngineOutput, DynamoError>> {
        let next = |answering: Option<Self>| async {
            let mut answering = answering?;
            let output = answering.next().await;
            let goes_on = matches!(&output, Ok(output) if output.finish_reason.is_none());
            Some((output, goes_on.then_some(answering)))
        };
        stream::unfold(Some(self), next).boxed()
    }

    async fn next(&mut self) -> Result<LLMEngineOutput, DynamoError> {
        loop {
            let said = tokio::select! {
                biased;
                () = self.context.stopped() => return Ok(LLMEngineOutput::cancelled().with_usage(self.usage())),
                said = self.said.recv() => said.ok_or_else(|| gone("the engine stopped: start the worker again"))?,
            };
            match said {
                Said::Began { cached_tokens } => {
                    self.cached_tokens = cached_tokens;
                    self.load.begins(self.prompt_tokens, cached_tokens);
                    self.load.uses(self.service.pages());
                }
                Said::Token(token) => {
                    self.new_tokens += 1;
                    return Ok(*token);
                }
                Said::Ended { generation, at_stop_id } => {
                    self.load.uses(self.service.pages());
                    return self.end((*generation).map_err(of_engine)?, at_stop_id);
                }
            }
        }
    }

    fn end(&self, generation: Generation, at_stop_id: bool) -> Result<LLMEngineOutput, DynamoError> {
        let output = match generation.finish_reason {
            FinishReason::End | FinishReason::Stop => LLMEngineOutput::stop(),
            FinishReason::Length => LLMEngineOutput::length(),
            FinishReason::Cancelled if at_stop_id => LLMEngineOutput::stop(),
            FinishReason::Cancelled => LLMEngineOutput::cancelled(),
        };
        let engine_data = Some(sparse_attention(&generation.stats));
        Ok(LLMEngineOutput { engine_data, ..output.with_usage(self.usage()) })
    }

    fn usage(&self) -> CompletionUsage {
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        let cached =
            PromptTokensDetails { cached_tokens: Some(count(self.cached_tokens)), ..PromptTokensDetails::default() };
        CompletionUsage {
            prompt_tokens_details: Some(cached),
            ..usage(count(self.prompt_tokens), count(self.new_tokens))
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.ticket.cancel();
    }
}

/// Passes on what an answer hears, up to a token that ends it.
fn listener(
    sender: UnboundedSender<Said>,
    stop_ids: HashSet<u32>,
    with_probabilities: bool,
) -> impl FnMut(Heard) -> ControlFlow<()> {
    let mut at_stop_id = false;
    move |heard| {
        let said = match heard {
            Heard::Began { cached_tokens } => Said::Began { cached_tokens },
            Heard::Event(Event::Chosen(id)) if !with_probabilities => {
                at_stop_id = stop_ids.contains(&id);
                Said::Token(Box::new(chunk::token(id)))
            }
            Heard::Event(Event::Token(token)) => {
                at_stop_id = stop_ids.contains(&token.token.id);
                Said::Token(Box::new(likely(token)))
            }
            Heard::Event(_) => return ControlFlow::Continue(()),
            Heard::Ended(generation) => Said::Ended { generation: Box::new(generation), at_stop_id },
        };
        match sender.send(said) {
            Ok(()) if !at_stop_id => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

/// A token, and how likely it and others in its place were.
fn likely(said: &SaidToken) -> LLMEngineOutput {
    let log_probability = |token: &LikelyToken| token.log_probability.max(LEAST_LOG_PROBABILITY);
    let top = said.most_likely.iter().zip(1..).map(|(token, rank)| TopLogprob {
        rank,
        token_id: token.id,
        token: None,
        logprob: log_probability(token),
        bytes: None,
    });
    LLMEngineOutput {
        log_probs: Some(vec![log_probability(&said.token)]),
        top_logprobs: Some(vec![top.collect()]),
        ..chunk::token(said.token.id)
    }
}

/// What the prompt's attention did, as this project's own server says it; times in milliseconds.
fn sparse_attention(stats: &RunStats) -> Value {
    let RunStats { density, recall, search_ms, prefill_ms, ttft_ms, .. } = *stats;
    json!({"sparse_attention": {
        "density": density, "recall": recall, "search_ms": search_ms, "prefill_ms": prefill_ms, "ttft_ms": ttft_ms,
    }})
}
