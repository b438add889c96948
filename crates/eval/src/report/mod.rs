//! Reports that people read: pages without a script or an external resource, and the pictures on them.
//!
//! Every page follows the reader's light or dark theme and prints on white. Text that comes from outside goes through
//! [`escape`]; [`Page`] and the pictures do so themselves.

mod escape;
mod head_grid;
mod heat_map;
mod line_plot;
mod page;
mod picture;

pub use escape::escape;
pub use head_grid::{HeadCell, HeadGrid};
pub use heat_map::HeatMap;
pub use line_plot::{Line, LinePlot, Point};
pub use page::Page;
pub use picture::{IndexedPicture, Svg};
