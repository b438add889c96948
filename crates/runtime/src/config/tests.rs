use super::*;

fn config(json: &str) -> Result<ModelConfig, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let base = r#"{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "vocab_size": 10, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "#;
    std::fs::write(folder.path().join("config.json"), format!("{base}{json}}}")).unwrap();
    ModelConfig::from_folder(folder.path())
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
