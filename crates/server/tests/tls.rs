//! Encrypted connections: who speaks TLS is answered, who does not or is slow holds nobody up, and files that are wrong are told.

mod running_server;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use running_server::Server;
use server::{ServerOptions, Tls};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A certificate of one's own for localhost, and its key, as files.
struct Files {
    folder: TempDir,
    certificate: String,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let files = Self { folder, certificate: cert.pem() };
        files.write("cert.pem", &files.certificate);
        files.write("key.pem", &signing_key.serialize_pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn server(&self) -> Server {
        let tls = Tls::from_files(&self.path("cert.pem"), &self.path("key.pem")).unwrap();
        Server::start(ServerOptions { tls: Some(tls), ..ServerOptions::default() }, 2)
    }

    /// A client that trusts the certificate, and no other.
    fn agent(&self) -> ureq::Agent {
        let trusted = Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[trusted])).build();
        let config = ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(Duration::from_secs(60)));
        config.build().into()
    }
}

fn address(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

fn live(agent: &ureq::Agent, server: &Server) -> Result<String, ureq::Error> {
    agent.get(format!("https://{}/health/live", address(server))).call()?.body_mut().read_to_string()
}

#[test]
fn who_speaks_tls_is_answered_whole_and_streamed() {
    let files = Files::new();
    let server = files.server();
    let agent = files.agent();
    assert_eq!(live(&agent, &server).unwrap(), "live");
    for stream in [false, true] {
        let body =
            serde_json::json!({ "prompt": "Where is it?", "max_tokens": 12, "temperature": 0, "stream": stream });
        let mut answer = agent.post(format!("https://{}/v1/completions", address(&server))).send_json(body).unwrap();
        let answer = answer.body_mut().read_to_string().unwrap();
        assert!(answer.contains("\"text\"") && answer.contains("data: [DONE]") == stream, "{answer}");
    }
    // Who trusts other certificates only is told so by its own client.
    let other = Files::new().agent();
    assert!(live(&other, &server).unwrap_err().to_string().contains("certificate"));
}

#[test]
fn who_is_slow_or_speaks_plainly_holds_nobody_up() {
    let files = Files::new();
    let server = files.server();
    // Clients that say nothing, more than there are threads.
    let silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(address(&server)).unwrap()).collect();
    let mut plain = TcpStream::connect(address(&server)).unwrap();
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut said = Vec::new();
    // It ends the connection, by an alert or at once.
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    assert_eq!(live(&files.agent(), &server).unwrap(), "live");
    // A silent one has time for its handshake and no more.
    let mut first = &silent[0];
    first.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(first.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn what_is_under_way_when_it_ends_is_answered() {
    let files = Files::new();
    let mut server = files.server();
    // Of a client that never shakes hands, nothing is waited for.
    let _silent = TcpStream::connect(address(&server)).unwrap();
    let (agent, url) = (files.agent(), format!("https://{}", address(&server)));
    let body = serde_json::json!({ "prompt": "x".repeat(600), "max_tokens": 200, "temperature": 0, "logit_bias": { "256": -100 } });
    let completions = format!("{url}/v1/completions");
    let asked = {
        let agent = agent.clone();
        thread::spawn(move || agent.post(completions).send_json(body).unwrap().body_mut().read_to_string().unwrap())
    };
    let running = || {
        let metrics = agent.get(format!("{url}/metrics")).call().unwrap().body_mut().read_to_string().unwrap();
        metrics.contains("\nsparse_accelerate_requests_running 1\n")
    };
    let since = Instant::now();
    while !running() && !asked.is_finished() {
        assert!(since.elapsed() < Duration::from_secs(60), "it is never begun");
    }
    server.end();
    let answer = asked.join().unwrap();
    assert!(answer.contains("\"finish_reason\":\"length\""), "{answer}");
}

#[test]
fn files_that_are_wrong_are_told_with_what_was_expected() {
    let (files, other) = (Files::new(), Files::new());
    files.write("empty.pem", "");
    let whole = files.certificate.as_str();
    files.write("cut.pem", &whole[..whole.len() / 2]);
    files.write("junk.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    let path = |name: &str| if name == "other" { other.path("key.pem") } else { files.path(name) };
    for (certificates, key, says) in [
        ("none.pem", "key.pem", &["cannot read", "none.pem"][..]),
        ("cert.pem", "none.pem", &["cannot read", "none.pem"]),
        ("empty.pem", "key.pem", &["empty.pem", "BEGIN CERTIFICATE"]),
        ("cut.pem", "key.pem", &["cut.pem", "BEGIN CERTIFICATE"]),
        ("key.pem", "key.pem", &["key.pem has nothing", "BEGIN CERTIFICATE"]),
        ("cert.pem", "cert.pem", &["cert.pem has nothing", "BEGIN PRIVATE KEY"]),
        ("cert.pem", "other", &["do not work together", "its own private key"]),
        ("junk.pem", "key.pem", &["do not work together"]),
    ] {
        let said = Tls::from_files(&path(certificates), &path(key)).unwrap_err().to_string();
        assert!(says.iter().all(|says| said.contains(says)), "{certificates}, {key}: expected {says:?} in {said}");
    }
}
