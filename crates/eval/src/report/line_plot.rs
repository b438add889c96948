//! Measurements over a length, as lines with intervals.

use super::palette::colour_of;
use super::{Svg, escape};
use std::fmt::Write;

/// Lines over one axis of lengths. Both axes are logarithmic unless said otherwise.
#[derive(Clone, Debug)]
pub struct LinePlot<'a> {
    /// What the horizontal axis shows.
    pub x_label: &'a str,
    /// What the vertical axis shows, with its unit.
    pub y_label: &'a str,
    /// Whether the vertical axis is linear and begins at 0.
    pub linear: bool,
    /// The lines.
    pub lines: &'a [Line],
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name. A page's style has colours for `dense`, `sparse` and `auto`; others have the text's, and differ by dashes.
    pub name: String,
    /// Points by ascending `x`.
    pub points: Vec<Point>,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Length.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// Lower and upper end of what it may be.
    pub range: [f64; 2],
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;

/// From values to places along one axis.
struct Axis {
    linear: bool,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn new(linear: bool, values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let (from, to) = match linear {
            true => (0.0, high.max(f64::MIN_POSITIVE)),
            // A lone value lies in the middle.
            false if low == high => (low / 2.0, high * 2.0),
            false => (low, high),
        };
        Self { linear, from, to, start, end }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.linear {
            true => value / self.to,
            false => (value / self.from).ln() / (self.to / self.from).ln(),
        };
        self.start + (self.end - self.start) * share
    }

    /// A few round values inside the axis.
    fn ticks(&self) -> Vec<f64> {
        let powers = || (-3..13).map(|power| 10f64.powi(power));
        match self.linear {
            true => {
                let step =
                    powers().flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * power)).find(|step| self.to / step <= 6.0);
                let step = step.unwrap_or(self.to);
                (0..=6).map(|n| n as f64 * step).filter(|tick| *tick <= self.to * 1.0001).collect()
            }
            false => {
                let inside = |tick: &f64| (self.from * 0.9999..=self.to * 1.0001).contains(tick);
                let of = |factors: &[f64]| -> Vec<f64> {
                    powers().flat_map(|power| factors.iter().map(move |n| n * power)).filter(inside).collect()
                };
                let few = of(&[1.0]);
                if few.len() >= 4 { few } else { of(&[1.0, 2.0, 5.0]) }
            }
        }
    }
}

