//! A tool among many, to be called by its schema.

use super::diary::{PEOPLE, PLACES};
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use serde_json::{Map, Value, json};
use std::ops::RangeInclusive;

/// Arguments of a tool.
pub(super) const ARGUMENTS: usize = 3;
const DEEDS: [&str; 20] = [
    "reserve",
    "cancel",
    "inspect",
    "repair",
    "rename",
    "archive",
    "publish",
    "approve",
    "deliver",
    "measure",
    "list",
    "update",
    "transfer",
    "calibrate",
    "compare",
    "schedule",
    "merge",
    "export",
    "lock",
    "refund",
];
const OBJECTS: [&str; 36] = [
    "invoice",
    "berth",
    "sensor",
    "ticket",
    "parcel",
    "contract",
    "room",
    "vehicle",
    "recipe",
    "course",
    "account",
    "playlist",
    "warehouse",
    "patient",
    "voucher",
    "lesson",
    "camera",
    "meeting",
    "device",
    "survey",
    "order",
    "field",
    "pipeline",
    "badge",
    "shelf",
    "crew",
    "flight",
    "budget",
    "dataset",
    "garden",
    "license",
    "menu",
    "poster",
    "route",
    "signal",
    "tenant",
];
/// What the request says, the type, and the names of which each tool has one: they cannot be guessed, but read.
const PARAMETERS: [(&str, &str, [&str; 3]); 10] = [
    ("number of people", "integer", ["pax", "num_people", "party_size"]),
    ("quantity", "integer", ["qty", "amount", "unit_count"]),
    ("priority", "integer", ["prio", "priority_level", "rank"]),
    ("waiting time in minutes", "integer", ["wait_min", "max_wait", "delay_minutes"]),
    ("place", "string", ["loc", "place_name", "site"]),
    ("owner", "string", ["owner", "owner_name", "belongs_to"]),
    ("contact", "string", ["contact", "contact_person", "poc"]),
    ("destination", "string", ["dest", "target_city", "to_place"]),
    ("urgent", "boolean", ["urgent", "is_urgent", "rush"]),
    ("paid in advance", "boolean", ["prepaid", "paid_upfront", "is_paid"]),
];

/// A sample.
pub(super) struct ToolCall(pub Random);

/// A tool, and a call of it.
struct Tool {
    schema: String,
    request: String,
    call: String,
}

/// A tool that does `deed` to `object`.
fn tool(deed: &str, object: &str, random: &mut Random) -> Tool {
    let name = format!("{deed}_{object}");
    let (mut properties, mut arguments, mut wishes) = (Map::new(), Map::new(), Vec::new());
    for parameter in random.sample(PARAMETERS.len(), ARGUMENTS) {
        let (words, kind, names) = PARAMETERS[parameter];
        let value = match kind {
            "integer" => json!(2 + random.below(97)),
            "boolean" => json!(random.below(2) == 1),
            _ if words == "place" || words == "destination" => json!(random.one_of(&PLACES)),
            _ => json!(random.one_of(&PEOPLE)),
        };
        wishes.push(match value.as_str() {
            Some(text) => format!("{words} {text}"),
            None => format!("{words} {value}"),
        });
        let name = *random.one_of(&names);
        properties.insert(name.into(), json!({"type": kind, "description": words}));
        arguments.insert(name.into(), value);
    }
    // By name, whatever order JSON objects keep: the same seed asks the same.
    properties.sort_keys();
    arguments.sort_keys();
    let required: Vec<&String> = properties.keys().collect();
    let mut parameters = json!({"type": "object", "properties": properties, "required": required});
    parameters.sort_all_objects();
    Tool {
        schema: format!(
            "{{\"name\": \"{name}\", \"description\": \"To {deed} one {object}.\", \"parameters\": {parameters}}}"
        ),
        request: format!("Please {deed} one {object}: {}.", wishes.join(", ")),
        call: format!("{{\"name\": \"{name}\", \"arguments\": {}}}", Value::Object(arguments)),
    }
}

impl Writer for ToolCall {
    /// Other tools.
    fn counts(&self) -> RangeInclusive<usize> {
        0..=DEEDS.len() * OBJECTS.len() - 1
    }

    fn write(&self, count: usize) -> Exercise {
        let mut random = self.0.clone();
        let names = random.fork().sample(DEEDS.len() * OBJECTS.len(), count + 1);
        let before = (count as f64 * (0.4 + 0.2 * random.below(1000) as f64 / 1000.0)).round() as usize;
        let mut tools: Vec<Tool> = (names.iter())
            .map(|name| tool(DEEDS[name % DEEDS.len()], OBJECTS[name / DEEDS.len()], &mut random))
            .collect();
        // The same tool is asked for however many there are.
        let asked = tools.remove(0);
        let mut schemas: Vec<String> = tools.into_iter().map(|tool| tool.schema).collect();
        schemas.insert(before, asked.schema);
        Exercise {
            shown: None,
            question: format!(
                "You can call these tools; each line is the JSON schema of one.\n\n{}\n\nRequest: {}\nAnswer with one call and \
                 nothing else, as JSON: {{\"name\": \"...\", \"arguments\": {{...}}}}, with the names of the tool's schema.",
                schemas.join("\n"),
                asked.request
            ),
            opening: " {\"name\": \"".into(),
            answers: vec![asked.call],
        }
    }
}
