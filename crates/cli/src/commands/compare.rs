//! Reproductions of several devices, goals or versions, side by side.

use super::reproduce;
use crate::arguments::Compare;
use anyhow::Context;
use eval::reproduction;
use std::io::{self, Write};

pub fn run(arguments: Compare) -> anyhow::Result<()> {
    let Compare { folders, out } = arguments;
    let report = reproduction::beside(&folders)?;
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    reproduce::write(&out, &report)?;
    Ok(writeln!(io::stdout(), "The page is {}.", out.join("index.html").display())?)
}
