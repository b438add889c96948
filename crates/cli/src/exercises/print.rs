//! Answers and scores on a screen.

use crate::table;
use eval::tasks::exercises::{Outcome, Sample, Task};
use std::io;

/// An answer.
pub fn line<T: Task>(sample: &Sample<T>) -> String {
    format!(
        "{:<15} {:>6} {:>3} {:<18} {:>2} of {:<2}  {:?}  density {:.3}{}  {}",
        sample.task,
        sample.length,
        sample.sample,
        sample.arm,
        sample.found,
        sample.of,
        beginning(sample.answer.trim()),
        sample.density,
        sample.kept.map_or_else(String::new, |kept| format!("  {}", table::kept(&kept))),
        table::time(sample.ttft_ms),
    )
}

/// As much of an answer as a line takes; all of it is in the results.
pub fn beginning(answer: &str) -> String {
    const LETTERS: usize = 120;
    match answer.char_indices().nth(LETTERS) {
        Some((at, _)) => format!("{}...", &answer[..at]),
        None => answer.into(),
    }
}

/// Scores.
pub fn table<T: Task>(outcome: &Outcome<T>) -> io::Result<()> {
    let cells: Vec<Vec<String>> = (outcome.rows.iter())
        .map(|row| {
            let beside = outcome
                .beside_dense
                .iter()
                .find(|beside| (beside.task, beside.length, beside.arm) == (row.task, row.length, row.arm));
            vec![
                row.task.to_string(),
                row.length.to_string(),
                row.arm.to_string(),
                table::estimate(&row.score, 2),
                format!("{} of {}", row.right, row.n),
                beside.map_or("".into(), |beside| table::estimate(&beside.difference, 2)),
                beside.map_or("".into(), |beside| format!("{:.2}, {:.2}", beside.p_value, beside.p_holm)),
                beside.map_or("".into(), |beside| {
                    format!("-{} +{} (p {:.2})", beside.lost, beside.won, beside.p_lost_won)
                }),
                format!("{:.3}", row.density),
                table::time(row.ttft_ms),
            ]
        })
        .collect();
    let header = [
        "task",
        "length",
        "attention",
        "score",
        "all found",
        "less dense",
        "p, by Holm",
        "lost, won",
        "density",
        "TTFT",
    ];
    table::print(&header, &cells)
}
