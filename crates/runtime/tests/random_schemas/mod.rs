//! JSON schemas of everyday kinds, drawn from a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// The schema of an object, with a definition that it refers to.
pub fn schema(seed: u64) -> Value {
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(seed));
    let mut schema = draw.object(3);
    schema["$defs"] = json!({ "shared": draw.value(1) });
    schema["properties"]["shared"] = json!({ "$ref": "#/$defs/shared" });
    schema
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn below(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    fn object(&mut self, depth: u32) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for n in 0..self.below(4) {
            let name = format!("{}{n}", ["name", "größe", "the \"part\"", "id"][self.below(4) as usize]);
            if self.below(2) == 0 {
                required.push(name.clone());
            }
            properties.insert(name, self.value(depth - 1));
        }
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }

    fn value(&mut self, depth: u32) -> Value {
        let low = i64::from(self.below(200)) - 100;
        let high = low + i64::from(self.below(1000));
        match self.below(if depth == 0 { 7 } else { 10 }) {
            0 => json!({ "type": ["boolean", "null"] }),
            1 => json!({ "type": "integer", "minimum": low, "maximum": high }),
            2 => json!({ "type": "number", "minimum": low as f64 / 8.0, "exclusiveMaximum": high as f64 / 8.0 + 0.5 }),
            3 => json!({ "type": "string", "minLength": 1, "maxLength": 1 + self.below(5) }),
            4 => json!({ "type": "string", "pattern": "^[a-c]{2,4}(-[0-9]+)?$", "maxLength": 9 }),
            5 => json!({ "enum": ["red", "blå", 7, null, true, "a \"b\""] }),
            6 => json!({ "const": high }),
            7 => json!({ "anyOf": [self.value(depth - 1), { "type": "integer", "minimum": high }] }),
            8 => {
                let least = self.below(2);
                json!({ "type": "array", "items": self.value(depth - 1), "minItems": least, "maxItems": least + self.below(3) })
            }
            _ => self.object(depth),
        }
    }
}
