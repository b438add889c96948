//! Plans as JSON, to be kept, compared, drawn, or run again on another device.
//!
//! ```json
//! {"format": "sparse-accelerate plan", "version": 2, "q_len": 100, "kv_len": 130, "heads": ["dense", {"window": 64},
//!  {"sparse": {"block_m": 64, "indptr": [0, 2, 4], "indices": [0, 1, 1, 2], "columns": [7, 30], "centres": true}}]}
//! ```
//!
//! Version 1, which is still read, has no `block_m`: its tiles have 64 rows.

use super::{HeadPlan, Plan, SparsePlan};
use crate::shape::QueryRange;
use crate::{BLOCK_M, Error};
use serde::{Deserialize, Serialize};

const FORMAT: &str = "sparse-accelerate plan";
const VERSION: u32 = 2;
/// The last version without `block_m`.
const VERSION_OF_64: u32 = 1;

/// A plan and the queries it was made for. Reading one checks it as [`SparsePlan::new`] does, so what was read can run.
///
/// ```
/// use attention::plan::{Plan, file::SavedPlan};
/// use attention::shape::QueryRange;
///
/// let range = QueryRange::new(100, 130)?;
/// let saved = SavedPlan::new(range, Plan::dense(2))?;
/// assert_eq!(SavedPlan::from_json(&saved.to_json())?, saved);
/// # Ok::<(), attention::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct SavedPlan {
    range: QueryRange,
    plan: Plan,
}

impl SavedPlan {
    /// # Errors
    /// When a head was planned for another range.
    pub fn new(range: QueryRange, plan: Plan) -> Result<Self, Error> {
        plan.check(plan.heads.len(), range)?;
        Ok(Self { range, plan })
    }

    /// The queries it was made for.
    pub fn range(&self) -> QueryRange {
        self.range
    }

    /// What each head computes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan, for a layer of `num_q_heads` heads and the queries of `range`.
    ///
    /// # Errors
    /// When it was made for others.
    pub fn into_plan_of(self, num_q_heads: usize, range: QueryRange) -> Result<Plan, Error> {
        // A head that runs dense would fit any range; the plan as a whole was still made for one.
        if self.range != range {
            return Err(super::other_range(self.range, range));
        }
        self.plan.check(num_q_heads, range)?;
        Ok(self.plan)
    }

    /// As JSON, on one line.
    pub fn to_json(&self) -> String {
        // Serialising fails only for maps whose keys are not strings.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads JSON and checks the plan. Memory taken is in proportion to the text.
    ///
    /// # Errors
    /// When the text is not a plan of this version, or breaks a rule of the format.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| Error::File { what: "plan file", message: error.to_string() })
    }
}

/// What the file says, unchecked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: String,
    version: u32,
    q_len: usize,
    kv_len: usize,
    heads: Vec<Head>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head {
    Dense,
    Window(usize),
    Sparse(Sparse),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sparse {
    #[serde(default)]
    block_m: Option<usize>,
    indptr: Vec<u32>,
    indices: Vec<u32>,
    columns: Vec<u32>,
    centres: bool,
}

impl From<SavedPlan> for Text {
    fn from(saved: SavedPlan) -> Self {
        let head = |head| match head {
            HeadPlan::Dense => Head::Dense,
            HeadPlan::Window(window) => Head::Window(window),
            HeadPlan::Sparse(SparsePlan { tiles, indptr, indices, columns, centres }) => {
                Head::Sparse(Sparse { block_m: Some(tiles.block_m()), indptr, indices, columns, centres })
            }
        };
        Text {
            format: FORMAT.into(),
            version: VERSION,
            q_len: saved.range.q_len(),
            kv_len: saved.range.kv_len(),
            heads: saved.plan.heads.into_iter().map(head).collect(),
        }
    }
}

impl TryFrom<Text> for SavedPlan {
    type Error = Error;

    fn try_from(text: Text) -> Result<Self, Error> {
        crate::file_version::check_any(&text.format, text.version, FORMAT, VERSION_OF_64..=VERSION)?;
        let range = QueryRange::new(text.q_len, text.kv_len)?;
        let head = |(index, head)| match head {
            Head::Dense => Ok(HeadPlan::Dense),
            Head::Window(window) => Ok(HeadPlan::Window(window)),
            Head::Sparse(Sparse { block_m, indptr, indices, columns, centres }) => {
                let plan = block_m_of(text.version, block_m)
                    .and_then(|block_m| SparsePlan::new(range.tiles(block_m)?, indptr, indices, columns, centres));
                plan.map(HeadPlan::Sparse).map_err(|error| {
                    Error::Plan(match error {
                        Error::Plan(message) => format!("head {index}: {message}"),
                        other => format!("head {index}: {other}"),
                    })
                })
            }
        };
        Self::new(range, Plan { heads: text.heads.into_iter().enumerate().map(head).collect::<Result<_, _>>()? })
    }
}

/// Rows of a head's tiles: what the file says, where its version does.
fn block_m_of(version: u32, block_m: Option<usize>) -> Result<usize, Error> {
    match (version, block_m) {
        (VERSION_OF_64, None) => Ok(BLOCK_M),
        (VERSION_OF_64, Some(_)) => Err(Error::Plan(format!("unknown field `block_m` in version {version}"))),
        (_, Some(block_m)) => Ok(block_m),
        (_, None) => Err(Error::Plan(format!("missing field `block_m` in version {version}"))),
    }
}

#[cfg(test)]
mod tests;
