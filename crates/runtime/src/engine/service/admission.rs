//! What it takes to answer a request: pages, of which some may be there already.

use super::attended::Attended;
use super::job::Job;
use super::pool_room::PoolRoom;
use super::prefixes::Prefixes;
use super::{OnPage, PagesInUse, ServiceOptions};
use crate::engine::answer::Answer;
use crate::engine::choice::Choice;
use crate::engine::{Engine, EngineError};
use crate::model::{Outlook, Pool, StepRow};
use crate::ops::OpsError;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::{AttentionMode, Generation, Request};
use crate::sequence::CacheFull;
use attention::BLOCK_N;
use attention::search::Search;

/// The pages of a service, and who gets them.
pub(super) struct Admission<'e> {
    engine: &'e Engine,
    room: PoolRoom<'e>,
    prefixes: Prefixes,
    /// Made for the first request, and again where nobody runs and one needs more.
    pool: Option<Box<dyn Pool<'e> + 'e>>,
    /// As many pages as requests asked for together so far.
    together: usize,
}

/// What it takes to answer a request.
pub(super) struct Begun<'e> {
    pub search: Option<Search>,
    pub answer: Answer<'e>,
    attended: Attended,
    least_alike: usize,
}

impl<'e> Admission<'e> {
    pub fn new(engine: &'e Engine, options: ServiceOptions, on_page: OnPage) -> Self {
        let room = PoolRoom::measure(engine, options);
        let kept = options.max_kept_tokens.map_or(room.most(), |tokens| tokens / BLOCK_N);
        // Pages of a CPU are on the host.
        let on_host = if engine.on_gpu { options.max_host_tokens / BLOCK_N } else { 0 };
        let prefixes = Prefixes::new(kept, on_host).telling(on_page);
        Self { engine, room, prefixes, pool: None, together: 0 }
    }

    /// The answer to a request, no step of it done; nothing where others must end first. What is kept makes room where there is
    /// none; where that does not suffice and no others run that could end, it is an error.
    ///
    /// # Errors
    /// What the request asks for and cannot have.
    pub fn begin(&mut self, job: &Job, others_run: bool) -> Result<Option<Begun<'e>>, EngineError> {
        let Self { engine, ref room, .. } = *self;
        let Job { prompt, request, accepted, .. } = job;
        let choice = Choice::new(engine, request, prompt)?;
        let tokens = engine.check_tokens(prompt, request.max_tokens, engine.config().max_context)?;
        let (attended, least_alike) = (Attended::by(request), engine.config().least_alike(prompt.len()));
        if !others_run {
            let sparse = request.attention != AttentionMode::Dense && room.check(0, tokens, true).is_ok();
            self.renew_pool(tokens, sparse);
        }
        let room = &self.room;
        let (mut prefix, on_host) = self.prefixes.longest(prompt, least_alike, attended);
        let there = prefix.len() + on_host;
        let mut search = engine.search_behind(there * BLOCK_N, request, prompt.len())?;
        // Nobody else at all.
        if request.attention == AttentionMode::Auto && room.check(0, tokens, search.is_some()).is_err() {
            search = None;
        }
        engine.check_attention(attention(request, search.as_ref()))?;
        room.check(0, tokens, search.is_some())?;

        let pool = match &self.pool {
            Some(pool) => pool,
            None => {
                let pages = room.pages_for(tokens, self.together, search.is_some());
                self.pool.insert(engine.model.pool(pages * BLOCK_N)?)
            }
        };
        // What it begins with is somebody's from here on: it does not go.
        pool.share(&prefix);
        let in_pool = prefix.len();
        let own = tokens.div_ceil(BLOCK_N) - in_pool;
        let checked = || {
            room.check_in(&**pool, in_pool, tokens, search.is_some())?;
            let free = pool.free_pages();
            if own > free { Err(OpsError::from(CacheFull { free, needed: own }).into()) } else { Ok(()) }
        };
        let mut fits = checked();
        while fits.is_err() && self.prefixes.make_room(&**pool, own.saturating_sub(pool.free_pages()).max(1)) > 0 {
            fits = checked();
        }
        let run = match fits {
            Ok(()) => {
                let back = self.prefixes.bring_back(&**pool, prompt, least_alike, attended, (in_pool, on_host));
                back.and_then(|back| {
                    prefix.extend(back);
                    pool.start(prompt.len(), tokens, &prefix).map(Some)
                })
                .map_err(EngineError::from)
            }
            Err(_) if others_run => {
                self.together = self.together.max(pool.num_pages() - pool.free_pages() + own);
                Ok(None)
            }
            Err(error) => Err(error),
        };
        pool.release(&prefix);
        Ok(run?.map(|run| {
            let answer = Answer::new(engine, run, tokens, prompt, request, choice, *accepted);
            Begun { search, answer, attended, least_alike }
        }))
    }

    /// Lets go of a pool that nobody runs in where a GPU has too few pages for a request, or for those that were asked for together,
    /// or so many that no room is left beside them. Of what is kept, that stays which goes to the host.
    fn renew_pool(&mut self, tokens: usize, sparse: bool) {
        let Some(pool) = &self.pool else { return };
        let grows = self.room.pages_for(tokens, self.together, sparse) > pool.num_pages();
        if self.engine.on_gpu && (grows || self.room.check_in(&**pool, 0, tokens, sparse).is_err()) {
            self.prefixes.leave(&**pool);
            self.pool = None;
        }
    }

    /// Takes the next token of several answers through the model together; see [`Pool::step`].
    pub fn step(&mut self, rows: &mut [StepRow]) -> Result<Vec<Outlook>, EngineError> {
        let pool = self.pool.as_mut().expect("whoever has a token began in it");
        Ok(pool.step(rows)?)
    }

    /// Keeps what a request holds so far, also for those who come while it is answered.
    pub fn keep(&mut self, Begun { answer, attended, least_alike, .. }: &Begun) {
        if let Some(pool) = &self.pool {
            let (tokens, table) = answer.held();
            self.prefixes.put(&**pool, &tokens, table, *least_alike, *attended);
        }
    }

    /// The answer behind the last step; its keys and values are kept.
    pub fn finish(&mut self, job: &Job, begun: Begun<'e>) -> Generation {
        self.keep(&begun);
        let Begun { search, answer, .. } = begun;
        let mut generation = answer.finish().0;
        generation.stats.search_left_out = job.request.attention == AttentionMode::Auto && search.is_none();
        generation
    }

    /// What the pages are used for.
    pub fn pages_in_use(&self) -> PagesInUse {
        let on_host = self.prefixes.on_host();
        let Some(pool) = &self.pool else { return PagesInUse { on_host, ..PagesInUse::default() } };
        let kept = self.prefixes.kept_alone(&**pool);
        let all = pool.num_pages();
        PagesInUse { all, of_requests: all - pool.free_pages() - kept, kept, on_host }
    }

    /// Keeps nothing any more.
    pub fn forget_prefixes(&mut self) {
        if let Some(pool) = &self.pool {
            self.prefixes.clear(&**pool);
        }
    }
}

/// How a prompt is read by what was found for it.
pub(super) fn attention<'s>(request: &Request, search: Option<&'s Search>) -> PrefillAttention<'s> {
    PrefillAttention { receipt: request.receipt, ..PrefillAttention::from(AttentionPolicy::from(search)) }
}
