//! Result files: an object whose `meta` says where the numbers come from, and arrays with one line for each row.

mod layout;
mod meta;
mod write;

pub use meta::Meta;
pub use write::{check_writable, write, write_text};
