use super::*;

fn config(json: &str) -> Result<ModelConfig, ConfigFileError> {
    let folder = tempfile::tempdir().unwrap();
    let base = r#"{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "vocab_size": 10, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "#;
    std::fs::write(folder.path().join("config.json"), format!("{base}{json}}}")).unwrap();
    ModelConfig::from_folder(folder.path())
}

/// As transformers' config classes have it.
#[test]
fn what_a_config_leaves_away_is_the_familys() {
    let read = |json: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), json).unwrap();
        ModelConfig::from_folder(folder.path()).unwrap()
    };
    for (kind, kv_heads, head_dim, mlp, vocabulary, context) in [
        ("llama", 32, 128, 11_008, 32_000, 2048),
        ("mistral", 8, 128, 14_336, 32_000, 131_072),
        ("qwen2", 32, 128, 22_016, 151_936, 32_768),
        ("qwen3", 32, 128, 22_016, 151_936, 32_768),
        ("gemma3_text", 4, 256, 9216, 262_208, 131_072),
        ("phi3", 32, 96, 8192, 32_064, 4096),
        ("smollm3", 4, 128, 11_008, 128_256, 32_768),
        ("granite", 32, 128, 11_008, 32_000, 2048),
        ("qwen3_moe", 4, 64, 6144, 151_936, 32_768),
        ("mixtral", 8, 128, 14_336, 32_000, 131_072),
    ] {
        let absent = read(&format!(r#"{{"model_type": "{kind}"}}"#));
        assert_eq!(
            (absent.num_kv_heads, absent.head_dim, absent.intermediate_size),
            (kv_heads, head_dim, mlp),
            "{kind}"
        );
        let eps = if ["phi3", "mixtral"].contains(&kind) { 1e-5 } else { 1e-6 };
        assert_eq!((absent.vocab_size, absent.max_context, absent.rms_norm_eps), (vocabulary, context, eps), "{kind}");
        assert_eq!(absent.tie_word_embeddings, ["gemma3_text", "smollm3"].contains(&kind), "{kind}");
        let null = read(&format!(
            r#"{{"model_type": "{kind}", "architectures": [], "tie_word_embeddings": null, "attention_bias": null,
                "use_sliding_window": null, "max_position_embeddings": null, "rope_theta": null, "vocab_size": null,
                "rms_norm_eps": null, "hidden_act": null, "layer_types": null, "rope_scaling": null}}"#
        ));
        assert_eq!(null, absent, "{kind}");
    }
    // Null is not absent where transformers makes a difference.
    assert_eq!(read(r#"{"model_type": "mistral", "num_key_value_heads": null}"#).num_kv_heads, 32);
    assert_eq!(read(r#"{"model_type": "qwen3", "num_attention_heads": 16, "head_dim": null}"#).head_dim, 256);
    assert_eq!(read(r#"{"model_type": "qwen3", "num_attention_heads": 16}"#).head_dim, 128);
}

#[test]
fn families_go_by_many_names() {
    let family = |json: &str| config(json).map(|config| config.architecture);
    for (json, architecture) in [
        (r#""architectures": ["Qwen2Model"]"#, Architecture::Qwen2),
        (r#""architectures": ["MistralModel"], "model_type": "mistral""#, Architecture::Mistral),
        (r#""architectures": ["LLaMAForCausalLM"]"#, Architecture::Llama),
        (r#""architectures": [], "model_type": "qwen3""#, Architecture::Qwen3),
        (r#""architectures": ["Gemma3TextModel"]"#, Architecture::Gemma3),
        (r#""architectures": ["Phi3ForCausalLM"]"#, Architecture::Phi3),
        (r#""architectures": ["SmolLM3ForCausalLM"]"#, Architecture::SmolLm3),
        (r#""model_type": "granite""#, Architecture::Granite),
        (r#""architectures": ["Qwen3MoeModel"]"#, Architecture::Qwen3Moe),
        (r#""model_type": "mixtral""#, Architecture::Mixtral),
        (r#""model_type": "qwen2", "length_penalty": -Infinity, "x": [NaN]"#, Architecture::Qwen2),
    ] {
        assert_eq!(family(json).unwrap(), architecture, "{json}");
    }
    for json in
        [r#""architectures": ["LlamaForSequenceClassification"], "model_type": "llama""#, r#""model_type": "mamba""#]
    {
        assert!(
            matches!(family(json), Err(ConfigFileError::Config { error: ConfigError::Architecture(_), .. })),
            "{json}"
        );
    }
}

#[test]
fn scaled_lengths_are_those_that_vllm_derives() {
    let context = |scaling: &str| {
        config(&format!(r#""model_type": "llama", "rope_scaling": {{{scaling}}}"#)).unwrap().max_context
    };
    for (scaling, tokens) in [
        (r#""type": "linear", "factor": 4.0"#, 131_072),
        (r#""type": "dynamic", "factor": 2.0"#, 65_536),
        (r#""rope_type": "yarn", "factor": 2.0"#, 65_536),
        (r#""rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192"#, 65_536),
        // Its files have the stretched length.
        (
            r#""rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0"#,
            32_768,
        ),
        (r#""rope_type": "default""#, 32_768),
    ] {
        assert_eq!(context(scaling), tokens, "{scaling}");
    }
}

#[test]
fn windows_are_where_the_family_has_them() {
    let windows = |json: &str| config(json).unwrap().windows;
    let mistral = r#""architectures": ["MistralForCausalLM"]"#;
    assert_eq!(windows(mistral), [Some(4096); 4]);
    assert_eq!(windows(&format!(r#"{mistral}, "sliding_window": null"#)), [None; 4]);
    assert_eq!(windows(&format!(r#"{mistral}, "sliding_window": 9"#)), [Some(9); 4]);
    assert!(config(&format!(r#"{mistral}, "sliding_window": 0"#)).is_err());
    let qwen = r#""architectures": ["Qwen2ForCausalLM"], "sliding_window": 9"#;
    assert_eq!(windows(qwen), [None; 4]);
    let some = format!(r#"{qwen}, "use_sliding_window": true, "max_window_layers": 3"#);
    assert_eq!(windows(&some), [None, None, None, Some(9)]);
    let kinds = r#""layer_types": ["full_attention", "sliding_attention", "full_attention", "full_attention"]"#;
    assert_eq!(windows(&format!("{some}, {kinds}")), [None, Some(9), None, None]);
    assert!(config(&format!("{some}, {}", kinds.replace("sliding", "chunked"))).is_err());
}

#[test]
fn layers_rotate_and_see_as_their_family_does() {
    let layers = |json: &str| {
        let config = config(json).unwrap();
        (config.windows, config.layer_ropes)
    };
    let gemma = r#""model_type": "gemma3_text", "sliding_window": 9"#;
    assert_eq!(layers(&format!(r#"{gemma}, "sliding_window_pattern": 2"#)).1, [1, 0, 1, 0]);
    let (windows, ropes) = layers(gemma);
    assert_eq!((windows, ropes), (vec![Some(9); 4], vec![1; 4]));
    let two = config(&format!(r#"{gemma}, "rope_theta": 5.0, "rope_local_base_freq": 3.0"#)).unwrap().ropes;
    assert_eq!([two[0].theta, two[1].theta], [5.0, 3.0]);
    let smollm = r#""model_type": "smollm3""#;
    assert_eq!(layers(smollm), (vec![None; 4], vec![0, 0, 0, 1]));
    assert_eq!(layers(&format!(r#"{smollm}, "no_rope_layer_interval": 2"#)).1, [0, 1, 0, 1]);
    assert_eq!(layers(&format!(r#"{smollm}, "no_rope_layers": [0, 1, 1, 1]"#)).1, [1, 0, 0, 0]);
    assert!(config(&format!(r#"{smollm}, "no_rope_layers": [0, 1]"#)).is_err());
    let windowed = format!(r#"{smollm}, "use_sliding_window": true, "sliding_window": 7"#);
    assert_eq!(layers(&windowed).0, [None, None, None, Some(7)]);
}

#[test]
fn variants_of_a_family_that_compute_something_else_are_refused() {
    let gemma = r#""model_type": "gemma3_text""#;
    for (json, says) in [
        (format!(r#"{gemma}, "use_bidirectional_attention": true"#), "not causal"),
        (format!(r#"{gemma}, "attn_logit_softcapping": 50.0"#), "capped at 50"),
        (format!(r#"{gemma}, "hidden_activation": "gelu""#), "activation `gelu`"),
        (r#""architectures": ["Gemma3ForConditionalGeneration"]"#.into(), "take its GGUF file"),
        (r#""model_type": "granite", "residual_multiplier": 0.0"#.into(), "factor of embeddings"),
        (r#""model_type": "phi3", "partial_rotary_factor": 0.3"#.into(), ""),
    ] {
        match config(&json) {
            Ok(read) => assert_eq!((says, read.rotary_dim), ("", 4), "{json}"),
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{json}: {error}"),
        }
    }
}

#[test]
fn experts_are_where_the_family_has_them() {
    let experts = |json: &str| config(json).map(|config| config.experts);
    let qwen = r#""model_type": "qwen3_moe""#;
    let plain = experts(qwen).unwrap().unwrap();
    let layers = vec![true; 4];
    let defaults = Experts { count: 128, per_token: 8, intermediate_size: 768, normalised: false, layers };
    assert_eq!(plain, defaults);
    let null = r#""num_experts": null, "norm_topk_prob": null, "mlp_only_layers": null, "decoder_sparse_step": null"#;
    assert_eq!(experts(&format!("{qwen}, {null}")).unwrap().unwrap(), defaults);
    let of = |json: &str| experts(&format!("{qwen}, {json}")).unwrap().unwrap();
    assert_eq!(
        of(r#""num_local_experts": 9, "norm_topk_prob": true"#),
        Experts { count: 9, normalised: true, ..plain }
    );
    assert_eq!(of(r#""mlp_only_layers": [0, 2, 7]"#).layers, [false, true, false, true]);
    assert_eq!(of(r#""decoder_sparse_step": 2, "mlp_only_layers": [3]"#).layers, [false, true, false, false]);
    let mixtral = experts(r#""model_type": "mixtral""#).unwrap().unwrap();
    assert_eq!((mixtral.count, mixtral.per_token, mixtral.intermediate_size, mixtral.normalised), (8, 2, 64, true));
    // A window of Qwen3-MoE is every layer's.
    let windowed = r#""use_sliding_window": true, "sliding_window": 9, "max_window_layers": 2"#;
    assert_eq!(config(&format!("{qwen}, {windowed}")).unwrap().windows, [Some(9); 4]);
    assert_eq!(config(qwen).unwrap().windows, [None; 4]);
    assert_eq!(config(r#""model_type": "mixtral", "sliding_window": 9"#).unwrap().windows, [Some(9); 4]);
    assert_eq!(config(r#""model_type": "mixtral""#).unwrap().ropes[0].theta, 1e6);
    // Other families do not look at it, as transformers.
    assert_eq!(experts(r#""model_type": "llama", "num_local_experts": 8"#).unwrap(), None);
    for (json, says) in [
        (r#""num_experts": 0"#, "number of experts is 0"),
        (r#""num_experts": 5000"#, "number of experts is 5000: expected 1 to 4096"),
        (r#""num_experts_per_tok": 0"#, "number of experts of a token is 0: expected 1 to 128"),
        (r#""num_experts": 4, "num_experts_per_tok": 5"#, "number of experts of a token is 5: expected 1 to 4"),
        (r#""moe_intermediate_size": 0"#, "size of an expert is 0"),
        (r#""decoder_sparse_step": 0"#, "decoder_sparse_step is 0"),
        (r#""n_shared_experts": 1"#, "`n_shared_experts` of 1"),
        (r#""shared_expert_intermediate_size": 64"#, "`shared_expert_intermediate_size` of 64"),
        (r#""n_group": 4, "topk_group": 2"#, "`n_group` of 4"),
        (r#""scoring_func": "sigmoid""#, "`scoring_func` of sigmoid"),
        (r#""routed_scaling_factor": 2.5"#, "`routed_scaling_factor` of 2.5"),
    ] {
        let error = experts(&format!("{qwen}, {json}")).unwrap_err().to_string();
        assert!(error.contains(says), "{json}: {error}");
    }
    of(r#""n_shared_experts": 0, "n_group": 1, "scoring_func": "softmax", "routed_scaling_factor": 1.0"#);
}

/// The scaling that Qwen2.5's card gives for 131,072 tokens, in the words of old and new files.
#[test]
fn yarn_is_read_from_old_and_new_files_and_from_the_user() {
    let qwen = r#""architectures": ["Qwen2ForCausalLM"], "rope_theta": 1000000.0"#;
    let old = format!(
        r#"{qwen}, "rope_scaling": {{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}"#
    );
    let new = format!(
        r#"{qwen}, "rope_parameters": {{"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0,
            "original_max_position_embeddings": 32768}}"#
    );
    let mut plain = config(qwen).unwrap();
    plain.stretch("yarn:4".parse().unwrap()).unwrap();
    assert_eq!(config(&old).unwrap(), plain);
    assert_eq!(config(&new).unwrap(), plain);
    assert_eq!(plain.max_context, 131_072);
    assert_eq!(plain.stretch("linear:2".parse().unwrap()), Err(ConfigError::Stretched));
    for wrong in ["yarn", "yarn:0", "yarn:x", "ntk:2", "linear:1e9"] {
        assert!(wrong.parse::<StretchContext>().is_err(), "{wrong}");
    }
}

#[test]
fn a_prompt_within_the_trained_context_turns_as_trained_under_dynamic_scaling() {
    let rope = |scaling| Rope { theta: 1e4, scaling };
    let dynamic = rope(RopeScaling::Dynamic { factor: 4.0, original: 100 });
    assert_eq!(dynamic.frequencies(64, 100), rope(RopeScaling::None).frequencies(64, 0));
    assert!(dynamic.frequencies(64, 200).0[31] < dynamic.frequencies(64, 101).0[31]);
}

#[test]
fn long_rope_divides_by_the_length_of_the_prompt() {
    let scaling = RopeScaling::LongRope {
        original: 100,
        short: vec![1.0; 32],
        long: vec![2.0; 32],
        attention_factor: Rope::long_attention_factor(16.0, 256),
    };
    let rope = Rope { theta: 1e4, scaling };
    let ((short, factor), (long, _)) = (rope.frequencies(64, 100), rope.frequencies(64, 101));
    assert!(short.iter().zip(&long).all(|(short, long)| *short == 2.0 * long));
    assert!((factor - 1.5f64.sqrt()).abs() < 1e-12);
    assert_eq!(Rope::long_attention_factor(1.0, 4096), 1.0);
}

#[test]
fn divisors_of_a_file_are_what_llama_3_computes() {
    let rope = |scaling| Rope { theta: 5e5, scaling };
    let llama3 = RopeScaling::Llama3 { factor: 8.0, original: 8192, low_freq_factor: 1.0, high_freq_factor: 4.0 };
    let ((plain, _), (wanted, _)) = (rope(RopeScaling::None).frequencies(128, 0), rope(llama3).frequencies(128, 0));
    let divisors = plain.iter().zip(&wanted).map(|(plain, wanted)| (plain / wanted) as f32).collect();
    let (found, factor) = rope(RopeScaling::Divisors(divisors)).frequencies(128, 0);
    assert!(found.iter().zip(&wanted).all(|(found, wanted)| (found / wanted - 1.0).abs() < 1e-6) && factor == 1.0);
    assert!((plain[63] / wanted[63] - 8.0).abs() < 1e-9 && plain[0] == wanted[0]);
}
