//! How many pages a service has, and whether memory suffices for a run in them: known before either is taken.

use super::ServiceOptions;
use crate::engine::{Engine, EngineError, Room};
use crate::model::Pool;
use attention::BLOCK_N;

/// Tokens of each request at a time that a pool on a GPU has pages for before anyone asked for more, and as many again that are kept
/// unless it is said how many.
const FIRST_TOKENS: usize = 4096;
/// A GPU's first pool takes no more than this share of what would fit.
const FIRST_SHARE: usize = 4;

/// The memory that was free when the service began, and the pages that go into it.
pub(super) struct PoolRoom<'e> {
    engine: &'e Engine,
    room: Room,
    /// As many as there may be.
    most: usize,
    first: usize,
}

impl<'e> PoolRoom<'e> {
    /// Pages for the whole context of so many requests or, where memory does not suffice, for as many as it does beside what one
    /// of them needs: of a sparse prompt, unless only a dense one has room for a whole context.
    pub fn measure(engine: &'e Engine, options: ServiceOptions) -> Self {
        let max_running = options.max_running.max(1);
        let room = engine.room();
        let of_context = engine.config().max_context.div_ceil(BLOCK_N);
        // Kernels count keys over all heads in 31 bits.
        let countable = i32::MAX as usize / (BLOCK_N * engine.config().num_kv_heads);
        let most = max_running.saturating_mul(of_context).min(countable);
        let fitting = |sparse: bool| {
            let fits = |pages: usize| {
                let longest = pages.min(of_context) * BLOCK_N;
                let others = page_bytes(engine, sparse) * (pages - pages.min(of_context)) as u64;
                engine.check_room_in(&room, others, longest, sparse).is_ok()
            };
            let (mut fitting, mut beyond) = (0, most + 1);
            while fitting + 1 < beyond {
                let middle = (fitting + beyond) / 2;
                if fits(middle) { fitting = middle } else { beyond = middle }
            }
            fitting
        };
        let sparse = fitting(true);
        let most = if sparse >= of_context { sparse } else { fitting(false) };
        let running = max_running.saturating_mul(FIRST_TOKENS);
        let first = running.saturating_add(options.max_kept_tokens.unwrap_or(running)) / BLOCK_N;
        Self { engine, room, most, first: first.min(most / FIRST_SHARE) }
    }

    /// As many pages as there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The pages of a new pool whose first request has so many tokens, while so many pages were asked for together before. A CPU takes
    /// their memory as they are filled, so it has them all; a GPU takes that of all pages at once, so it has what is asked for.
    pub fn pages_for(&self, tokens: usize, together: usize, sparse: bool) -> usize {
        if !self.engine.on_gpu {
            return self.most;
        }
        let (own, more) = (tokens.div_ceil(BLOCK_N), self.first.max(together).min(self.most));
        if more > own && self.check(more - own, tokens, sparse).is_ok() { more } else { own }
    }

    /// Whether a run that begins with pages for so many tokens, of which some are there, has room in a pool. All pages of a GPU's are
    /// there; a CPU takes their memory as they are filled, and has no more of them than it has room for.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub fn check_in(
        &self,
        pool: &dyn Pool,
        prefix: usize,
        tokens: usize,
        capacity: usize,
        sparse: bool,
    ) -> Result<(), EngineError> {
        match self.engine.on_gpu {
            true => self.check(pool.num_pages().saturating_sub(capacity.div_ceil(BLOCK_N)), capacity, sparse),
            false => self.check(pool.num_pages() - pool.free_pages() - prefix, tokens, sparse),
        }
    }

    /// Whether chunks that take so many bytes together have room beside weights and pages: all of a GPU's; of a CPU's those in use, and
    /// so many more.
    pub fn has_room_for(&self, pool: &dyn Pool, more_pages: usize, scratch_bytes: u64) -> bool {
        let (engine, all) = (self.engine, pool.num_pages());
        let pages = if engine.on_gpu { all } else { all.min(all - pool.free_pages() + more_pages) };
        let held_bytes = engine.predicted_memory(BLOCK_N, false).held_bytes();
        let needed = held_bytes + page_bytes(engine, false) * pages as u64 + scratch_bytes;
        self.room.available().is_none_or(|available| needed <= available)
    }

    /// Whether a run of so many tokens has room beside so many pages of others.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub fn check(&self, others: usize, tokens: usize, sparse: bool) -> Result<(), EngineError> {
        let others_bytes = page_bytes(self.engine, sparse) * others as u64;
        self.engine.check_room_in(&self.room, others_bytes, tokens, sparse)
    }
}

/// Bytes of a page in all layers.
fn page_bytes(engine: &Engine, sparse: bool) -> u64 {
    engine.predicted_memory(BLOCK_N, sparse).kv_cache_bytes
}
