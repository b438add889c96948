//! Where a result comes from.

use crate::machine::Machine;
use serde::Serialize;

/// The block every result file opens with.
#[derive(Clone, Debug, Serialize)]
pub struct Meta {
    /// Model as the engine names it.
    pub model: String,
    /// Device as the engine names it.
    pub device: String,
    /// Worker threads.
    pub threads: usize,
    /// The machine.
    #[serde(flatten)]
    pub machine: Machine,
    /// Commit the program was built from, when it was built inside the repository. Uncommitted changes do not show.
    pub commit: Option<&'static str>,
    /// Version of the program.
    pub version: &'static str,
    /// When the measurement began: ISO 8601, UTC.
    pub date: String,
}

impl Meta {
    /// The block for a measurement that begins now. `threads` as the engine was asked: 0 is one for each core.
    pub fn now(model: &str, device: &str, threads: usize) -> Self {
        let machine = Machine::read();
        Self {
            model: model.to_owned(),
            device: device.to_owned(),
            threads: if threads == 0 { machine.cores } else { threads },
            machine,
            commit: option_env!("SPARSE_ACCELERATE_COMMIT"),
            version: env!("CARGO_PKG_VERSION"),
            date: date_now(),
        }
    }

    /// The block for a measurement that goes on with samples of an earlier run: `date` is when the first of them was begun.
    pub fn begun(self, date: Option<&str>) -> Self {
        Self { date: date.map_or(self.date, String::from), ..self }
    }
}

/// ISO 8601, UTC, to the second.
pub(crate) fn date_now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_model_device_threads_and_a_utc_date() {
        let json = serde_json::to_value(Meta::now("m", "cpu", 3)).unwrap();
        assert_eq!((&json["model"], &json["device"], &json["threads"]), (&"m".into(), &"cpu".into(), &3.into()));
        let date = json["date"].as_str().unwrap();
        assert_eq!(date.len(), "2026-01-31T12:00:00Z".len(), "{date}");
        assert!(date.ends_with('Z') && json["cores"].as_u64().unwrap() > 0);
    }

    #[test]
    fn zero_threads_are_all_cores() {
        let meta = Meta::now("m", "cpu", 0);
        assert_eq!(meta.threads, meta.machine.cores);
    }
}
