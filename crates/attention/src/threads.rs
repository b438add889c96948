//! Worker threads: as many as were asked for, and no more than a machine can use.

use crate::Error;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::thread::available_parallelism;

/// More than the cores of any machine; each has a stack, and work is divided among all.
pub const MAX_THREADS: usize = 4096;

/// Worker threads of a [`pool`] of `threads`: one for each core where that is 0.
pub fn count(threads: usize) -> usize {
    if threads == 0 { available_parallelism().map_or(1, usize::from).min(MAX_THREADS) } else { threads }
}

/// A pool of `threads` worker threads, or of one for each core where that is 0. What is installed in it starts no others. The
/// variable `RAYON_NUM_THREADS` is not read: rayon would start as many as it says, a million too.
///
/// # Errors
/// When there are to be more than [`MAX_THREADS`], or the system starts fewer.
pub fn pool(threads: usize) -> Result<ThreadPool, Error> {
    if threads > MAX_THREADS {
        return Err(Error::TooManyThreads(threads));
    }
    let count = count(threads);
    ThreadPoolBuilder::new().num_threads(count).build().map_err(|error| Error::Threads(count, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for_and_no_absurd_number() {
        assert_eq!(pool(3).unwrap().current_num_threads(), 3);
        assert!(pool(0).unwrap().current_num_threads() >= 1);
        for absurd in [MAX_THREADS + 1, usize::MAX] {
            let error = pool(absurd).unwrap_err().to_string();
            assert!(error.contains(&format!("{absurd} worker threads")) && error.contains("at most 4096"), "{error}");
        }
    }
}
