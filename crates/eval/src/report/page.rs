//! One self-contained HTML page.

use super::{DOCUMENTS, PAPERS, Svg, Word, escape, href, style};

/// A page in the making. Every `&str` is text and is escaped, unless it is called markup.
pub struct Page {
    title: String,
    body: String,
    tables: usize,
}

impl Page {
    /// A page with its title as first heading.
    pub fn new(title: &str) -> Self {
        Self { title: escape(title), body: format!("<h1>{}</h1>\n", escape(title)), tables: 0 }
    }

    /// A heading, with a name to link to.
    pub fn heading(&mut self, anchor: &str, text: &str) {
        self.markup(&format!("<h2 id=\"{}\">{}</h2>\n", escape(anchor), escape(text)));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.markup(&format!("<p>{}</p>\n", escape(text)));
    }

    /// A table: a header, and rows of as many cells.
    pub fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        let cell = |(column, text): (usize, &String)| match column {
            0 => format!("<th scope=\"row\">{}</th>", escape(text)),
            _ => format!("<td>{}</td>", escape(text)),
        };
        // Reached by keyboard, where it is wider than the page and has to be scrolled.
        self.tables += 1;
        // Numbered, since several may have the same columns.
        let (number, about) = (self.tables, escape(&header.join(", ")));
        let mut table = format!(
            "<div class=\"scroll\" role=\"region\" aria-label=\"Table {number}: {about}\" tabindex=\"0\"><table>\n"
        );
        let names: String = header.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
        table.push_str(&format!("<thead><tr>{names}</tr></thead>\n<tbody>\n"));
        for row in rows {
            let cells: String = row.iter().enumerate().map(cell).collect();
            table.push_str(&format!("<tr>{cells}</tr>\n"));
        }
        table.push_str("</tbody></table></div>\n");
        self.markup(&table);
    }

    /// A picture and what it shows: a name in bold, then a text.
    pub fn figure(&mut self, anchor: &str, svg: &Svg, name: &str, caption: &str) {
        let (anchor, name, caption) = (escape(anchor), escape(name), escape(caption));
        let svg = svg.inline();
        self.markup(&format!(
            "<figure id=\"{anchor}\">{svg}<figcaption><b>{name}</b> {caption}</figcaption></figure>\n"
        ));
    }

    /// Opens a grid of figures, closed by [`end_figures`](Self::end_figures).
    pub fn begin_figures(&mut self) {
        self.markup("<div class=\"figures\">\n");
    }

    /// Closes it.
    pub fn end_figures(&mut self) {
        self.markup("</div>\n");
    }

    /// A section that says what these words mean.
    pub fn glossary(&mut self, words: &[Word]) {
        self.heading("words", "Words");
        let entry = |word: &Word| format!("<dt>{}</dt><dd>{}</dd>\n", escape(word.term()), escape(word.meaning()));
        self.markup(&format!("<dl>\n{}</dl>\n", words.iter().map(entry).collect::<String>()));
    }

    /// A section that says what the page rests on: the numbers in `data`, a file beside it, where there is one, papers and
    /// documents of the project.
    pub fn sources(&mut self, data: Option<&str>) {
        self.heading("sources", "Sources");
        let entry = |(what, address): &(&str, &str)| format!("<li><a href=\"{address}\">{what}</a></li>\n");
        let data = data.map_or(String::new(), |file| {
            format!("<li>Every number of this page, and more: <a href=\"{}\">{}</a></li>\n", href(file), escape(file))
        });
        let papers: String = PAPERS.iter().map(entry).collect();
        self.markup(&format!("<ul>\n{data}{papers}<li>{DOCUMENTS}</li>\n</ul>\n"));
    }

    /// HTML as it is: nothing in it may come from outside without [`escape`].
    pub fn markup(&mut self, html: &str) {
        self.body.push_str(html);
    }

    /// The whole page.
    pub fn finish(self) -> String {
        let (Self { title, body, .. }, style) = (self, style());
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element that opens closes, in the right order.
    fn check_nesting(html: &str) {
        let mut open = Vec::new();
        for tag in html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
            let name = tag.split([' ', '\n']).next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{html}"),
                None if tag.ends_with('/') || ["!DOCTYPE", "meta", "input"].contains(&name) => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn pages_are_well_formed_whatever_the_texts_are() {
        let evil = "</title><script>alert(1)</script> & \"quotes\" 'n' \u{1}";
        let mut page = Page::new(evil);
        page.heading(evil, evil);
        page.paragraph(evil);
        page.table(&[evil, "b"], &[vec![evil.into(), "1".into()], vec!["x".into(), "2".into()]]);
        page.table(&["a"], &[]);
        page.begin_figures();
        page.figure(evil, &Svg::new(1.0, 1.0, evil, "<g></g>"), evil, evil);
        page.end_figures();
        page.glossary(&[Word::Density, Word::Mcnemar]);
        let html = page.finish();
        check_nesting(&html);
        assert!(!html.contains("<script") && !html.contains('\u{1}'));
        assert_eq!(html.matches("<tr>").count(), 4);
        // What reads the page aloud says which row and column a cell is in, and what a picture shows.
        assert_eq!((html.matches("<th scope=\"col\">").count(), html.matches("<th scope=\"row\">").count()), (3, 2));
        assert_eq!(html.matches("<svg").count(), html.matches("role=\"img\" aria-label=\"").count());
        assert!(html.contains("aria-label=\"Table 1: ") && html.contains("aria-label=\"Table 2: a\""));
        assert_eq!(html.matches("<main>").count(), 1);
        assert!(html.contains("prefers-color-scheme: dark"));
        let external = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!external.contains("http") && !external.contains("@import") && !external.contains("url("));
    }

    #[test]
    fn sources_are_links_and_the_data_file_is_beside_the_page() {
        let mut page = Page::new("a page");
        page.sources(Some("a: 100% & b#.json"));
        let html = page.finish();
        check_nesting(&html);
        assert!(html.contains("<a href=\"./a%3A%20100%25%20%26%20b%23.json\">a: 100% &amp; b#.json</a>"), "{html}");
        assert_eq!(html.matches("<a href=\"https://arxiv.org/abs/").count(), PAPERS.len());
        let mut page = Page::new("a page");
        page.sources(None);
        assert!(!page.finish().contains(".json"));
    }
}
