//! Steps that end with the program that started them.
//!
//! The parent holds the other end of the child's standard input and never writes to it. However the parent ends, by any signal, the
//! system closes that end, and the child reads the end of its input. No other means is portable and safe.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Output, Stdio};

/// Set for a child.
const VARIABLE: &str = "SPARSE_ACCELERATE_ENDS_WITH_PARENT";

/// Runs a command of this program to its end; ends it when this process ends before.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.env(VARIABLE, "1").stdin(Stdio::piped()).spawn()?;
    // Taken out of `child`: waiting would close it.
    let alive = child.stdin.take();
    let status = child.wait();
    drop(alive);
    status
}

/// As [`run`], with what it wrote.
///
/// # Errors
/// As there.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let piped = command.env(VARIABLE, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn()?;
    let alive = child.stdin.take();
    let output = child.wait_with_output();
    drop(alive);
    output
}

/// In a process that [`run`] started: ends it when its parent is gone.
pub fn end_with_parent() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let watch = || {
        // Nothing is ever written: this returns at the end of the parent.
        let _ = io::stdin().lock().read(&mut [0]);
        std::process::exit(1)
    };
    // Without the thread the step only outlives its parent.
    let _ = std::thread::Builder::new().name("parent".into()).spawn(watch);
}
