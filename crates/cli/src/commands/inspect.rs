//! What heads attend to, and what their plans keep of it, as pictures.

use crate::arguments;
use crate::{json_file, progress, prompt, table};
use anyhow::Context;
use eval::inspect::{HeadView, Inspect, Source, page};
use eval::results::{self, Meta};
use runtime::request::{Goal, RunStats};
use serde::Serialize;
use std::io::{self, Write};

/// Name of the file of numbers beside the page.
const DATA: &str = "inspect.json";

#[derive(Serialize)]
struct Results<'a> {
    meta: Meta,
    prompt: &'a str,
    goal: Goal,
    stats: &'a RunStats,
    heads: &'a [HeadView],
}

pub fn run(arguments: arguments::Inspect) -> anyhow::Result<()> {
    let folder = &arguments.out;
    let text = prompt::read(arguments.prompt.as_deref(), arguments.prompt_file.as_deref())?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let (html, json) = (Some(folder.join("index.html")), Some(folder.join(DATA)));
    json_file::check(&html)?;
    let mut engine = progress::load(&arguments.model)?;
    let meta = Meta::now(engine.model_name(), engine.device_name(), arguments.model.threads);
    let mut ids = engine.encode(&text)?;
    ids.truncate(arguments.max_prompt_tokens.unwrap_or(usize::MAX));
    let (num_layers, num_heads) = (engine.config().num_layers, engine.config().num_q_heads);
    let or_else = |given: Vec<usize>, default: Vec<usize>| if given.is_empty() { default } else { given };
    let inspect = Inspect {
        layers: or_else(arguments.layers, spread(num_layers)),
        heads: or_else(arguments.heads, (0..num_heads).collect()),
        goal: arguments.goal.goal(),
        pool: arguments.pool,
    };

    let bar = progress::bar("drawing", ids.len() as u64 * (inspect.layers.len() * inspect.heads.len()) as u64);
    let (views, stats) = inspect.run(&mut engine, &ids, &|queries| bar.inc(queries as u64))?;
    bar.finish_and_clear();

    for view in &views {
        let file = folder.join(format!("layer-{:02}-head-{:02}.svg", view.layer, view.head));
        results::write_text(&file, &view.draw().to_file())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let source = match &arguments.prompt_file {
        Some(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        None => "of no file".into(),
    };
    let about = Source {
        model: engine.model_name(),
        prompt: &source,
        tokens: ids.len(),
        goal: &arguments.goal.to_string(),
        pool: inspect.pool,
        data: DATA,
    };
    json_file::write(&json, &Results { meta, prompt: &source, goal: inspect.goal, stats: &stats, heads: &views })?;
    json_file::write_text(&html, || page(&about, &views))?;
    print(&views)?;
    writeln!(
        io::stdout(),
        "{} prompt tokens: density {:.3} over all layers. Open {}",
        stats.prompt_tokens,
        stats.density,
        folder.join("index.html").display()
    )?;
    Ok(())
}

/// Four of so many layers, evenly spread.
fn spread(layers: usize) -> Vec<usize> {
    let mut spread: Vec<usize> = (0..4).map(|n| (2 * n + 1) * layers / 8).collect();
    spread.dedup();
    spread
}

fn print(views: &[HeadView]) -> io::Result<()> {
    let cells: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let share = |share: f64| format!("{share:.3}");
            vec![
                view.layer.to_string(),
                view.head.to_string(),
                view.pattern.to_string(),
                share(view.density),
                share(view.exact_recall),
                share(view.estimated_recall),
                share(view.exact_recall_p5),
            ]
        })
        .collect();
    table::print(&["layer", "head", "pattern", "density", "recall", "estimated", "worst twentieth"], &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_layers_or_all() {
        assert_eq!(spread(30), [3, 11, 18, 26]);
        assert_eq!(spread(1), [0]);
        assert_eq!(spread(4), [0, 1, 2, 3]);
        assert_eq!(spread(3), [0, 1, 2]);
    }
}
