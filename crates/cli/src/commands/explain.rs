//! Why each head got its pattern.

use crate::arguments::Explain;
use crate::{progress, prompt, table};
use attention::pattern::HeadPattern;
use attention::plan::HeadPlan;
use attention::planner::HeadChoice;
use attention::search::{Search, Target};
use runtime::policy::{AttentionPolicy, LayerReport, PrefillAttention};
use runtime::request::{Goal, RunStats};
use serde::Serialize;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// One layer of one chunk.
#[derive(Serialize)]
struct Layer {
    layer: usize,
    /// Positions of the chunk's queries.
    queries: std::ops::Range<usize>,
    attention: Attention,
    density: f64,
    /// Predicted cost of dense attention of one head, in block steps.
    dense_cost: f64,
    /// What a plan must cost less than, as a share of dense: the rest is for what the cost model leaves out. Nothing where the goal is
    /// a budget, which is spent whatever dense costs.
    margin: Option<f64>,
    /// Time of a block step, where it was measured on such a device: of one thread on a CPU, of all of a GPU.
    step_us: Option<f64>,
    search_ms: f64,
    /// None where a window decides.
    heads: Vec<HeadChoice>,
}

/// How a layer came to its plan.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Attention {
    /// Every head was searched.
    Searched,
    /// Every pair at once: no plan could have earned back the search.
    Dense,
    /// A sliding window of so many keys, and every pair inside it.
    Window(usize),
}

#[derive(Serialize)]
struct Explanation<'a> {
    model: &'a str,
    device: &'a str,
    goal: Goal,
    stats: &'a RunStats,
    layers: &'a [Layer],
}

impl Layer {
    fn new(report: LayerReport, search: &Search) -> Self {
        let costs = &search.cost;
        let LayerReport { layer, tiles, planned, search_ms } = report;
        let attention = match (planned.plan.heads.first(), planned.choices.first()) {
            (Some(HeadPlan::Window(window)), _) => Attention::Window(*window),
            // A search predicts what dense costs, also where it finds nothing cheaper.
            (_, Some(choice)) if !choice.cost.is_nan() => Attention::Searched,
            _ => Attention::Dense,
        };
        Self {
            layer,
            queries: tiles.range().q_start()..tiles.range().kv_len(),
            attention,
            density: planned.plan.density(tiles.range()),
            dense_cost: costs.dense(tiles),
            margin: matches!(search.target(), Target::Recall(_)).then_some(costs.margin),
            step_us: costs.step_us,
            search_ms,
            heads: if matches!(attention, Attention::Window(_)) { Vec::new() } else { planned.choices },
        }
    }
}

pub fn run(arguments: Explain) -> anyhow::Result<()> {
    let prompt = prompt::read(arguments.prompt.as_deref(), arguments.prompt_file.as_deref())?;
    let mut engine = progress::load(&arguments.model)?;
    let num_layers = engine.config().num_layers;
    if let Some(wanted) = arguments.layer.filter(|wanted| *wanted >= num_layers) {
        anyhow::bail!("layer {wanted} is not there: the model has {num_layers}, numbered from 0");
    }
    let ids = engine.encode(&prompt)?;
    let goal = arguments.goal.goal();
    let search = engine.search_for(goal, ids.len())?;
    let layers = Mutex::new(Vec::new());
    let hear = |report: LayerReport| {
        let last = report.tiles.range().kv_len() == ids.len();
        if (arguments.all_chunks || last) && arguments.layer.is_none_or(|wanted| wanted == report.layer) {
            let layer = Layer::new(report, &search);
            layers.lock().unwrap_or_else(PoisonError::into_inner).push(layer);
        }
    };
    let attention = PrefillAttention { observer: Some(&hear), ..AttentionPolicy::Search(&search).into() };
    let stats = engine.prefill_with(&ids, attention)?;
    let layers = layers.into_inner().unwrap_or_else(PoisonError::into_inner);
    if arguments.json {
        let (model, device) = (engine.model_name(), engine.device_name());
        let explanation = Explanation { model, device, goal, stats: &stats, layers: &layers };
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&explanation)?)?;
        return Ok(());
    }
    for layer in &layers {
        print(layer, engine.on_gpu())?;
    }
    writeln!(
        io::stdout(),
        "{} prompt tokens: asked for {goal}, density {:.3}{}, search {}, attention {}",
        stats.prompt_tokens,
        stats.density,
        stats.recall.map_or(String::new(), |recall| format!(", recall {recall:.3}")),
        table::time(stats.search_ms),
        table::time(stats.attention_ms),
    )?;
    Ok(())
}

