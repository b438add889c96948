//! What each result file says, in tables and pictures.

mod compared;

use super::document::Document;
use crate::bench::{crossover, growth, memory, overhead, search_cost, ttft};
use crate::report::{Line, LinePlot, Point};
use crate::statistics::Estimate;
use crate::tasks::retrieval;
use runtime::memory::Bytes;
use runtime::request::{AttentionMode, StagesMs};
use serde::Deserialize;

pub(super) use compared::{Cell, cells, compared};

/// Heading of a step, and the question that it answers.
pub(super) fn title(step: &str) -> (&'static str, &'static str) {
    match step {
        "ttft" => {
            ("Time to first token", "The paper's first experiment: how long does a prompt wait for its first token?")
        }
        "growth" => (
            "Growth, and the cost of the search",
            "The paper's growth gradient, and its third experiment: what does finding the patterns cost, stage by stage?",
        ),
        "memory" => ("Memory", "The paper's first experiment, second half: how much memory does a prompt take?"),
        "passkey" => ("Passkey", "The paper's second experiment: is a number hidden in a long text still found?"),
        "needle" => {
            ("Four keys", "Open question: does accuracy hold on harder tasks? Four numbers, one of which is asked for.")
        }
        "crossover" => {
            ("Break-even length", "Open question: from which length on is sparse attention faster than dense?")
        }
        "overhead" => {
            ("Short prompts", "Further check: what does the default mode cost prompts too short to gain from it?")
        }
        "perplexity" => {
            ("Likelihood of real text", "Open question: is the model more surprised by the end of a long text?")
        }
        "ablation" => (
            "What each pattern contributes",
            "Open question: what are the patterns, and how much does each contribute? One part is left out at a time.",
        ),
        "selectors" => (
            "Sparsity and error",
            "Further check: what does each published rule keep for the pairs it computes, on each kind of text?",
        ),
        _ => ("Another result", "A result file that this version does not know."),
    }
}

#[derive(Deserialize)]
struct Rows<T> {
    rows: Vec<T>,
}

/// Writes what the file of a step says.
pub(super) fn write(step: &str, text: &str, document: &mut Document) -> Result<(), serde_json::Error> {
    match step {
        "ttft" => ttft(serde_json::from_str::<Rows<ttft::Row>>(text)?.rows, document),
        "growth" => growth(serde_json::from_str(text)?, document),
        "memory" => memory(serde_json::from_str(text)?, document),
        "passkey" | "needle" => retrieval(serde_json::from_str(text)?, document),
        "crossover" => crossover(serde_json::from_str(text)?, document),
        "overhead" => overhead(serde_json::from_str::<Rows<overhead::Row>>(text)?.rows, document),
        "perplexity" => perplexity(serde_json::from_str::<Rows<Likelihood>>(text)?.rows, document),
        "ablation" => ablation(serde_json::from_str::<Rows<Variant>>(text)?.rows, document),
        "selectors" => selectors(serde_json::from_str::<Rows<Selected>>(text)?.rows, document),
        _ => {}
    }
    Ok(())
}

fn seconds(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.2} ms"),
        10.0..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

fn interval(estimate: &Estimate, digits: usize) -> String {
    let Estimate { value, ci95: [low, high] } = estimate;
    format!("{value:.digits$} ({low:.digits$} to {high:.digits$})")
}

fn percent(estimate: &Estimate) -> String {
    interval(&Estimate { value: 100.0 * estimate.value, ci95: estimate.ci95.map(|end| 100.0 * end) }, 1) + " %"
}

