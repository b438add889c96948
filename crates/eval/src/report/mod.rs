//! Reports that people read: pages without a script or an external resource, and the pictures on them.
//!
//! Every page follows the reader's light or dark theme and prints on white. Text that comes from outside goes through
//! [`escape`]; [`Page`] and the pictures do so themselves.

mod escape;
mod glossary;
mod head_grid;
mod heat_map;
mod line_plot;
mod page;
mod palette;
mod picture;

pub use escape::{escape, href};
pub use glossary::{DOCUMENTS, PAPERS, Word};
pub use head_grid::{HeadCell, HeadGrid};
pub use heat_map::HeatMap;
pub use line_plot::{Line, LinePlot, Point};
pub use page::Page;
#[cfg(test)]
pub(crate) use palette::{PAPERS as PAPER_COLOURS, lightness, over};
pub use picture::{IndexedPicture, Svg};

/// The style of pages and of pictures that are files of their own.
fn style() -> String {
    format!("{}{}", palette::variables(), include_str!("style.css"))
}
