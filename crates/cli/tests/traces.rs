//! Spans of `serve`, as a collector of OpenTelemetry gets them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

const CALLER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN_OF_CALLER: &str = "00f067aa0ba902b7";

/// Takes spans, and says that it did.
fn collector() -> (String, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, taken) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some((head, body)) = message(&mut stream) {
                assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
                sender.send(ExportTraceServiceRequest::decode(&body[..]).unwrap()).unwrap();
                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        }
    });
    (url, taken)
}

/// Head and body of what comes next.
fn message(stream: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// The program, ended with it.
struct Serve(Child);

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves a model of random weights, whose tokens are bytes.
fn serve(collector: &str) -> (Serve, String) {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 256, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_sparse-accelerate"));
    program.args([
        "serve",
        "--device",
        "cpu",
        "--listen",
        "127.0.0.1:0",
        "--random-weights",
        "--otlp-endpoint",
        collector,
    ]);
    program.arg("--model").arg(folder.path());
    let mut serve = Serve(program.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(serve.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("answers at") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the server ended before it answered");
    }
    let at = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    // Read on: who writes to a pipe that nobody reads waits.
    thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    (serve, at)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value<'s>(span: &'s Span, key: &str) -> &'s Value {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key);
    let attribute = attribute.unwrap_or_else(|| panic!("no {key} in {span:?}"));
    attribute.value.as_ref().and_then(|value| value.value.as_ref()).unwrap()
}

#[test]
fn a_request_is_part_of_its_callers_trace() {
    let (url, taken) = collector();
    let (mut serve, at) = serve(&url);
    let body = r#"{"prompt": "Secret words: ", "max_tokens": 5, "ignore_eos": true, "temperature": 0}"#;
    let mut asked = TcpStream::connect(&at).unwrap();
    write!(
        asked,
        "POST /v1/completions HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/json\r\nx-request-id: mine\r\ntraceparent: 00-{CALLER}-{SPAN_OF_CALLER}-01\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answered = String::new();
    asked.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    // Its end sends what is left.
    let pid = serve.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(serve.0.wait().unwrap().success());

    let batches: Vec<_> = taken.try_iter().collect();
    assert!(!format!("{batches:?}").contains("Secret"));
    let resources: Vec<_> = batches.into_iter().flat_map(|batch| batch.resource_spans).collect();
    assert!(format!("{:?}", resources[0].resource).contains("sparse-accelerate"));
    let spans: Vec<Span> = resources.into_iter().flat_map(|of| of.scope_spans).flat_map(|scope| scope.spans).collect();
    let named = |name: &str| {
        let mut named = spans.iter().filter(|span| span.name == name);
        let span = named.next().unwrap_or_else(|| panic!("no {name} in {spans:?}"));
        assert!(named.next().is_none(), "two of {name}");
        assert_eq!(hex(&span.trace_id), CALLER);
        span
    };
    let request = named("POST /v1/completions");
    assert_eq!(hex(&request.parent_span_id), SPAN_OF_CALLER);
    assert_eq!(value(request, "http.response.status_code"), &Value::IntValue(200));
    assert_eq!(value(request, "request.id"), &Value::StringValue("mine".into()));
    let answer = named("answer");
    assert_eq!(answer.parent_span_id, request.span_id);
    assert_eq!(value(answer, "gen_ai.usage.output_tokens"), &Value::IntValue(5));
    assert_eq!(value(answer, "sparse_attention.density"), &Value::DoubleValue(1.0));
    let stages = ["queue", "prefill", "decode"].map(named);
    for stage in stages {
        assert_eq!(stage.parent_span_id, answer.span_id);
        assert!(request.start_time_unix_nano <= stage.start_time_unix_nano);
        assert!(stage.end_time_unix_nano <= request.end_time_unix_nano);
    }
    assert!(stages.windows(2).all(|two| two[0].end_time_unix_nano <= two[1].start_time_unix_nano));
}
