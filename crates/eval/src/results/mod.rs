//! Result files: an object whose `meta` says where the numbers come from, and arrays with one line for each row.

mod layout;
mod meta;
mod write;

pub use meta::Meta;
pub(crate) use meta::date_now;
pub use write::{check_writable, write, write_text};
