//! The program as its users meet it: what it says when something is wrong, and one real answer.

use attention::calibration::{Calibration, GpuKernel};
use attention::search::CostModel;
use attention::shape::HeadShape;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    run_with_input(arguments, b"")
}

fn run_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sparse-accelerate"))
        .args(arguments)
        // The CPU is what is tested here, and it is everywhere.
        .env("CUDA_VISIBLE_DEVICES", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    // It may refuse and leave before it reads.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// Asserts a failure with this exit code and a message that holds all of `says`, and no panic.
fn refuses(output: Output, code: i32, says: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for words in says {
        assert!(message.contains(words), "expected `{words}` in: {message}");
    }
    for part in message.trim_end().split(": ").filter(|part| part.contains(' ')) {
        assert_eq!(message.matches(part).count(), 1, "says it twice: {message}");
    }
}

fn default_model() -> Option<PathBuf> {
    let folder = std::env::var_os("SPARSE_ACCELERATE_MODELS")
        .map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"), PathBuf::from);
    let path = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        eprintln!("SKIPPED: the default model is not there; scripts/fetch-model gets it");
    }
    path.exists().then_some(path)
}

/// Weights of the layers of [`small_model`].
const SMALL_MODEL_WEIGHTS: u64 = 2 * (4 * 256 * 256 + 3 * 256 * 512);

/// A folder in `folder` with the shape of a model whose tokens are bytes, for `--random-weights`: quick where what a model says does not matter.
fn small_model(folder: &Path) -> String {
    let path = folder.join("model");
    let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 256, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5}"#;
    std::fs::create_dir(&path).expect("made");
    std::fs::write(path.join("config.json"), config).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_mistyped_path_is_not_looked_up_in_the_hub_in_silence() {
    let cache = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = format!("http://{closed}");
    let load = |offline: &str| {
        let arguments = ["generate", "--model", "models/no-such-model", "--prompt", "x"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_sparse-accelerate"));
        command
            .args(arguments)
            .env("HF_HUB_CACHE", cache.path())
            .env("HF_HUB_OFFLINE", offline)
            .env("HF_ENDPOINT", &hub);
        command.output().expect("the program was built")
    };
    let message = String::from_utf8(load("0").stderr).unwrap();
    let asks = format!("`models/no-such-model` is no file or folder here: looking for it at {hub}\n");
    assert!(message.starts_with(&asks) && message.contains("check the network"), "{message}");
    let message = String::from_utf8(load("1").stderr).unwrap();
    assert!(!message.contains("looking for it"), "{message}");
    assert!(message.contains("HF_HUB_OFFLINE is set") && message.contains("lacks config.json"), "{message}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(&["man", folder.path().join("man1").to_str().unwrap()]).status.success());
    let page = |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).expect(name);
    assert!(page("sparse-accelerate.1").contains("sparse\\-accelerate\\-generate(1)"));
    assert!(page("sparse-accelerate-generate.1").contains("\\-\\-max\\-tokens"));
    assert!(page("sparse-accelerate-bench-ttft.1").contains("sparse\\-accelerate bench ttft"));
    assert!(!folder.path().join("man1/sparse-accelerate-man.1").exists(), "it is for releases");
    refuses(run(&["man", "/dev/null/folder"]), 1, &["cannot make the folder /dev/null/folder"]);
}

#[test]
fn help_shows_examples() {
    for arguments in
        ["", "generate", "inspect", "bench ttft", "bench crossover", "bench overhead", "bench growth", "bench memory"]
            .into_iter()
            .chain([
                "bench kernel",
                "eval passkey",
                "eval prompts",
                "eval ruler",
                "eval everyday",
                "eval ablation",
                "calibrate",
            ])
    {
        let output = run(&arguments.split(' ').filter(|word| !word.is_empty()).chain(["--help"]).collect::<Vec<_>>());
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{arguments:?}");
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("passkey"), "{shell}");
    }
}

#[test]
fn doctor_names_the_kernels() {
    let output = run(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["instruction_sets"][0], "portable");
}

