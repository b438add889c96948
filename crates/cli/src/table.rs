//! Tables for people.

use attention::receipt::Kept;
use eval::statistics::Estimate;
use std::io::{self, Write};

/// Prints columns as wide as their widest cell, right-aligned except the first.
pub fn print(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = io::stdout().lock();
    let mut line = |cells: Vec<&str>| {
        for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(out, "{cell:<width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        writeln!(out)
    };
    line(header.to_vec())?;
    rows.iter().try_for_each(|row| line(row.iter().map(String::as_str).collect()))
}

/// `7.31 ms`, `812 ms` or `3.46 s`.
pub fn time(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.2} ms"),
        10.0..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

/// `kept 0.981 (0.978 .. 0.983)`: attention kept by receipt, and its interval.
pub fn kept(kept: &Kept) -> String {
    let Kept { kept, ci95: [low, high], .. } = kept;
    format!("kept {kept:.3} ({low:.3} .. {high:.3})")
}

/// `1.23 (1.10 .. 1.31)`: a value and its interval, so many digits after the point.
pub fn estimate(estimate: &Estimate, digits: usize) -> String {
    let Estimate { value, ci95: [low, high] } = estimate;
    format!("{value:.digits$} ({low:.digits$} .. {high:.digits$})")
}
