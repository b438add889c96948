//! Colours of patterns. They differ in grey, too: by lightness, from the paper's end to the ink's.

use std::fmt::Write;

/// Red, green and blue.
type Rgb = [u8; 3];

/// A pattern's name, and its colours in a light and a dark theme: the next one is further from the paper, dense furthest.
const PATTERNS: [(&str, Rgb, Rgb); 6] = [
    ("triangular", [0xcb, 0x7b, 0x2a], [0xa7, 0x5d, 0x04]),
    ("interval_slash", [0x2c, 0x86, 0x57], [0x3e, 0x96, 0x66]),
    ("block_cluster", [0x05, 0x65, 0x9d], [0x02, 0xa5, 0xfc]),
    ("top_blocks", [0x69, 0x30, 0x8f], [0xdb, 0x9e, 0xff]),
    ("given", [0x00, 0x3e, 0x40], [0x7c, 0xde, 0xe1]),
    ("dense", [0x1e, 0x22, 0x27], [0xe6, 0xeb, 0xf2]),
];

/// A variable of the style for each pattern; print has the light theme.
pub(super) fn variables() -> String {
    let variables = |colour: fn(&(&str, Rgb, Rgb)) -> Rgb| {
        PATTERNS.iter().fold(String::new(), |mut css, pattern| {
            let [r, g, b] = colour(pattern);
            write!(css, " --{}: #{r:02x}{g:02x}{b:02x};", pattern.0).expect("a string takes everything");
            css
        })
    };
    let (light, dark) = (variables(|pattern| pattern.1), variables(|pattern| pattern.2));
    format!(":root {{{light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{dark} }} }}\n")
}

/// The style's colour of a pattern or a line; that of text where it has none.
pub(super) fn colour_of(name: &str) -> String {
    format!("var(--{}, var(--ink))", super::escape(name))
}

/// How light a colour looks, from 0 for black to 100 for white: CIE 1976 L*.
#[cfg(test)]
pub(crate) fn lightness(colour: [f64; 3]) -> f64 {
    let linear = |channel: f64| match channel / 255.0 {
        low @ ..=0.04045 => low / 12.92,
        high => ((high + 0.055) / 1.055).powf(2.4),
    };
    let [r, g, b] = colour.map(linear);
    match 0.2126 * r + 0.7152 * g + 0.0722 * b {
        dark @ ..=0.008856 => 903.3 * dark,
        y => 116.0 * y.cbrt() - 16.0,
    }
}

/// What the eye sees where a colour of some opacity lies on another one.
#[cfg(test)]
pub(crate) fn over([r, g, b, opacity]: [u8; 4], below: [f64; 3]) -> [f64; 3] {
    let share = f64::from(opacity) / 255.0;
    std::array::from_fn(|at| f64::from([r, g, b][at]) * share + below[at] * (1.0 - share))
}

/// `--paper` of the style, light and dark.
#[cfg(test)]
pub(crate) const PAPERS: [[f64; 3]; 2] = [[255.0; 3], [20.0, 23.0, 27.0]];

#[cfg(test)]
mod tests {
    use super::*;
    use attention::pattern::HeadPattern;

    #[test]
    fn patterns_differ_in_grey_by_a_fixed_order_of_lightness() {
        let of = |colour: Rgb| lightness(colour.map(f64::from));
        for pair in PATTERNS.windows(2) {
            assert!(of(pair[0].1) - of(pair[1].1) >= 8.0, "{} and {} in a light theme", pair[0].0, pair[1].0);
            assert!(of(pair[1].2) - of(pair[0].2) >= 8.0, "{} and {} in a dark theme", pair[0].0, pair[1].0);
        }
        let [light, dark] = PAPERS.map(lightness);
        assert!(light - of(PATTERNS[0].1) >= 40.0 && of(PATTERNS[0].2) - dark >= 39.0, "the faintest stands out");
    }

    #[test]
    fn lightness_is_that_of_the_standard() {
        // Grey 119 is the middle of the scale.
        for (grey, expected) in [(0.0, 0.0), (119.0, 50.0), (255.0, 100.0)] {
            assert!((lightness([grey; 3]) - expected).abs() < 0.1, "{grey}: {}", lightness([grey; 3]));
        }
    }

    #[test]
    fn every_pattern_has_a_colour() {
        let css = variables();
        let patterns = [HeadPattern::Dense, HeadPattern::Triangular { window: 64, columns: 0 }, HeadPattern::Given];
        for name in patterns.iter().map(HeadPattern::name).chain(["interval_slash", "block_cluster", "top_blocks"]) {
            assert_eq!(css.matches(&format!("--{name}: #")).count(), 2, "{name} in {css}");
        }
        let style = include_str!("style.css");
        assert!(PAPERS.iter().all(|[r, g, b]| style.contains(&format!("--paper: #{:02x}{:02x}{:02x}", *r as u8, *g as u8, *b as u8))));
    }
}
