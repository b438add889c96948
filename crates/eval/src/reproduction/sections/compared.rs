//! What of each result file stands in one line with that of other files.

use super::{Growth, Likelihood, Memory, Retrieved, Rows, Selected, Variant, interval, percent, seconds};
use crate::bench::{crossover, overhead, ttft};
use crate::report::Point;
use runtime::memory::Bytes;
use runtime::request::AttentionMode;
use std::collections::BTreeMap;

/// What one file says of one row.
pub(in super::super) struct Cell {
    /// What the row is of, as many words as [`compared`] names.
    pub row: Vec<String>,
    pub text: String,
    /// The same, to draw over lengths.
    pub point: Option<Point>,
}

/// What the rows of a step are of, and what its cells say.
pub(in super::super) fn compared(step: &str) -> (&'static [&'static str], &'static str) {
    match step {
        "ttft" => (&["tokens", "attention"], "Time to first token; in brackets, dense's over this one's."),
        "growth" => (&["tokens"], "Time of a further token, sparse over dense, with 95% intervals."),
        "memory" => (&["tokens", "attention"], "Peak memory, measured where the device tells, else predicted."),
        "passkey" | "needle" => (&["tokens"], "Right answers, dense and sparse; lost, won, and McNemar's p."),
        "crossover" => (&["tokens"], "Time of sparse over dense, with 95% intervals."),
        "overhead" => (&["tokens"], "Time of auto over dense, with 95% intervals."),
        "perplexity" => (&["text", "tokens"], "Negative log-likelihood of sparse over dense's, with its 95% interval."),
        "ablation" => (&["text", "tokens", "patterns"], "Density; in brackets, the error of the output."),
        "selectors" => (&["text", "tokens", "rule", "recall wanted"], "Density; in brackets, the error of the output."),
        _ => (&[], "A result that this version does not know."),
    }
}

/// The cells of a step's file.
pub(in super::super) fn cells(step: &str, text: &str) -> Result<Vec<Cell>, serde_json::Error> {
    Ok(match step {
        "ttft" => ttft(serde_json::from_str::<Rows<ttft::Row>>(text)?.rows),
        "growth" => growth(serde_json::from_str(text)?),
        "memory" => memory(serde_json::from_str(text)?),
        "passkey" | "needle" => retrieval(serde_json::from_str(text)?),
        "crossover" => crossover(serde_json::from_str(text)?),
        "overhead" => overhead(serde_json::from_str::<Rows<overhead::Row>>(text)?.rows),
        "perplexity" => perplexity(serde_json::from_str::<Rows<Likelihood>>(text)?.rows),
        "ablation" => ablation(serde_json::from_str::<Rows<Variant>>(text)?.rows),
        "selectors" => selectors(serde_json::from_str::<Rows<Selected>>(text)?.rows),
        _ => Vec::new(),
    })
}

fn cell<const N: usize>(row: [String; N], text: String) -> Cell {
    Cell { row: row.into(), text, point: None }
}

fn ttft(rows: Vec<ttft::Row>) -> Vec<Cell> {
    let of = |row: ttft::Row| {
        let beside = row.speedup_vs_dense.filter(|_| row.attention != AttentionMode::Dense);
        let text = seconds(row.ttft_ms.median) + &beside.map_or(String::new(), |speedup| format!(" ({speedup:.2})"));
        cell([row.length.to_string(), row.attention.to_string()], text)
    };
    rows.into_iter().map(of).collect()
}

fn growth(file: Growth) -> Vec<Cell> {
    let of = |row: &crate::bench::growth::Row| {
        let ratio = row.gradient_vs_dense.as_ref().filter(|_| row.attention == AttentionMode::Sparse)?;
        Some(cell([format!("{} to {}", row.from, row.to)], interval(ratio, 2)))
    };
    file.rows.iter().filter_map(of).collect()
}

fn memory(file: Memory) -> Vec<Cell> {
    let of = |point: crate::bench::memory::Point| {
        let bytes = Bytes(point.measured_bytes.unwrap_or(point.predicted_bytes));
        let how = if point.measured_bytes.is_some() { "" } else { " predicted" };
        cell([point.length.to_string(), point.attention.to_string()], format!("{bytes}{how}"))
    };
    file.points.into_iter().map(of).collect()
}

fn retrieval(file: Retrieved) -> Vec<Cell> {
    let mut scores: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for row in &file.rows {
        scores.entry(row.length).or_default().push(format!("{} {:.2}", row.attention, row.score));
    }
    let of = |(length, scores): (usize, Vec<String>)| {
        let beside = file.agreement.iter().find(|row| row.length == length);
        let beside = beside.map_or(String::new(), |row| format!(" (-{} +{}, p {:.2})", row.lost, row.won, row.p_value));
        cell([length.to_string()], scores.join(", ") + &beside)
    };
    scores.into_iter().map(of).collect()
}

fn crossover(outcome: crossover::Outcome) -> Vec<Cell> {
    let of = |point: crossover::Point| Cell {
        row: vec![point.length.to_string()],
        text: interval(&point.ratio, 3),
        point: Some(Point { x: point.length as f64, y: point.ratio.value, range: point.ratio.ci95 }),
    };
    outcome.points.into_iter().map(of).collect()
}

fn overhead(rows: Vec<overhead::Row>) -> Vec<Cell> {
    rows.into_iter().map(|row| cell([row.length.to_string()], interval(&row.ratio, 3))).collect()
}

fn perplexity(rows: Vec<Likelihood>) -> Vec<Cell> {
    let of = |row: Likelihood| {
        let (change, half) = row.relative_to_dense.zip(row.ci95).filter(|_| row.attention != AttentionMode::Dense)?;
        let text = format!("{:+.2} +- {:.2} % at density {:.2}", 100.0 * change, 100.0 * half, row.density);
        Some(cell([row.text, row.length.to_string()], text))
    };
    rows.into_iter().filter_map(of).collect()
}

fn ablation(rows: Vec<Variant>) -> Vec<Cell> {
    let of = |row: Variant| {
        let surprise = row.nll_vs_dense.map_or(String::new(), |change| format!(", NLL {}", percent(&change)));
        let text = format!("{:.3} ({:.3}{surprise})", row.density, row.error);
        cell([row.text, row.length.to_string(), row.variant], text)
    };
    rows.into_iter().map(of).collect()
}

fn selectors(rows: Vec<Selected>) -> Vec<Cell> {
    let of = |row: Selected| {
        let text = format!("{:.3} ({:.4})", row.density, row.error);
        cell([row.text, row.length.to_string(), row.selector, format!("{:.2}", row.target)], text)
    };
    rows.into_iter().map(of).collect()
}
