//! Attention in f64, straight from a mask: the independent answer that kernels are checked against.

/// One head's operands, row-major `[row][head_dim]`.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Queries.
    pub q: &'a [f64],
    /// Keys.
    pub k: &'a [f64],
    /// Values.
    pub v: &'a [f64],
    /// Elements of a row.
    pub head_dim: usize,
}

/// Output row `[head_dim]` and natural log-sum-exp of query `row`.
///
/// `keys` lists what the row computes: pairs of (key and value rows averaged, how many). One key is a list of one; a
/// centre is a list of many, whose logit is `q . mean(k) / sqrt(head_dim) + ln(n)` and whose value is `mean(v)`.
pub fn attend_row(head: Head, row: usize, keys: impl IntoIterator<Item = Vec<usize>>) -> (Vec<f64>, f64) {
    let d = head.head_dim;
    let q = &head.q[row * d..][..d];
    let mean = |rows: &[usize], x: &[f64]| -> Vec<f64> {
        (0..d).map(|i| rows.iter().map(|r| x[r * d + i]).sum::<f64>() / rows.len() as f64).collect()
    };
    let entries: Vec<(f64, Vec<f64>)> = keys
        .into_iter()
        .map(|rows| {
            let k = mean(&rows, head.k);
            let dot: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
            (dot / (d as f64).sqrt() + (rows.len() as f64).ln(), mean(&rows, head.v))
        })
        .collect();
    let top = entries.iter().map(|e| e.0).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = entries.iter().map(|e| (e.0 - top).exp()).sum();
    let mut out = vec![0.0; d];
    for (logit, v) in &entries {
        for (out, v) in out.iter_mut().zip(v) {
            *out += (logit - top).exp() / sum * v;
        }
    }
    (out, top + sum.ln())
}
