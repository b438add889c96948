//! Dense attention of compute capability 8.0 and above against the f64 oracle.

mod attention_case;
mod attention_suite;
mod on_device;

use attention_suite::Suite;
use cuda::attend::Attend;
use cuda::attend_sm80::AttendSm80;
use cuda::precision::Precision;

fn suite() -> Option<Suite> {
    let device = on_device::device()?;
    let kernel = |device: &_, heads| Attend::Sm80(AttendSm80::new(device, heads, Precision::Bf16).unwrap());
    Some(Suite { device, kernel, head_dims: &[128, 64, 16, 80, 96, 192, 256] })
}

#[test]
fn one_sequence_of_any_size() {
    if let Some(suite) = suite() {
        suite.one_sequence_of_any_size();
    }
}

#[test]
fn queries_behind_a_prefix() {
    if let Some(suite) = suite() {
        suite.queries_behind_a_prefix();
    }
}

#[test]
fn batches_of_sequences_over_pages_of_any_size() {
    if let Some(suite) = suite() {
        suite.batches_of_sequences_over_pages_of_any_size();
    }
}

#[test]
fn random_batches() {
    if let Some(suite) = suite() {
        suite.random_batches();
    }
}

#[test]
fn long_sequences_and_launches_that_follow_each_other() {
    if let Some(suite) = suite() {
        suite.long_sequences_and_launches_that_follow_each_other();
    }
}

#[test]
fn windows() {
    if let Some(suite) = suite() {
        suite.windows();
    }
}

#[test]
fn a_window_that_hides_nothing_changes_nothing() {
    if let Some(suite) = suite() {
        suite.a_window_that_hides_nothing_changes_nothing();
    }
}
