//! What integers lose beside bf16.

use super::*;

/// Products of integers lose no more than those of bf16 do: with keys that have much in common, values of which one feature is far larger
/// than the others, and one key that takes most of the attention.
#[test]
fn integers_are_as_near_to_f64_as_bf16() {
    for (what, shape) in [("plain", (1, 1, 64)), ("shifted", (2, 1, 64)), ("spike", (1, 1, 128)), ("sink", (1, 1, 64))]
    {
        let mut case = Case::new(11, shape, 200, 600);
        case.plan = Plan::dense(case.heads.num_q_heads());
        let dim = case.heads.head_dim();
        match what {
            "shifted" => case.k.chunks_exact_mut(dim).for_each(|key| key[3] = bf16::from_f32(key[3] + 40.0).to_f32()),
            "spike" => case.v.chunks_exact_mut(dim).for_each(|value| value[5] *= 256.0),
            "sink" => {
                case.q.iter_mut().for_each(|q| *q = q.abs());
                case.k[..dim].fill(1.5);
            }
            _ => {}
        }
        let error = |output: &Output| {
            let of = |rows: &[f32]| -> Vec<f64> { rows.iter().map(|x| *x as f64).collect() };
            let q =
                case.q.chunks_exact(case.heads.num_q_heads() * dim).flat_map(|row| of(&row[..dim])).collect::<Vec<_>>();
            let (k, v) = (of(&case.k), of(&case.v));
            let operands = oracle::Head { q: &q, k: &k, v: &v, head_dim: dim };
            let mut squares = (0.0, 0.0);
            for row in 0..200 {
                let (want, _) = oracle::attend_row(operands, row, case.keys_of_row(0, row));
                let others = |(i, _): &(usize, _)| what != "spike" || *i != 5;
                for (_, (got, want)) in output.row(0, row).iter().zip(&want).enumerate().filter(others) {
                    squares.0 += (*got as f64 - want).powi(2);
                    squares.1 += want.powi(2);
                }
            }
            (squares.0 / squares.1).sqrt()
        };
        let errors: Vec<(Simd, f64)> =
            Simd::available().into_iter().map(|simd| (simd, error(&case.clone().run(simd)))).collect();
        println!("{what}: {errors:?}");
        let of =
            |wanted: bool| errors.iter().filter(move |(simd, _)| simd.attends_in_integers() == wanted).map(|(_, e)| *e);
        let in_bf16 = of(false).fold(f64::INFINITY, f64::min);
        // Where one key takes nearly all, bf16 is exact.
        assert!(of(true).all(|error| error < 1.1 * in_bf16.max(2e-4)), "{what}: {errors:?}");
    }
}
