//! Work that recurses as deep as what it reads asks for, on a thread of its own, for so long.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Why there is no result.
pub(crate) enum NoResult {
    /// The system started no thread.
    NoThread(io::Error),
    /// It takes longer; it ends by itself, some time.
    TooLong,
    /// It panicked.
    Gone,
}

/// Does `work` on a thread with a stack of so many bytes.
///
/// The thread is waited for where it gave a result, not left to end: glibc's `pthread_detach` reads from a thread after it let it go,
/// which may have ended by then, and a stack as large as these is unmapped at once. A server under load was ended by that.
pub(crate) fn within<T: Send + 'static>(
    time: Duration,
    stack_bytes: usize,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoResult> {
    let (send, receive) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(name.into()).stack_size(stack_bytes);
    let thread = thread.spawn(move || drop(send.send(work()))).map_err(NoResult::NoThread)?;
    let result = match receive.recv_timeout(time) {
        Ok(result) => Ok(result),
        Err(RecvTimeoutError::Timeout) => return Err(NoResult::TooLong),
        Err(RecvTimeoutError::Disconnected) => Err(NoResult::Gone),
    };
    let _ = thread.join();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_thread_that_gave_its_result_has_ended() {
        struct Ends(&'static AtomicBool);
        impl Drop for Ends {
            fn drop(&mut self) {
                // Later than the result, unless the thread is waited for.
                thread::sleep(Duration::from_millis(20));
                self.0.store(true, Ordering::Relaxed);
            }
        }
        thread_local!(static ENDS: std::cell::Cell<Option<Ends>> = const { std::cell::Cell::new(None) });
        static ENDED: AtomicBool = AtomicBool::new(false);
        let result = within(LONG, 1 << 20, "test", || {
            ENDS.set(Some(Ends(&ENDED)));
            7
        });
        assert!(matches!(result, Ok(7)) && ENDED.load(Ordering::Relaxed));
    }

    #[test]
    fn what_gives_no_result_is_told_apart() {
        assert!(matches!(within(LONG, 1 << 20, "test", || panic!("as expected")), Err::<(), _>(NoResult::Gone)));
        let slow = within(Duration::from_millis(5), 1 << 20, "test", || thread::sleep(Duration::from_millis(300)));
        assert!(matches!(slow, Err(NoResult::TooLong)));
        assert!(matches!(within(LONG, usize::MAX / 2, "test", || ()), Err(NoResult::NoThread(_))));
    }
}
