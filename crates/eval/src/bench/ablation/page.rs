//! An ablation for people: cells of a table, and a page.

use super::{ALL, DENSE, Findings, HeadRow, Row};
use crate::report::{HeadCell, HeadGrid, Page, Word};
use crate::statistics::Estimate;

impl Row {
    /// Names of [`cells`](Self::cells).
    pub const HEADER: [&str; 9] = [
        "density",
        "over all's (95%)",
        "recall",
        "output error",
        "over all's (95%)",
        "attention",
        "over all's (95%)",
        "NLL",
        "over dense's (95%)",
    ];

    /// The figures, for people.
    pub fn cells(&self) -> [String; 9] {
        // Nothing beside itself.
        let (is_all, is_dense) = (self.variant == ALL, self.variant == DENSE);
        let ratio = |ratio: Option<Estimate>| match ratio.filter(|_| !is_all) {
            None => String::new(),
            Some(Estimate { value, ci95: [low, high] }) => format!("{value:.2} ({low:.2} .. {high:.2})"),
        };
        let change = |Estimate { value, ci95: [low, high] }: Estimate| {
            format!("{:+.2}% ({:+.2} .. {:+.2})", 100.0 * value, 100.0 * low, 100.0 * high)
        };
        [
            format!("{:.3}", self.density),
            ratio(self.density_vs_all),
            format!("{:.3}", self.recall),
            format!("{:.4}", self.error),
            ratio(self.error_vs_all),
            format!("{:.0} ms", self.attention_ms),
            ratio(self.attention_vs_all),
            format!("{:.4}", self.nll),
            self.nll_vs_dense.filter(|_| !is_dense).map_or(String::new(), change),
        ]
    }
}

/// Words that the page uses.
const WORDS: [Word; 9] = [
    Word::Head,
    Word::Pattern,
    Word::Column,
    Word::Centre,
    Word::Density,
    Word::Recall,
    Word::Error,
    Word::Nll,
    Word::Interval,
];

/// A page with the figures, and the atlas of heads as a picture for each text and length. `data` is the name of the file beside the
/// page that has the numbers, where there is one.
pub fn page(model: &str, goal: &str, findings: &Findings, data: Option<&str>) -> String {
    let mut page = Page::new(&format!("What each part contributes: {model}"));
    page.paragraph(&format!(
        "Every variant aims at {goal}. Density, output error and time are of the same queries and keys, NLL of one run of the \
         model under each variant. \"all\" is the full search, \"no ...\" the same without that part, \"over all's\" a value over that of \"all\". \
         Intervals (95%, in brackets) resample layers, those of NLL the tokens of the text's end."
    ));
    let same_prompt = |a: &HeadRow, b: &HeadRow| (&a.text, a.length) == (&b.text, b.length);
    for (n, heads) in findings.atlas.chunk_by(same_prompt).enumerate() {
        let (text, length) = (&heads[0].text, heads[0].length);
        page.heading(&format!("prompt-{n}"), &format!("{text}, {length} tokens"));
        let of_prompt = findings.rows.iter().filter(|row| &row.text == text && row.length == length);
        let cells: Vec<Vec<String>> =
            of_prompt.map(|row| [row.variant.to_string()].into_iter().chain(row.cells()).collect()).collect();
        page.table(&["variant"].into_iter().chain(Row::HEADER).collect::<Vec<_>>(), &cells);
        page.heading(&format!("atlas-{n}"), "What the full search chose for each head");
        let cells: Vec<HeadCell> = heads.iter().map(HeadRow::cell).collect();
        page.markup(&HeadGrid::key(&cells));
        let caption = "Layers down, heads across; density is how far a cell is filled.";
        page.figure(&format!("grid-{n}"), &HeadGrid(&cells).draw(), "", caption);
    }
    page.glossary(&WORDS);
    page.sources(data);
    page.finish()
}

impl HeadRow {
    fn cell(&self) -> HeadCell {
        let Self { layer, head, pattern, density, recall, error, .. } = self;
        let name = pattern.replace('_', "-");
        let label = format!(
            "layer {layer}, head {head}: {name}, density {density:.3}, recall {recall:.3}, output error {error:.3}"
        );
        HeadCell { layer: *layer, head: *head, pattern: pattern.clone(), density: *density, label }
    }
}
