//! One run at a time: two would measure each other, and write over each other's results.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process that was killed may take to vanish where it held a model: its memory is given back before its locks.
pub const WITH_A_MODEL: Duration = Duration::from_secs(2);

/// The same of a process that held no model. Short: whoever waits longer takes the place of a quick run that only ended.
pub const WITHOUT_A_MODEL: Duration = Duration::from_millis(300);

/// Locks a file until it is closed, or until the process ends, however it does. `false` where another run holds it and still does after
/// `patience`, which is for one that was killed a moment ago, or whose parent was.
///
/// Some network file systems have no locks; a run there goes on without one.
///
/// # Errors
/// When the system cannot lock it.
pub fn lock(file: &File, patience: Duration) -> io::Result<bool> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if started.elapsed() >= patience => return Ok(false),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_waits_for_one_that_ends_and_no_longer_than_its_patience() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let first = open();
        assert!(lock(&first, Duration::ZERO).unwrap());
        let started = Instant::now();
        assert!(!lock(&open(), WITHOUT_A_MODEL).unwrap());
        assert!(started.elapsed() >= WITHOUT_A_MODEL && started.elapsed() < WITH_A_MODEL);
        let ends = thread::spawn(move || {
            thread::sleep(WITHOUT_A_MODEL);
            drop(first);
        });
        assert!(lock(&open(), Duration::from_secs(60)).unwrap());
        ends.join().unwrap();
    }
}
