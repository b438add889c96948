//! A square map of attention on a logarithmic scale, with a plan over it.

use super::picture::{IndexedPicture, Svg};
use std::fmt::Write;

/// Queries down, keys across, both from position 0.
#[derive(Clone, Copy, Debug)]
pub struct HeatMap<'a> {
    /// Cells in a row, and rows.
    pub side: usize,
    /// Positions in a cell.
    pub cell: usize,
    /// Values, row by row; 0 and below show the paper.
    pub values: &'a [f32],
    /// What lies over each cell: an index into `mark_colours`.
    pub marks: &'a [u8],
    /// Red, green, blue and opacity of each mark.
    pub mark_colours: &'a [[u8; 4]],
}

/// Values so many powers of ten below the largest one are as light as 0.
pub const DECADES: f32 = 4.0;

/// Units of the drawing's map and the margins for numbers.
const SIDE: f64 = 360.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 20.0;

impl HeatMap<'_> {
    /// The drawing.
    pub fn draw(&self, label: &str) -> Svg {
        let top = self.values.iter().copied().fold(0.0, f32::max);
        let pixels: Vec<u8> = self.values.iter().map(|value| shade(*value, top)).collect();
        let heat = IndexedPicture { width: self.side, pixels: &pixels, palette: &shades() }.data_uri();
        let marks = IndexedPicture { width: self.side, pixels: self.marks, palette: self.mark_colours }.data_uri();
        let mut inside = String::new();
        let mut add = |markup: std::fmt::Arguments| inside.write_fmt(markup).expect("a string takes everything");
        for (class, picture) in [("heat", heat), ("plan", marks)] {
            add(format_args!(
                "<image class=\"{class}\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\" \
                 preserveAspectRatio=\"none\" href=\"{picture}\"/>"
            ));
        }
        add(format_args!("<rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\"/>"));
        let positions = self.side * self.cell;
        for at in ticks(positions) {
            let place = SIDE * at as f64 / positions as f64;
            let (x, y) = (LEFT + place, TOP + place);
            add(format_args!(
                "<path class=\"axis\" d=\"M{x:.1} {TOP}v-4M{LEFT} {y:.1}h-4\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{at}</text>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{at}</text>",
                TOP - 7.0,
                LEFT - 7.0,
                y + 4.0
            ));
        }
        Svg::new(LEFT + SIDE + 12.0, TOP + SIDE + 4.0, label, &inside)
    }
}

/// Four or five round positions.
fn ticks(positions: usize) -> impl Iterator<Item = usize> {
    let step = (positions / 4).max(1);
    let power = 10usize.pow(step.ilog10());
    let step = [1, 2, 5].map(|n| n * power).into_iter().rfind(|round| *round <= step).unwrap_or(1);
    (0..positions).step_by(step)
}

/// Index into [`shades`] of `value`, where `top` is the last one.
fn shade(value: f32, top: f32) -> u8 {
    if value <= 0.0 || top <= 0.0 {
        return 0;
    }
    (255.0 * (1.0 + (value / top).log10() / DECADES)).clamp(0.0, 255.0) as u8
}

/// Black of growing opacity, which a dark theme turns to white: on either paper more is further from it, and colour is left to
/// the plan.
fn shades() -> Vec<[u8; 4]> {
    (0..=255).map(|n| [0, 0, 0, n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{PAPER_COLOURS, lightness, over};

    #[test]
    fn shades_are_logarithmic_and_get_darker() {
        assert_eq!((shade(1.0, 1.0), shade(0.0, 1.0), shade(1e-9, 1.0), shade(1.0, 0.0)), (255, 0, 0, 0));
        assert_eq!(shade(0.2 * 1e-2, 0.2), (255.0 * 2.0 / 4.0) as u8);
        assert_eq!((shades().len(), shades()[0], shades()[255]), (256, [0, 0, 0, 0], [0, 0, 0, 255]));
    }

    #[test]
    fn more_attention_is_darker_and_in_a_dark_theme_lighter() {
        let [light, dark] = PAPER_COLOURS;
        let inverted = |[r, g, b, opacity]: [u8; 4]| [255 - r, 255 - g, 255 - b, opacity];
        for pair in shades().windows(2) {
            assert!(lightness(over(pair[0], light)) > lightness(over(pair[1], light)), "{pair:?}");
            let [less, more] = [pair[0], pair[1]].map(inverted);
            assert!(lightness(over(less, dark)) < lightness(over(more, dark)), "{pair:?}");
        }
    }

    #[test]
    fn ticks_are_few_and_round() {
        for (positions, expected) in [(8192, vec![0, 2000, 4000, 6000, 8000]), (300, vec![0, 50, 100, 150, 200, 250])] {
            assert_eq!(ticks(positions).collect::<Vec<_>>(), expected);
        }
        assert_eq!(ticks(2).count(), 2);
    }

    #[test]
    fn a_map_is_two_pictures_and_axes() {
        let map = HeatMap {
            side: 2,
            cell: 32,
            values: &[1.0, 0.0, 0.5, 0.1],
            marks: &[0, 0, 1, 0],
            mark_colours: &[[0; 4], [0, 0, 255, 80]],
        };
        let svg = map.draw("layer 0 <head>").inline().to_string();
        assert_eq!(svg.matches("data:image/png").count(), 2);
        assert!(svg.contains("layer 0 &lt;head&gt;") && svg.contains(">50<"), "{svg}");
    }
}
