//! Where `serve` takes its options from: flags, else the environment, else a file, else defaults.
//!
//! Each option is written down once, as a flag. Its variable and its key in the file are the flag's name, and clap parses and checks
//! its value wherever it is from.

mod file;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use file::{Entry, Kind};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// The one command that runs for long.
const SERVE: &str = "serve";
/// Holds the key itself, which no flag takes and no file with options.
pub const KEY_VARIABLE: &str = "SPARSE_ACCELERATE_API_KEY";
const KEY_FILE: &str = "api-key-file";

// Where options are; in words of documentation it would be what `serve` says of itself.
#[derive(Args)]
#[command(next_help_heading = "Configuration")]
struct ConfigArguments {
    /// TOML file of options, by the names of these flags
    ///
    /// Flags stand above the environment, the environment above the file. In the environment --max-running is
    /// SPARSE_ACCELERATE_MAX_RUNNING, and so is every flag; one without a value is true or false there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what is in force and where it is from, as such a file, and end
    #[arg(long)]
    print_config: bool,
}

/// The program's command, with each flag of `serve` a variable of the environment as well.
pub fn with_environment(program: Command) -> Command {
    program.mut_subcommand(SERVE, |serve| {
        ConfigArguments::augment_args(serve).mut_args(|flag| match flag.get_long().map(variable) {
            Some(name) => flag.env(name).hide_env(true),
            None => flag,
        })
    })
}

/// What the words of a command line and, of `serve`, its environment and its file say; ends the process where it only asks what that is.
///
/// # Errors
/// A word, variable, key or value that is wrong, with its place; a request for help.
pub fn matches(program: Command, words: &[OsString]) -> Result<ArgMatches, Error> {
    let entries = entries(&program, words)?;
    let of_file = entries.iter().map(|entry| OsString::from(&entry.word));
    let mut all = words.to_vec();
    // Behind the command's own name.
    let at = all.len().min(2);
    all.splice(at..at, of_file);
    let matches =
        program.clone().try_get_matches_from(all).map_err(|error| located(error, &program, words, &entries))?;
    if let Some(serve) = matches.subcommand_matches(SERVE)
        && ConfigArguments::from_arg_matches(serve)?.print_config
    {
        // Whoever does not read it to its end has read enough.
        let _ = std::io::stdout().write_all(in_force(&program, serve, &entries).as_bytes());
        std::process::exit(0);
    }
    Ok(matches)
}

/// Those of the file that the words or the environment name, but for options that these say themselves.
fn entries(program: &Command, words: &[OsString]) -> Result<Vec<Entry>, Error> {
    // What is wrong with the words is said when all of them are read.
    let lenient = program.clone().ignore_errors(true).mut_subcommand(SERVE, |serve| serve.ignore_errors(true));
    let given = lenient.try_get_matches_from(words).ok();
    let Some(given) = given.as_ref().and_then(|given| given.subcommand_matches(SERVE)) else { return Ok(Vec::new()) };
    let Some(path) = given.get_one::<PathBuf>("config") else { return Ok(Vec::new()) };
    let options: Vec<&Arg> = options(program).collect();
    let mut entries = file::read(path, &options).map_err(|problem| raw(&problem))?;
    let has_key = std::env::var_os(KEY_VARIABLE).is_some();
    entries.retain(|entry| match given.value_source(&entry.id) {
        None | Some(ValueSource::DefaultValue) => !(has_key && entry.name == KEY_FILE),
        Some(_) => false,
    });
    Ok(entries)
}

/// Flags of `serve` that a file may set.
fn options(program: &Command) -> impl Iterator<Item = &Arg> {
    let all = program.find_subcommand(SERVE).into_iter().flat_map(Command::get_arguments);
    all.filter(|flag| !matches!(flag.get_long(), None | Some("config" | "print-config" | "help")))
}

/// Of `max-running`, SPARSE_ACCELERATE_MAX_RUNNING.
fn variable(long: &str) -> String {
    format!("SPARSE_ACCELERATE_{}", long.to_uppercase().replace('-', "_"))
}

fn raw(problem: &str) -> Error {
    Error::raw(ErrorKind::ValueValidation, format!("{problem}\n"))
}

/// An error of clap's, which names a flag, with the place that the flag's value is from where that is none of the words.
fn located(error: Error, program: &Command, words: &[OsString], entries: &[Entry]) -> Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let flag = flag.split([' ', '[']).next().unwrap_or_default();
    let is_word = |word: &OsString| word.to_str().and_then(|word| word.split('=').next()) == Some(flag);
    let names = |name: &str| flag.strip_prefix("--") == Some(name);
    let of_file = || entries.iter().find(|entry| names(&entry.name)).map(|entry| entry.place.clone());
    let of_environment = || {
        let name = options(program).filter_map(Arg::get_long).find(|name| names(name))?;
        let name = variable(name);
        std::env::var_os(&name).map(|_| name)
    };
    let place = if words.iter().any(is_word) { None } else { of_file().or_else(of_environment) };
    let Some(place) = place else { return error };
    let said = error.render().to_string();
    raw(&format!("{place}: {}", said.trim_start_matches("error: ").trim_end()))
}

/// Every option as a file with options says it, and where it is from.
fn in_force(program: &Command, serve: &ArgMatches, entries: &[Entry]) -> String {
    let lines = options(program).map(|flag| {
        let name = flag.get_long().unwrap_or_default();
        let Some(value) = serve.get_raw(flag.get_id().as_str()).and_then(|mut values| values.next()) else {
            return format!("# {name} is not set\n");
        };
        let from_file = entries.iter().find(|entry| entry.name == name).map(|entry| entry.place.clone());
        let from = from_file.unwrap_or_else(|| match serve.value_source(flag.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "flag".into(),
            Some(ValueSource::EnvVariable) => variable(name),
            _ => "default".into(),
        });
        format!("{name} = {}    # {from}\n", Kind::of(flag).write(&value.to_string_lossy()))
    });
    let key = std::env::var_os(KEY_VARIABLE).map(|_| format!("# the environment has a key in {KEY_VARIABLE}\n"));
    lines.chain(key).collect()
}

#[cfg(test)]
mod tests;
