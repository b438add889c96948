//! Ctrl-C, and being asked to end: the work under way stops where it can say what it did.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Which signal came, if one did.
pub struct Interruption {
    came: Arc<AtomicUsize>,
    /// Whether the next one ends the program.
    again: Arc<AtomicBool>,
}

/// The program ends because of a signal, after it has said what there is to say.
#[derive(Debug)]
pub struct Interrupted {
    signal: u8,
}

impl Interruption {
    /// From here on the first signal is noticed, and the next one ends the program at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        let (came, again) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first time the shutdown finds nothing set.
            flag::register_conditional_shutdown(signal, 128 + signal, again.clone())?;
            flag::register(signal, again.clone())?;
            flag::register_usize(signal, came.clone(), signal as usize)?;
        }
        Ok(Self { came, again })
    }

    /// What to end with, if a signal came.
    pub fn came(&self) -> Option<Interrupted> {
        match self.came.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(Interrupted { signal: signal as u8 }),
        }
    }

    /// Takes the signal that came as dealt with: the next one is the first again.
    pub fn forget(&self) {
        self.again.store(false, Ordering::Relaxed);
        self.came.store(0, Ordering::Relaxed);
    }
}

impl Interrupted {
    /// As shells count it: 130 after Ctrl-C, 143 after SIGTERM.
    pub fn exit_code(&self) -> u8 {
        128 + self.signal
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "interrupted by signal {}", self.signal)
    }
}

impl std::error::Error for Interrupted {}
