//! Numbers that nobody chose.

use std::hash::{BuildHasher, RandomState};

pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(())
}

/// A name that nothing else has, behind what it begins with.
pub(crate) fn name(beginning: &str) -> String {
    format!("{beginning}{:016x}", number())
}
