//! Panics of libraries as errors: some trust what they read, a `tokenizer.json` or a template, which may be cut short or
//! made by anyone.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; what it says when it panics is the error, in brackets, and nothing is printed.
///
/// What `work` has changed may be half done after a panic: it is for work that only reads, or whose result is all it makes.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                print(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        format!("({})", text.unwrap_or("for no reason given"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_call_works() {
        let index = std::hint::black_box(7);
        assert!(guarded(|| [1, 2][index]).unwrap_err().contains("out of bounds"));
        assert!(guarded(|| panic!("plain")).map(|()| 0).unwrap_err().contains("plain"));
        assert_eq!(guarded(|| 3), Ok(3));
        assert!(!GUARDED.get());
    }
}
