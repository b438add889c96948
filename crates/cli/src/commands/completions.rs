//! Shell completions.

use crate::arguments::Arguments;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::{self, Write};

pub fn run(shell: Shell) -> io::Result<()> {
    // Through a buffer: the generator panics when its reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sparse-accelerate", &mut script);
    io::stdout().write_all(&script)
}
