//! Attention with scores in 8-bit integers.

mod attention_case;
mod on_device;
mod rounded_suite;

use attention_case::rounded::Rounded;
use cuda::attend::Attend;
use cuda::precision::Precision;
use rounded_suite::RoundedSuite;

fn suite() -> Option<RoundedSuite> {
    let device = on_device::device()?;
    let kernel = |device: &_, heads| Attend::with_precision(device, heads, Precision::Int8).unwrap();
    Some(RoundedSuite { device, kernel, rounded: Rounded::int8_keys, head_dims: &[128, 64, 16, 80, 192, 256] })
}

#[test]
fn dense_and_by_plans_of_any_size() {
    if let Some(suite) = suite() {
        suite.dense_and_by_plans_of_any_size();
    }
}

#[test]
fn batches_over_pages_of_any_size() {
    if let Some(suite) = suite() {
        suite.batches_over_pages_of_any_size();
    }
}

#[test]
fn long_sequences() {
    if let Some(suite) = suite() {
        suite.long_sequences();
    }
}

#[test]
fn windows_and_what_it_cannot_do() {
    if let Some(suite) = suite() {
        suite.windows_and_what_it_cannot_do();
    }
}

#[test]
fn what_is_no_number_stays_where_it_is() {
    if let Some(suite) = suite() {
        suite.what_is_no_number_stays_where_it_is();
    }
}

#[test]
fn errors_beside_those_of_bf16() {
    if let Some(suite) = suite() {
        suite.errors_beside_those_of_bf16(0.05);
    }
}
