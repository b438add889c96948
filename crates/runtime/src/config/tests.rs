use super::*;

fn config(json: &str) -> Result<ModelConfig, LoadError> {
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
    ] {
        let absent = read(&format!(r#"{{"model_type": "{kind}"}}"#));
        assert_eq!(
            (absent.num_kv_heads, absent.head_dim, absent.intermediate_size),
            (kv_heads, head_dim, mlp),
            "{kind}"
        );
        assert_eq!((absent.vocab_size, absent.max_context, absent.rms_norm_eps), (vocabulary, context, 1e-6), "{kind}");
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
        (r#""model_type": "qwen2", "length_penalty": -Infinity, "x": [NaN]"#, Architecture::Qwen2),
    ] {
        assert_eq!(family(json).unwrap(), architecture, "{json}");
    }
    for json in
        [r#""architectures": ["LlamaForSequenceClassification"], "model_type": "llama""#, r#""model_type": "mamba""#]
    {
        assert!(matches!(family(json), Err(LoadError::Config { error: ConfigError::Architecture(_), .. })), "{json}");
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
fn divisors_of_a_file_are_what_llama_3_computes() {
    let rope = |scaling| Rope { theta: 5e5, scaling };
    let llama3 = RopeScaling::Llama3 { factor: 8.0, original: 8192, low_freq_factor: 1.0, high_freq_factor: 4.0 };
    let ((plain, _), (wanted, _)) = (rope(RopeScaling::None).frequencies(128, 0), rope(llama3).frequencies(128, 0));
    let divisors = plain.iter().zip(&wanted).map(|(plain, wanted)| (plain / wanted) as f32).collect();
    let (found, factor) = rope(RopeScaling::Divisors(divisors)).frequencies(128, 0);
    assert!(found.iter().zip(&wanted).all(|(found, wanted)| (found / wanted - 1.0).abs() < 1e-6) && factor == 1.0);
    assert!((plain[63] / wanted[63] - 8.0).abs() < 1e-9 && plain[0] == wanted[0]);
}
