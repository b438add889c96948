//! Constant factors that some families have in their decoders.

/// Factors of a decoder; all 1 in most families.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// Of token embeddings, on their way into the first layer.
    pub embedding: f32,
    /// Of products of queries and keys, beside `1 / sqrt(head_dim)`.
    pub attention: f32,
    /// Of logits.
    pub logits: f32,
    /// Logits become `cap * tanh(logits / cap)`.
    pub logit_cap: Option<f32>,
}

impl Default for Scales {
    fn default() -> Self {
        Self { embedding: 1.0, attention: 1.0, logits: 1.0, logit_cap: None }
    }
}

/// What Granite files say.
pub(super) struct Multipliers {
    pub(super) embedding: f64,
    /// Of what each layer adds to the residual stream.
    pub(super) residual: f64,
    /// Of products of queries and keys, in place of `1 / sqrt(head_dim)`.
    pub(super) attention: f64,
    /// What logits are divided by.
    pub(super) logits: f64,
}

impl Multipliers {
    /// The same model without a factor where layers add to the residual stream, and the epsilon of its norms.
    ///
    /// With the whole stream divided by `residual`, layers add what they compute. Norms undo a factor of what they see, but
    /// for their epsilon, which is compared with squares.
    pub(super) fn folded(&self, head_dim: usize, eps: f32) -> (Scales, f32) {
        let scales = Scales {
            embedding: (self.embedding / self.residual) as f32,
            attention: attention_scale(self.attention, head_dim),
            logits: (1.0 / self.logits) as f32,
            logit_cap: None,
        };
        (scales, (eps as f64 / self.residual.powi(2)) as f32)
    }
}

/// The factor beside `1 / sqrt(head_dim)` that makes `attention` of both.
pub(super) fn attention_scale(attention: f64, head_dim: usize) -> f32 {
    (attention * (head_dim as f64).sqrt()) as f32
}

impl Scales {
    /// Scales logits, in place.
    pub(crate) fn finish(&self, logits: &mut [f32]) {
        if self.logits != 1.0 {
            logits.iter_mut().for_each(|x| *x *= self.logits);
        }
        if let Some(cap) = self.logit_cap {
            logits.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
        }
    }

    /// A factor that is out of range.
    pub(super) fn wrong(&self) -> Option<(&'static str, f32)> {
        let factors = [
            ("factor of embeddings", self.embedding),
            ("factor of attention", self.attention),
            ("factor of logits", self.logits),
            ("cap of logits", self.logit_cap.unwrap_or(1.0)),
        ];
        factors.into_iter().find(|(_, factor)| !(factor.is_finite() && *factor > 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_no_multipliers_has_no_factors() {
        let plain = Multipliers { embedding: 1.0, residual: 1.0, attention: 0.125, logits: 1.0 };
        assert_eq!(plain.folded(64, 1e-5), (Scales::default(), 1e-5));
        assert_eq!(Scales::default().wrong(), None);
    }

    #[test]
    fn logits_are_scaled_and_then_capped() {
        let mut logits = [0.0, 10.0, 1e9];
        Scales { logits: 0.5, logit_cap: Some(5.0), ..Scales::default() }.finish(&mut logits);
        assert_eq!((logits[0], logits[2]), (0.0, 5.0));
        assert!((logits[1] - 5.0 * 1f32.tanh()).abs() < 1e-6);
    }
}
