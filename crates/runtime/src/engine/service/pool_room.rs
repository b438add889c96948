//! How many pages a service has, and whether memory suffices for a run in them: known before either is taken.

use crate::engine::{Engine, EngineError, Room};
use attention::BLOCK_N;

/// The memory that was free when the service began, and the pages that go into it.
pub(super) struct PoolRoom<'e> {
    engine: &'e Engine,
    room: Room,
    pages: usize,
}

impl<'e> PoolRoom<'e> {
    /// Pages for the whole context of so many requests or, where memory does not suffice, for as many as it does beside what one
    /// of them needs: of a sparse prompt, unless only a dense one has room for a whole context.
    pub fn measure(engine: &'e Engine, max_running: usize) -> Self {
        let room = engine.room();
        let of_context = engine.config().max_context.div_ceil(BLOCK_N);
        // Kernels count keys over all heads in 31 bits.
        let countable = i32::MAX as usize / (BLOCK_N * engine.config().num_kv_heads);
        let most = max_running.max(1).saturating_mul(of_context).min(countable);
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
        let pages = if sparse >= of_context { sparse } else { fitting(false) };
        Self { engine, room, pages }
    }

    /// All pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Whether a run of so many tokens has room beside so many pages of others. A CPU takes their memory as they are filled, a GPU
    /// that of all pages at once.
    ///
    /// # Errors
    /// [`EngineError::Memory`].
    pub fn check(&self, others: usize, tokens: usize, sparse: bool) -> Result<(), EngineError> {
        let own = tokens.div_ceil(BLOCK_N);
        let others = if self.engine.on_gpu { self.pages.saturating_sub(own) } else { others };
        let others_bytes = page_bytes(self.engine, sparse) * others as u64;
        self.engine.check_room_in(&self.room, others_bytes, tokens, sparse)
    }
}

/// Bytes of a page in all layers.
fn page_bytes(engine: &Engine, sparse: bool) -> u64 {
    engine.predicted_memory(BLOCK_N, sparse).kv_cache_bytes
}
