//! Pages of one layer, for one operation at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys and values of one layer, of all sequences. An operation that takes long may let go of them between stretches of its work.
pub struct LayerPages<P>(Mutex<P>);

impl<P> LayerPages<P> {
    /// Nobody's yet.
    pub fn new(pages: P) -> Self {
        Self(Mutex::new(pages))
    }

    /// Waits for them. What panicked in the middle of an operation wrote to no page that others read.
    pub fn lock(&self) -> MutexGuard<'_, P> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
