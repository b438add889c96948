//! Threads that stay awake while a token goes through the layers.
//!
//! A token is some hundred short products. Between two of them the other threads of a pool find nothing to do and go to sleep, and to wake
//! one takes longer than many of the products: on two cores of a virtual machine that was a sixth of a token's time.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Looks for work until a thread lets others have its core, in case there are more threads than cores.
const PATIENCE: u32 = 1000;

/// Set once the work is over, also where it panics.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does `work`, while the other threads of the pool it is called in look for parts of it without sleep.
pub(super) fn awake<T>(work: impl FnOnce() -> T) -> T {
    let Some(own) = rayon::current_thread_index().filter(|_| rayon::current_num_threads() > 1) else { return work() };
    let over = Over(Arc::default());
    let is_over = over.0.clone();
    rayon::spawn_broadcast(move |thread| {
        // The thread of the work itself comes by where it waits for a part of it.
        if thread.index() == own {
            return;
        }
        let mut idle = 0;
        while !is_over.load(Ordering::Relaxed) {
            match rayon::yield_now() {
                Some(rayon::Yield::Executed) => idle = 0,
                _ if idle < PATIENCE => {
                    idle += 1;
                    spin_loop();
                }
                _ => thread::yield_now(),
            }
        }
    });
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn parts_are_done_by_all_and_the_end_is_seen() {
        let pool = attention::threads::pool(4).unwrap();
        for n in 0..200 {
            // Nested, too: a part may have parts.
            let sum = pool.install(|| {
                awake(|| {
                    let rows = (0..8).map(|row| (0..n).into_par_iter().map(|x| x * row).sum::<usize>());
                    rows.collect::<Vec<_>>().into_par_iter().sum::<usize>()
                })
            });
            assert_eq!(sum, 28 * n * n.saturating_sub(1) / 2);
        }
        assert_eq!(awake(|| 7), 7, "outside of a pool");
    }

    #[test]
    fn a_panic_ends_it_for_all() {
        let pool = attention::threads::pool(3).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| pool.install(|| awake(|| panic!("in the middle")))));
        assert!(panicked.is_err());
        // The threads are there again: each meets the others.
        let barrier = std::sync::Barrier::new(3);
        pool.broadcast(|_| barrier.wait());
    }
}
