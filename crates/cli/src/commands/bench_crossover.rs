//! From which length on sparse attention is faster than dense.

use crate::arguments::BenchCrossover;
use crate::{json_file, progress, table, texts};
use eval::bench::crossover::{BreakEven, Crossover, Outcome};
use eval::results::Meta;
use runtime::request::Goal;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    goal: Goal,
    /// Name of the text whose beginnings were the prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// Longest prompt unless one is asked for: a context of a million tokens would take days.
const LONGEST: usize = 32768;

pub fn run(arguments: BenchCrossover) -> anyhow::Result<()> {
    json_file::check(&arguments.json)?;
    let text = texts::read(arguments.text.as_slice())?.pop();
    let mut engine = progress::load(&arguments.model)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let bench = Crossover {
        from: arguments.from,
        to: arguments.to.unwrap_or(engine.config().max_context.min(LONGEST)),
        refinements: arguments.refinements,
        runs: arguments.runs,
        gain: arguments.gain,
        goal: arguments.goal.goal(),
        text,
    };
    let bar = progress::bar("timing", bench.most_runs() as u64);
    let outcome = bench.run(&mut engine, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    print(&outcome)?;
    json_file::write(
        &arguments.json,
        &Results {
            meta,
            goal: bench.goal,
            text: bench.text.as_ref().map(|(name, _)| name.as_str()),
            outcome: &outcome,
        },
    )
}

fn print(outcome: &Outcome) -> io::Result<()> {
    let cells: Vec<Vec<String>> = outcome
        .points
        .iter()
        .map(|point| {
            vec![
                point.length.to_string(),
                table::time(point.dense_ms.median),
                table::time(point.sparse_ms.median),
                table::estimate(&point.ratio, 3),
                format!("{:.3}", point.density),
            ]
        })
        .collect();
    table::print(&["length", "dense", "sparse", "sparse / dense (95%)", "density"], &cells)?;
    writeln!(io::stdout(), "\n{}", answer(outcome))
}

/// One sentence.
fn answer(outcome: &Outcome) -> String {
    let [Some(first), Some(last)] =
        [outcome.points.first(), outcome.points.last()].map(|point| point.map(|p| p.length))
    else {
        return String::new();
    };
    let [low, high] = outcome.break_even.ci95;
    let end = |end: BreakEven| match end {
        BreakEven::EveryLength => format!("below {first}"),
        BreakEven::Tokens(tokens) => format!("{tokens:.0}"),
        BreakEven::None => format!("beyond {last}"),
    };
    let sure = if low == high { String::new() } else { format!(" (95%: {} to {})", end(low), end(high)) };
    let faster = match outcome.gain {
        0.0 => "faster than dense".into(),
        gain => format!("at least {}% faster than dense", 100.0 * gain),
    };
    match outcome.break_even.value {
        BreakEven::EveryLength => format!("Sparse is {faster} at every length from {first} to {last} tokens{sure}."),
        BreakEven::Tokens(tokens) => format!("Sparse is {faster} from {tokens:.0} tokens on{sure}, up to {last}."),
        BreakEven::None => format!("No break-even up to {last} tokens: sparse is not {faster} there{sure}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BreakEven::{EveryLength, None, Tokens};
    use eval::bench::crossover::Point;
    use eval::statistics::{Estimate, Spread};

    #[test]
    fn the_answer_is_a_sentence() {
        let say = |value, ci95, gain| {
            let spread = Spread { min: 1.0, median: 1.0, max: 1.0 };
            let ratio = Estimate { value: 1.0, ci95: [1.0, 1.0] };
            let point = |length| Point { length, dense_ms: spread, sparse_ms: spread, ratio, density: 1.0 };
            answer(&Outcome { break_even: Estimate { value, ci95 }, gain, n: 3, points: vec![point(256), point(8192)] })
        };
        assert_eq!(
            say(Tokens(1899.6), [Tokens(1500.0), None], 0.02),
            "Sparse is at least 2% faster than dense from 1900 tokens on (95%: 1500 to beyond 8192), up to 8192."
        );
        assert_eq!(
            say(EveryLength, [EveryLength; 2], 0.0),
            "Sparse is faster than dense at every length from 256 to 8192 tokens."
        );
        assert_eq!(
            say(None, [Tokens(8000.0), None], 0.0),
            "No break-even up to 8192 tokens: sparse is not faster than dense there (95%: 8000 to beyond 8192)."
        );
    }
}
