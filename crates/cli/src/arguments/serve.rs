//! Flags of `serve`.

use super::ModelArguments;
use super::choices::{LogFormat, log_format};
use super::numbers::{at_least_one, bytes};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_long_help = "It speaks OpenAI's API (/v1/chat/completions, /v1/responses, /v1/completions, /v1/models) and Anthropic's (/v1/messages and its
count_tokens), streamed or whole; chats, responses and messages may call tools of the client's. A request may also say `attention` (auto, dense, sparse), `recall` (0.98) or `budget`
(\"density=0.1\"); `sparse_attention` beside or in `usage` says what attention computed and kept. For those who run it:
/health/live, /health/ready, /metrics (Prometheus), /tokenize, /detokenize.

Examples:
  sparse-accelerate serve --model model.gguf
  SPARSE_ACCELERATE_API_KEY=secret sparse-accelerate serve --model model.gguf --listen 0.0.0.0:8080
  sparse-accelerate serve --config serve.toml
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is a red panda?\"}], \"stream\": true}'

Ctrl-C ends it once what is under way is answered, another one at once."
)]
pub struct Serve {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Address and port to listen at; anyone who reaches it may ask, unless there is a key
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT", help_heading = "Server")]
    pub listen: SocketAddr,
    /// File with the key that requests must carry; the default is the environment's SPARSE_ACCELERATE_API_KEY
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub api_key_file: Option<PathBuf>,
    /// Certificates to speak TLS with, a PEM file, the server's own first; --tls-key is its key
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Server")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Server")]
    pub tls_key: Option<PathBuf>,
    /// Requests that are worked on at a time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = at_least_one, help_heading = "Server")]
    pub max_running: usize,
    /// Requests that are answered or wait; more are told to come again
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = at_least_one, help_heading = "Server")]
    pub max_requests: usize,
    /// Tokens whose keys and values are kept for prompts that begin alike; the default is as many as there is room for
    #[arg(long, value_name = "N", help_heading = "Server")]
    pub max_kept_tokens: Option<usize>,
    /// Tokens of a GPU that are kept on the host where others need the room
    ///
    /// They come back when a prompt begins with them. Whoever needs the room waits for what goes to the host, so it is worth it
    /// only where many prompts do.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Server")]
    pub max_host_tokens: usize,
    /// Write answers on a GPU one token of one after the other: each is to the bit what it is alone, all take longer
    #[arg(long, help_heading = "Server")]
    pub apart_on_gpu: bool,
    /// Bytes of a request, like 16M
    #[arg(long, default_value = "16M", value_name = "BYTES", value_parser = bytes, help_heading = "Server")]
    pub max_body: u64,
    /// Seconds that a request may wait and be answered, then it ends with an error; the default is as long as its client waits
    #[arg(long, value_name = "SECONDS", value_parser = at_least_one, help_heading = "Server")]
    pub deadline: Option<usize>,
    /// Log requests and answers to standard error, without their texts
    #[arg(long, value_name = "FORMAT", value_parser = log_format(), help_heading = "Server")]
    pub log: Option<LogFormat>,
    /// Send spans of requests to a collector of OpenTelemetry, like http://127.0.0.1:4318
    ///
    /// Sizes and times, no texts. The default is the environment's OTEL_EXPORTER_OTLP_ENDPOINT.
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub otlp_endpoint: Option<String>,
}
