//! Errors of the libraries name options of the libraries; people here type flags.

/// What libraries write, and what that is here.
const FLAGS: [(&str, &str); 15] = [
    ("`EngineOptions::stretch`", "--rope-scaling"),
    ("`EngineOptions::context`", "--context"),
    ("`EngineOptions::max_memory_bytes`", "--max-memory"),
    ("`EngineOptions::quantization`", "--quantization"),
    ("`EngineOptions::attention_precision`", "--attention-precision"),
    ("`EngineOptions::products`", "--products"),
    ("`RandomWeights::Bf16`", "--random-weights bf16"),
    ("`Request::max_tokens`", "--max-tokens"),
    ("`Request::receipt`", "--receipt"),
    ("`Goal::Density`", "--budget density=0.1"),
    ("`Goal::Cost`", "--budget cost=0.3"),
    ("`Engine::set_costs`", "--calibration"),
    ("`Device::Cuda`", "--device cuda"),
    ("without one (`Engine::encode`)", "to `generate` without --chat"),
    ("run on the CPU", "run on the CPU with --device cpu"),
];

/// A message with flags in place of the options of libraries.
pub fn as_flags(message: &str) -> String {
    FLAGS.iter().fold(message.to_string(), |message, (option, flag)| message.replace(option, flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::ConfigError;
    use runtime::engine::EngineError;
    use runtime::ops::OpsError;
    use runtime::precision::AttentionPrecision;
    use runtime::precision::Products;
    use runtime::precision::Quantization;

    #[test]
    fn errors_of_libraries_name_flags_here_and_none_there() {
        let context = EngineError::Context { prompt_tokens: 9, max_tokens: 2, max_context: 10, excess: 1 };
        let memory = EngineError::Memory { what: "it".into(), need: "2".into(), available: 1 };
        let quantization = OpsError::Quantization { quantization: Quantization::Fp8 };
        let precision = OpsError::AttentionPrecision { precision: AttentionPrecision::Fp8 };
        let products = OpsError::Products { products: Products::Int8 };
        for (error, says) in [
            (context.to_string(), &["--max-tokens", "--rope-scaling", "--context"][..]),
            (memory.to_string(), &["--max-memory"]),
            (EngineError::NoTemplate.to_string(), &["without --chat"]),
            (EngineError::ReceiptOnGpu.to_string(), &["--receipt", "--device cpu"]),
            (EngineError::TimeBudgetNeedsCalibration.to_string(), &["--calibration"]),
            (
                EngineError::TimeBudgetUnknown { device: "a GPU".into() }.to_string(),
                &["--calibration", "--budget density=0.1"],
            ),
            (ConfigError::Stretched.to_string(), &["--rope-scaling"]),
            (quantization.to_string(), &["--device cuda", "--quantization"]),
            (precision.to_string(), &["--device cuda", "--attention-precision"]),
            (products.to_string(), &["--device cpu", "--products"]),
            (cuda::Error::NoDriver.to_string(), &["--device cpu"]),
        ] {
            // A command line that is quoted whole is one.
            let own_words: String = error.split('`').step_by(2).collect();
            assert!(!own_words.contains("--"), "{error}");
            let message = as_flags(&error);
            assert!(!message.contains("::"), "{message}");
            for flag in says {
                assert!(message.contains(flag), "expected `{flag}` in: {message}");
            }
        }
    }
}
