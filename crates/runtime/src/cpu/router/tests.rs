use super::*;

/// Whatever the sizes: panels, rows that pass together, and what is left of them.
#[test]
fn shares_are_those_of_f64() {
    let number = |n: usize| ((n * 7919 + n * n % 613) % 1009) as f32 / 504.5 - 1.0;
    for (count, features, len) in [(6, 40, 37), (8, 32, 16), (3, 7, 1)] {
        let router: Vec<f32> = (0..count * features).map(number).collect();
        let mut x = Tokens::new(features, len).unwrap();
        let stride = x.stride();
        let value = |token: usize, i: usize| number(5000 + token * features + i);
        for (token, i) in (0..len).flat_map(|token| (0..features).map(move |i| (token, i))) {
            x.panels[token / LANES * stride + i * LANES + token % LANES] = value(token, i);
        }
        for (simd, normalised) in Simd::available().into_iter().flat_map(|simd| [(simd, false), (simd, true)]) {
            let experts = Experts { count, per_token: 2, intermediate_size: 1, normalised, layers: vec![true] };
            let mut logits = vec![0.0; len.div_ceil(LANES) * count * LANES];
            let mut choices = vec![Choice::default(); 2 * len];
            choose(simd, &experts, &router, &x, 1e-6, &mut logits, &mut choices);
            for (token, choices) in choices.chunks(2).enumerate() {
                let squares: f64 = (0..features).map(|i| (value(token, i) as f64).powi(2)).sum();
                let scale = (squares / features as f64 + 1e-6).sqrt().recip();
                let product = |row: &[f32]| -> f64 {
                    row.iter().enumerate().map(|(i, w)| *w as f64 * value(token, i) as f64 * scale).sum()
                };
                let exps: Vec<f64> = router.chunks(features).map(|row| product(row).exp()).collect();
                let mut best: Vec<usize> = (0..count).collect();
                best.sort_by(|a, b| exps[*b].total_cmp(&exps[*a]));
                best.truncate(2);
                best.sort();
                let of: f64 = if normalised { best.iter().map(|e| exps[*e]).sum() } else { exps.iter().sum() };
                for (choice, expert) in choices.iter().zip(best) {
                    assert_eq!(choice.expert as usize, expert);
                    assert!((choice.share as f64 - exps[expert] / of).abs() < 1e-5, "{choice:?}");
                }
            }
        }
    }
}

#[test]
fn the_first_of_equals_are_chosen() {
    let chosen = |shares: &[f32], count: usize| {
        let mut choices = vec![Choice::default(); count];
        largest(shares, false, &mut Vec::new(), &mut choices);
        choices.iter().map(|choice| choice.expert).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&[0.25; 4], 2), [0, 1]);
    assert_eq!(chosen(&[0.1, 0.3, 0.3, 0.3], 2), [1, 2]);
    assert_eq!(chosen(&[0.3, 0.1, 0.3, 0.3], 3), [0, 2, 3]);
    assert_eq!(chosen(&[0.0, 0.0, 1.0], 2), [0, 2]);
    assert_eq!(chosen(&[1.0], 1), [0]);
}

/// What is no number stays none, and is found where models are checked for it.
#[test]
fn what_is_no_number_gives_no_share() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut shares = [0.0, bad, 1.0];
        softmax(&mut shares);
        let mut choices = [Choice::default(); 2];
        largest(&shares, true, &mut Vec::new(), &mut choices);
        assert!(choices.iter().all(|choice| choice.share.is_nan()), "{choices:?}");
    }
}