#[test]
fn wrong_usage_is_said_before_anything_is_loaded() {
    let generate = |more: &[&str]| run(&[&["generate", "--model", "nowhere.gguf"], more].concat());
    refuses(run(&["generate", "--prompt", "x"]), 2, &["--model"]);
    refuses(generate(&["--prompt", "x", "--recall", "1.5"]), 2, &["above 0, at most 1"]);
    refuses(generate(&["--prompt", "x", "--budget", "0.1"]), 2, &["density=0.1", "time=500ms"]);
    refuses(generate(&["--prompt", "x", "--attention", "magic"]), 2, &["auto, dense, sparse"]);
    refuses(generate(&["--prompt", "x", "--device", "tpu"]), 2, &["cuda:N"]);
    refuses(generate(&["--prompt", "x", "--prompt-file", "y"]), 2, &["cannot be used with"]);
    refuses(generate(&["--prompt", "x", "--max-tokens", "0"]), 2, &["above 0"]);
    refuses(generate(&["--prompt", "x", "--max-memory", "lots"]), 2, &["8G"]);
    refuses(generate(&["--prompt", "x", "--temperature=-1"]), 2, &["--temperature"]);
    refuses(generate(&["--prompt", "x", "--temperature", "nan"]), 2, &["--temperature"]);
    refuses(generate(&["--prompt", "x", "--top-p", "0"]), 2, &["--top-p"]);
    refuses(generate(&["--prompt", "x", "--min-p", "2"]), 2, &["--min-p", "at most 1"]);
    refuses(generate(&["--prompt", "x", "--repetition-penalty", "0"]), 2, &["--repetition-penalty", "above 0"]);
    refuses(generate(&["--prompt", "x", "--threads", "100000"]), 2, &["this machine offers", "cores"]);
    refuses(generate(&["--prompt", "x", "--system", "y"]), 2, &["--chat"]);
    refuses(generate(&["--prompt", "x", "--messages", "y.json"]), 2, &["cannot be used with"]);
    let bench = |more: &[&str]| run(&[&["bench", "ttft", "--model", "nowhere.gguf"], more].concat());
    refuses(bench(&["--lengths", "512,0"]), 2, &["--lengths"]);
    refuses(bench(&["--attention", "dense,magic"]), 2, &["auto, dense, sparse"]);
    refuses(bench(&["--runs", "0"]), 2, &["--runs"]);
    refuses(run(&["eval", "passkey", "--model", "nowhere.gguf", "--samples", "0"]), 2, &["--samples"]);
    refuses(run(&["bench", "crossover", "--model", "nowhere.gguf", "--gain", "1"]), 2, &["--gain", "below 1"]);
    refuses(run(&["bench", "overhead", "--model", "nowhere.gguf", "--runs", "2"]), 2, &["--runs", "at least 3"]);
    refuses(run(&["bench", "growth", "--model", "nowhere.gguf", "--attention", "magic"]), 2, &["auto, dense, sparse"]);
    let prompts = ["eval", "prompts", "--model", "nowhere.gguf", "--prompts", "x.jsonl", "--match", "nearly"];
    refuses(run(&prompts), 2, &["--match", "contains, exact"]);
    refuses(run(&["inspect", "--model", "nowhere.gguf", "--prompt", "x"]), 2, &["--out"]);
    refuses(
        run(&["inspect", "--model", "nowhere.gguf", "--prompt", "x", "--out", "y", "--pool", "median"]),
        2,
        &["max, mean"],
    );
}