/// One line a head: the choice, and the cheapest candidate of each other pattern. Costs are shares of dense.
fn print(layer: &Layer, on_gpu: bool) -> io::Result<()> {
    let Layer { queries, dense_cost, .. } = layer;
    let mut out = io::stdout();
    write!(out, "layer {}, queries {} to {}: ", layer.layer, queries.start, queries.end)?;
    match layer.attention {
        Attention::Searched => {}
        Attention::Dense => return writeln!(out, "dense, since no search could pay or every pair was asked for\n"),
        Attention::Window(window) => {
            return writeln!(out, "a sliding window of {window} keys, all pairs inside it: nothing is searched\n");
        }
    }
    let (reading, threads) = if on_gpu { (", reading it back included", "") } else { ("", " on one thread") };
    let dense_head = layer
        .step_us
        .map_or(String::new(), |us| format!(", a dense head {}{threads}", table::time(us * dense_cost / 1e3)));
    let searched = table::time(layer.search_ms);
    writeln!(out, "density {:.3}, search {searched}{reading}{dense_head}", layer.density)?;
    let cell = |choice: &HeadChoice| format!("{:.2} {}", choice.cost / dense_cost, choice.pattern);
    let rows: Vec<Vec<String>> = (layer.heads.iter().enumerate())
        .map(|(head, choice)| {
            let mut others: Vec<&HeadChoice> = Vec::new();
            for other in choice.considered.iter().filter(|other| other.pattern.name() != choice.pattern.name()) {
                match others.iter_mut().find(|kept| kept.pattern.name() == other.pattern.name()) {
                    Some(kept) if other.cost < kept.cost => *kept = other,
                    Some(_) => {}
                    None => others.push(other),
                }
            }
            let considered = others.into_iter().map(cell).collect::<Vec<_>>().join("; ");
            let cost = if choice.cost.is_finite() { format!("{:.2}", choice.cost / dense_cost) } else { "1".into() };
            vec![head.to_string(), choice.pattern.to_string(), cost, format!("{:.3}", choice.recall), considered]
        })
        .collect();
    table::print(&["head", "pattern", "cost", "recall", "others that meet the goal (cost, pattern)"], &rows)?;
    for line in why_dense(layer) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)
}

/// For each head that stayed dense, why: nothing met the goal, or what did is not cheaper than dense by the margin.
fn why_dense(layer: &Layer) -> Vec<String> {
    let Some(margin) = layer.margin else { return Vec::new() };
    let dense = layer.heads.iter().enumerate().filter(|(_, choice)| choice.pattern == HeadPattern::Dense);
    dense
        .map(|(head, choice)| match choice.considered.iter().min_by(|a, b| a.cost.total_cmp(&b.cost)) {
            None => format!("head {head} stayed dense: no other pattern meets the goal"),
            Some(cheapest) => format!(
                "head {head} stayed dense: the cheapest that meets the goal, {}, costs {:.3} of dense, and a plan must cost less than \
                 {margin}, so that what the cost model leaves out cannot make it slower",
                cheapest.pattern,
                cheapest.cost / layer.dense_cost,
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_stayed_dense_says_why() {
        let choice = |pattern, cost| HeadChoice::new(pattern, 0.99, cost);
        let window = || HeadPattern::Triangular { window: 128, columns: 0 };
        let dense = |considered| HeadChoice { considered, ..HeadChoice::dense(100.0) };
        let mut layer = Layer {
            layer: 0,
            queries: 0..640,
            attention: Attention::Searched,
            density: 1.0,
            dense_cost: 100.0,
            margin: Some(0.9),
            step_us: None,
            search_ms: 1.0,
            heads: vec![
                dense(vec![choice(window(), 97.0), choice(window(), 93.0)]),
                choice(window(), 40.0),
                dense(Vec::new()),
            ],
        };
        let said = why_dense(&layer);
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("head 0 stayed dense: the cheapest that meets the goal"), "{}", said[0]);
        assert!(said[0].contains("costs 0.930 of dense, and a plan must cost less than 0.9,"), "{}", said[0]);
        assert_eq!(said[1], "head 2 stayed dense: no other pattern meets the goal");
        layer.margin = None;
        assert!(why_dense(&layer).is_empty(), "a budget is spent whatever dense costs");
    }
}
