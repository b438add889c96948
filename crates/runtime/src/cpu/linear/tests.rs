use super::*;
use crate::cpu::products::every_arithmetic;
use crate::formats::Encoding;
use crate::ops::Together;
use half::f16;

/// Rows of a stored tensor: bytes without a pattern, scales of a moderate size.
fn stored(encoding: Encoding, rows: usize, cols: usize, seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    if encoding == Encoding::F32 {
        return (0..rows * cols).flat_map(|_| ((next() % 200) as f32 / 100.0 - 1.0).to_le_bytes()).collect();
    }
    let (elements, size) = encoding.block();
    let mut bytes: Vec<u8> = (0..rows * cols / elements * size).map(|_| (next() >> 24) as u8).collect();
    let scales: &[usize] = match encoding {
        Encoding::Q4_1 | Encoding::Q5_1 | Encoding::Q4_K | Encoding::Q5_K => &[0, 2],
        Encoding::Q6_K => &[208],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(size) {
        for at in scales {
            block[*at..at + 2].copy_from_slice(&f16::from_f32((next() % 100) as f32 / 10_000.0).to_le_bytes());
        }
    }
    bytes
}

/// Tokens side by side: as an operand, and in f64 by token.
fn operand(cols: usize, together: Together) -> (Operand, Vec<Vec<f64>>) {
    let (mut x, len) = (Operand::new(cols, together).unwrap(), together.rows());
    let (stride, mut tokens) = (x.stride(), vec![vec![0.0; cols]; len]);
    for (token, values) in tokens.iter_mut().enumerate() {
        for (i, value) in values.iter_mut().enumerate() {
            let number = bf16::from_f32(((token * 31 + i * 17) % 101) as f32 / 50.0 - 1.0);
            x.panels[token / LANES * stride + i / 2 * 2 * LANES + token % LANES * 2 + i % 2] = number;
            *value = number.to_f64();
        }
    }
    (x, tokens)
}

/// Products of one and of many tokens are those of f64, as near as inputs of 8 bits and bf16 weights allow.
fn check(parts: &[Tensor], stacking: Stacking, stored_alike: usize) {
    let matrix = Matrix::pack(parts, stacking).unwrap();
    assert_eq!(matrix.runs.len(), stored_alike);
    let cols = matrix.cols();
    let infos: Vec<TensorInfo> = parts.iter().map(Tensor::info).collect();
    let mut row = vec![0.0; cols];
    for (r, source) in sources(&infos, stacking).into_iter().enumerate() {
        let mut want = vec![0.0; cols];
        if let Some((part, from)) = source {
            parts[part].read_row(from, &mut want);
        }
        matrix.read_row(r, &mut row);
        assert!(row.iter().zip(&want).all(|(own, want)| (own - want).abs() <= want.abs() / 256.0), "row {r}");
    }
    for how in every_arithmetic() {
        let chunks = [1, 2, 16, 37].map(Together::Chunk);
        for together in chunks.into_iter().chain([2, 16, 37].map(Together::Step)) {
            let len = together.rows();
            let (x, tokens) = operand(cols, together);
            let mut out = Tokens::new(matrix.rows, len).unwrap();
            out.panels.fill(1.0);
            matrix.multiply(how, &x, &mut out, true);
            for r in 0..matrix.rows {
                matrix.read_row(r, &mut row);
                for (token, x) in tokens.iter().enumerate() {
                    let got = out.panels[token / LANES * out.stride() + r * LANES + token % LANES] as f64;
                    let want: f64 = 1.0 + row.iter().zip(x).map(|(w, x)| *w as f64 * x).sum::<f64>();
                    let bound = row.iter().map(|w| w.abs() as f64).sum::<f64>() / 250.0 + 1e-3;
                    assert!((got - want).abs() < bound, "{how:?} {together:?}, row {r}: {got}, not {want} +- {bound}");
                }
            }
        }
    }
}

#[test]
fn parts_of_any_encodings_and_heights_multiply_as_f64() {
    use Encoding::*;
    for encoding in [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K] {
        let (first, second, third) = (stored(encoding, 36, 512, 1), stored(Q8_0, 28, 512, 2), stored(F32, 21, 512, 3));
        let first = Tensor::of_bytes(36, encoding, &first);
        let (second, third) = (Tensor::of_bytes(28, Q8_0, &second), Tensor::of_bytes(21, F32, &third));
        check(std::slice::from_ref(&first), Stacking::Rows, 1);
        // The third tile has rows of both: it is bf16.
        check(&[first.clone(), second.clone()], Stacking::Rows, if encoding == Q8_0 { 1 } else { 3 });
        check(&[second, first.clone(), third], Stacking::Rows, if encoding == Q8_0 { 2 } else { 4 });
        check(&[first.clone(), first], Stacking::GateUp, 1);
    }
    let odd = stored(F32, 19, 33, 4);
    check(&[Tensor::of_bytes(19, F32, &odd)], Stacking::Rows, 1);
}

#[test]
fn gates_of_another_encoding_than_up_projections_multiply_too() {
    let (gate, up) = (stored(Encoding::Q4_0, 40, 64, 1), stored(Encoding::Q8_0, 40, 64, 2));
    let parts = [Tensor::of_bytes(40, Encoding::Q4_0, &gate), Tensor::of_bytes(40, Encoding::Q8_0, &up)];
    check(&parts, Stacking::GateUp, 6);
    let matrix = Matrix::pack(&parts, Stacking::GateUp).unwrap();
    for how in every_arithmetic() {
        for together in [Together::Chunk(1), Together::Chunk(20), Together::Step(20)] {
            let (x, tokens) = operand(64, together);
            let mut out = Operand::new(40, together).unwrap();
            matrix.multiply_gated(how, Activation::Silu, &x, &mut out).unwrap();
            let (mut gate, mut up) = (vec![0.0; 64], vec![0.0; 64]);
            for row in 0..40 {
                parts[0].read_row(row, &mut gate);
                parts[1].read_row(row, &mut up);
                for (token, x) in tokens.iter().enumerate() {
                    let dot = |w: &[f32]| w.iter().zip(x).map(|(w, x)| *w as f64 * x).sum::<f64>();
                    let want = dot(&gate) / (1.0 + (-dot(&gate)).exp()) * dot(&up);
                    let at = token / LANES * out.stride() + row / 2 * 2 * LANES + token % LANES * 2 + row % 2;
                    let got = out.panels[at].to_f64();
                    assert!((got - want).abs() < 0.05 * (1.0 + want.abs()), "{how:?} {together:?}: {got} {want}");
                }
            }
        }
    }
}

/// Whatever else is in a step, a row comes out as alone, to the last bit.
#[test]
fn rows_of_a_step_multiply_as_each_alone() {
    let (q4, q8, plain) =
        (stored(Encoding::Q4_1, 40, 64, 1), stored(Encoding::Q8_0, 24, 64, 2), stored(Encoding::F32, 8, 64, 3));
    let parts = [
        Tensor::of_bytes(40, Encoding::Q4_1, &q4),
        Tensor::of_bytes(24, Encoding::Q8_0, &q8),
        Tensor::of_bytes(8, Encoding::F32, &plain),
    ];
    let matrix = Matrix::pack(&parts, Stacking::Rows).unwrap();
    for how in every_arithmetic() {
        for rows in [2, 3, 8, 16, 33] {
            let (x, _) = operand(64, Together::Step(rows));
            let mut out = Tokens::new(matrix.rows, rows).unwrap();
            matrix.multiply(how, &x, &mut out, false);
            for row in 0..rows {
                let mut alone = Operand::new(64, Together::Step(1)).unwrap();
                for (to, from) in alone
                    .panels
                    .chunks_exact_mut(2 * LANES)
                    .zip(x.panels[row / LANES * x.stride()..].chunks_exact(2 * LANES))
                {
                    to[..2].copy_from_slice(&from[row % LANES * 2..][..2]);
                }
                let mut product = Tokens::new(matrix.rows, 1).unwrap();
                matrix.multiply(how, &alone, &mut product, false);
                assert!(product.row(0).eq(out.row(row)), "{how:?}: row {row} of {rows}");
            }
        }
    }
}