#[test]
fn models_that_are_not_there_or_do_not_hold() {
    for mistyped in ["nowhere.gguf", "./modls/x.gguf", "model.ggfu"] {
        let says = [mistyped, "no file or folder", "Hugging Face id"];
        refuses(run(&["generate", "--model", mistyped, "--prompt", "x"]), 1, &says);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.gguf");
    let model = path.to_str().expect("UTF-8");
    let ask = || run(&["generate", "--model", model, "--prompt", "x"]);
    std::fs::write(&path, "").expect("written");
    refuses(ask(), 1, &["m.gguf", "empty"]);
    std::fs::write(&path, "a text that is no model").expect("written");
    refuses(ask(), 1, &["m.gguf", "not a GGUF file"]);
    std::fs::write(&path, b"GGUF\x03\0\0\0\xff\xff\0\0\0\0\0\0").expect("written");
    refuses(ask(), 1, &["truncated"]);
    refuses(
        run(&["generate", "--model", folder.path().to_str().expect("UTF-8"), "--prompt", "x"]),
        1,
        &["config.json"],
    );
}

#[test]
fn an_answer_takes_what_the_context_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 256, "max_position_embeddings": 150,
        "rms_norm_eps": 1e-5}"#;
    std::fs::write(folder.path().join("config.json"), config).expect("written");
    let model = folder.path().to_str().expect("UTF-8");
    let ask = |prompt_len: usize, more: &[&str]| {
        let prompt = "x".repeat(prompt_len);
        run(&[&["generate", "--model", model, "--random-weights", "bf16", "--json", "--prompt", &prompt], more]
            .concat())
    };
    // The last new token needs no place.
    for (prompt_len, new, full) in [(10, 128, false), (23, 128, true), (100, 51, true), (150, 1, true)] {
        let output = ask(prompt_len, &[]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(message.contains("context of 150 tokens is full"), full, "{prompt_len}: {message}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["generated_tokens"], new, "{prompt_len}");
    }
    refuses(ask(151, &[]), 1, &["context of 150", "by 1 tokens", "--context", "--rope-scaling"]);
    refuses(ask(100, &["--max-tokens", "52"]), 1, &["context of 150", "by 1 tokens", "fewer"]);
}

#[test]
fn chats_that_are_none() {
    let chat = |text: &[u8]| run_with_input(&["generate", "--model", "m.gguf", "--messages", "-"], text);
    refuses(chat(b"hello"), 1, &["the chat from standard input", "JSON array", "line 1"]);
    refuses(chat(b"[]"), 1, &["no message", "\"role\""]);
    refuses(chat(b"[{\"role\": \"user\"}]"), 1, &["missing field `content`"]);
    refuses(chat(b"caf\xe9 noir"), 1, &["not UTF-8 at byte 3", "iconv"]);
    refuses(run(&["generate", "--model", "m.gguf", "--messages", "nowhere.json"]), 1, &["nowhere.json"]);
    // What holds is read before the model is looked for.
    refuses(chat(b"[{\"role\": \"user\", \"content\": \"Hello\"}]"), 1, &["m.gguf"]);
}

#[test]
fn prompts_that_are_no_text() {
    refuses(run_with_input(&["generate", "--model", "m.gguf"], b"abc\xff\xfe"), 1, &["not UTF-8 at byte 3", "iconv"]);
    refuses(run_with_input(&["generate", "--model", "m.gguf"], b"caf\xe9 noir"), 1, &["Latin-1", "iconv -f LATIN1"]);
    refuses(run_with_input(&["generate", "--model", "m.gguf"], b"T\0e\0x\0t\0"), 1, &["UTF-16", "iconv -f UTF-16LE"]);
    for empty in [&b""[..], b"\xef\xbb\xbf", b"\xff\xfe", b"\xef\xbb\xbf\r\n"] {
        refuses(run_with_input(&["generate", "--model", "m.gguf"], empty), 1, &["empty"]);
    }
    refuses(run_with_input(&["generate", "--model", "m.gguf"], b"\r\n"), 1, &["empty"]);
    refuses(run(&["generate", "--model", "m.gguf", "--prompt", ""]), 1, &["empty"]);
    refuses(run(&["generate", "--model", "m.gguf", "--prompt-file", "nowhere.txt"]), 1, &["nowhere.txt"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    for arguments in [&["doctor"][..], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let program = env!("CARGO_BIN_EXE_sparse-accelerate");
        let output = Command::new(program).args(arguments).stdout(writer).output().expect("the program was built");
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The answer so far stays, the summary comes, and the exit code says which signal it was.
#[cfg(unix)]
#[test]
fn a_signal_ends_an_answer_with_what_it_took() {
    use std::io::Read;
    let Some(model) = default_model() else { return };
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sparse-accelerate"))
            .args(["generate", "--device", "cpu", "--ignore-eos", "-n", "4000", "-p", "Once upon a time", "-m"])
            .arg(&model)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut begun = [0; 20];
        child.stdout.as_mut().expect("piped").read_exact(&mut begun).expect("an answer");
        assert!(
            Command::new("kill").args([signal, &child.id().to_string()]).status().expect("a shell's tools").success()
        );
        let output = child.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("new tokens") && said.contains("interrupted") && !said.contains("error"), "{said}");
    }
}

/// A calibration file of one GPU.
fn of_a_gpu(path: &Path) {
    let kernel = GpuKernel {
        device: "Example GPU".into(),
        capability: (9, 0),
        driver_version: 13_000,
        kernel: "attend_sm90".into(),
        block_m: 192,
        heads: HeadShape::new(14, 2, 64).expect("heads"),
    };
    let costs = CostModel { step_us: Some(5.7e-3), search_head: 600.0, ..CostModel::default() };
    let calibration = Calibration::of_gpus([(kernel, costs)], "2026-01-31T12:00:00Z").expect("costs");
    std::fs::write(path, serde_json::to_string(&calibration).expect("JSON")).expect("written");
}

#[test]
fn calibration_keeps_what_it_does_not_measure() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("costs.json");
    let out = path.to_str().expect("UTF-8");
    of_a_gpu(&path);
    let output = run(&["calibrate", "--device", "auto", "--head-dim", "32", "--out", out]);
    assert!(output.status.success(), "{output:?}");
    let read = || Calibration::from_json(&std::fs::read_to_string(&path).expect("there")).expect("a calibration");
    assert_eq!((read().entries().count(), read().gpu_entries().count()), (1, 1));
    // What is no calibration is replaced, as it was before there were GPUs in it.
    std::fs::write(&path, "{}").expect("written");
    assert!(run(&["calibrate", "--head-dim", "32", "--out", out]).status.success());
    assert_eq!((read().entries().count(), read().gpu_entries().count()), (1, 0));
}

#[test]
fn calibration_of_what_is_not_there() {
    refuses(run(&["calibrate", "--device", "cuda:9999"]), 1, &["--device cpu"]);
    refuses(run(&["calibrate", "--heads", "32,8"]), 1, &["--heads is for GPUs"]);
    let heads = |counts: &str, says: &str| refuses(run(&["calibrate", "--heads", counts]), 2, &[says]);
    heads("32", "like 32,8");
    heads("32,7", "cannot share 7 kv heads");
    heads("0,0", "1 to 1024");
    refuses(run(&["calibrate", "--device", "tpu"]), 2, &["cuda:N"]);
}

#[test]
fn kernels_are_measured_on_gpus_only() {
    let kernel = |more: &[&str]| run(&[&["bench", "kernel"], more].concat());
    refuses(kernel(&["--heads", "3,2,64"]), 2, &["3 query heads cannot share 2 kv heads"]);
    refuses(kernel(&["--device", "tpu"]), 2, &["cuda:N"]);
    refuses(kernel(&["--device", "cpu"]), 1, &["measures GPUs", "cargo bench"]);
    for device in ["cuda", "auto", "cuda:9999"] {
        let output = kernel(&["--device", device]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        // Where there is a driver, it was told to hide its devices.
        assert!(message.contains("no NVIDIA driver") || message.contains("no CUDA device"), "{message}");
        refuses(output, 1, &[]);
    }
    refuses(kernel(&["--json", "/nowhere/kernel.json"]), 1, &["cannot write /nowhere/kernel.json"]);
}

#[test]
fn a_real_model_explains_its_plans_and_takes_others() {
    let Some(path) = default_model() else { return };
    let model = path.to_str().expect("UTF-8");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_string()
    };
    // A thousand tokens: the search pays from fewer on.
    let text = "The grass is green. The sky is blue. Where is the sea? ".repeat(66);
    let text = file("text.txt", &text);

    let output = run(&["explain", "--model", model, "--prompt-file", &text, "--recall", "0.8", "--json"]);
    let explained: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let heads = explained["layers"][3]["heads"].as_array().expect("heads");
    assert_eq!((explained["layers"].as_array().expect("layers").len(), heads.len()), (30, 9));
    let sparse = heads.iter().find(|head| head["pattern"] != "dense").expect("a sparse head");
    assert!(sparse["recall"].as_f64() >= Some(0.8) && sparse["considered"].as_array().is_some_and(|c| !c.is_empty()));
    let one = run(&["explain", "--model", model, "--prompt-file", &text, "--recall", "0.8", "--layer", "2"]);
    let said = String::from_utf8_lossy(&one.stdout);
    assert!(said.matches("\nlayer").count() == 0 && said.contains("pattern"), "{said}");
    refuses(run(&["explain", "--model", model, "--prompt-file", &text, "--layer", "30"]), 1, &["layer 30", "has 30"]);
    refuses(run(&["explain", "--model", model, "--attention", "dense"]), 2, &["--attention"]);
    // Nothing is searched: said, not shown as a table of dense heads.
    for dense in [["--prompt", "x"], ["--recall", "1"]] {
        let prompt = if dense[0] == "--prompt" { &[][..] } else { &["--prompt", "The sky is"] };
        let output = run(&[&["explain", "--model", model, "--layer", "2"], &dense[..], prompt].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("dense, since no search could pay") && !said.contains("pattern"), "{output:?}");
    }

    let costs = folder.path().join("costs.json");
    let costs = costs.to_str().expect("UTF-8");
    let measured = run(&["calibrate", "--head-dim", "64", "--out", costs]);
    assert!(measured.status.success() && String::from_utf8_lossy(&measured.stdout).contains(" us"), "{measured:?}");
    // What a busy machine measures may say that no search pays: these costs say that it does.
    let with = |costs_of: serde_json::Value| {
        let measured = std::fs::read(costs).expect("written");
        let mut calibration: serde_json::Value = serde_json::from_slice(&measured).expect("JSON");
        let entry = calibration["cpu"]["entries"][0].as_object_mut().expect("an entry");
        entry.extend(costs_of.as_object().expect("fields").clone());
        calibration.to_string()
    };
    let cheap = with(serde_json::json!({
        "step_us": 2.0, "gathered_step": 1.05, "gather_key": 0.06, "gather_centre": 0.3, "tile": 0.5,
        "score_block": 0.002, "probe_block": 0.03, "choose_block": 0.1, "search_head": 0.0,
    }));
    let cheap = file("cheap.json", &cheap);
    let priced = run(&["explain", "--model", model, "--prompt-file", &text, "--layer", "2", "--calibration", &cheap]);
    assert!(String::from_utf8_lossy(&priced.stdout).contains("a dense head"), "{priced:?}");
    let other = file("other.json", &with(serde_json::json!({"head_dim": 80})));
    let refused = ["generate", "--model", model, "--prompt", "x", "--calibration", &other];
    refuses(run(&refused), 1, &["head_dim 64 was not measured", "sparse-accelerate calibrate"]);
    let gpu_only = folder.path().join("gpu.json");
    of_a_gpu(&gpu_only);
    let refused = ["generate", "--model", model, "--prompt", "x", "--calibration", gpu_only.to_str().expect("UTF-8")];
    refuses(run(&refused), 1, &["gpu.json", "no CPU", "sparse-accelerate calibrate"]);

    let generate = |more: &[&str]| {
        let output =
            run(&[&["generate", "--model", model, "--prompt-file", &text, "--max-tokens", "1"], more].concat());
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    let third = generate(&["--budget", "density=0.35", "--json"]);
    assert!(third["density"].as_f64() < Some(0.37), "{third}");
    let timed = generate(&["--budget", "time=3600s", "--calibration", costs, "--json"]);
    assert_eq!(timed["density"], 1.0, "dense attention fits");
    let hurried =
        ["generate", "--model", model, "--prompt-file", &text, "--calibration", costs, "--budget", "time=0.01ms"];
    refuses(run(&hurried), 1, &["too small for this prompt", "dense attention"]);
    let unknown = ["generate", "--model", model, "--prompt", "x", "--budget", "time=1s"];
    refuses(run(&unknown), 1, &["sparse-accelerate calibrate", "--calibration"]);
    let proven = generate(&["--recall", "0.8", "--guarantee", "0.01", "--json"]);
    assert!(proven["dropped_at_most"].as_f64() <= Some(0.01), "{proven}");
    let window = r#"["stream_llm", 64, 128, 1.0]"#;
    let layer = (0..9).map(|head| format!("\"{head}\": {window}")).collect::<Vec<_>>().join(", ");
    let patterns = |layers: usize| format!("[{}]", vec![format!("{{{layer}}}"); layers].join(", "));
    let windows = generate(&["--patterns", &file("windows.json", &patterns(30)), "--json"]);
    assert!(windows["density"].as_f64() < Some(0.6), "{windows}");
    let too_few = file("too-few.json", &patterns(29));
    refuses(run(&["generate", "--model", model, "--prompt", "x", "--patterns", &too_few]), 1, &["29", "30"]);
    let none = file("none.json", "{");
    refuses(
        run(&["generate", "--model", model, "--prompt", "x", "--patterns", &none]),
        1,
        &["cannot use the patterns"],
    );

    let rated = run(&["eval", "perplexity", "--model", model, "--texts", &text, "--lengths", "64", "--tail", "8"]);
    assert_eq!(String::from_utf8_lossy(&rated.stdout).lines().count(), 3, "a header, dense, sparse");
    let longer = ["eval", "perplexity", "--model", model, "--texts", &text, "--lengths", "8000"];
    refuses(run(&longer), 1, &["text", "8000", "longer text"]);
}

#[test]
fn patterns_are_searched_offline_and_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_string()
    };
    let model = small_model(folder.path());
    let model = ["--random-weights", "--model", &model];
    let text = "The grass is green. The sky is blue. Where is the sea? ".repeat(60);
    let prompts = file("prompts.jsonl", &format!("{{\"prompt\": {text:?}}}\n"));
    let (text, found) = (file("text.txt", &text), file("found.json", ""));
    let search = |prompts: &str| {
        let search = ["search", "--prompts", prompts, "--max-prompt-tokens", "1500", "--out", &found];
        run(&[&search[..], &["--budget", "density=0.5"], &model].concat())
    };
    let searched = search(&prompts);
    assert!(String::from_utf8_lossy(&searched.stdout).contains("8 heads"), "{searched:?}");
    let generate = ["generate", "--prompt-file", &text, "--max-tokens", "1", "--json", "--patterns", &found];
    let replayed = run(&[&generate[..], &model].concat());
    let replayed: serde_json::Value = serde_json::from_slice(&replayed.stdout).expect("JSON");
    assert!(replayed["density"].as_f64() < Some(0.5), "{replayed}");
    refuses(search(&file("broken.jsonl", "{\"text\": 1}")), 1, &["line 1", "\"prompt\""]);
}

#[test]
fn a_model_is_timed_in_every_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, json) = (small_model(folder.path()), folder.path().join("result.json"));
    let model = ["--random-weights", "--model", &model];
    let json = json.to_str().expect("UTF-8");
    let bench = |arguments: &[&str]| {
        let output = run(&[&["bench"], arguments, &model, &["--json", json]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let result: serde_json::Value = serde_json::from_slice(&std::fs::read(json).expect("written")).expect("JSON");
        assert!(result["meta"]["date"].is_string() && result["goal"]["recall"].is_number());
        (result, String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (crossover, said) =
        bench(&["crossover", "--from", "32", "--to", "100", "--runs", "3", "--gain", "0.9", "--refinements", "1"]);
    assert_eq!(
        (&crossover["break_even"]["value"], crossover["points"].as_array().map(Vec::len)),
        (&"none".into(), Some(3))
    );
    assert!(said.contains("No break-even up to 100 tokens"), "{said}");
    let (overhead, _) = bench(&["overhead", "--lengths", "1,16", "--runs", "3"]);
    assert!(overhead["rows"][1]["ratio"]["ci95"][0].is_number() && overhead["rows"][1]["density"] == 1.0);
    let (growth, said) = bench(&["growth", "--lengths", "64,1500", "--runs", "3", "--recall", "0.8"]);
    assert_eq!(growth["rows"].as_array().map(Vec::len), Some(2));
    assert!(growth["search"][0]["scores_ms"] == 0.0 && growth["search"][1]["probes_ms"].as_f64() > Some(0.0));
    assert!(said.contains("exponent") && said.contains("candidates"), "{said}");
    let (memory, _) = bench(&["memory", "--lengths", "64,100", "--attention", "dense"]);
    let point = &memory["points"][1];
    // The weights alone, of 16-bit floats.
    let least = Some(2 * SMALL_MODEL_WEIGHTS);
    assert!(point["length"] == 100 && point["predicted_bytes"].as_u64() > least, "{point}");
    if cfg!(target_os = "linux") {
        assert!(point["measured_bytes"].as_u64() > least, "{point}");
    }
    let refused = |arguments: &[&str], says: &[&str]| refuses(run(&[arguments, &model].concat()), 1, says);
    refused(&["bench", "memory", "--lengths", "9000"], &["9000", "8192"]);
    refused(&["bench", "growth", "--lengths", "64,64"], &["two or more different lengths"]);
}

#[test]
fn a_real_model_is_looked_into() {
    let Some(path) = default_model() else { return };
    let model = path.to_str().expect("UTF-8");
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("a & <b>.txt");
    std::fs::write(&text, "The grass is green. The sky is blue. Where is the sea? ".repeat(80)).expect("written");
    let (text, out) = (text.to_str().expect("UTF-8"), folder.path().join("new/pictures"));
    let read = |path: &Path| std::fs::read_to_string(path).expect("written");

    let inspect = ["inspect", "--model", model, "--prompt-file", text, "--out", out.to_str().expect("UTF-8")];
    let inspect = |more: &[&str]| run(&[&inspect, more].concat());
    let output = inspect(&["--layers", "0,5", "--heads", "3", "--recall", "0.8"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = read(&out.join("index.html"));
    assert!(page.contains("a &amp; &lt;b&gt;.txt") && !page.contains("<b>.txt") && page.contains("layer-5-head-3"));
    assert_eq!(page.matches("data:image/png").count(), 2 * 2);
    assert!(read(&out.join("layer-05-head-03.svg")).contains("<svg"));
    let heads: serde_json::Value = serde_json::from_str(&read(&out.join("inspect.json"))).expect("JSON");
    assert!(heads["heads"][1]["exact_recall"].as_f64() > Some(0.7), "{heads}");
    refuses(inspect(&["--layers", "30"]), 1, &["layer 30", "has 30"]);
    refuses(inspect(&["--heads", "9"]), 1, &["head 9", "has 9"]);
}

#[test]
fn parts_of_the_patterns_are_left_out_in_turn() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("a & <b>.txt");
    std::fs::write(&text, "The grass is green. The sky is blue. Where is the sea? ".repeat(22)).expect("written");
    let (model, text) = (small_model(folder.path()), text.to_str().expect("UTF-8"));
    let (json, html) = (folder.path().join("ablation.json"), folder.path().join("ablation.html"));
    let ablation = ["eval", "ablation", "--model", &model, "--random-weights", "--texts", text, "--lengths", "1200"];
    let files = ["--json", json.to_str().expect("UTF-8"), "--html", html.to_str().expect("UTF-8")];
    let output = run(&[&ablation[..], &["--tail", "16"], &files].concat());
    assert!(String::from_utf8_lossy(&output.stdout).contains("no centres"), "{output:?}");
    let read = |path: &Path| std::fs::read_to_string(path).expect("written");
    let findings: serde_json::Value = serde_json::from_str(&read(&json)).expect("JSON");
    let count = |key: &str| findings[key].as_array().map(Vec::len);
    assert_eq!((count("rows"), count("atlas")), (Some(7), Some(8)));
    assert!(read(&html).contains("a &amp; &lt;b&gt;, 1200 tokens"));
}

#[test]
fn a_real_model_answers_and_refuses_what_it_cannot_hold() {
    let Some(path) = default_model() else { return };
    let model = path.to_str().expect("UTF-8");
    let ask = |more: &[&str]| run(&[&["generate", "--model", model], more].concat());

    let output = ask(&["--prompt", "The capital of France is", "--max-tokens", "4", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(answer["text"].as_str().expect("text").contains("Paris"), "{answer}");
    for key in [
        "text",
        "prompt_tokens",
        "generated_tokens",
        "ttft_ms",
        "prefill_ms",
        "decode_tokens_per_s",
        "density",
        "recall",
        "predicted_memory_bytes",
        "attention",
        "attention_ran",
        "device",
        "model",
    ] {
        assert!(answer.get(key).is_some(), "{key}");
    }
    let flags = ["generate", "--model", model, "--max-tokens", "4"];
    let piped = run_with_input(&flags, b"The capital of France is\n");
    let streamed = String::from_utf8(piped.stdout).expect("UTF-8");
    assert_eq!(streamed.strip_suffix('\n'), answer["text"].as_str(), "the input's last newline is not prompt");
    assert_eq!(piped.stderr.iter().filter(|byte| **byte == b'\n').count(), 1, "a summary, and no bars in a pipe");
    let chat = br#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]"#;
    let by_messages = run_with_input(&["generate", "--model", model, "-n", "4", "--messages", "-"], chat).stdout;
    let by_flags = ask(&["--chat", "--system", "Be brief.", "-p", "Hi", "-n", "4"]).stdout;
    assert_eq!((by_messages.is_empty(), by_messages), (false, by_flags));
    assert_eq!((&answer["attention"], &answer["attention_ran"]), (&"auto".into(), &"dense".into()), "{answer}");
    assert!(answer["attention_reason"].is_string(), "{answer}");
    let draw =
        |seed: &str| ask(&["--prompt", "Once", "--max-tokens", "8", "--temperature", "1", "--seed", seed]).stdout;
    assert_eq!(draw("1"), draw("1"));

    let long = "word ".repeat(9000);
    refuses(run_with_input(&["generate", "--model", model], long.as_bytes()), 1, &["context of 8192", "shorten"]);
    refuses(ask(&["--prompt", "x", "--max-memory", "10M"]), 1, &["needs", "10.0 MiB are available", "--max-memory"]);
    refuses(ask(&["--prompt", "x", "--device", "cuda"]), 1, &["--device cpu"]);

    let bytes = std::fs::read(&path).expect("the model");
    let folder = tempfile::tempdir().expect("a folder");
    let cut = folder.path().join("cut.gguf");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
    refuses(run(&["generate", "--model", cut.to_str().expect("UTF-8"), "--prompt", "x"]), 1, &["truncated or corrupt"]);
}

/// The program with so many addresses, where rayon would start a hundred thousand threads if it were let.
#[cfg(target_os = "linux")]
fn run_within(limit_mib: u64, arguments: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    let limited = format!("ulimit -v {}; exec \"$0\" \"$@\"", limit_mib << 10);
    shell.args(["-c", &limited, env!("CARGO_BIN_EXE_sparse-accelerate")]).args(arguments);
    shell.env("CUDA_VISIBLE_DEVICES", "").env("RAYON_NUM_THREADS", "100000").output().expect("it ends")
}

/// Threads are those of `--threads` or of the cores, whatever the variable says that rayon reads: as many as that have no room in 2 GiB.
#[cfg(target_os = "linux")]
#[test]
fn absurd_numbers_of_threads_are_refused_or_not_heard() {
    let out = tempfile::tempdir().expect("a folder");
    let file = out.path().join("calibration.json");
    let calibrate = ["calibrate", "--device", "cpu", "--head-dim", "32", "--out", file.to_str().expect("UTF-8")];
    let many = ["--threads", "100000"];
    refuses(run(&[&calibrate[..], &many].concat()), 2, &["--threads", "expected at most"]);
    assert!(run_within(2048, &calibrate).status.success());
    let calibration: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
    let cores = std::thread::available_parallelism().expect("known").get() as u64;
    assert_eq!(calibration["cpu"]["threads"], cores);
    let model = small_model(out.path());
    let model = ["--random-weights", "--model", &model];
    for command in [
        &["generate", "--prompt", "x", "--max-tokens", "1"][..],
        &["bench", "ttft", "--lengths", "16", "--runs", "1"],
        &["eval", "passkey", "--lengths", "600", "--samples", "1"],
    ] {
        let command = [command, &model].concat();
        refuses(run(&[&command[..], &many].concat()), 2, &["--threads", "expected at most"]);
        let output = run_within(2048, &command);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// From too few for the program itself, over too few for the head of a file and for its weights, to enough.
#[cfg(target_os = "linux")]
#[test]
fn any_limit_on_addresses_ends_in_an_answer_or_an_error() {
    let Some(path) = default_model() else { return };
    let model = ["--model", path.to_str().expect("UTF-8")];
    let generate = [&["generate", "--prompt", "x", "--max-tokens", "1", "--threads", "2"][..], &model].concat();
    // Below, the system ends the program before it begins.
    let begins = (8..).find(|&limit| run_within(limit, &["--version"]).status.success()).expect("some limit suffices");
    for limit in begins..begins + 7 {
        for command in [&generate, &[&["fit", "--context", "9"][..], &model].concat(), &vec!["doctor"]] {
            refuses(run_within(limit, command), 1, &["to begin takes 8.0 MiB", "ulimit -v"]);
        }
    }
    refuses(run_within(begins + 20, &generate), 1, &["its head needs", "ulimit -v"]);
    for limit in [60, 100, 140] {
        refuses(run_within(limit, &generate), 1, &["needs", "are available"]);
    }
    assert!(run_within(2 << 10, &generate).status.success());
}

#[test]
fn results_are_written_whole_or_refused_first() {
    let arguments = ["bench", "ttft", "--model", "nowhere.gguf", "--json", "nowhere/ttft.json"];
    refuses(run(&arguments), 1, &["cannot write nowhere/ttft.json"]);
    let folder = tempfile::tempdir().expect("a folder");
    let (model, json) = (small_model(folder.path()), folder.path().join("ttft.json"));
    let json = json.to_str().expect("UTF-8");
    let model = ["--random-weights", "--model", &model, "--json", json];
    let output = run(&[&["bench", "ttft", "--lengths", "64,100", "--runs", "1"][..], &model].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(json).expect("written")).expect("JSON");
    assert_eq!(results["rows"].as_array().expect("rows").len(), 4);
    assert!(results["rows"][0]["ttft_ms"]["median"].as_f64().expect("a time") > 0.0);

    let passkey = |length| run(&[&["eval", "passkey", "--lengths", length, "--samples", "2"][..], &model].concat());
    refuses(passkey("100000"), 1, &["100000", "8192"]);
    let output = passkey("600");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(json).expect("written")).expect("JSON");
    let count = |key: &str| results[key].as_array().expect(key).len();
    assert_eq!((count("rows"), count("agreement"), count("samples")), (2, 1, 4));
    assert!(results["meta"]["date"].as_str().expect("a date").ends_with('Z'));
}

#[test]
fn prompts_of_ones_own_are_scored() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let fine = "{\"prompt\": \"The capital of France is\", \"answers\": [\"Paris\"]}\n";
    let broken = file("broken.jsonl", &format!("{fine}\n{{\"prompt\": \"x\", \"answer\": \"y\"}}\n"));
    let ask = |model: &str, prompts: &str, more: &[&str]| {
        run(&[&["eval", "prompts", "--model", model, "--prompts", prompts], more].concat())
    };
    // A bad line is told before the model is looked for.
    refuses(ask("nowhere.gguf", &broken, &[]), 1, &["broken.jsonl", "line 3", "unknown field `answer`", "\"answers\""]);

    let Some(path) = default_model() else { return };
    let model = path.to_str().expect("UTF-8");
    let chat = "{\"messages\": [{\"role\": \"user\", \"content\": \"Say yes.\"}]}\n";
    let (mine, json) = (file("mine.jsonl", &format!("{fine}{chat}")), file("mine.json", ""));
    let output = ask(model, &mine, &["--max-tokens", "6", "--json", &json]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).expect("written")).expect("JSON");
    assert_eq!((&result["rows"][0]["score"], &result["rows"][0]["n"]), (&1.0.into(), &1.into()), "{result}");
    assert_eq!((&result["agreement"][0]["agreement"], &result["agreement"][0]["n"]), (&1.0.into(), &2.into()));
    assert_eq!(result["samples"][2]["right"], serde_json::Value::Null);
    let long = file("long.jsonl", &format!("{fine}{{\"prompt\": \"{}\"}}\n", "word ".repeat(9000)));
    refuses(ask(model, &long, &[]), 1, &["long.jsonl", "line 2", "8192", "shorten"]);
}

/// On this machine's CPU, and on a GPU that is not there.
#[test]
fn fit_predicts_what_generate_then_reports() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let shape = r#"{"model_type": "qwen2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 8192}"#;
    std::fs::write(&config, shape).unwrap();
    let model = ["--model", config.to_str().unwrap(), "--random-weights", "q4_0", "--json"];
    let json = |command: &str, more: &[&str]| -> (Option<i32>, serde_json::Value) {
        let output = run(&[&[command], &model[..], more].concat());
        let answer = serde_json::from_slice(&output.stdout);
        (output.status.code(), answer.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
    };
    // Bytes are tokens; the last new one is never fed back.
    let prompt = "a".repeat(999);
    for attention in ["sparse", "dense", "auto"] {
        let (_, ran) = json("generate", &["--prompt", &prompt, "--max-tokens", "2", "--attention", attention]);
        let (code, fit) = json("fit", &["--context", "1000", "--attention", attention]);
        assert_eq!(code, Some(0));
        assert_eq!(fit["predicted_memory_bytes"], ran["predicted_memory_bytes"], "{attention}: {fit:#}");
        let parts = fit["parts"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap());
        assert_eq!(fit["predicted_memory_bytes"], parts.sum::<u64>());
        assert_eq!(fit["longest_context_tokens"], 8192);
    }

    let on_gpu = |memory: &str, more: &[&str]| json("fit", &[&["--device-memory", memory], more].concat());
    let (code, fit) = on_gpu("24G", &[]);
    assert_eq!((code, &fit["fits"], &fit["device"]), (Some(0), &true.into(), &"gpu".into()));
    let need = fit["predicted_memory_bytes"].as_u64().unwrap();
    // A byte less is too little for it, and something shorter fits.
    let (code, fit) = on_gpu("24G", &["--attention", "sparse", "--max-memory", &(need - 1).to_string()]);
    assert_eq!((code, &fit["fits"], &fit["predicted_memory_bytes"]), (Some(1), &false.into(), &need.into()));
    let longest = fit["longest_context_tokens"].as_u64().unwrap();
    assert!(longest < 8192);
    let ways = fit["ways_out"].as_array().unwrap();
    let names: Vec<&str> = ways.iter().map(|way| way["way"].as_str().unwrap()).collect();
    // The file has 4 bits already.
    assert_eq!(names, ["--attention dense", "--chunk-tokens 4096"], "{fit:#}");
    for way in ways {
        assert!(way["predicted_memory_bytes"].as_u64() < Some(need) && way["fits"] == true, "{way}");
    }
    refuses(
        run(&["fit", "--model", model[1], "--random-weights", "--context", "8000", "--max-memory", "1M"]),
        1,
        &["8000 tokens do not fit", "1.0 MiB are available"],
    );
    refuses(run(&["fit", "--model", "x", "--quantization", "fp8"]), 2, &["--device-memory"]);
}
