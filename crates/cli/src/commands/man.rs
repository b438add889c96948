//! Manual pages.

use crate::arguments::command;
use anyhow::Context;
use clap::Command;
use clap_mangen::Man;
use std::path::Path;

/// Writes a page for the program and for each command into a folder, as `man` wants them.
///
/// # Errors
/// When a page cannot be written.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut program = command().disable_help_subcommand(true);
    program.build();
    write(&program, folder)
}

fn write(command: &Command, folder: &Path) -> anyhow::Result<()> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render(&mut page).context("cannot make a page")?;
    let path = folder.join(man.get_filename());
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    command.get_subcommands().filter(|command| !command.is_hide_set()).try_for_each(|command| write(command, folder))
}