impl LinePlot<'_> {
    /// The drawing. Values that a logarithm does not take are left out.
    pub fn draw(&self, label: &str) -> Svg {
        let drawable = |value: f64| value.is_finite() && (self.linear || value > 0.0);
        let lines: Vec<(&str, Vec<Point>)> = (self.lines.iter())
            .map(|line| {
                let good =
                    |point: &&Point| point.x > 0.0 && drawable(point.y) && point.range.iter().all(|end| drawable(*end));
                (line.name.as_str(), line.points.iter().filter(good).copied().collect())
            })
            .collect();
        let points = || lines.iter().flat_map(|(_, points)| points);
        if points().next().is_none() {
            return Svg::new(WIDTH, 40.0, label, "<text x=\"10\" y=\"24\">nothing to draw</text>");
        }
        let x = Axis::new(false, points().map(|point| point.x), LEFT, WIDTH - RIGHT);
        let ys = points().flat_map(|point| [point.y, point.range[0], point.range[1]]);
        let y = Axis::new(self.linear, ys, HEIGHT - BOTTOM, TOP);
        let mut inside = String::new();
        let mut add = |markup: std::fmt::Arguments| inside.write_fmt(markup).expect("a string takes everything");
        for tick in y.ticks() {
            let at = y.place(tick);
            add(format_args!(
                "<path class=\"axis\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                number(tick)
            ));
        }
        // Where values are doubled, the values themselves are the best ticks.
        let mut lengths: Vec<f64> = points().map(|point| point.x).collect();
        lengths.sort_by(f64::total_cmp);
        lengths.dedup();
        let every = lengths.len().div_ceil(8);
        for length in lengths.iter().rev().step_by(every) {
            let (at, bottom) = (x.place(*length), HEIGHT - BOTTOM);
            add(format_args!(
                "<path class=\"axis\" d=\"M{at:.1} {bottom}v4\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                number(*length)
            ));
        }
        add(format_args!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"4\" y=\"14\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0,
            escape(self.x_label),
            escape(self.y_label)
        ));
        for (n, (name, points)) in lines.iter().enumerate() {
            let (name, colour) = (escape(name), colour_of(name));
            // In grey, lines differ too.
            let class = ["solid", "dashed", "dotted"][n % 3];
            let place = |point: &Point| (x.place(point.x), y.place(point.y));
            let path: Vec<String> = points.iter().map(place).map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            add(format_args!(
                "<path class=\"{class}\" d=\"M{}\" style=\"stroke:{colour};fill:none;stroke-width:2\"/>",
                path.join("L")
            ));
            for point in points {
                let (at, middle) = place(point);
                let [low, high] = point.range.map(|end| y.place(end));
                add(format_args!(
                    "<g><title>{name}, {}: {} ({} .. {})</title><path d=\"M{at:.1} {low:.1}V{high:.1}\" style=\"stroke:{colour}\"/>\
                     <circle cx=\"{at:.1}\" cy=\"{middle:.1}\" r=\"3\" style=\"fill:{colour}\"/></g>",
                    number(point.x),
                    number(point.y),
                    number(point.range[0]),
                    number(point.range[1])
                ));
            }
            let key = WIDTH - RIGHT - 70.0 * (lines.len() - n) as f64;
            add(format_args!(
                "<path class=\"{class}\" d=\"M{:.1} 11h22\" style=\"stroke:{colour};stroke-width:2\"/><text x=\"{}\" y=\"15\">{name}</text>",
                key - 12.0,
                key + 14.0
            ));
        }
        Svg::new(WIDTH, HEIGHT, label, &inside)
    }
}

/// Three significant digits, thousands without a point.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}").trim_end_matches(".0").into(),
        1.0.. => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').into(),
        _ => format!("{value:.3}").trim_end_matches('0').into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: &[(f64, f64)]) -> Line {
        let point = |&(x, y): &(f64, f64)| Point { x, y, range: [y * 0.9, y * 1.1] };
        Line { name: name.into(), points: points.iter().map(point).collect() }
    }

    #[test]
    fn axes_reach_from_end_to_end() {
        let log = Axis::new(false, [10.0, 1000.0, 100.0].into_iter(), 0.0, 200.0);
        assert_eq!([10.0, 100.0, 1000.0].map(|value| log.place(value).round()), [0.0, 100.0, 200.0]);
        let linear = Axis::new(true, [30.0, 60.0].into_iter(), 100.0, 0.0);
        assert_eq!([0.0, 30.0, 60.0].map(|value| linear.place(value)), [100.0, 50.0, 0.0]);
        assert_eq!(linear.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(
            Axis::new(false, [3.0, 700.0].into_iter(), 0.0, 1.0).ticks(),
            [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
        );
        let lone = Axis::new(false, [8.0].into_iter(), 0.0, 100.0);
        assert!((lone.place(8.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn every_point_and_every_line_is_drawn_and_named() {
        let lines = [line("dense", &[(512.0, 9.0), (1024.0, 20.0)]), line("<b>", &[(512.0, 5.0), (1024.0, f64::NAN)])];
        let plot = LinePlot { x_label: "tokens", y_label: "ms & more", linear: false, lines: &lines };
        let svg = plot.draw("times").inline().to_string();
        assert_eq!(svg.matches("<circle").count(), 3, "what is no number is left out");
        assert!(svg.contains("ms &amp; more") && svg.contains("&lt;b&gt;") && svg.contains(">1024<"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let nothing = LinePlot { lines: &[], ..plot };
        assert!(nothing.draw("none").inline().contains("nothing to draw"));
    }

    #[test]
    fn numbers_read_well() {
        let read: Vec<String> = [0.0, 0.25, 1.0, 2.5, 10.0, 99.95, 8192.0].map(number).to_vec();
        assert_eq!(
            read,
            ["0", "0.25", "1", "2.5", "10", "100", "8192"].map(|text| if text == "100" { "100" } else { text })
        );
    }
}
