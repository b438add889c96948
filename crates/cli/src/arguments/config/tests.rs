use super::super::{Arguments, Command as Asked, command};
use super::*;
use std::any::TypeId;
use std::path::Path;

/// A file with this text.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

fn words(file: &Path, more: &str) -> Vec<OsString> {
    let words = ["sparse-accelerate", "serve", "--config", file.to_str().expect("UTF-8")];
    words.into_iter().chain(more.split_whitespace()).map(OsString::from).collect()
}

fn served(file: &Path, more: &str) -> Result<super::super::Serve, Error> {
    let matches = matches(command(), &words(file, more))?;
    match Arguments::from_arg_matches(&matches)?.command {
        Asked::Serve(serve) => Ok(serve),
        _ => panic!("serve is asked for"),
    }
}

#[test]
fn a_file_stands_below_flags_and_above_defaults() {
    let file = file("model = 'x.gguf'\nmax_running = 3\nmax-requests = 0x10\nmax-body = \"2M\"\napart-on-gpu = true\n");
    let serve = served(file.path(), "").expect("the file has a model");
    let told = (serve.model.model.as_str(), serve.max_running, serve.max_requests, serve.max_body, serve.apart_on_gpu);
    assert_eq!(told, ("x.gguf", 3, 16, 2 << 20, true));
    assert_eq!(serve.listen.port(), 8080);
    let serve = served(file.path(), "--model y.gguf --max-running 5").expect("flags may say it again");
    assert_eq!((serve.model.model.as_str(), serve.max_running, serve.max_requests), ("y.gguf", 5, 16));
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    for (text, says) in [
        ("model = 'x'\nmax-runing = 3", ", line 2: there is no option `max-runing`; expected one of model, "),
        ("model = 'x'\n\napi_key = 's'", ", line 3: there is no option `api_key`; a key stands in a file of its own"),
        ("config = 'x'", ", line 1: there is no option `config`"),
        ("max-running = 'eight'", ", line 1: `max-running` is of type string: expected a whole number"),
        ("listen = 8080", ", line 1: `listen` is of type integer: expected a text in quotes"),
        ("apart-on-gpu = 1", ", line 1: `apart-on-gpu` is of type integer: expected true or false"),
        ("max-body = 1.5", ", line 1: `max-body` is of type float: expected a whole number, or a text"),
        ("[listen]\nport = 1", ", line 1: `listen` is of type table: expected a text in quotes"),
        ("threads = 99999999999999999999", ", line 1: `threads` is 99999999999999999999: expected a whole number of"),
        ("max-running = 1\nmax_running = 2", "stands at "),
        ("model = 'x'\nlisten =", ", line 2: "),
        (
            "model = 'x'\nmax-running = 0",
            ", line 2: invalid value '0' for '--max-running <N>': expected a whole number above 0",
        ),
        ("model = 'x'\ndevice = 'cuba'", ", line 2: invalid value 'cuba' for '--device <DEVICE>'"),
        ("model = 'x'\nmax-running = -1", ", line 2: invalid value '-1'"),
    ] {
        let file = file(text);
        let said = served(file.path(), "").map(|_| ()).expect_err(text).to_string();
        assert!(said.contains(file.path().to_str().expect("UTF-8")), "{text}: {said}");
        assert!(said.contains(says), "{text}: expected `{says}` in {said}");
    }
    let said = served(Path::new("no-such.toml"), "").map(|_| ()).expect_err("no file").to_string();
    assert!(said.contains("cannot read no-such.toml") && said.contains("--config"), "{said}");
}

#[test]
fn what_is_wrong_with_a_flag_is_not_blamed_on_the_file() {
    let file = file("model = 'x'\nmax-running = 3");
    let said = served(file.path(), "--max-running 0").map(|_| ()).expect_err("refused").to_string();
    assert!(said.starts_with("error: invalid value '0' for '--max-running <N>'"), "{said}");
}

#[test]
fn every_option_has_a_kind_that_reads_what_it_writes() {
    let program = command();
    for flag in options(&program) {
        let name = flag.get_long().expect("a flag");
        let made = flag.get_value_parser().type_id();
        let numbers =
            [TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<i64>(), TypeId::of::<f32>(), TypeId::of::<f64>()];
        assert!(numbers.iter().all(|number| made != *number), "--{name}: a number that `Kind::of` takes for a text");
        let value = match Kind::of(flag) {
            Kind::Switch => "true",
            Kind::Integer => "7",
            Kind::Bytes => "7M",
            Kind::Text => "a \"quoted\" text \u{7f}",
        };
        let file = file(&format!("{name} = {}", Kind::of(flag).write(value)));
        let entries = file::read(file.path(), &[flag]).expect("read");
        let word =
            if matches!(Kind::of(flag), Kind::Switch) { format!("--{name}") } else { format!("--{name}={value}") };
        assert_eq!(entries[0].word, word);
    }
}

#[test]
fn the_example_of_a_service_is_read() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/serve.toml");
    let serve = served(&example, "").expect("an example that is right");
    assert!(!serve.model.model.is_empty());
    // Each line that is commented out, and names an option, is right as well.
    let text = std::fs::read_to_string(&example).expect("readable");
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("#").filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect();
    assert_ne!(text, uncommented, "the example has options to choose from");
    served(file(&uncommented).path(), "").expect("options to choose from that are right");
}
