use super::PrefillEstimate;

const LAYERS: usize = 10;

/// Seconds of a prompt of which a token takes 1 ms and a pair 1 us.
fn seconds(start: usize, end: usize) -> f64 {
    let pairs = (end * end - start * start) as f64 / 2.0;
    1e-3 * (end - start) as f64 + 1e-6 * pairs
}

/// Reads the tokens from `start` to `end` in chunks of 1,000; returns when that is done.
fn read(estimate: &mut PrefillEstimate, start: usize, end: usize, mut now: f64) -> f64 {
    for chunk in (start..end).step_by(1000) {
        for done in 0..=LAYERS {
            let share = done as f64 / LAYERS as f64;
            estimate.layer((done, LAYERS), chunk, 1000, now + share * seconds(chunk, chunk + 1000));
        }
        now += seconds(chunk, chunk + 1000);
        estimate.chunk(chunk + 1000, now);
    }
    now
}

fn is_near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance * expected, "{value}, expected {expected}");
}

#[test]
fn what_is_left_has_a_linear_and_a_quadratic_part() {
    // What the shape says is right, or wrong by a factor of two, as where attention is sparse or slow.
    for (pair_over_token, tolerance) in [(1e-3, 1e-9), (2e-3, 0.05), (0.5e-3, 0.05)] {
        let mut estimate = PrefillEstimate::new(pair_over_token, 10_000);
        assert_eq!(estimate.seconds_left(1.0), None);
        let now = read(&mut estimate, 0, 4000, 0.0);
        is_near(estimate.seconds_left(now).unwrap(), seconds(4000, 10_000), tolerance);
        is_near(estimate.tokens_per_s(now).unwrap(), 4000.0 / now, 1e-9);
        // It counts down while nothing is heard, and never below nothing.
        let left = estimate.seconds_left(now).unwrap();
        is_near(estimate.seconds_left(now + 1.0).unwrap(), left - 1.0, 1e-9);
        assert_eq!(estimate.seconds_left(now + 1000.0), Some(0.0));
    }
}

#[test]
fn the_first_layer_says_something_already() {
    let mut estimate = PrefillEstimate::new(1e-3, 10_000);
    estimate.layer((0, LAYERS), 0, 1000, 0.0);
    assert_eq!((estimate.tokens(1.0), estimate.seconds_left(1.0)), (0.0, None));
    let now = seconds(0, 1000) / LAYERS as f64;
    estimate.layer((1, LAYERS), 0, 1000, now);
    is_near(estimate.seconds_left(now).unwrap(), seconds(0, 10_000) - now, 1e-9);
    is_near(estimate.tokens(now), 100.0, 1e-9);
    // Half a layer later, and much later: no more is claimed than the layer under way.
    is_near(estimate.tokens(1.5 * now), 150.0, 1e-9);
    is_near(estimate.tokens(10.0 * now), 200.0, 1e-9);
}

#[test]
fn cached_tokens_take_no_time() {
    let mut estimate = PrefillEstimate::new(1e-3, 10_000);
    let now = read(&mut estimate, 5000, 8000, 0.0);
    is_near(estimate.tokens_per_s(now).unwrap(), 3000.0 / now, 1e-9);
    is_near(estimate.seconds_left(now).unwrap(), seconds(8000, 10_000), 1e-9);
}

#[test]
fn times_that_no_costs_explain_are_spread_as_the_shape_says() {
    let mut estimate = PrefillEstimate::new(1e-3, 4000);
    // The second half was four times as fast: a busy machine became idle.
    estimate.layer((0, LAYERS), 0, 1000, 0.0);
    estimate.chunk(1000, 4.0);
    estimate.layer((0, LAYERS), 1000, 1000, 4.0);
    estimate.chunk(2000, 5.0);
    let per_second = seconds(0, 2000) / 5.0;
    is_near(estimate.seconds_left(5.0).unwrap(), seconds(2000, 4000) / per_second, 1e-9);
}
