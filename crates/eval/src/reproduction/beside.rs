//! Several reproductions side by side: devices, goals, or versions, a column each.

use super::document::Document;
use super::sections::{self, Cell};
use super::{Made, Report, Reproduction, WORDS, made};
use crate::EvalError;
use crate::report::{Line, LinePlot};
use std::path::{Path, PathBuf};

/// A folder of results.
struct Beside<'f> {
    folder: &'f Path,
    reproduction: Reproduction,
    /// Heads its column.
    letter: String,
}

/// Lays the results of several folders of reproductions side by side.
///
/// Rows that are of the same length, text or variant stand in one line; what one of them has not measured is left empty.
///
/// # Errors
/// When a folder holds no reproduction, or a result file that is there cannot be read.
pub fn beside(folders: &[PathBuf]) -> Result<Report, EvalError> {
    let all = (folders.iter().zip('A'..))
        .map(|(folder, letter)| Beside::read(folder, letter))
        .collect::<Result<Vec<_>, _>>()?;
    let mut models: Vec<&str> = all.iter().map(|one| one.reproduction.model.as_str()).collect();
    models.dedup();
    let mut document = Document::new(&format!("{}: side by side", models.join(", ")));
    document.paragraph(
        "The same experiments, measured several times: a letter each. Every ratio is of dense and sparse in the same run; across letters, \
         machines and days differ.",
    );
    let rows: Vec<Vec<String>> = all.iter().map(Beside::described).collect();
    document.table(&["", "model", "sparse aims at", "on", "with", "from", "folder"], &rows);
    for name in names(&all) {
        let (title, question) = sections::title(name);
        document.heading(name, title);
        document.paragraph(question);
        let columns = all.iter().map(|one| one.cells(name)).collect::<Result<Vec<_>, _>>()?;
        let lines: Vec<Line> = (all.iter().zip(&columns))
            .map(|(one, cells)| Line {
                name: one.letter.clone(),
                points: cells.iter().filter_map(|cell| cell.point).collect(),
            })
            .filter(|line| !line.points.is_empty())
            .collect();
        let (of_rows, of_cells) = sections::compared(name);
        document.paragraph(of_cells);
        let header: Vec<&str> = of_rows.iter().copied().chain(all.iter().map(|one| one.letter.as_str())).collect();
        document.table(&header, &joined(&columns));
        if !lines.is_empty() {
            let plot = LinePlot { x_label: "tokens of the prompt", y_label: of_cells, linear: true, lines: &lines };
            document.figure(&format!("{name}-plot"), &plot.draw(title), title, "A line for each letter.");
        }
    }
    document.end(&WORDS);
    Ok(document.finish())
}

impl<'f> Beside<'f> {
    fn read(folder: &'f Path, letter: char) -> Result<Self, EvalError> {
        let path = folder.join(Reproduction::FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| EvalError::Read { path: path.clone(), source })?;
        let reproduction = serde_json::from_str(&text).map_err(|source| EvalError::ResultFile { path, source })?;
        Ok(Self { folder, reproduction, letter: letter.to_string() })
    }

    /// What its column is of.
    fn described(&self) -> Vec<String> {
        let Reproduction { model, goal, steps, .. } = &self.reproduction;
        let nothing = || Made { on: "nothing measured yet".into(), with: String::new(), date: String::new() };
        let Made { on, with, date } = made(self.folder, steps).unwrap_or_else(nothing);
        vec![self.letter.clone(), model.clone(), goal.clone(), on, with, date, self.folder.display().to_string()]
    }

    /// What it says of a step; nothing where it is not done.
    fn cells(&self, name: &str) -> Result<Vec<Cell>, EvalError> {
        let done = |step: &&super::Step| step.name == name && step.seconds.is_some();
        let Some(step) = self.reproduction.steps.iter().find(done) else { return Ok(Vec::new()) };
        let path = self.folder.join(step.file());
        let text = std::fs::read_to_string(&path).map_err(|source| EvalError::Read { path: path.clone(), source })?;
        sections::cells(name, &text).map_err(|source| EvalError::ResultFile { path, source })
    }
}

/// Steps that somebody has done, in their order.
fn names<'a>(all: &'a [Beside]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for step in all.iter().flat_map(|one| &one.reproduction.steps) {
        if step.seconds.is_some() && !names.contains(&step.name.as_str()) {
            names.push(&step.name);
        }
    }
    names
}

/// A row for each that some column has, in the order of first appearance, and one cell of every column.
fn joined(columns: &[Vec<Cell>]) -> Vec<Vec<String>> {
    let mut rows: Vec<&[String]> = Vec::new();
    for cell in columns.iter().flatten() {
        if !rows.contains(&cell.row.as_slice()) {
            rows.push(&cell.row);
        }
    }
    let of_column = |column: &Vec<Cell>, row: &[String]| {
        column.iter().find(|cell| cell.row == row).map_or(String::new(), |cell| cell.text.clone())
    };
    (rows.into_iter())
        .map(|row| row.iter().cloned().chain(columns.iter().map(|column| of_column(column, row))).collect())
        .collect()
}
