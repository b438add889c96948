//! What KV-aware routers hear of the pages that this worker keeps.

use crate::load::RANK;
use attention::BLOCK_N;
use dynamo_backend_common::KvEventPublisher;
use dynamo_kv_router::protocols::{
    BlockHashOptions, ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheRemoveData, KvCacheStoreData,
    KvCacheStoredBlockData, compute_block_hash_for_seq,
};
use runtime::engine::service::PageEvent;
use std::sync::{Arc, OnceLock};

/// Who is told, once there is somebody; the first page is kept after that.
#[derive(Clone, Default)]
pub struct Pages(Arc<OnceLock<Arc<KvEventPublisher>>>);

impl Pages {
    /// Tells it from here on.
    pub fn tell(&self, publisher: Arc<KvEventPublisher>) {
        // The worker has one.
        let _ = self.0.set(publisher);
    }

    /// A page came or went.
    pub fn hear(&self, event: PageEvent) {
        let Some(publisher) = self.0.get() else { return };
        let data = match event {
            PageEvent::Kept { page, before, tokens } => KvCacheEventData::Stored(KvCacheStoreData {
                parent_hash: before.map(ExternalSequenceBlockHash),
                start_position: None,
                // Full pages only: each is one block.
                blocks: compute_block_hash_for_seq(tokens, BLOCK_N as u32, BlockHashOptions::default())
                    .into_iter()
                    .map(|tokens_hash| KvCacheStoredBlockData {
                        block_hash: ExternalSequenceBlockHash(page),
                        tokens_hash,
                        mm_extra_info: None,
                    })
                    .collect(),
            }),
            PageEvent::Gone { page } => {
                KvCacheEventData::Removed(KvCacheRemoveData { block_hashes: vec![ExternalSequenceBlockHash(page)] })
            }
        };
        let event = KvCacheEvent { event_id: publisher.next_event_id(), data, dp_rank: RANK };
        if publisher.publish(event).is_err() {
            tracing::debug!("nobody takes events of pages any more");
        }
    }
}
