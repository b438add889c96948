//! Numbers out of their ranges, refused in the words of OpenAI's API.

use crate::error::ApiError;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Refuses an integer out of its range.
pub(super) fn integer(param: &'static str, value: Option<i64>, range: RangeInclusive<i64>) -> Result<(), ApiError> {
    check(param, "integer", ["integer_below_min_value", "integer_above_max_value"], value, range)
}

/// Refuses a decimal number out of its range.
pub(super) fn decimal(param: &'static str, value: Option<f32>, range: RangeInclusive<f32>) -> Result<(), ApiError> {
    check(param, "decimal", ["decimal_below_min_value", "decimal_above_max_value"], value, range)
}

fn check<T: Copy + PartialOrd + Display>(
    param: &'static str,
    kind: &str,
    [below, above]: [&'static str; 2],
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Result<(), ApiError> {
    let Some(found) = value.filter(|value| !range.contains(value)) else { return Ok(()) };
    let (code, side, sign, limit) = match found < *range.start() {
        true => (below, "below minimum", ">=", range.start()),
        false => (above, "above maximum", "<=", range.end()),
    };
    let message =
        format!("Invalid '{param}': {kind} {side} value. Expected a value {sign} {limit}, but got {found} instead.");
    Err(ApiError::invalid(param, message).coded(code))
}
