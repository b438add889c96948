//! The terms of the cost model, measured on a machine and kept in a file.
//!
//! ```json
//! {"format": "sparse-accelerate calibration", "version": 1, "crate_version": "0.1.0", "device": "Example CPU",
//!  "simd": "amx-bf16", "threads": 2, "date": "2026-01-31T12:00:00Z", "entries": [
//!  {"head_dim": 64, "step_us": 1.7, "gathered_step": 1.05, "gather_key": 0.06, "gather_centre": 0.3, "tile": 0.5,
//!   "score_block": 0.02, "probe_block": 0.3, "choose_block": 1.0}]}
//! ```
//!
//! Costs hold for one device, one instruction set, the kernels of one version and one head size, so for any other the file
//! is refused rather than believed. What a plan must gain beyond its cost ([`CostModel::margin`]) is a policy, not a
//! measurement, and not in the file.

use crate::search::{CostModel, calibrate};
use crate::simd::Simd;
use crate::{Error, file_version};
use serde::{Deserialize, Serialize};

const FORMAT: &str = "sparse-accelerate calibration";
const VERSION: u32 = 1;

/// What [`calibrate`] found for some head sizes. One that was read has been checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    format: String,
    version: u32,
    /// Kernels change with the crate.
    crate_version: String,
    device: String,
    simd: String,
    threads: usize,
    date: String,
    entries: Vec<Entry>,
}

/// Costs of one head size; see [`CostModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    head_dim: usize,
    step_us: f64,
    gathered_step: f64,
    gather_key: f64,
    gather_centre: f64,
    tile: f64,
    score_block: f64,
    probe_block: f64,
    choose_block: f64,
}

impl Calibration {
    /// Measures this machine, which is called `device` today, `date`. `threads` as many as will work, 0 one for each core.
    ///
    /// # Errors
    /// When a head size cannot be, threads cannot be started, or the machine is too busy.
    pub fn measure(simd: Simd, threads: usize, head_dims: &[usize], device: &str, date: &str) -> Result<Self, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::Calibration(format!("cannot start worker threads: {error}")))?;
        let mut head_dims = head_dims.to_vec();
        head_dims.sort_unstable();
        head_dims.dedup();
        let measure = |head_dim: usize| Ok(Entry::new(head_dim, &calibrate(simd, head_dim)?));
        Ok(Self {
            format: FORMAT.into(),
            version: VERSION,
            crate_version: env!("CARGO_PKG_VERSION").into(),
            device: device.into(),
            simd: simd.name().into(),
            threads: pool.current_num_threads(),
            date: date.into(),
            entries: pool.install(|| head_dims.into_iter().map(measure).collect::<Result<_, Error>>())?,
        })
    }

    /// Reads a calibration file.
    ///
    /// # Errors
    /// When the text is none, was written by another version, or holds costs that no machine has.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let stale = |message: String| Error::Calibration(message);
        /// What every version of the file has.
        #[derive(Deserialize)]
        struct Header {
            format: String,
            version: u32,
        }
        let header: Header = serde_json::from_str(text).map_err(|error| stale(error.to_string()))?;
        file_version::check(&header.format, header.version, FORMAT, VERSION).map_err(|error| match error {
            Error::File { message, .. } => stale(message),
            other => other,
        })?;
        let read: Self = serde_json::from_str(text).map_err(|error| stale(error.to_string()))?;
        let own_version = env!("CARGO_PKG_VERSION");
        if read.crate_version != own_version {
            let found = Error::excerpt(&read.crate_version);
            return Err(stale(format!(
                "measured by version {found:?}, this is {own_version}, whose kernels may differ"
            )));
        }
        for (n, entry) in read.entries.iter().enumerate() {
            let head_dim = entry.head_dim;
            if read.entries[..n].iter().any(|other| other.head_dim == head_dim) {
                return Err(stale(format!("head_dim {head_dim} is listed twice")));
            }
            entry.costs().check()?;
        }
        Ok(read)
    }

    /// The cost model of heads of `head_dim` elements.
    ///
    /// # Errors
    /// When another device, another instruction set or only other head sizes were measured.
    pub fn costs(&self, device: &str, simd: Simd, head_dim: usize) -> Result<CostModel, Error> {
        self.check_device(device, simd)?;
        let entry = self.entries.iter().find(|entry| entry.head_dim == head_dim);
        entry.map(Entry::costs).ok_or_else(|| {
            let measured = self.entries.iter().map(|entry| entry.head_dim.to_string()).collect::<Vec<_>>().join(", ");
            let message = format!("head_dim {head_dim} was not measured (only {})", Error::excerpt(&measured));
            Error::Calibration(message)
        })
    }

    /// # Errors
    /// When another device or another instruction set was measured.
    pub fn check_device(&self, device: &str, simd: Simd) -> Result<(), Error> {
        for (what, measured, here) in
            [("device", self.device.as_str(), device), ("instruction set", self.simd.as_str(), simd.name())]
        {
            if measured != here {
                let measured = Error::excerpt(measured);
                return Err(Error::Calibration(format!("measured on {what} {measured:?}, this is {here:?}")));
            }
        }
        Ok(())
    }

    /// Every head size measured, with its costs.
    pub fn entries(&self) -> impl Iterator<Item = (usize, CostModel)> {
        self.entries.iter().map(|entry| (entry.head_dim, entry.costs()))
    }

    /// Instruction set measured.
    pub fn simd(&self) -> &str {
        &self.simd
    }

    /// Threads that worked.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// When it was measured, as the caller said.
    pub fn date(&self) -> &str {
        &self.date
    }
}

