//! Measures the terms of the cost model on a device.
//!
//! A step is one tile of the kernel's plans by 64 keys of one head, all multiprocessors together. Random plans of several
//! densities, with and without columns and centres, tell what attention costs; the stages of the search at several lengths
//! what the search does. Everything is timed in every round, every other one backwards, so that a device that grows slower
//! meanwhile treats all alike; what is fitted are medians over rounds.

mod bench;
mod fit;
mod least_squares;
mod plans;
mod rounds;

use crate::Error;
use crate::attend::Attend;
use crate::device::Device;
use crate::precision::Precision;
use attention::calibration::GpuKernel;
use attention::search::CostModel;
use attention::shape::HeadShape;
use bench::Bench;
use fit::{PlanTimes, SearchTimes, fit, plan_cost};
use plans::Pattern;
use rounds::medians;

/// Lengths of prompts that are searched.
const FITTED_LENGTHS: [usize; 4] = [4096, 8192, 16_384, 32_768];

/// Plans that are fitted.
pub(crate) const FITTED_PLANS: [Pattern; 8] = [
    Pattern { len: 16_384, density: 0.08, columns: 0, centres: false },
    Pattern { len: 16_384, density: 0.25, columns: 0, centres: false },
    Pattern { len: 16_384, density: 0.6, columns: 0, centres: false },
    Pattern { len: 32_768, density: 0.1, columns: 0, centres: false },
    Pattern { len: 32_768, density: 0.3, columns: 0, centres: false },
    Pattern { len: 16_384, density: 0.1, columns: 1024, centres: false },
    Pattern { len: 16_384, density: 0.1, columns: 0, centres: true },
    Pattern { len: 32_768, density: 0.1, columns: 512, centres: true },
];

/// Of which the fit knows nothing.
const OTHER_LENGTHS: [usize; 2] = [12_288, 24_576];
const OTHER_PLANS: [Pattern; 4] = [
    Pattern { len: 12_288, density: 0.4, columns: 0, centres: false },
    Pattern { len: 12_288, density: 0.15, columns: 256, centres: true },
    Pattern { len: 24_576, density: 0.05, columns: 768, centres: false },
    Pattern { len: 24_576, density: 0.2, columns: 256, centres: true },
];

/// What a cost model says of something, and what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was done, for people.
    pub what: String,
    /// Milliseconds that the model predicts.
    pub predicted_ms: f64,
    /// Milliseconds that it takes.
    pub measured_ms: f64,
}

impl Comparison {
    /// By how much the prediction is too long, in percent; below zero where it is too short.
    pub fn error_percent(&self) -> f64 {
        100.0 * (self.predicted_ms / self.measured_ms - 1.0)
    }
}

/// What [`calibrate`] measures for these heads, as calibration files name it.
///
/// # Errors
/// When the device has no kernel for these heads in this precision, or the driver refuses.
pub fn kernel(device: &Device, heads: HeadShape, precision: Precision) -> Result<GpuKernel, Error> {
    Ok(Attend::with_precision(device, heads, precision)?.identity(device, heads))
}

/// The cost model of these heads on a device: a few seconds. What is no measurement is the CPU's default.
///
/// # Errors
/// When the device has no kernel for these heads in this precision, no room for 32,768 tokens of one layer, or is so busy that what was measured
/// cannot be; or the driver refuses.
pub fn calibrate(device: &Device, heads: HeadShape, precision: Precision) -> Result<CostModel, Error> {
    let mut bench = Bench::new(device, heads, precision, &FITTED_LENGTHS)?;
    let mut plans = FITTED_PLANS.iter().map(|pattern| bench.prepare(pattern)).collect::<Result<Vec<_>, _>>()?;
    let times = medians(plans.len() + FITTED_LENGTHS.len(), |series| match series.checked_sub(FITTED_PLANS.len()) {
        None => {
            let plan = &mut plans[series];
            Ok([bench.attend_us(plan)?, bench.gather_us(plan)?, 0.0])
        }
        Some(length) => bench.stages_us(length),
    })?;
    let (of_plans, of_lengths) = times.split_at(plans.len());
    let plan_times: Vec<PlanTimes> = (plans.iter().zip(of_plans))
        .map(|(plan, &[attend_us, gather_us, _])| PlanTimes {
            tiles: plan.tiles,
            plan: &plan.plan,
            attend_us,
            gather_us,
        })
        .collect();
    let search_times: Vec<SearchTimes> = (of_lengths.iter().enumerate())
        .map(|(length, &[scores_us, probes_us, rest_us])| SearchTimes {
            tiles: bench.tiles(length),
            scores_us,
            probes_us,
            rest_us,
        })
        .collect();
    let measured = fit(&plan_times, &search_times, heads.num_q_heads());
    measured.check().map_err(|error| match error {
        attention::Error::Calibration(message) => {
            attention::Error::GpuCalibration(format!("{message}: the device is too busy to be measured"))
        }
        other => other,
    })?;
    Ok(measured)
}

/// What a cost model says of plans and searches that [`calibrate`] does not look at, and what they take.
///
/// # Errors
/// As there, and when the model holds no time of a step.
pub fn compare(
    device: &Device,
    heads: HeadShape,
    precision: Precision,
    costs: &CostModel,
) -> Result<Vec<Comparison>, Error> {
    let unknown = || attention::Error::GpuCalibration("no step was timed".into());
    let step_us = costs.step_us.ok_or_else(unknown)?;
    let mut bench = Bench::new(device, heads, precision, &OTHER_LENGTHS)?;
    let mut plans = OTHER_PLANS.iter().map(|pattern| bench.prepare(pattern)).collect::<Result<Vec<_>, _>>()?;
    let times = medians(plans.len() + OTHER_LENGTHS.len(), |series| match series.checked_sub(OTHER_PLANS.len()) {
        None => Ok([bench.attend_us(&plans[series])? + bench.gather_us(&mut plans[series])?]),
        Some(length) => Ok([bench.search_us(length)?]),
    })?;
    let plans = (OTHER_PLANS.iter().zip(&plans))
        .map(|(pattern, plan)| (format!("attention, {pattern}"), plan_cost(costs, plan.tiles, &plan.plan)));
    let searches = OTHER_LENGTHS.iter().enumerate().map(|(length, len)| {
        (format!("search, {len} tokens"), heads.num_q_heads() as f64 * costs.search(bench.tiles(length)))
    });
    let predictions = plans.chain(searches).zip(times);
    Ok(predictions
        .map(|((what, steps), [us])| Comparison { what, predicted_ms: steps * step_us / 1e3, measured_ms: us / 1e3 })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_compared_was_fitted() {
        let fitted = |len: &usize| FITTED_LENGTHS.contains(len) || FITTED_PLANS.iter().any(|plan| plan.len == *len);
        assert!(!OTHER_LENGTHS.iter().any(fitted));
        assert!(OTHER_PLANS.iter().all(|plan| OTHER_LENGTHS.contains(&plan.len)));
        assert!(FITTED_PLANS.iter().all(|plan| FITTED_LENGTHS.contains(&plan.len)));
    }

    #[test]
    fn an_error_is_of_what_was_measured() {
        let comparison = Comparison { what: "x".into(), predicted_ms: 1.1, measured_ms: 1.0 };
        assert!((comparison.error_percent() - 10.0).abs() < 1e-9);
    }
}
