//! Shell completions.

use crate::arguments::command;
use clap_complete::Shell;
use std::io::{self, Write};

pub fn run(shell: Shell) -> io::Result<()> {
    // Through a buffer: the generator panics when its reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "sparse-accelerate", &mut script);
    io::stdout().write_all(&script)
}