impl Entry {
    fn new(head_dim: usize, costs: &CostModel) -> Self {
        Self {
            head_dim,
            step_us: costs.step_us.unwrap_or(f64::NAN),
            gathered_step: costs.gathered_step,
            gather_key: costs.gather_key,
            gather_centre: costs.gather_centre,
            tile: costs.tile,
            score_block: costs.score_block,
            probe_block: costs.probe_block,
            choose_block: costs.choose_block,
        }
    }

    fn costs(&self) -> CostModel {
        CostModel {
            step_us: Some(self.step_us),
            gathered_step: self.gathered_step,
            gather_key: self.gather_key,
            gather_centre: self.gather_centre,
            tile: self.tile,
            score_block: self.score_block,
            probe_block: self.probe_block,
            choose_block: self.choose_block,
            ..CostModel::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "Example CPU";

    fn example() -> Calibration {
        let costs = CostModel { step_us: Some(1.7), tile: 2.25, ..CostModel::default() };
        Calibration {
            format: FORMAT.into(),
            version: VERSION,
            crate_version: env!("CARGO_PKG_VERSION").into(),
            device: DEVICE.into(),
            simd: Simd::Portable.name().into(),
            threads: 2,
            date: "2026-01-31T12:00:00Z".into(),
            entries: vec![Entry::new(64, &costs), Entry::new(128, &costs)],
        }
    }

    fn json() -> serde_json::Value {
        serde_json::to_value(example()).unwrap()
    }

    fn refused(text: &str, says: &str) {
        let message = Calibration::from_json(text).unwrap_err().to_string();
        assert!(message.contains(says) && message.contains("sparse-accelerate calibrate"), "{message}");
    }

    #[test]
    fn what_was_written_is_read_back() {
        let read = Calibration::from_json(&serde_json::to_string(&example()).unwrap()).unwrap();
        assert_eq!(read, example());
        let costs = read.costs(DEVICE, Simd::Portable, 128).unwrap();
        assert_eq!((costs.us(10.0), costs.tile, costs.margin), (Some(17.0), 2.25, CostModel::default().margin));
    }

    #[test]
    fn another_machine_is_not_this_one() {
        let says = |device, simd, head_dim, words: &str| {
            let message = example().costs(device, simd, head_dim).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("sparse-accelerate calibrate"), "{message}");
        };
        says("Other CPU", Simd::Portable, 64, "device \"Example CPU\", this is \"Other CPU\"");
        says(DEVICE, Simd::Avx2, 64, "instruction set \"portable\", this is \"avx2+fma\"");
        says(DEVICE, Simd::Portable, 96, "head_dim 96 was not measured (only 64, 128)");
    }

    #[test]
    fn refuses_what_is_no_calibration_of_this_version() {
        let whole = json().to_string();
        for end in [0, 1, whole.len() / 2, whole.len() - 1] {
            refused(&whole[..end], "EOF");
        }
        let changed = |path: &str, value: serde_json::Value| {
            let mut json = json();
            *json.pointer_mut(path).unwrap() = value;
            json.to_string()
        };
        refused(&changed("/format", "x".repeat(9999).into()), "another kind of file");
        refused(&changed("/version", 2.into()), "version 2");
        refused(&changed("/crate_version", "0.0.1".into()), "\"0.0.1\"");
        refused(&changed("/entries/1/head_dim", 64.into()), "twice");
        refused(&changed("/entries/0/step_us", 0.0.into()), "step_us is 0");
        refused(&changed("/entries/0/step_us", serde_json::Value::Null), "null");
        refused(&changed("/entries/0/tile", (-1.0).into()), "tile is -1");
        refused(&changed("/entries/0/gathered_step", 1e9.into()), "gathered_step");
        refused(&changed("/entries/1/probe_block", 1e300.into()), "probe_block");
        refused(&changed("/entries", "none".into()), "expected a sequence");
        refused(&json().to_string().replace("1.7", "1e999"), "out of range");
        refused(&json().to_string().replace("1.7", "NaN"), "expected");
    }

    #[test]
    fn not_a_number_is_no_cost() {
        let costs = CostModel { step_us: Some(f64::NAN), ..CostModel::default() };
        assert!(costs.check().unwrap_err().to_string().contains("NaN"));
        assert!(CostModel { tile: f64::NAN, ..CostModel::default() }.check().is_err());
        assert_eq!(CostModel::default().check(), Ok(()));
    }
}
