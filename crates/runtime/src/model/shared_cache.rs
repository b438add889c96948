//! A cache that a pool and its runs hold.

use crate::kv_cache::KvCache;
use crate::ops::Ops;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A cache that runs and their pool share.
pub(super) struct SharedCache<O: Ops>(Arc<Mutex<KvCache<O>>>);

impl<O: Ops> Clone for SharedCache<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<O: Ops> SharedCache<O> {
    /// For one pool.
    pub fn new(cache: KvCache<O>) -> Self {
        Self(Arc::new(Mutex::new(cache)))
    }

    /// For one step. What panicked in the middle of one wrote to no page that others read.
    pub fn lock(&self) -> MutexGuard<'_, KvCache<O>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
