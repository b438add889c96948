//! How fast something grows.

/// The exponent `b` of `y = a x^b` that fits best: the least-squares slope of `ln y` over `ln x`. Not a number unless
/// there are two different `x`.
///
/// ```
/// use eval::statistics::growth_exponent;
/// assert!((growth_exponent([(1.0, 3.0), (2.0, 12.0), (4.0, 48.0)]) - 2.0).abs() < 1e-12);
/// ```
pub fn growth_exponent(points: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let logs: Vec<(f64, f64)> = points.into_iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |value: fn(&(f64, f64)) -> f64| super::mean(logs.iter().map(value));
    let (mean_x, mean_y) = (mean(|log| log.0), mean(|log| log.1));
    let (mut along, mut across) = (0.0, 0.0);
    for (x, y) in logs {
        along += (x - mean_x) * (x - mean_x);
        across += (x - mean_x) * (y - mean_y);
    }
    across / along
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_exponent_of_a_power_law_is_found(factor in 1e-3f64..1e3, exponent in -1f64..3.0) {
            let points = [128.0, 300.0, 512.0, 4096.0].map(|x: f64| (x, factor * x.powf(exponent)));
            prop_assert!((growth_exponent(points) - exponent).abs() < 1e-9);
        }
    }

    #[test]
    fn one_length_has_no_growth() {
        assert!(growth_exponent([(512.0, 3.0), (512.0, 4.0)]).is_nan());
    }
}
