//! What it takes to answer a request: pages, of which some may be there already, and more as the answer grows.

use super::attended::Attended;
use super::job::Job;
use super::pool_room::PoolRoom;
use super::prefixes::Prefixes;
use super::turns::SHORT;
use super::{OnPage, PagesInUse, ServiceOptions};
use crate::engine::answer::Answer;
use crate::engine::choice::Choice;
use crate::engine::{Engine, EngineError};
use crate::model::{Outlook, Pool, Run, StepRow};
use crate::ops::OpsError;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::request::{AttentionMode, Generation, Request};
use crate::sequence::CacheFull;
use attention::BLOCK_N;
use attention::search::Search;

/// Tokens that a request has pages for beyond those that went through: as many more are taken whenever these are used up.
const AHEAD: usize = 4 * BLOCK_N;

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

/// What a run is asked for.
struct Asked<'a> {
    /// Tokens that are read first.
    read: &'a [u32],
    prompt_len: usize,
    /// Tokens that it may have in all.
    capacity: usize,
    attended: Attended,
    least_alike: usize,
    sparse: bool,
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

    /// The answer to a request, no step of it done; nothing where there is no room for it beside so many others. What is kept makes room
    /// where there is none; where that does not suffice and no others run that could end, it is an error.
    ///
    /// # Errors
    /// What the request asks for and cannot have.
    pub fn begin(&mut self, job: &Job, others: usize) -> Result<Option<Begun<'e>>, EngineError> {
        let Self { engine, ref room, .. } = *self;
        let Job { prompt, request, accepted, .. } = job;
        let choice = Choice::new(engine, request, prompt)?;
        let capacity = engine.check_tokens(prompt, request.max_tokens, engine.config().max_context)?;
        let (attended, least_alike) = (Attended::by(request), engine.config().least_alike(prompt.len()));
        if others == 0 {
            let sparse = request.attention != AttentionMode::Dense && room.check(0, capacity, true).is_ok();
            self.renew_pool(capacity, sparse);
        }
        let room = &self.room;
        let found = self.prefixes.longest(prompt, least_alike, attended);
        let mut search = engine.search_behind((found.0.len() + found.1) * BLOCK_N, request, prompt.len())?;
        // Nobody else at all.
        if request.attention == AttentionMode::Auto && room.check(0, capacity, search.is_some()).is_err() {
            search = None;
        }
        engine.check_attention(attention(request, search.as_ref()))?;
        room.check(0, capacity, search.is_some())?;

        let prompt_len = prompt.len();
        let asked = Asked { read: prompt, prompt_len, capacity, attended, least_alike, sparse: search.is_some() };
        let run = self.start(asked, found, others)?;
        Ok(run.map(|run| {
            let answer = Answer::new(engine, run, capacity, prompt, request, choice, *accepted);
            Begun { search, answer, attended, least_alike }
        }))
    }

    /// Goes on with what was [suspended](Self::suspend), where there is room for it beside so many others.
    ///
    /// # Errors
    /// When there is none and no others run, and what the device says.
    pub fn resume(&mut self, job: &Job, begun: &mut Begun<'e>, others: usize) -> Result<bool, EngineError> {
        let Begun { ref search, ref mut answer, attended, least_alike } = *begun;
        let (read, prompt_len, capacity) = (answer.all_tokens(), job.prompt.len(), answer.capacity());
        let found = self.prefixes.longest(&read, least_alike, attended);
        let asked = Asked { read: &read, prompt_len, capacity, attended, least_alike, sparse: search.is_some() };
        let run = self.start(asked, found, others)?;
        Ok(run.map(|run| answer.resume(run)).is_some())
    }

    /// Tokens of a prompt that are to be read: those that are not kept.
    pub fn unread(&mut self, Job { prompt, request, .. }: &Job) -> usize {
        let least_alike = self.engine.config().least_alike(prompt.len());
        let (in_pool, on_host) = self.prefixes.longest(prompt, least_alike, Attended::by(request));
        prompt.len() - (in_pool.len() + on_host) * BLOCK_N
    }

    /// Bytes that a chunk of a request takes beside weights and pages.
    pub fn scratch_bytes(&self, Begun { search, answer, .. }: &Begun) -> u64 {
        self.engine.predicted_memory(answer.capacity(), search.is_some()).scratch_bytes()
    }

    /// Whether there is memory for a short chunk of a request while one of another is under way, which takes `others_bytes` beside
    /// weights and pages; `running` may write meanwhile, and need pages once each.
    pub fn has_room_beside(&self, Begun { search, answer, .. }: &Begun, others_bytes: u64, running: usize) -> bool {
        let Some(pool) = &self.pool else { return false };
        let short = self.engine.model.memory_need(answer.capacity(), SHORT, search.is_some());
        self.room.has_room_for(&**pool, running * AHEAD / BLOCK_N, short.scratch_bytes() + others_bytes)
    }

    /// A run behind the pages that were [found](Prefixes::longest), with room for what is read and some more; none where others must
    /// end first.
    fn start(
        &mut self,
        asked: Asked,
        (mut prefix, on_host): (Vec<u32>, usize),
        others: usize,
    ) -> Result<Option<Box<dyn Run + 'e>>, EngineError> {
        let Self { engine, ref room, .. } = *self;
        let Asked { read, prompt_len, capacity, attended, least_alike, sparse } = asked;
        let pool = match &self.pool {
            Some(pool) => pool,
            None => {
                let pages = room.pages_for(capacity, self.together, sparse);
                self.pool.insert(engine.model.pool(pages * BLOCK_N)?)
            }
        };
        // What it begins with is somebody's from here on: it does not go.
        pool.share(&prefix);
        let in_pool = prefix.len();
        let tokens = capacity.min(read.len() + AHEAD);
        let own = tokens.div_ceil(BLOCK_N) - in_pool;
        let checked = || {
            // Where all others give their pages up it must find as many as it may need.
            let (all, most) = (pool.num_pages(), capacity.div_ceil(BLOCK_N));
            if most > all {
                return Err(OpsError::from(CacheFull { free: all, needed: most }).into());
            }
            room.check_in(&**pool, in_pool, tokens, capacity, sparse)?;
            // A page for each of those who run, which they will ask for soon.
            let (free, needed) = (pool.free_pages(), own + others);
            if needed > free { Err(OpsError::from(CacheFull { free, needed }).into()) } else { Ok(()) }
        };
        let mut fits = checked();
        while fits.is_err()
            && self.prefixes.make_room(&**pool, (own + others).saturating_sub(pool.free_pages()).max(1)) > 0
        {
            fits = checked();
        }
        let run = match fits {
            Ok(()) => {
                let back = self.prefixes.bring_back(&**pool, read, least_alike, attended, (in_pool, on_host));
                back.and_then(|back| {
                    prefix.extend(back);
                    pool.start(prompt_len, tokens, &prefix).map(Some)
                })
                .map_err(EngineError::from)
            }
            Err(_) if others > 0 => {
                let all = capacity.div_ceil(BLOCK_N) - in_pool;
                self.together = self.together.max(pool.num_pages() - pool.free_pages() + all);
                Ok(None)
            }
            Err(error) => Err(error),
        };
        pool.release(&prefix);
        run
    }

    /// Pages for the next tokens of an answer that has none left, as many as there are; whether there are any. What is kept makes room.
    ///
    /// # Errors
    /// What the device says.
    pub fn reserve(&mut self, Begun { answer, .. }: &mut Begun<'e>) -> Result<bool, EngineError> {
        let pool = self.pool.as_ref().expect("whoever has a token began in it");
        let missing = (AHEAD / BLOCK_N).saturating_sub(pool.free_pages());
        if missing > 0 {
            self.prefixes.make_any_room(&**pool, missing);
        }
        answer.reserve(AHEAD.min(pool.free_pages() * BLOCK_N))?;
        Ok(answer.has_room())
    }

    /// Takes the pages of an answer, for others; they are kept until these need them.
    pub fn suspend(&mut self, begun: &mut Begun<'e>) {
        self.keep(begun);
        begun.answer.suspend();
    }

    /// Lets go of a pool that nobody runs in where a GPU has too few pages for a request, or for those that were asked for together,
    /// or so many that no room is left beside them. Of what is kept, that stays which goes to the host.
    fn renew_pool(&mut self, tokens: usize, sparse: bool) {
        let Some(pool) = &self.pool else { return };
        let grows = self.room.pages_for(tokens, self.together, sparse) > pool.num_pages();
        if self.engine.on_gpu && (grows || self.room.check_in(&**pool, 0, tokens, tokens, sparse).is_err()) {
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
