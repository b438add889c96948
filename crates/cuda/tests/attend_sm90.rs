//! Dense attention of compute capability 9.0 against the f64 oracle.

mod attention_case;
mod attention_suite;
mod on_device;

use attention_suite::Suite;
use cuda::attend::Attend;
use cuda::attend_sm90::AttendSm90;
use cuda::precision::Precision;

fn suite() -> Option<Suite> {
    let device = on_device::device()?;
    if !AttendSm90::fits(&device, 128) {
        on_device::skipped(&format!("needs compute capability 9.0, this is {}", device.properties()));
        return None;
    }
    let kernel = |device: &_, heads| Attend::Sm90(AttendSm90::new(device, heads, Precision::Bf16).unwrap());
    Some(Suite { device, kernel, head_dims: &[128, 64] })
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
