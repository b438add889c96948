//! Attention with products of 8-bit floats.

mod attention_case;
mod on_device;
mod rounded_suite;

use attention::shape::HeadShape;
use attention_case::rounded::{Rounded, fp8_value, round_to_fp8};
use cuda::attend::Attend;
use cuda::attend_sm90::AttendSm90;
use cuda::precision::Precision;
use on_device::Numbers;
use rounded_suite::RoundedSuite;

fn suite() -> Option<RoundedSuite> {
    let device = on_device::device()?;
    if !AttendSm90::fits(&device, 128) {
        on_device::skipped(&format!("needs compute capability 9.0, this is {}", device.properties()));
        return None;
    }
    let kernel = |device: &_, heads| Attend::with_precision(device, heads, Precision::Fp8).unwrap();
    Some(RoundedSuite { device, kernel, rounded: Rounded::fp8, head_dims: &[128, 64] })
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
        suite.errors_beside_those_of_bf16(0.15);
    }
}

#[test]
fn other_sizes_of_heads_are_refused() {
    let Some(suite) = suite() else { return };
    let heads = HeadShape::new(4, 2, 80).unwrap();
    assert!(Attend::with_precision(&suite.device, heads, Precision::Fp8).is_err());
}

/// Needs no device.
#[test]
fn the_host_rounds_as_the_format_says() {
    let values = (0u8..=255).map(fp8_value).filter(|x| x.is_finite()).collect::<Vec<f32>>();
    assert_eq!(values.iter().cloned().fold(0.0, f32::max), 448.0);
    assert_eq!(values.len(), 254);
    let mut numbers = Numbers::fresh();
    for _ in 0..100_000 {
        let x = numbers.next() * numbers.one_of(&[1e-3, 0.02, 1.0, 30.0, 500.0]);
        let rounded = round_to_fp8(x);
        let nearest = values.iter().map(|value| (value - x).abs()).fold(f32::INFINITY, f32::min);
        assert!((rounded - x).abs() <= nearest, "{x} to {rounded}");
    }
    assert_eq!([17.0, 19.0, 0.0].map(round_to_fp8), [16.0, 20.0, 0.0], "ties to even");
}
