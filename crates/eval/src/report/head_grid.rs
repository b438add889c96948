//! Every head of a model at a glance: layers down, heads across.

use super::palette::colour_of;
use super::{Svg, escape};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One head.
#[derive(Clone, Debug)]
pub struct HeadCell {
    /// Layer.
    pub layer: usize,
    /// Query head.
    pub head: usize,
    /// Kind of pattern, which chooses the colour.
    pub pattern: String,
    /// Computed pairs over causal pairs: how far the cell is filled, from the bottom.
    pub density: f64,
    /// What a pointer over it says.
    pub label: String,
}

/// A grid of [`HeadCell`]s.
pub struct HeadGrid<'a>(pub &'a [HeadCell]);

/// Pixels of a cell and of the space left and above for numbers.
const CELL: usize = 20;
const MARGIN: usize = 30;

impl HeadGrid<'_> {
    /// Markup that says which colour is which pattern, and how many heads have it.
    pub fn key(cells: &[HeadCell]) -> String {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        cells.iter().for_each(|cell| *count.entry(&cell.pattern).or_default() += 1);
        let entry = |(pattern, heads): (&str, usize)| {
            let name = escape(&pattern.replace('_', "-"));
            format!(
                "<span class=\"entry\"><span class=\"key\" style=\"background:{}\"></span> {name} ({heads})</span>",
                colour_of(pattern)
            )
        };
        format!("<p>{}</p>\n", count.into_iter().map(entry).collect::<Vec<_>>().join(" &nbsp; "))
    }

    /// The drawing.
    pub fn draw(&self) -> Svg {
        let layers = self.0.iter().map(|cell| cell.layer + 1).max().unwrap_or(0);
        let heads = self.0.iter().map(|cell| cell.head + 1).max().unwrap_or(0);
        let mut inside = String::new();
        let mut add = |markup: std::fmt::Arguments| inside.write_fmt(markup).expect("a string takes everything");
        for HeadCell { layer, head, pattern, density, label } in self.0 {
            let (x, y, side) = (MARGIN + head * CELL, MARGIN + layer * CELL, CELL - 2);
            let filled = side as f64 * density.clamp(0.0, 1.0);
            let (top, label, pattern) = ((y + side) as f64 - filled, escape(label), colour_of(pattern));
            add(format_args!(
                "<g><title>{label}</title><rect class=\"cell\" x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\"/>\
                 <rect x=\"{x}\" y=\"{top:.2}\" width=\"{side}\" height=\"{filled:.2}\" style=\"fill:{pattern}\"/></g>"
            ));
        }
        let middle = MARGIN + CELL / 2 - 1;
        for head in 0..heads {
            let x = middle + head * CELL;
            add(format_args!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{head}</text>", MARGIN - 6));
        }
        for layer in 0..layers {
            let y = middle + layer * CELL + 4;
            add(format_args!("<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{layer}</text>", MARGIN - 6));
        }
        let (width, height) = (MARGIN + heads * CELL, MARGIN + layers * CELL);
        Svg::new(width as f64, height as f64, "patterns of all heads", &inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_a_cell_filled_by_its_density() {
        let cell = |layer, head, pattern, density| HeadCell {
            layer,
            head,
            pattern: String::from(pattern),
            density,
            label: "<&>".into(),
        };
        let cells = [cell(0, 0, "dense", 1.0), cell(0, 1, "triangular", 0.25), cell(1, 1, "triangular", 0.5)];
        let svg = HeadGrid(&cells).draw().inline().to_string();
        assert_eq!((svg.matches("<title>&lt;&amp;&gt;</title>").count(), svg.matches("<rect").count()), (3, 6));
        assert!(svg.contains("height=\"4.50\" style=\"fill:var(--triangular, var(--ink))\""), "{svg}");
        assert!(HeadGrid::key(&cells).contains("triangular (2)"));
    }
}
