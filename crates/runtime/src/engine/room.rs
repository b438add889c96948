//! Room for what a run holds.

use super::EngineError;

/// What may be held.
pub(crate) struct Room {
    /// The user's limit, of all that is held.
    pub limit: Option<u64>,
    /// What the device has left, beside what is held.
    pub left: Option<u64>,
    /// Held already, and part of what is needed.
    pub held: u64,
}

impl Room {
    /// Bytes that may be held in all; nothing where nobody says.
    pub fn available(&self) -> Option<u64> {
        let of_device = self.left.map(|left| left.saturating_add(self.held));
        self.limit.into_iter().chain(of_device).min()
    }

    /// Refuses what the machine or the user's limit cannot hold; `needed` is all that would be held.
    pub fn check(&self, needed: u64, what: impl Fn() -> String, need: impl Fn() -> String) -> Result<(), EngineError> {
        match self.available() {
            Some(available) if needed > available => Err(EngineError::Memory { what: what(), need: need(), available }),
            _ => Ok(()),
        }
    }
}
