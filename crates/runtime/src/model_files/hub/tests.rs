use super::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef";
const INDEX: &str = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;

/// A repository `org/name` on a server of this process that speaks as much HTTP as a download takes.
struct Server {
    endpoint: String,
    /// Request line and authorization of every request so far.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start(files: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files: BTreeMap<String, String> =
            files.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        // Ends with the test process.
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), &files, &seen)));
        Self { endpoint, requests }
    }

    fn hub(&self, cache: &TempDir) -> Hub {
        hub(cache, &self.endpoint)
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, String>, seen: &Mutex<Vec<(String, String)>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let request = lines.next().unwrap();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let found =
            headers.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_string()).unwrap_or_default()
    };
    seen.lock().unwrap().push((request.clone(), header("authorization")));
    let path = request.split(' ').nth(1).unwrap();
    let name = path.strip_prefix(&format!("/org/name/resolve/{COMMIT}/"));
    let name = name.or(path.strip_prefix("/org/name/resolve/main/")).or(path.strip_prefix("/org/name/resolve/v1/"));
    let listing = || {
        let siblings: Vec<String> = files.keys().map(|name| format!(r#"{{"rfilename": "{name}"}}"#)).collect();
        format!(r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#, siblings.join(","))
    };
    let (status, body) = match (path, name.and_then(|name| files.get(name))) {
        ("/api/models/org/name/revision/main" | "/api/models/org/name/revision/v1", _) => ("200 OK", listing()),
        (_, Some(text)) => ("206 Partial Content", text.clone()),
        _ => ("404 Not Found", String::new()),
    };
    let part = if header("range") == "bytes=0-0" { &body[..1] } else { &body[..] };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\nContent-Range: bytes 0-0/{}\r\n\
         ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n\r\n{part}",
        part.len(),
        body.len(),
        path.rsplit('/').next().unwrap(),
    )
    .unwrap();
}

fn hub(cache: &TempDir, endpoint: &str) -> Hub {
    let cache = Cache::new(cache.path().join("hub"));
    Hub { cache, token: Some("secret".into()), endpoint: Some(endpoint.into()), offline: false, progress: false }
}

fn sharded() -> Server {
    Server::start(&[
        ("config.json", "{}"),
        ("tokenizer.json", "{ }"),
        ("model.safetensors.index.json", INDEX),
        ("model-1.safetensors", "one"),
        ("model-2.safetensors", "two"),
        ("pytorch_model.bin", "not wanted"),
    ])
}

#[test]
fn a_repository_becomes_a_folder_and_then_needs_no_network() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let folder = server.hub(&cache).folder("org/name", "main").unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let index = "model.safetensors.index.json";
    assert_eq!(names, ["config.json", "model-1.safetensors", "model-2.safetensors", index, "tokenizer.json"]);
    assert_eq!(std::fs::read_to_string(folder.join("model-2.safetensors")).unwrap(), "two");
    assert!(server.requests.lock().unwrap().iter().all(|(_, token)| token == "Bearer secret"));

    let requests = server.count();
    let offline = Hub { offline: true, ..server.hub(&cache) };
    assert_eq!(offline.folder("org/name", "main").unwrap(), folder);
    assert_eq!(server.count(), requests);
}

#[test]
fn an_interrupted_download_is_not_a_model_and_goes_on() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let folder = server.hub(&cache).folder("org/name", "main").unwrap();
    std::fs::remove_file(folder.join("model-2.safetensors")).unwrap();
    let offline = Hub { offline: true, ..server.hub(&cache) };
    let message = offline.folder("org/name", "main").unwrap_err().to_string();
    assert!(message.contains("org/name") && message.contains("HF_HUB_OFFLINE"), "{message}");

    let before = server.count();
    assert_eq!(server.hub(&cache).folder("org/name", "main").unwrap(), folder);
    let again: Vec<String> = server.requests.lock().unwrap()[before..].iter().map(|(line, _)| line.clone()).collect();
    assert!(again.iter().all(|line| line.contains("/api/") || line.contains("model-2")), "{again:?}");
}

#[test]
fn one_gguf_file_of_a_repository() {
    let (server, cache) = (Server::start(&[("m-q4.gguf", "GGUF")]), tempfile::tempdir().unwrap());
    let path = server.hub(&cache).gguf("org/name", "main", "m-q4.gguf").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "GGUF");
    let offline = Hub { offline: true, ..server.hub(&cache) };
    assert_eq!(offline.gguf("org/name", "main", "m-q4.gguf").unwrap(), path);
    assert!(matches!(offline.gguf("org/name", "main", "other.gguf"), Err(LoadError::Hub { .. })));
}

#[test]
fn a_revision_is_asked_for_and_kept_beside_others() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let folder = server.hub(&cache).folder("org/name", "v1").unwrap();
    assert!(server.requests.lock().unwrap()[0].0.contains("/revision/v1"));
    let offline = Hub { offline: true, ..server.hub(&cache) };
    assert_eq!(offline.folder("org/name", "v1").unwrap(), folder);
    assert!(offline.folder("org/name", "main").is_err(), "nobody asked for main");
    assert!(matches!(server.hub(&cache).folder("org/name", "v2"), Err(LoadError::Hub { .. })));
}

#[test]
fn one_part_of_a_split_file_brings_all() {
    let [first, second] = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    let (server, cache) = (Server::start(&[(first, "one"), (second, "two")]), tempfile::tempdir().unwrap());
    let path = server.hub(&cache).gguf("org/name", "v1", second).unwrap();
    assert_eq!(std::fs::read_to_string(path.with_file_name(first)).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "two");
}

#[test]
fn what_the_hub_cannot_give_is_an_error_that_says_what_to_do() {
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[("m-q4.gguf", "GGUF")], "`org/name:m-q4.gguf`"),
        (&[("README.md", "-")], "no config.json"),
        (&[("config.json", "{}"), ("pytorch_model.bin", "-")], "no model.safetensors"),
    ];
    for (files, says) in cases {
        let (server, cache) = (Server::start(files), tempfile::tempdir().unwrap());
        let message = server.hub(&cache).folder("org/name", "main").unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    let cache = tempfile::tempdir().unwrap();
    let message = sharded().hub(&cache).folder("org/other", "main").unwrap_err().to_string();
    assert!(message.contains("404") && message.contains("check the name"), "{message}");
    // A port that was free a moment ago: nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = hub(&cache, &format!("http://{closed}")).folder("org/name", "main").unwrap_err().to_string();
    assert!(message.contains("the network"), "{message}");
}
