//! Scores of a task at a length, and of each arm beside dense on the same prompts.

use super::{Arm, Sample, Task};
use crate::statistics::{Estimate, bootstrap95, exact_sign_flip_test, exact_sign_test, holm, mean};
use crate::tasks::question::mean_kept;
use serde::{Deserialize, Serialize};

/// Score of one arm in one task at one length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row<T> {
    /// Task.
    pub task: T,
    /// Length asked for, answer included.
    pub length: usize,
    /// How it was answered.
    #[serde(flatten)]
    pub arm: Arm,
    /// Mean score, 0 to 1, and its interval from prompts drawn again.
    pub score: Estimate,
    /// Prompts with everything found.
    pub right: usize,
    /// Prompts.
    pub n: usize,
    /// Mean density.
    pub density: f64,
    /// Attention kept, by the receipts of the prompts, mean; nothing where none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// Mean time to first token.
    pub ttft_ms: f64,
}

/// An arm beside dense attention on the same prompts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside<T> {
    /// Task.
    pub task: T,
    /// Length asked for, answer included.
    pub length: usize,
    /// How it was answered.
    #[serde(flatten)]
    pub arm: Arm,
    /// Mean score less that of dense, and its interval from prompts drawn again.
    pub difference: Estimate,
    /// How likely so large a difference is by chance: the exact permutation test of all signs.
    pub p_value: f64,
    /// The same, after Holm's correction for all tasks, lengths and arms of the run.
    pub p_holm: f64,
    /// Prompts of which only dense found everything.
    pub lost: usize,
    /// Prompts of which only this arm found everything.
    pub won: usize,
    /// McNemar's exact test of lost against won.
    pub p_lost_won: f64,
    /// Prompts.
    pub n: usize,
}

/// A prompt of which an arm found less than dense attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lost<T> {
    /// Task.
    pub task: T,
    /// Length asked for, answer included.
    pub length: usize,
    /// Which prompt.
    pub sample: usize,
    /// How it was answered.
    #[serde(flatten)]
    pub arm: Arm,
    /// Things that it found.
    pub found: usize,
    /// Things that dense attention found.
    pub dense_found: usize,
    /// Things to find.
    pub of: usize,
    /// What should have been answered.
    pub answers: Vec<String>,
    /// What it answered.
    pub answer: String,
    /// What dense attention answered.
    pub dense_answer: String,
}

/// Prompts of which an arm found less than dense attention, in the order of the samples.
pub(super) fn lost<T: Task>(samples: &[Sample<T>]) -> Vec<Lost<T>> {
    let of_prompt = |a: &Sample<T>, b: &Sample<T>| (a.task, a.length, a.sample) == (b.task, b.length, b.sample);
    let less = samples.chunk_by(of_prompt).flat_map(|arms| {
        let dense = arms.iter().find(|sample| sample.arm == Arm::DENSE);
        arms.iter().zip(dense.into_iter().cycle()).filter(|(own, dense)| own.found < dense.found)
    });
    less.map(|(own, dense)| Lost {
        task: own.task,
        length: own.length,
        sample: own.sample,
        arm: own.arm,
        found: own.found,
        dense_found: dense.found,
        of: own.of,
        answers: own.answers.clone(),
        answer: own.answer.clone(),
        dense_answer: dense.answer.clone(),
    })
    .collect()
}

/// Scores of samples, task by task and length by length, in their order.
pub(super) fn compare<T: Task>(samples: &[Sample<T>], arms: &[Arm]) -> (Vec<Row<T>>, Vec<Beside<T>>) {
    let (mut rows, mut all_beside) = (Vec::new(), Vec::new());
    for of_one in samples.chunk_by(|a, b| (a.task, a.length) == (b.task, b.length)) {
        let of = |arm| of_one.iter().filter(|sample| sample.arm == arm).collect::<Vec<_>>();
        let dense = of(Arm::DENSE);
        for &arm in arms {
            let own = of(arm);
            rows.push(row(&own));
            if arm != Arm::DENSE && !dense.is_empty() {
                all_beside.push(beside(&own, &dense));
            }
        }
    }
    let corrected = holm(&all_beside.iter().map(|beside| beside.p_value).collect::<Vec<_>>());
    for (beside, p_holm) in all_beside.iter_mut().zip(corrected) {
        beside.p_holm = p_holm;
    }
    (rows, all_beside)
}

fn row<T: Task>(samples: &[&Sample<T>]) -> Row<T> {
    Row {
        task: samples[0].task,
        length: samples[0].length,
        arm: samples[0].arm,
        score: bootstrap95(samples.len(), |drawn| mean(drawn.iter().map(|&n| samples[n].score()))),
        right: samples.iter().filter(|sample| sample.is_right()).count(),
        n: samples.len(),
        density: mean(samples.iter().map(|sample| sample.density)),
        kept: mean_kept(samples.iter().map(|sample| sample.kept)),
        ttft_ms: mean(samples.iter().map(|sample| sample.ttft_ms)),
    }
}

fn beside<T: Task>(own: &[&Sample<T>], dense: &[&Sample<T>]) -> Beside<T> {
    let pairs: Vec<(&Sample<T>, &Sample<T>)> = own.iter().copied().zip(dense.iter().copied()).collect();
    let only = |is: fn(&Sample<T>, &Sample<T>) -> bool| pairs.iter().filter(|(own, dense)| is(own, dense)).count();
    let lost = only(|own, dense| dense.is_right() && !own.is_right());
    let won = only(|own, dense| own.is_right() && !dense.is_right());
    // All prompts of a task have as many things to find, so counts compare as scores do.
    let differences: Vec<i64> = pairs.iter().map(|(own, dense)| own.found as i64 - dense.found as i64).collect();
    let p_value = exact_sign_flip_test(&differences);
    Beside {
        task: own[0].task,
        length: own[0].length,
        arm: own[0].arm,
        difference: bootstrap95(pairs.len(), |drawn| {
            mean(drawn.iter().map(|&n| pairs[n].0.score() - pairs[n].1.score()))
        }),
        p_value,
        p_holm: p_value,
        lost,
        won,
        p_lost_won: exact_sign_test(lost, won),
        n: pairs.len(),
    }
}
