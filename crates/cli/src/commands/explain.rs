//! Why each head got its pattern.

use crate::arguments::Explain;
use crate::{progress, prompt, table};
use attention::planner::{HeadChoice, Planned, Planner, Scene};
use attention::search::Search;
use runtime::policy::AttentionPolicy;
use runtime::request::{Goal, Request, RunStats};
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Instant;

/// One layer of one chunk.
#[derive(Serialize)]
struct Layer {
    layer: usize,
    /// Positions of the chunk's queries.
    queries: std::ops::Range<usize>,
    density: f64,
    /// Predicted cost of dense attention of one head, in block steps.
    dense_cost: f64,
    /// Time of a block step, where this machine was calibrated.
    step_us: Option<f64>,
    search_ms: f64,
    heads: Vec<HeadChoice>,
}

#[derive(Serialize)]
struct Explanation<'a> {
    model: &'a str,
    device: &'a str,
    goal: Goal,
    stats: &'a RunStats,
    layers: &'a [Layer],
}

/// Searches, and writes down what it found.
struct Recorder {
    search: Search,
    layers: Mutex<Vec<Layer>>,
}

impl Planner for Recorder {
    fn plan(&self, scene: &Scene) -> Result<Planned, attention::Error> {
        let started = Instant::now();
        let planned = self.search.plan(scene)?;
        let layer = Layer {
            layer: scene.layer,
            queries: scene.range().q_start()..scene.range().kv_len(),
            density: planned.plan.density(scene.range()),
            dense_cost: self.search.cost.dense(scene.tiles),
            step_us: self.search.cost.step_us,
            search_ms: started.elapsed().as_secs_f64() * 1e3,
            heads: planned.choices.clone(),
        };
        self.layers.lock().expect("nobody panicked").push(layer);
        Ok(planned)
    }
}

pub fn run(arguments: Explain) -> anyhow::Result<()> {
    let prompt = prompt::read(arguments.prompt.as_deref(), arguments.prompt_file.as_deref())?;
    let mut engine = progress::load(&arguments.model)?;
    let ids = engine.encode(&prompt)?;
    let request = Request { goal: arguments.goal.goal(), ..Request::default() };
    let search = engine.search(&request, ids.len())?.expect("only dense attention needs no search");
    let recorder = Recorder { search, layers: Mutex::default() };
    let stats = engine.prefill_with(&ids, AttentionPolicy::Planner(&recorder))?;
    let mut layers = recorder.layers.into_inner().expect("nobody panicked");
    if !arguments.all_chunks {
        layers.retain(|layer| layer.queries.end == ids.len());
    }
    if let Some(wanted) = arguments.layer {
        layers.retain(|layer| layer.layer == wanted);
        anyhow::ensure!(
            !layers.is_empty(),
            "layer {wanted} is not there: the model has {}",
            engine.config().num_layers
        );
    }
    if arguments.json {
        let (model, device) = (engine.model_name(), engine.device_name());
        let explanation = Explanation { model, device, goal: request.goal, stats: &stats, layers: &layers };
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&explanation)?)?;
        return Ok(());
    }
    for layer in &layers {
        print(layer)?;
    }
    writeln!(
        io::stdout(),
        "{} prompt tokens: density {:.3}, recall {:.3}, search {}, attention {}",
        stats.prompt_tokens,
        stats.density,
        stats.recall,
        table::time(stats.search_ms),
        table::time(stats.attention_ms),
    )?;
    Ok(())
}

/// One line a head: the choice, and the cheapest candidate of each other pattern. Costs are shares of dense.
fn print(layer: &Layer) -> io::Result<()> {
    let Layer { queries, dense_cost, .. } = layer;
    writeln!(
        io::stdout(),
        "layer {}, queries {} to {}: density {:.3}, search {:.1} ms{}",
        layer.layer,
        queries.start,
        queries.end,
        layer.density,
        layer.search_ms,
        layer
            .step_us
            .map_or(String::new(), |us| format!(", a dense head {:.1} ms on one thread", us * dense_cost / 1e3))
    )?;
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
    writeln!(io::stdout())
}
