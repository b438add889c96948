//! What a request asks of sparse attention, in whichever API.

use crate::error::ApiError;
use runtime::request::Goal;

/// Of a share of attention mass to keep and a budget, at most one.
pub(crate) fn goal(recall: Option<f32>, budget: Option<&str>) -> Result<Goal, ApiError> {
    let budget = budget.map(str::parse::<Goal>).transpose().map_err(|problem| ApiError::invalid("budget", problem))?;
    match (recall.map(Goal::Recall), budget) {
        (Some(_), Some(_)) => Err(ApiError::invalid("budget", "give a recall or a budget, not both")),
        (recall, budget) => Ok(recall.or(budget).unwrap_or_default()),
    }
}
