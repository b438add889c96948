//! The page to browse.

use super::{HeadView, Mark, Pool};
use crate::report::{HeatMap, Page, Svg, Word, escape};

/// What the page is about.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Model as the engine names it.
    pub model: &'a str,
    /// Where the prompt came from.
    pub prompt: &'a str,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// What the search aimed at, in words.
    pub goal: &'a str,
    /// How pairs became cells.
    pub pool: Pool,
    /// Name of the file beside the page that has its numbers.
    pub data: &'a str,
}

/// Of each [`Mark`]. In grey they differ as well: the less is kept, the nearer to the paper.
const MARK_COLOURS: [[u8; 4]; 4] = [[0, 0, 0, 0], [225, 90, 0, 150], [0, 150, 130, 100], [80, 120, 255, 45]];

/// Words that the page uses.
const WORDS: [Word; 8] =
    [Word::Head, Word::Pattern, Word::Block, Word::Column, Word::Centre, Word::Chunk, Word::Density, Word::Recall];

impl HeadView {
    /// The attention of the head with its plan over it.
    pub fn draw(&self) -> Svg {
        let values = self.map.values();
        let map = HeatMap {
            side: self.map.side(),
            cell: self.map.cell(),
            values: &values,
            marks: self.map.marks(),
            mark_colours: &MARK_COLOURS,
        };
        map.draw(&format!("layer {}, head {}: {}", self.layer, self.head, self.caption()))
    }

    fn caption(&self) -> String {
        format!(
            "{}; density {:.3}, recall {:.3} (estimated {:.3}; a twentieth of the queries keep less than {:.3})",
            self.pattern, self.density, self.exact_recall, self.estimated_recall, self.exact_recall_p5,
        )
    }
}

/// One page with all heads, in order of layers. It needs no other file.
pub fn page(source: &Source, views: &[HeadView]) -> String {
    let mut page = Page::new(&format!("Attention of {}", source.model));
    page.paragraph(&format!(
        "Prompt {}, {} tokens; the search aimed at {}.",
        source.prompt, source.tokens, source.goal
    ));
    let cell = views.first().map_or(1, |view| view.map.cell());
    let pooled = match source.pool {
        _ if cell == 1 => String::from("Each dot is the attention of one query to one key"),
        Pool::Max => format!("Each dot is the largest attention among {cell} queries and {cell} keys"),
        Pool::Mean => format!("Each dot is the mean attention of {cell} queries to {cell} keys"),
    };
    page.paragraph(&format!(
        "Queries run down, keys across. {pooled}, on a logarithmic scale: the strongest of a map is darkest (brightest in a \
         dark theme), a ten-thousandth of it is blank. Recall is the attention that the plan keeps, exactly, as a mean \
         over queries; centres count nothing in it. Where a prompt takes several chunks, each has plans of its own; the \
         pattern named is that of the last."
    ));
    page.markup(&key());
    for views in views.chunk_by(|a, b| a.layer == b.layer) {
        let layer = views[0].layer;
        page.heading(&format!("layer-{layer}"), &format!("Layer {layer}"));
        page.begin_figures();
        for view in views {
            let anchor = format!("layer-{layer}-head-{}", view.head);
            page.figure(&anchor, &view.draw(), &format!("Head {}", view.head), &view.caption());
        }
        page.end_figures();
    }
    page.heading("figures", "Figures");
    let rows: Vec<Vec<String>> = views.iter().map(row).collect();
    page.table(&["layer", "head", "pattern", "density", "recall", "estimated", "worst twentieth"], &rows);
    page.glossary(&WORDS);
    page.sources(Some(source.data));
    page.finish()
}

fn row(view: &HeadView) -> Vec<String> {
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
}

/// What the colours of the plan mean, and a switch that takes the plan away.
fn key() -> String {
    let entry = |mark: Mark, what: &str| {
        let [r, g, b, opacity] = MARK_COLOURS[mark as usize];
        let opacity = opacity as f64 / 255.0;
        format!(
            "<span class=\"entry\"><span class=\"key\" style=\"background:rgb({r} {g} {b} / {opacity:.2})\"></span> {}</span>",
            escape(what)
        )
    };
    format!(
        "<p>{} &nbsp; {} &nbsp; {} &nbsp; What is computed as blocks has no tint.</p>\n\
         <fieldset><label><input type=\"radio\" name=\"plan\" checked> attention and plan</label>\
         <label><input type=\"radio\" name=\"plan\" id=\"without-plan\"> attention alone</label></fieldset>\n",
        entry(Mark::Column, "single columns that are computed"),
        entry(Mark::Centre, "left out, represented by block centres"),
        entry(Mark::LeftOut, "left out"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::PooledMap;
    use super::*;
    use crate::report::{PAPER_COLOURS, lightness, over};
    use attention::pattern::HeadPattern;

    #[test]
    fn marks_differ_in_grey() {
        for paper in PAPER_COLOURS {
            let mut seen = MARK_COLOURS.map(|colour| lightness(over(colour, paper)));
            seen.sort_by(f64::total_cmp);
            assert!(seen.windows(2).all(|pair| pair[1] - pair[0] >= 8.0), "{seen:?} on {paper:?}");
        }
    }

    #[test]
    fn a_page_has_every_head_and_escapes_names() {
        let view = |layer, head| HeadView {
            layer,
            head,
            pattern: HeadPattern::Triangular { window: 512, columns: 64 },
            density: 0.25,
            estimated_recall: 0.9,
            exact_recall: 0.91,
            exact_recall_p5: 0.5,
            map: PooledMap::new(700, Pool::Max),
        };
        let source = Source {
            model: "<b>model</b>",
            prompt: "a&b.txt",
            tokens: 700,
            goal: "recall 0.98",
            pool: Pool::Max,
            data: "inspect.json",
        };
        let html = page(&source, &[view(1, 0), view(1, 2), view(5, 0)]);
        assert!(!html.contains("<b>model") && html.contains("a&amp;b.txt"));
        assert_eq!((html.matches("<figure ").count(), html.matches("<h2 ").count()), (3, 5));
        for text in [
            "id=\"layer-1-head-2\"",
            "window 512 + 64 columns; density 0.250, recall 0.910",
            "2 keys",
            "href=\"./inspect.json\"",
        ] {
            assert!(html.contains(text), "{text}");
        }
    }
}
