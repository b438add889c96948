//! Pictures: vectors, and pixels of few colours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A drawing: the markup of an `svg` element.
#[derive(Clone, Debug)]
pub struct Svg(String);

impl Svg {
    /// `width` by `height` units, with markup inside that holds no text from outside unescaped.
    pub(super) fn new(width: f64, height: f64, label: &str, inside: &str) -> Self {
        let label = super::escape(label);
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{label}\">{inside}</svg>"
        ))
    }

    /// For a [`Page`](super::Page), which has the style.
    pub fn inline(&self) -> &str {
        &self.0
    }

    /// As a file of its own, with the style inside.
    pub fn to_file(&self) -> String {
        let style = super::style();
        let start = self.0.find('>').map_or(0, |end| end + 1);
        let (open, rest) = self.0.split_at(start);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{open}<style>svg {{ background: var(--paper) }}\n{style}</style>{rest}\n"
        )
    }
}

/// Pixels that are indices into a palette.
#[derive(Clone, Debug)]
pub struct IndexedPicture<'a> {
    /// Pixels in a row.
    pub width: usize,
    /// Indices, row by row from the top, each below the length of the palette.
    pub pixels: &'a [u8],
    /// Red, green, blue and opacity of each index.
    pub palette: &'a [[u8; 4]],
}

impl IndexedPicture<'_> {
    /// PNG inside a `data:` URI.
    pub fn data_uri(&self) -> String {
        format!("data:image/png;base64,{}", STANDARD.encode(self.png()))
    }

    /// PNG file.
    pub fn png(&self) -> Vec<u8> {
        let height = self.pixels.len() / self.width.max(1);
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, height as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(self.palette.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect::<Vec<u8>>());
        encoder.set_trns(self.palette.iter().map(|[.., opacity]| *opacity).collect::<Vec<u8>>());
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().expect("a picture has pixels and a palette, and a vector takes it");
        writer.write_image_data(&self.pixels[..self.width * height]).expect("as many pixels as the header says");
        writer.finish().expect("a vector takes everything");
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_can_be_read_back() {
        let palette = [[255, 255, 255, 0], [10, 20, 30, 255]];
        let picture = IndexedPicture { width: 3, pixels: &[0, 1, 0, 1, 1, 0], palette: &palette };
        let mut decoder = png::Decoder::new(std::io::Cursor::new(picture.png()));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (3, 2));
        assert_eq!(pixels[..8], [255, 255, 255, 0, 10, 20, 30, 255]);
        assert!(picture.data_uri().starts_with("data:image/png;base64,iVBOR"));
    }

    #[test]
    fn a_file_has_its_style_and_a_label_is_escaped() {
        let file = Svg::new(10.0, 20.0, "a < b", "<g/>").to_file();
        assert!(file.starts_with("<?xml") && file.contains("viewBox=\"0 0 10 20\"") && file.contains("a &lt; b"));
        assert!(file.contains("<style>") && file.trim_end().ends_with("<g/></svg>"));
    }
}
