//! MInference's pattern file: a list by layer of `{"head": [type, columns or sink, slashes or window, score]}`.

use super::{StaticPattern, StaticPatterns};
use crate::Error;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Blocks of each tile that a `block_sparse` head computes.
const TOP_BLOCKS: usize = 100;

pub(super) fn read(text: &str) -> Result<StaticPatterns, Error> {
    let fail = |message| Error::File { what: "MInference pattern file", message };
    let layers: Vec<Layer> = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
    let layers = (layers.into_iter().enumerate())
        .map(|(index, layer)| layer.patterns().map_err(|message| fail(format!("layer {index}: {message}"))))
        .collect::<Result<_, _>>()?;
    StaticPatterns::new(layers)
}

/// Entries in the order of the file: a map would hide a head that is listed twice.
struct Layer(Vec<(String, Entry)>);

type Entry = (String, usize, usize, IgnoredAny);

impl Layer {
    fn patterns(self) -> Result<Vec<StaticPattern>, String> {
        let num_heads = self.0.len();
        let mut patterns = vec![None; num_heads];
        for (name, (kind, first, second, _)) in self.0 {
            let head = name.parse().ok().filter(|head: &usize| *head < num_heads && head.to_string() == name);
            let Some(head) = head else {
                let name = Error::excerpt(&name);
                return Err(format!(
                    "head {name:?}: {num_heads} heads are listed, so expected \"0\" to {}",
                    num_heads - 1
                ));
            };
            let pattern = match kind.as_str() {
                "stream_llm" => StaticPattern::Triangular { sink: first, window: second },
                "vertical_and_slash" => StaticPattern::IntervalSlash { columns: first, slashes: second },
                "block_sparse" => StaticPattern::TopBlocks { blocks: TOP_BLOCKS },
                _ => {
                    return Err(format!(
                        "head {head}: expected stream_llm, vertical_and_slash or block_sparse, found {:?}",
                        Error::excerpt(&kind)
                    ));
                }
            };
            if patterns[head].replace(pattern).is_some() {
                return Err(format!("head {head} is listed twice"));
            }
        }
        // As many entries as heads, none twice and none out of range: each head has one.
        Ok(patterns.into_iter().flatten().collect())
    }
}

impl<'de> Deserialize<'de> for Layer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Layer;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of heads, {\"0\": [type, size, size, score], ...}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Layer, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Layer(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
