//! A report in two forms at once.

use super::Report;
use crate::report::{DOCUMENTS, PAPERS, Page, Svg, Word, escape, href};
use std::fmt::Write;

/// HTML and Markdown in the making.
pub(super) struct Document {
    page: Page,
    markdown: String,
}

impl Document {
    pub(super) fn new(title: &str) -> Self {
        Self { page: Page::new(title), markdown: format!("# {title}\n") }
    }

    pub(super) fn heading(&mut self, anchor: &str, text: &str) {
        self.page.heading(anchor, text);
        self.add(format_args!("\n## {text}\n"));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.page.paragraph(text);
        self.add(format_args!("\n{text}\n"));
    }

    /// What answers the question of a section.
    pub(super) fn answer(&mut self, text: &str) {
        self.page.markup(&format!("<p><strong>{}</strong></p>\n", escape(text)));
        self.add(format_args!("\n**{text}**\n"));
    }

    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        self.page.table(header, rows);
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut table = line(&mut header.iter().copied());
        table.push_str(&line(&mut header.iter().map(|_| "--:")));
        rows.iter().for_each(|cells| table.push_str(&line(&mut cells.iter().map(String::as_str))));
        self.add(format_args!("\n{table}"));
    }

    /// A picture, which Markdown goes without.
    pub(super) fn figure(&mut self, anchor: &str, svg: &Svg, name: &str, caption: &str) {
        self.page.figure(anchor, svg, name, caption);
    }

    /// A link to a file beside the report.
    pub(super) fn link(&mut self, file: &str, text: &str) {
        self.page.markup(&format!("<p><a href=\"{}\">{}</a></p>\n", href(file), escape(text)));
        self.add(format_args!("\n[{text}]({file})\n"));
    }

    /// What words of the report mean, and what it rests on.
    pub(super) fn end(&mut self, words: &[Word]) {
        self.page.glossary(words);
        self.add(format_args!("\n## Words\n\n"));
        words.iter().for_each(|word| self.add(format_args!("- **{}**: {}\n", word.term(), word.meaning())));
        self.page.sources(None);
        self.add(format_args!("\n## Sources\n\n"));
        PAPERS.iter().for_each(|(what, address)| self.add(format_args!("- [{what}]({address})\n")));
        self.add(format_args!("- {DOCUMENTS}\n"));
    }

    pub(super) fn command(&mut self, command: &[String]) {
        let line = format!("sparse-accelerate {}", command.join(" "));
        self.page.markup(&format!("<p class=\"command\"><code>{}</code></p>\n", escape(&line)));
        self.add(format_args!("\n```console\n$ {line}\n```\n"));
    }

    pub(super) fn finish(self) -> Report {
        Report { html: self.page.finish(), markdown: self.markdown }
    }

    fn add(&mut self, text: std::fmt::Arguments) {
        self.markdown.write_fmt(text).expect("a string takes everything");
    }
}
