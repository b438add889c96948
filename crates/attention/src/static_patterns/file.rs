//! Our pattern file.
//!
//! ```json
//! {"format": "sparse-accelerate patterns", "version": 1, "centres": false, "layers": [
//!  [{"pattern": "dense"}, {"pattern": "triangular", "sink": 128, "window": 1024}],
//!  [{"pattern": "interval_slash", "columns": 1000, "slashes": 6096}, {"pattern": "block_cluster", "level": 12, "columns": 256}],
//!  [{"pattern": "top_blocks", "blocks": 100}, {"pattern": "dense"}]]}
//! ```

use super::{StaticPattern, StaticPatterns, minference};
use crate::{Error, file_version};
use serde::{Deserialize, Serialize};

const FORMAT: &str = "sparse-accelerate patterns";
const VERSION: u32 = 1;

impl StaticPatterns {
    /// As JSON, on one line.
    pub fn to_json(&self) -> String {
        // Serialising fails only for maps whose keys are not strings.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads our pattern file, an object, or MInference's, a list. Memory taken is in proportion to the text.
    ///
    /// Of MInference's, `stream_llm` becomes [`Triangular`](StaticPattern::Triangular), `vertical_and_slash`
    /// [`IntervalSlash`](StaticPattern::IntervalSlash) and `block_sparse` [`TopBlocks`](StaticPattern::TopBlocks) of 100
    /// blocks, which is what that program runs whatever sizes the file gives; scores are ignored.
    ///
    /// # Errors
    /// When the text is neither, or says something that cannot be.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        if text.trim_start().starts_with('[') {
            return minference::read(text);
        }
        serde_json::from_str(text).map_err(|error| Error::File { what: "pattern file", message: error.to_string() })
    }
}

/// What the file says, unchecked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    format: String,
    version: u32,
    #[serde(default)]
    centres: bool,
    layers: Vec<Vec<StaticPattern>>,
}

impl From<StaticPatterns> for Text {
    fn from(StaticPatterns { layers, centres }: StaticPatterns) -> Self {
        Text { format: FORMAT.into(), version: VERSION, centres, layers }
    }
}

impl TryFrom<Text> for StaticPatterns {
    type Error = Error;

    fn try_from(text: Text) -> Result<Self, Error> {
        file_version::check(&text.format, text.version, FORMAT, VERSION)?;
        Ok(Self { centres: text.centres, ..Self::new(text.layers)? })
    }
}
