//! What routers and dashboards hear of this worker's pages of keys and values.

use dynamo_backend_common::{ComponentSnapshot, SnapshotPublisher};
use runtime::engine::service::PagesInUse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A worker is one of its kind: it has no ranks.
pub const RANK: u32 = 0;

/// Prompts so far, and who is told of pages.
#[derive(Default)]
pub struct Load {
    publisher: OnceLock<Arc<SnapshotPublisher>>,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
}

impl Load {
    /// Tells it from here on.
    pub fn tell(&self, publisher: Arc<SnapshotPublisher>) {
        // The worker has one.
        let _ = self.publisher.set(publisher);
    }

    /// A prompt is begun, of which so many tokens were there already.
    pub fn begins(&self, prompt_tokens: usize, cached_tokens: usize) {
        self.prompt_tokens.fetch_add(prompt_tokens as u64, Ordering::Relaxed);
        self.cached_tokens.fetch_add(cached_tokens as u64, Ordering::Relaxed);
    }

    /// Pages are used so.
    pub fn uses(&self, pages: PagesInUse) {
        let Some(publisher) = self.publisher.get() else { return };
        let PagesInUse { all, of_requests, .. } = pages;
        let [prompt, cached] = [&self.prompt_tokens, &self.cached_tokens].map(|sum| sum.load(Ordering::Relaxed));
        // What is kept goes where others need the room: it is no load.
        let snapshot = ComponentSnapshot {
            kv_used_blocks: of_requests as u64,
            kv_total_blocks: all as u64,
            gpu_cache_usage: if all == 0 { 0.0 } else { of_requests as f32 / all as f32 },
            kv_cache_hit_rate: (prompt > 0).then(|| cached as f32 / prompt as f32),
            dp_rank: RANK,
        };
        publisher.publish(RANK, snapshot);
    }
}