/// One line for each mode of some rows.
fn lines<T>(rows: &[T], mode: impl Fn(&T) -> AttentionMode, point: impl Fn(&T) -> Point) -> Vec<Line> {
    let modes = [AttentionMode::Dense, AttentionMode::Sparse, AttentionMode::Auto];
    let line = |of: AttentionMode| {
        let mut points: Vec<Point> = rows.iter().filter(|row| mode(row) == of).map(&point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Line { name: of.to_string(), points }
    };
    modes.into_iter().map(line).filter(|line| !line.points.is_empty()).collect()
}

fn ttft(rows: Vec<ttft::Row>, document: &mut Document) {
    let longest = rows.iter().filter(|row| row.attention != AttentionMode::Dense).max_by_key(|row| row.length);
    if let Some((row, speedup)) = longest.and_then(|row| Some((row, row.speedup_vs_dense?))) {
        let (tokens, density) = (row.length, row.density);
        document
            .answer(&format!("At {tokens} tokens {speedup:.2} times as fast as dense, at a density of {density:.2}."));
    }
    let cells: Vec<Vec<String>> = (rows.iter())
        .map(|row| {
            vec![
                row.length.to_string(),
                row.attention.to_string(),
                seconds(row.ttft_ms.median),
                format!("{} to {}", seconds(row.ttft_ms.min), seconds(row.ttft_ms.max)),
                row.speedup_vs_dense.map_or(String::new(), |speedup| format!("{speedup:.2}")),
                seconds(row.search_ms),
                seconds(row.attention_ms),
                format!("{:.3}", row.density),
                row.recall.map_or(String::new(), |recall| format!("{recall:.3}")),
            ]
        })
        .collect();
    let header = ["tokens", "attention", "median", "range", "dense / this", "search", "attention", "density", "recall"];
    document.table(&header, &cells);
    let point = |row: &ttft::Row| Point {
        x: row.length as f64,
        y: row.ttft_ms.median,
        range: [row.ttft_ms.min, row.ttft_ms.max],
    };
    let lines = lines(&rows, |row| row.attention, point);
    let plot =
        LinePlot { x_label: "tokens of the prompt", y_label: "time to first token, ms", linear: false, lines: &lines };
    document.figure(
        "ttft-plot",
        &plot.draw("time to first token"),
        "Time to first token.",
        "Medians, with the whole range.",
    );
}

#[derive(Deserialize)]
struct Growth {
    rows: Vec<growth::Row>,
    search: Vec<search_cost::Row>,
}

fn growth(file: Growth, document: &mut Document) {
    let widest = file.rows.iter().filter(|row| row.gradient_vs_dense.is_some()).max_by_key(|row| row.to - row.from);
    if let Some((row, ratio)) = widest.and_then(|row| Some((row, row.gradient_vs_dense?))) {
        let (from, to) = (row.from, row.to);
        document.answer(&format!(
            "From {from} to {to} tokens each further token costs {} of what it costs with dense attention.",
            interval(&ratio, 2)
        ));
    }
    let cells: Vec<Vec<String>> = (file.rows.iter())
        .map(|row| {
            vec![
                format!("{} to {}", row.from, row.to),
                row.attention.to_string(),
                interval(&row.gradient_ms, 1),
                row.gradient_vs_dense.as_ref().map_or(String::new(), |ratio| interval(ratio, 2)),
                interval(&row.exponent, 2),
            ]
        })
        .collect();
    document.table(
        &["tokens", "attention", "ms for 1,000 more tokens (95%)", "over dense's (95%)", "exponent (95%)"],
        &cells,
    );
    // A GPU tells stages apart where products are timed as well.
    let staged = file.search.iter().any(|row| row.stages.is_some());
    type Stage = (&'static str, fn(&StagesMs) -> f64);
    let stages: [Stage; 4] = [
        ("scores", |stages| stages.scores_ms),
        ("probes", |stages| stages.probes_ms),
        ("candidates", |stages| stages.candidates_ms),
        ("lowering", |stages| stages.lowering_ms),
    ];
    let stages = if staged { &stages[..] } else { &[] };
    let cells: Vec<Vec<String>> = (file.search.iter())
        .map(|row| {
            let share = |(_, stage): &Stage| match row.stages {
                Some(all) if all.total() > 0.0 => format!("{:.0} %", 100.0 * stage(&all) / all.total()),
                _ => String::new(),
            };
            let whole =
                [row.length.to_string(), seconds(row.search_ms), format!("{:.1} %", 100.0 * row.share_of_prefill)];
            whole.into_iter().chain(stages.iter().map(share)).collect()
        })
        .collect();
    let header: Vec<&str> =
        ["tokens", "search", "of prefill"].into_iter().chain(stages.iter().map(|(name, _)| *name)).collect();
    document.table(&header, &cells);
}

#[derive(Deserialize)]
struct Memory {
    points: Vec<memory::Point>,
}

fn memory(file: Memory, document: &mut Document) {
    let cells: Vec<Vec<String>> = (file.points.iter())
        .map(|point| {
            let measured = point.measured_bytes.map_or(String::new(), |bytes| Bytes(bytes).to_string());
            let predicted = Bytes(point.predicted_bytes).to_string();
            vec![point.length.to_string(), point.attention.to_string(), predicted, measured]
        })
        .collect();
    document.table(&["tokens", "attention", "predicted", "measured"], &cells);
    let gib = |point: &memory::Point| {
        let y = point.measured_bytes.unwrap_or(point.predicted_bytes) as f64 / (1u64 << 30) as f64;
        Point { x: point.length as f64, y, range: [y, y] }
    };
    let lines = lines(&file.points, |point| point.attention, gib);
    let plot = LinePlot { x_label: "tokens of the prompt", y_label: "peak memory, GiB", linear: true, lines: &lines };
    document.figure("memory-plot", &plot.draw("peak memory"), "Peak memory.", "Each point was a process of its own.");
}

#[derive(Deserialize)]
struct Retrieved {
    rows: Vec<retrieval::Row>,
    agreement: Vec<retrieval::Agreement>,
}

fn retrieval(file: Retrieved, document: &mut Document) {
    let (lost, won): (usize, usize) =
        file.agreement.iter().fold((0, 0), |(lost, won), row| (lost + row.lost, won + row.won));
    let prompts: usize = file.agreement.iter().map(|row| row.n).sum();
    document.answer(&format!(
        "Of {prompts} prompts sparse attention lost {lost} that dense answered, and won {won} that it did not."
    ));
    let cells: Vec<Vec<String>> = (file.rows.iter())
        .map(|row| {
            let beside = file.agreement.iter().find(|a| a.length == row.length && a.attention == row.attention);
            vec![
                row.length.to_string(),
                row.attention.to_string(),
                format!("{:.2}", row.score),
                format!("{:.2} to {:.2}", row.ci95[0], row.ci95[1]),
                beside.map_or(String::new(), |a| format!("-{} +{} (p {:.2})", a.lost, a.won, a.p_value)),
                format!("{:.3}", row.density),
                seconds(row.ttft_ms),
            ]
        })
        .collect();
    document.table(
        &["tokens", "attention", "right", "95% interval", "lost, won (McNemar)", "density", "mean TTFT"],
        &cells,
    );
}

fn crossover(outcome: crossover::Outcome, document: &mut Document) {
    use crossover::BreakEven;
    let words = |at: &BreakEven| match at {
        BreakEven::EveryLength => "the shortest length tried".to_string(),
        BreakEven::Tokens(tokens) => format!("{tokens:.0} tokens"),
        BreakEven::None => "none of the lengths tried".to_string(),
    };
    let Estimate { value, ci95: [low, high] } = &outcome.break_even;
    document.answer(&format!(
        "Sparse saves at least {:.0} % from {} on (95%: {} to {}).",
        100.0 * outcome.gain,
        words(value),
        words(low),
        words(high)
    ));
    let cells: Vec<Vec<String>> = (outcome.points.iter())
        .map(|point| {
            vec![
                point.length.to_string(),
                seconds(point.dense_ms.median),
                seconds(point.sparse_ms.median),
                interval(&point.ratio, 3),
                format!("{:.3}", point.density),
            ]
        })
        .collect();
    document.table(&["tokens", "dense", "sparse", "sparse / dense (95%)", "density"], &cells);
    let point =
        |point: &crossover::Point| Point { x: point.length as f64, y: point.ratio.value, range: point.ratio.ci95 };
    let lines = [Line { name: AttentionMode::Sparse.to_string(), points: outcome.points.iter().map(point).collect() }];
    let plot =
        LinePlot { x_label: "tokens of the prompt", y_label: "time, sparse / dense", linear: true, lines: &lines };
    document.figure(
        "crossover-plot",
        &plot.draw("ratio of times"),
        "Time over dense's.",
        "With 95% intervals; below 1 sparse is faster.",
    );
}

fn overhead(rows: Vec<overhead::Row>, document: &mut Document) {
    let cells: Vec<Vec<String>> = (rows.iter())
        .map(|row| {
            vec![
                row.length.to_string(),
                seconds(row.dense_ms.median),
                seconds(row.auto_ms.median),
                interval(&row.ratio, 3),
            ]
        })
        .collect();
    document.table(&["tokens", "dense", "auto", "auto / dense (95%)"], &cells);
}

#[derive(Deserialize)]
struct Likelihood {
    text: String,
    length: usize,
    attention: AttentionMode,
    nll: f64,
    relative_to_dense: Option<f64>,
    ci95: Option<f64>,
    density: f64,
}

fn perplexity(rows: Vec<Likelihood>, document: &mut Document) {
    let changes: Vec<f64> = rows
        .iter()
        .filter(|row| row.attention != AttentionMode::Dense)
        .filter_map(|row| row.relative_to_dense)
        .collect();
    if let Some(worst) = changes.iter().copied().max_by(f64::total_cmp) {
        document.answer(&format!("At most {:.2} % more surprised than with dense attention.", 100.0 * worst));
    }
    let cells: Vec<Vec<String>> = (rows.into_iter())
        .map(|row| {
            let change = row.relative_to_dense.zip(row.ci95);
            vec![
                row.text,
                row.length.to_string(),
                row.attention.to_string(),
                format!("{:.4}", row.nll),
                change
                    .map_or(String::new(), |(change, half)| format!("{:+.2} +- {:.2} %", 100.0 * change, 100.0 * half)),
                format!("{:.3}", row.density),
            ]
        })
        .collect();
    document.table(&["text", "tokens", "attention", "NLL, nats a token", "over dense's (95%)", "density"], &cells);
}

#[derive(Deserialize)]
struct Variant {
    text: String,
    length: usize,
    variant: String,
    density: f64,
    density_vs_all: Option<Estimate>,
    error: f64,
    attention_ms: f64,
    nll_vs_dense: Option<Estimate>,
}

fn ablation(rows: Vec<Variant>, document: &mut Document) {
    let cells: Vec<Vec<String>> = (rows.into_iter())
        .map(|row| {
            vec![
                row.text,
                row.length.to_string(),
                row.variant,
                format!("{:.3}", row.density),
                row.density_vs_all.map_or(String::new(), |ratio| interval(&ratio, 2)),
                format!("{:.3}", row.error),
                seconds(row.attention_ms),
                row.nll_vs_dense.map_or(String::new(), |change| percent(&change)),
            ]
        })
        .collect();
    let header = [
        "text",
        "tokens",
        "patterns",
        "density",
        "over all's (95%)",
        "output error",
        "search and attention",
        "NLL over dense's (95%)",
    ];
    document.table(&header, &cells);
    document.link("ablation.html", "Which pattern every head of every layer got");
}

#[derive(Deserialize)]
struct Selected {
    text: String,
    length: usize,
    selector: String,
    target: f32,
    recall: f64,
    density: f64,
    error: f64,
}

fn selectors(rows: Vec<Selected>, document: &mut Document) {
    let cells: Vec<Vec<String>> = (rows.into_iter())
        .map(|row| {
            vec![
                row.text,
                row.length.to_string(),
                row.selector,
                format!("{:.2}", row.target),
                format!("{:.3}", row.density),
                format!("{:.3}", row.recall),
                format!("{:.4}", row.error),
            ]
        })
        .collect();
    document.table(&["text", "tokens", "rule", "recall wanted", "density", "recall", "output error"], &cells);
}
