use super::*;
use crate::cpu::products::every_arithmetic;
use crate::formats::{Encoding, Tensor};
use crate::ops::Stacking;

const HIDDEN: usize = 64;
const INNER: usize = 32;
const EXPERTS: usize = 5;
/// Takes no token.
const IDLE: u32 = 3;

/// Bytes of a matrix without a pattern: small numbers in f32, or blocks of 32 with a small scale.
fn stored(encoding: Encoding, elements: usize, seed: usize) -> Vec<u8> {
    let number = |n: usize| ((n + seed * 331) * 7919 % 509) as f32 / 254.5 - 1.0;
    match encoding {
        Encoding::F32 => (0..elements).flat_map(|n| (number(n) / 4.0).to_le_bytes()).collect(),
        _ => {
            let block = |b: usize| {
                let scale = half::f16::from_f32(0.002).to_le_bytes();
                scale.into_iter().chain((0..32).map(move |n| (number(b * 32 + n) * 127.0) as i8 as u8))
            };
            (0..elements / 32).flat_map(block).collect()
        }
    }
}

fn experts(encoding: Encoding) -> Vec<GatedMlp<Arc<Matrix>>> {
    let expert = |n: usize| {
        let bytes: Vec<_> = (0..3).map(|part| stored(encoding, HIDDEN * INNER, n * 3 + part)).collect();
        let tensor = |part: usize, rows| Tensor::of_bytes(rows, encoding, &bytes[part]);
        let gate_up = Matrix::pack(&[tensor(0, INNER), tensor(1, INNER)], Stacking::GateUp).unwrap();
        let down = Matrix::pack(&[tensor(2, HIDDEN)], Stacking::Rows).unwrap();
        GatedMlp { gate_up: Arc::new(gate_up), down: Arc::new(down) }
    };
    (0..EXPERTS).map(expert).collect()
}

fn operand(len: usize) -> Operand {
    let mut x = Operand::new(HIDDEN, Together::Chunk(len)).unwrap();
    x.panels.iter_mut().enumerate().for_each(|(n, x)| *x = bf16::from_f32((n * 7919 % 97) as f32 / 48.5 - 1.0));
    x
}

/// Two experts a token, in no regular way; the first one, too, for every token.
fn mixture(len: usize) -> Mixture {
    let choices = (0..len as u32).flat_map(|token| {
        let other = [1, 2, 4][(token * 7 % 5 % 3) as usize];
        let share = (token % 8) as f32 / 8.0;
        [Choice { expert: 0, share: 1.0 - share }, Choice { expert: other, share }]
    });
    let panels = EXPERTS * len.div_ceil(LANES);
    Mixture {
        per_token: 2,
        intermediate_size: INNER,
        logits: Aligned::default(),
        choices: choices.collect(),
        gathered: Aligned::zeroed(panels * packed_len(HIDDEN)),
        gated: Aligned::zeroed(panels * packed_len(INNER)),
        products: Aligned::zeroed(panels * Tokens::stride_of(HIDDEN)),
    }
}

fn mixed(mut mixture: Mixture, how: Arithmetic, experts: &[GatedMlp<Arc<Matrix>>], x: &Operand) -> Vec<f32> {
    let mut out = Tokens::new(HIDDEN, x.len).unwrap();
    out.panels.fill(1.0);
    mixture.mix(how, Activation::Silu, experts, x, &mut out).unwrap();
    (0..x.len).flat_map(|token| (0..HIDDEN).map(move |i| (token, i))).map(|(token, i)| at(&out, token, i)).collect()
}

fn at(tokens: &Tokens, token: usize, i: usize) -> f32 {
    tokens.panels[token / LANES * tokens.stride() + i * LANES + token % LANES]
}

