//! One self-contained HTML page.

use super::{Svg, escape};

const STYLE: &str = include_str!("style.css");

/// A page in the making. Every `&str` is text and is escaped, unless it is called markup.
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page with its title as first heading.
    pub fn new(title: &str) -> Self {
        Self { title: escape(title), body: format!("<h1>{}</h1>\n", escape(title)) }
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
        let about = escape(&header.join(", "));
        let mut table =
            format!("<div class=\"scroll\" role=\"region\" aria-label=\"Table: {about}\" tabindex=\"0\"><table>\n");
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

    /// HTML as it is: nothing in it may come from outside without [`escape`].
    pub fn markup(&mut self, html: &str) {
        self.body.push_str(html);
    }

    /// The whole page.
    pub fn finish(self) -> String {
        let Self { title, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
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
        page.begin_figures();
        page.figure(evil, &Svg::new(1.0, 1.0, evil, "<g></g>"), evil, evil);
        page.end_figures();
        let html = page.finish();
        check_nesting(&html);
        assert!(!html.contains("<script") && !html.contains('\u{1}'));
        assert_eq!(html.matches("<tr>").count(), 3);
        // What reads the page aloud says which row and column a cell is in, and what a picture shows.
        assert_eq!((html.matches("<th scope=\"col\">").count(), html.matches("<th scope=\"row\">").count()), (2, 2));
        assert_eq!(html.matches("<svg").count(), html.matches("role=\"img\" aria-label=\"").count());
        assert_eq!(html.matches("<main>").count(), 1);
        assert!(html.contains("prefers-color-scheme: dark"));
        let external = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!external.contains("http") && !external.contains("@import") && !external.contains("url("));
    }
}
