//! One pattern for each head, found once on sample prompts.

use crate::arguments::Search;
use crate::{json_file, progress, table, texts};
use anyhow::Context;
use attention::offline::{HeadReport, OfflineSearch, Tried};
use eval::results::Meta;
use runtime::policy::AttentionPolicy;
use runtime::request::Goal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

#[derive(Serialize)]
struct Report<'a> {
    meta: Meta,
    budget: Goal,
    prompts: Vec<Prompt>,
    heads: &'a [HeadReport],
}

#[derive(Serialize)]
struct Prompt {
    name: String,
    tokens: usize,
}

pub fn run(arguments: Search) -> anyhow::Result<()> {
    let (out, report) = (Some(arguments.out), arguments.report);
    json_file::check(&out)?;
    json_file::check(&report)?;
    let texts = texts::prompts(&arguments.prompts)?;
    let mut engine = progress::load(&arguments.model)?;
    let mut prompts = Vec::new();
    for (name, text) in texts {
        let mut ids = engine.encode(&text).with_context(|| format!("cannot read the prompt {name}"))?;
        ids.truncate(arguments.max_prompt_tokens.unwrap_or(usize::MAX));
        prompts.push((name, ids));
    }
    let longest = prompts.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
    let target = engine.target(arguments.budget, longest)?;
    let mut search = OfflineSearch::new(target, engine.costs(), longest)?;

    let bar = progress::bar("searching", prompts.len() as u64);
    for round in 1.. {
        bar.set_message(format!("prompts, round {round}"));
        bar.set_position(0);
        for (name, ids) in &prompts {
            engine
                .prefill_with(ids, AttentionPolicy::Planner(&search))
                .with_context(|| format!("cannot search on {name}"))?;
            bar.inc(1);
        }
        if !search.finish_round() {
            break;
        }
    }
    bar.finish_and_clear();
    let (patterns, heads) = search.finish()?;
    print(&heads, arguments.budget)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let prompts = prompts.into_iter().map(|(name, ids)| Prompt { name, tokens: ids.len() }).collect();
    json_file::write(&report, &Report { meta, budget: arguments.budget, prompts, heads: &heads })?;
    json_file::write(&out, &patterns)
}

/// One line for each kind of pattern that was chosen, and for each of the others what it would have been worth.
fn print(heads: &[HeadReport], budget: Goal) -> io::Result<()> {
    /// Of one kind of pattern.
    #[derive(Default)]
    struct Kind {
        chosen: usize,
        heads: usize,
        error: f64,
        density: f64,
    }
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    let (mut error, mut cost, mut density) = (0.0, 0.0, 0.0);
    for head in heads {
        let mut best: BTreeMap<&str, &Tried> = BTreeMap::new();
        for tried in head.tried.iter().filter(|tried| tried.within) {
            let best = best.entry(tried.pattern.name()).or_insert(tried);
            *best = if tried.error < best.error { tried } else { *best };
        }
        for (name, tried) in best {
            let kind = kinds.entry(name).or_default();
            kind.heads += 1;
            kind.error += tried.error;
            kind.density += tried.density;
        }
        let chosen = &head.tried[head.chosen];
        kinds.entry(chosen.pattern.name()).or_default().chosen += 1;
        (error, cost, density) = (error + chosen.error, cost + chosen.cost, density + chosen.density);
    }
    let cells: Vec<Vec<String>> = (kinds.into_iter())
        .map(|(name, kind)| {
            let mean = |sum: f64| match kind.heads {
                0 => String::new(),
                heads => format!("{:.3}", sum / heads as f64),
            };
            vec![name.into(), kind.chosen.to_string(), kind.heads.to_string(), mean(kind.error), mean(kind.density)]
        })
        .collect();
    table::print(&["pattern", "chosen", "fits the budget", "its error", "its density"], &cells)?;
    if heads.is_empty() {
        return writeln!(io::stdout(), "no layer attends to more than a window: there is nothing to choose");
    }
    let mean = |sum: f64| sum / heads.len() as f64;
    writeln!(
        io::stdout(),
        "{} heads, means of the chosen: error {:.3}, density {:.3}, predicted time {:.3} of dense",
        heads.len(),
        mean(error),
        mean(density),
        mean(cost),
    )?;
    over(heads, budget).map_or(Ok(()), |line| writeln!(io::stdout(), "{line}"))
}

/// How many heads are above the budget, and why.
fn over(heads: &[HeadReport], budget: Goal) -> Option<String> {
    let chosen = heads.iter().map(|head| &head.tried[head.chosen]);
    let over: Vec<f64> = chosen.filter(|chosen| !chosen.within).map(|chosen| chosen.cost).collect();
    let least = over.iter().copied().reduce(f64::min)?;
    Some(format!(
        "{} of {} heads are above {budget}: the first block, the newest ones and the last rows of these prompts take {least:.3} at the least; \
         ask for more, or search on longer prompts",
        over.len(),
        heads.len(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::static_patterns::StaticPattern;

    #[test]
    fn heads_above_the_budget_are_said_with_the_least() {
        let head = |cost: f64, within: bool| HeadReport {
            layer: 0,
            head: 0,
            chosen: 0,
            tried: vec![Tried {
                pattern: StaticPattern::TopBlocks { blocks: 1 },
                cost,
                density: cost,
                error: 0.1,
                within,
            }],
        };
        assert_eq!(over(&[head(0.2, true)], Goal::Cost(0.3)), None);
        let line = over(&[head(0.2, true), head(0.5, false), head(0.4, false)], Goal::Cost(0.3)).unwrap();
        assert!(line.starts_with("2 of 3 heads are above cost=0.3"), "{line}");
        assert!(line.contains("take 0.400 at the least"), "{line}");
    }
}