#[test]
fn a_mixture_is_the_sum_of_its_experts() {
    for (encoding, len) in [(Encoding::F32, 100), (Encoding::F32, 1), (Encoding::Q8_0, 37), (Encoding::Q8_0, 1)] {
        let (experts, x) = (experts(encoding), operand(len));
        for how in every_arithmetic() {
            let of_all: Vec<Tokens> = (experts.iter())
                .map(|expert| {
                    let (mut gated, mut out) =
                        (Operand::new(INNER, Together::Chunk(len)).unwrap(), Tokens::new(HIDDEN, len).unwrap());
                    expert.gate_up.multiply_gated(how, Activation::Silu, &x, &mut gated).unwrap();
                    expert.down.multiply(how, &gated, &mut out, false);
                    out
                })
                .collect();
            let choices = mixture(len).choices;
            assert!(choices.iter().all(|choice| choice.expert != IDLE));
            let got = mixed(mixture(len), how, &experts, &x);
            let (mut error, mut norm) = (0.0, 0.0);
            for (token, got) in got.chunks(HIDDEN).enumerate() {
                for (i, got) in got.iter().enumerate() {
                    let of_choice = |c: &Choice| (c.share * at(&of_all[c.expert as usize], token, i)) as f64;
                    let want: f64 = choices[2 * token..][..2].iter().map(of_choice).sum();
                    error += (*got as f64 - 1.0 - want).powi(2);
                    norm += want.powi(2);
                }
            }
            // Experts of one row multiply more exactly.
            assert!(error < 1e-4 * norm, "{encoding:?}, {len} tokens, {how:?}: {error} of {norm}");
        }
    }
}

/// However many waves, and whatever earlier ones left in the room: the same to the last bit.
#[test]
fn waves_change_nothing() {
    let x = operand(100);
    for (how, encoding) in every_arithmetic().flat_map(|how| [(how, Encoding::F32), (how, Encoding::Q8_0)]) {
        let experts = experts(encoding);
        let whole = mixed(mixture(100), how, &experts, &x);
        let panels = 100usize.div_ceil(LANES);
        let mut small = mixture(100);
        small.gathered = Aligned::zeroed(panels * packed_len(HIDDEN));
        small.gathered.fill(bf16::NAN);
        small.gated = Aligned::zeroed(panels * packed_len(INNER));
        small.products = Aligned::zeroed(panels * Tokens::stride_of(HIDDEN));
        small.products.fill(f32::NAN);
        assert_eq!(mixed(small, how, &experts, &x), whole, "{how:?} {encoding:?}");
    }
}

#[test]
fn rows_of_an_expert_are_side_by_side() {
    let choices = [2, 0, 2, 1, 2].map(|expert| Choice { expert, share: 1.0 });
    let rows = Rows::of(&choices, 4);
    assert_eq!((0..4).map(|expert| rows.of_expert(expert)).collect::<Vec<_>>(), [&[1][..], &[3], &[0, 2, 4], &[]]);
    assert_eq!(rows.of_choice, [32, 0, 33, 16, 34]);
    assert_eq!([0, 1, 2, 3].map(|expert| rows.panels(expert)), [1, 1, 1, 0]);
}

/// What is predicted is what is held, but for a few bytes a token.
#[test]
fn room_is_as_large_as_predicted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/tiny/qwen3-moe/config.json");
    let config = ModelConfig::from_json(std::path::Path::new(folder)).unwrap();
    let experts = config.experts.as_ref().unwrap();
    for len in [1, 16, 100, 5000] {
        let room = Mixture::new(&config, experts, Together::Chunk(len)).unwrap();
        let held = 2 * (room.gathered.len() + room.gated.len()) + 4 * (room.logits.len() + room.products.len());
        let of_choices = (size_of::<Choice>() + 8) * room.choices.len();
        assert_eq!(Mixture::bytes(&config, experts, len), held + of_choices, "{len} tokens");
        // Every expert fits alone.
        assert!(room.products.len() >= len.div_ceil(LANES) * Tokens::stride_of(config.hidden_size));
    }
}
