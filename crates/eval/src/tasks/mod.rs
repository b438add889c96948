//! Tasks with known answers.

pub mod passkey;
