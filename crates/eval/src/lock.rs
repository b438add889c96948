//! One run at a time: two would measure each other, and write over each other's results.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long a run waits for one that was killed a moment ago, or whose parent was, to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Locks a file until it is closed, or until the process ends, however it does. `false` where another run holds it.
///
/// Some network file systems have no locks; a run there goes on without one.
///
/// # Errors
/// When the system cannot lock it.
pub fn lock(file: &File) -> io::Result<bool> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if started.elapsed() >= PATIENCE => return Ok(false),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_waits_for_one_that_ends_and_no_longer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let first = open();
        assert!(lock(&first).unwrap());
        assert!(!lock(&open()).unwrap());
        let ends = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(first);
        });
        assert!(lock(&open()).unwrap());
        ends.join().unwrap();
    }
}
