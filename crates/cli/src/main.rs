//! `sparse-accelerate`: the command line.

mod arguments;
mod child;
mod commands;
mod encoding;
mod exercises;
mod interruption;
mod json_file;
mod option_names;
mod progress;
mod prompt;
mod ran;
mod room;
mod samples;
mod summary;
mod table;
mod texts;

use anyhow::Context;
use eval::tasks::retrieval::Task;
use interruption::Interrupted;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    child::end_with_parent();
    let arguments = arguments::Arguments::of_process();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output went away (`| head`): nothing is wrong.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
                return ExitCode::from(interrupted.exit_code());
            }
            note(&option_names::as_flags(&format!("error: {error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: arguments::Arguments) -> anyhow::Result<()> {
    use arguments::{BenchCommand, Command, EvalCommand};
    room::check()?;
    match arguments.command {
        Command::Generate(generate) => commands::generate::run(generate),
        Command::Chat(chat) => commands::chat::run(chat),
        Command::Fit(fit) => commands::fit::run(fit),
        Command::Serve(serve) => commands::serve::run(serve),
        Command::Bench(BenchCommand::Ttft(ttft)) => commands::bench_ttft::run(ttft),
        Command::Bench(BenchCommand::Crossover(crossover)) => commands::bench_crossover::run(crossover),
        Command::Bench(BenchCommand::Overhead(overhead)) => commands::bench_overhead::run(overhead),
        Command::Bench(BenchCommand::Growth(growth)) => commands::bench_growth::run(growth),
        Command::Bench(BenchCommand::Memory(memory)) => commands::bench_memory::run(memory),
        Command::Bench(BenchCommand::Recall(recall)) => commands::bench_recall::run(recall),
        Command::Bench(BenchCommand::Selectors(selectors)) => commands::bench_selectors::run(selectors),
        Command::Bench(BenchCommand::Kernel(kernel)) => commands::bench_kernel::run(kernel),
        Command::Eval(EvalCommand::Passkey(flags)) => commands::eval_retrieval::run(Task::Passkey, flags),
        Command::Eval(EvalCommand::Needle(flags)) => commands::eval_retrieval::run(Task::Needle, flags),
        Command::Eval(EvalCommand::Ruler(ruler)) => commands::eval_ruler::run(ruler),
        Command::Eval(EvalCommand::Everyday(everyday)) => commands::eval_everyday::run(everyday),
        Command::Eval(EvalCommand::Perplexity(perplexity)) => commands::eval_perplexity::run(perplexity),
        Command::Eval(EvalCommand::Prompts(prompts)) => commands::eval_prompts::run(prompts),
        Command::Eval(EvalCommand::Ablation(ablation)) => commands::eval_ablation::run(ablation),
        Command::Calibrate(calibrate) => commands::calibrate::run(calibrate),
        Command::Search(search) => commands::search::run(search),
        Command::Explain(explain) => commands::explain::run(explain),
        Command::Inspect(inspect) => commands::inspect::run(inspect),
        Command::Reproduce(reproduce) => commands::reproduce::run(reproduce),
        Command::Compare(compare) => commands::compare::run(compare),
        Command::Demo(demo) => commands::demo::run(demo),
        Command::Doctor(doctor) => commands::doctor::run(doctor),
        Command::Man { folder } => commands::man::run(&folder),
        Command::Completions { shell } => commands::completions::run(shell).context("cannot write the completions"),
    }
}

/// Writes a line to standard error. Where that is closed or full there is nobody to tell, and no reason to stop.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
