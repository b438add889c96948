//! Tables for people.

use attention::receipt::Kept;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use eval::statistics::Estimate;
use std::io::{self, Write};

/// Prints columns as wide as their widest cell, right-aligned except the first; in a terminal that is narrower, cells of several
/// words take several lines.
pub fn print(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
    let mut out = io::stdout().lock();
    writeln!(out, "{}", lines(header, rows, width))
}

fn lines(header: &[&str], rows: &[Vec<String>], width: Option<u16>) -> String {
    let padding = |column: usize| if column == 0 { 0 } else { 2 };
    let longest_word = |column: usize| {
        let cells = rows.iter().map(|row| row[column].as_str()).chain([header[column]]);
        cells.flat_map(str::split_whitespace).map(|word| word.chars().count()).max().unwrap_or(0) as u16
    };
    let least: Vec<u16> = (0..header.len()).map(|column| longest_word(column) + padding(column)).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // A pipe has no width. No word is cut: a table that is too wide even so goes on behind the edge.
    table.set_width(width.unwrap_or(u16::MAX).max(least.iter().sum()));
    table.set_header(header.to_vec()).add_rows(rows.to_vec());
    for (index, (column, least)) in table.column_iter_mut().zip(&least).enumerate() {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*least)));
        column.set_padding((padding(index), 0));
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.trim_fmt()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_tables_break_between_words_only() {
        let header = ["attention", "answer", "time to first token", "density", "95% interval"];
        let rows = [
            ["dense", "71432", "1.18 s", "1.00", "0.98 .. 1.00"],
            ["sparse", "71432", "920 ms", "0.42", "0.97 .. 1.00"],
        ]
        .map(|row| row.map(String::from).to_vec());
        let wide = lines(&header, &rows, None);
        assert_eq!(wide.lines().count(), 3, "{wide}");
        assert!(
            wide.starts_with("attention  answer  time to first token  density  95% interval\ndense       71432"),
            "{wide}"
        );
        let narrow = lines(&header, &rows, Some(50));
        assert!(narrow.lines().count() > 3 && narrow.lines().all(|line| line.chars().count() <= 50), "{narrow}");
        // Too narrow for the words side by side: they are still whole.
        for table in [narrow, lines(&header, &rows, Some(20))] {
            let words = |text: &str| {
                let mut words: Vec<String> = text.split_whitespace().map(String::from).collect();
                words.sort();
                words
            };
            assert_eq!(words(&table), words(&wide), "{table}");
        }
    }
}
