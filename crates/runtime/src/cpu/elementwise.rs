//! Vertical operations on panels: one feature of sixteen tokens at a time.

use crate::config::Activation;
use attention::multiversion;
use attention::simd::{LANES, Simd, each_lane, fma};

multiversion! {
    /// RMS norm of a panel `[features][16]`, rounded and packed as `[features / 2][16]` pairs of bf16. Padding pairs
    /// keep their zeros.
    pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [u32]) {
        let mut squares = [0f32; LANES];
        for x in x.chunks_exact(LANES) {
            for lane in 0..LANES {
                squares[lane] = fma::<FMA>(x[lane], x[lane], squares[lane]);
            }
        }
        let mut scale = [0f32; LANES];
        for lane in 0..LANES {
            scale[lane] = 1.0 / (squares[lane] / weight.len() as f32 + eps).sqrt();
        }
        let pairs = x.chunks_exact(2 * LANES).zip(weight.chunks_exact(2)).zip(out.chunks_exact_mut(LANES));
        for ((x, weight), out) in pairs {
            for lane in 0..LANES {
                let low = x[lane] * scale[lane] * weight[0];
                let high = x[LANES + lane] * scale[lane] * weight[1];
                out[lane] = pair(low, high);
            }
        }
        if weight.len() % 2 == 1 {
            let last = weight.len() - 1;
            for lane in 0..LANES {
                out[last / 2 * LANES + lane] = pair(x[last * LANES + lane] * scale[lane] * weight[last], 0.0);
            }
        }
    }
}

multiversion! {
    /// What an RMS norm multiplies each token of a panel by, beside its weight.
    pub(super) fn rms_scales(x: &[f32], eps: f32) -> [f32; LANES] {
        let x = x.as_chunks::<LANES>().0;
        let mut squares = [0f32; LANES];
        for x in x {
            squares = each_lane(|lane| fma::<FMA>(x[lane], x[lane], squares[lane]));
        }
        each_lane(|lane| 1.0 / (squares[lane] / x.len() as f32 + eps).sqrt())
    }
}

multiversion! {
    /// RMS norm of one head `[features][16]`.
    pub(super) fn rms_norm_in_place(weight: &[f32], eps: f32, x: &mut [f32]) {
        let mut squares = [0f32; LANES];
        for x in x.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                squares[lane] = fma::<FMA>(x[lane], x[lane], squares[lane]);
            }
        }
        let mut scale = [0f32; LANES];
        for lane in 0..LANES {
            scale[lane] = 1.0 / (squares[lane] / weight.len() as f32 + eps).sqrt();
        }
        for (x, weight) in x.as_chunks_mut().0.iter_mut().zip(weight) {
            *x = each_lane(|lane| x[lane] * scale[lane] * weight);
        }
    }
}

multiversion! {
    /// Adds `bias` to each token of a panel.
    pub(super) fn add_bias(bias: &[f32], panel: &mut [f32]) {
        for (x, bias) in panel.as_chunks_mut().0.iter_mut().zip(bias) {
            *x = each_lane(|lane| x[lane] + bias);
        }
    }
}

multiversion! {
    /// `out += branch / rms(branch) * weight` of a panel `[features][16]`; `branch` becomes zeros.
    pub(super) fn add_rms_norm(weight: &[f32], eps: f32, branch: &mut [f32], out: &mut [f32]) {
        let mut squares = [0f32; LANES];
        for x in branch.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                squares[lane] = fma::<FMA>(x[lane], x[lane], squares[lane]);
            }
        }
        let mut scale = [0f32; LANES];
        for lane in 0..LANES {
            scale[lane] = 1.0 / (squares[lane] / weight.len() as f32 + eps).sqrt();
        }
        let (branch, out) = (branch.as_chunks_mut().0, out.as_chunks_mut().0);
        for ((x, out), weight) in branch.iter_mut().zip(out).zip(weight) {
            *out = each_lane(|lane| out[lane] + x[lane] * scale[lane] * weight);
            *x = [0.0; LANES];
        }
    }
}

/// `activation(gate) * up` of `[16 features][16 tokens]` tiles, packed as eight rows of pairs.
pub(super) fn gate(simd: Simd, activation: Activation, gate: &[f32], up: &[f32], out: &mut [u32]) {
    match activation {
        Activation::Silu => silu_gate(simd, gate, up, out),
        Activation::GeluTanh => gelu_gate(simd, gate, up, out),
    }
}

multiversion! {
    fn silu_gate(gate: &[f32], up: &[f32], out: &mut [u32]) {
        gated(gate, up, out, silu::<FMA>);
    }
}

multiversion! {
    fn gelu_gate(gate: &[f32], up: &[f32], out: &mut [u32]) {
        gated(gate, up, out, gelu::<FMA>);
    }
}

#[inline(always)]
fn gated(gate: &[f32], up: &[f32], out: &mut [u32], activation: impl Fn(f32) -> f32) {
    let pairs = gate.chunks_exact(2 * LANES).zip(up.chunks_exact(2 * LANES)).zip(out.chunks_exact_mut(LANES));
    for ((gate, up), out) in pairs {
        for lane in 0..LANES {
            let low = activation(gate[lane]) * up[lane];
            let high = activation(gate[LANES + lane]) * up[LANES + lane];
            out[lane] = pair(low, high);
        }
    }
}

#[inline(always)]
fn silu<const FMA: bool>(x: f32) -> f32 {
    times_sigmoid::<FMA>(x, x)
}

/// `(1 + tanh(y)) / 2` is `sigmoid(2 y)`.
#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::SQRT_2;
    times_sigmoid::<FMA>(x, TWICE_SQRT_2_OVER_PI * (x + 0.044715 * x * x * x))
}

/// `x * sigmoid(y)`.
#[inline(always)]
fn times_sigmoid<const FMA: bool>(x: f32, y: f32) -> f32 {
    let exponent = -y * std::f32::consts::LOG2_E;
    let e = attention::simd::exp2::<FMA>(if exponent < 126.0 { exponent } else { 126.0 });
    x / (1.0 + e)
}

/// Two numbers rounded to bf16 (nearest, ties to even) side by side.
#[inline(always)]
fn pair(low: f32, high: f32) -> u32 {
    attention::simd::bf16_bits(low) | attention::simd::bf16_bits(high) << 16
}

multiversion! {
    /// Rotates the elements of one head `[head_dim][16]` by the angles of sixteen positions; `cos` and `sin` are
    /// `[head_dim / 2][16]`. Element `i` pairs with `i + step` for `step = head_dim / 2`, or with its neighbour for
    /// `step = 1`.
    pub(super) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], adjacent: bool) {
        let half = head.len() / LANES / 2;
        for i in 0..half {
            let (a, b) = if adjacent { (2 * i, 2 * i + 1) } else { (i, i + half) };
            let (cos, sin) = (&cos[i * LANES..][..LANES], &sin[i * LANES..][..LANES]);
            let mut x = [0f32; LANES];
            let mut y = [0f32; LANES];
            x.copy_from_slice(&head[a * LANES..][..LANES]);
            y.copy_from_slice(&head[b * LANES..][..LANES]);
            for lane in 0..LANES {
                head[a * LANES + lane] = x[lane] * cos[lane] - y[lane] * sin[lane];
            }
            for lane in 0..LANES {
                head[b * LANES + lane] = x[lane] * sin[lane] + y[lane] * cos[lane];
            }
        }
    }
}
