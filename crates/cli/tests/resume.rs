//! Evaluations that are killed and started again end with the numbers of one that was left alone.

use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const KILLS: usize = 6;

/// A folder with a model of random weights, whose tokens are bytes, and a text.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 256, "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5}"#;
        std::fs::create_dir(folder.path().join("model")).expect("made");
        std::fs::write(folder.path().join("model/config.json"), config).expect("written");
        let text: String = (0..600).map(|n| format!("Line {n} is {}. ", n * n % 97)).collect();
        let prompt = |n: usize| format!("{{\"prompt\": \"{}\", \"answers\": [\"e\"]}}\n", &text[n..][..100 * n + 400]);
        std::fs::write(folder.path().join("prompts.jsonl"), (0..15).map(prompt).collect::<String>()).expect("written");
        std::fs::write(folder.path().join("text.txt"), text).expect("written");
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A run of `eval` with its results in `json`.
    fn command(&self, flags: &[&str], json: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sparse-accelerate"));
        command.arg("eval").args(flags).args(["--random-weights", "--threads", "1", "--model"]);
        command.arg(self.file("model")).arg("--json").arg(json).current_dir(self.0.path());
        command.env("CUDA_VISIBLE_DEVICES", "").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, flags: &[&str], json: &Path) -> Output {
        self.command(flags, json).output().expect("the program was built")
    }

    /// Starts a run and kills it after so long, unless it ends before.
    fn kill_after(&self, flags: &[&str], json: &Path, time: Duration) {
        let mut child: Child =
            self.command(flags, json).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("built");
        std::thread::sleep(time);
        child.kill().expect("killed, or ended before");
        child.wait().expect("it ended");
    }
}

/// What a result file says, without what no two runs have alike: the day and times.
fn numbers(json: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| key != "meta" && !key.ends_with("_ms") && key != "attention_vs_all");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(&std::fs::read(json).expect("written")).expect("JSON");
    strip(&mut value);
    value
}

fn random_below(time: Duration) -> Duration {
    let share = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    time.mul_f64(share)
}

fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)]
}

/// Killed again and again, an evaluation loses no finished sample and ends with the numbers of one that was left alone.
fn outlives_kills(flags: &[&str]) {
    let place = Place::new();
    let (alone, killed) = (place.file("alone.json"), place.file("killed.json"));
    let started = Instant::now();
    let output = place.run(flags, &alone);
    let time = started.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let samples = place.file("killed.samples.jsonl");
    let mut before = Vec::new();
    for kill in 0..KILLS {
        let moment = random_below(time);
        place.kill_after(flags, &killed, moment);
        let now = std::fs::read(&samples).unwrap_or_default();
        assert!(now.starts_with(whole_lines(&before)), "kill {kill} after {moment:?} lost a sample");
        before = now;
    }
    let resumed = place.run(flags, &killed);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert_eq!(numbers(&killed), numbers(&alone));
    // Nothing is left to do: the same lines again, and not one sample more.
    let all = std::fs::read(&samples).expect("kept");
    let again = place.run(flags, &killed);
    assert_eq!(again.stdout, resumed.stdout);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not measured again"));
    assert_eq!(std::fs::read(&samples).expect("kept"), all);
}

#[test]
fn passkey_killed_at_random_moments() {
    outlives_kills(&["passkey", "--lengths", "800,1600", "--samples", "12"]);
}

#[test]
fn needle_killed_at_random_moments() {
    outlives_kills(&["needle", "--lengths", "1600", "--samples", "12", "--seed", "3"]);
}

#[test]
fn ruler_killed_at_random_moments() {
    outlives_kills(&["ruler", "--tasks", "vt,fwe", "--lengths", "2000,2500", "--samples", "4"]);
}

#[test]
fn everyday_killed_at_random_moments() {
    outlives_kills(&["everyday", "--tasks", "middle,update", "--lengths", "1500,2000", "--samples", "2"]);
}

#[test]
fn perplexity_killed_at_random_moments() {
    outlives_kills(&["perplexity", "--texts", "text.txt", "--lengths", "500,1000,2000,4000", "--tail", "300"]);
}

#[test]
fn prompts_killed_at_random_moments() {
    outlives_kills(&["prompts", "--prompts", "prompts.jsonl", "--max-tokens", "5"]);
}

#[test]
fn ablation_killed_at_random_moments() {
    outlives_kills(&["ablation", "--texts", "text.txt", "--lengths", "1500,3000", "--tail", "100"]);
}

#[test]
fn what_changed_is_measured_anew_and_said() {
    let place = Place::new();
    let (json, samples) = (place.file("p.json"), place.file("p.samples.jsonl"));
    let flags = |seed| ["passkey", "--lengths", "600", "--samples", "2", "--seed", seed];
    let says = |output: &Output, words: &str| {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && message.contains(words), "expected `{words}` in: {message}");
    };
    place.run(&flags("1"), &json);
    says(&place.run(&flags("2"), &json), "the command is not that of the samples");
    let config = place.file("model/config.json");
    let other = std::fs::read_to_string(&config).expect("there").replace("1e-5", "1e-4");
    std::fs::write(&config, other).expect("written");
    says(&place.run(&flags("2"), &json), "the model is not that of the samples");

    std::fs::write(&samples, "notes of mine\n").expect("written");
    let refused = place.run(&flags("2"), &json);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && message.contains("holds no samples"), "{message}");
    assert_eq!(std::fs::read_to_string(&samples).expect("there"), "notes of mine\n");
}

#[test]
fn a_second_run_into_the_same_file_is_refused() {
    let place = Place::new();
    let json = place.file("p.json");
    let flags = ["passkey", "--lengths", "600", "--samples", "2"];
    let head = std::fs::OpenOptions::new().create(true).append(true).open(place.file("p.samples.jsonl")).expect("made");
    head.lock().expect("locked");
    let refused = place.run(&flags, &json);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && message.contains("another run"), "{message}");
    drop(head);
    assert!(place.run(&flags, &json).status.success());
}

/// Whether Ctrl-C does nothing here, nor to what is started from here: so it is where a shell runs its jobs in the background.
fn interrupts_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The first bit is the first signal's, and an interrupt is the second.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}

#[test]
fn an_interrupted_run_keeps_its_samples() {
    if !cfg!(unix) {
        return;
    }
    let signals = if interrupts_are_ignored() { &["-TERM"][..] } else { &["-INT", "-TERM"] };
    let place = Place::new();
    let (json, samples) = (place.file("p.json"), place.file("p.samples.jsonl"));
    let flags = ["passkey", "--lengths", "3000", "--samples", "500"];
    for signal in signals {
        let lines = || std::fs::read_to_string(&samples).unwrap_or_default().lines().count();
        let before = lines();
        let mut child =
            place.command(&flags, &json).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("built");
        let started = Instant::now();
        while lines() < before + 3 && started.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Command::new("kill").args([*signal, &child.id().to_string()]).status().expect("kill is there");
        assert!(sent.success() && !child.wait().expect("it ends").success());
        assert!(lines() >= before + 3, "{signal} after {:?}", started.elapsed());
    }
    assert!(!json.exists(), "no result of a part");
}
