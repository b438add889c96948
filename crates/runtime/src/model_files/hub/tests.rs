mod server;

use super::*;
use server::{COMMIT, Manner, Server};
use std::fs;
use std::net::TcpListener;
use tempfile::TempDir;

const INDEX: &[u8] = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;

impl Server {
    fn hub(&self, cache: &TempDir) -> Hub {
        hub(cache, &self.endpoint)
    }
}

fn hub(cache: &TempDir, endpoint: &str) -> Hub {
    let cache = Cache::new(cache.path().join("hub"));
    Hub {
        cache,
        token: Some("secret".into()),
        endpoint: endpoint.into(),
        offline: false,
        pause: Duration::from_millis(1),
    }
}

fn sharded() -> Server {
    let files: [(&str, &[u8]); 6] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{ }"),
        ("model.safetensors.index.json", INDEX),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
        ("pytorch_model.bin", b"not wanted"),
    ];
    Server::start(&files, Manner::Good)
}

/// A GGUF file of a server of such a manner, and how often its bytes were asked for.
fn download_from(manner: Manner, cache: &TempDir) -> (Result<Vec<u8>, String>, Vec<server::Seen>) {
    let server = Server::start(&[("m.gguf", &weights())], manner);
    let path = server.hub(cache).gguf("org/name", "main", "m.gguf", &mut |_| {});
    (path.map(|path| fs::read(path).unwrap()).map_err(|error| error.to_string()), server.downloads())
}

/// More than is read at a time.
fn weights() -> Vec<u8> {
    (0..600_000u32).map(|n| (n % 1009 * 31 % 251) as u8).collect()
}

/// Names and sizes of what lies under the cache's folder of blobs.
fn blobs(cache: &TempDir) -> Vec<(String, u64)> {
    let folder = cache.path().join("hub/models--org--name/blobs");
    let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
}

/// The path of what is left of an interrupted download.
fn leave_behind(cache: &TempDir, bytes: &[u8]) {
    let (whole, _) = download_from(Manner::Good, &tempfile::tempdir().unwrap());
    let server = Server::start(&[("m.gguf", &whole.unwrap())], Manner::Good);
    let client = Client::new(&server.endpoint, None, Duration::ZERO);
    let etag = client.look_up("org/name", "main", "m.gguf").unwrap().etag;
    let blob = hub(cache, "").cache.repository("org/name").blob(&format!("{etag}.incomplete"));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(blob, bytes).unwrap();
}

#[test]
fn a_repository_becomes_a_folder_and_then_needs_no_network() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let mut heard = Vec::new();
    let mut listen = |step: HubProgress| heard.push(format!("{step:?}"));
    let folder = server.hub(&cache).folder("org/name", "main", &mut listen).unwrap();
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let index = "model.safetensors.index.json";
    assert_eq!(names, ["config.json", "model-1.safetensors", "model-2.safetensors", index, "tokenizer.json"]);
    assert_eq!(fs::read_to_string(folder.join("model-2.safetensors")).unwrap(), "two");
    assert!(server.requests().iter().all(|seen| seen.token == "Bearer secret"));
    assert!(heard[0].starts_with("Asks") && heard[0].contains(&server.endpoint), "{heard:?}");
    let last = r#"Downloads { file: "model-2.safetensors", done_bytes: 3, total_bytes: 3 }"#;
    assert_eq!(heard.last().unwrap(), last);

    let requests = server.requests().len();
    let offline = Hub { offline: true, ..server.hub(&cache) };
    assert_eq!(offline.folder("org/name", "main", &mut |_| panic!("nothing to tell")).unwrap(), folder);
    assert_eq!(server.requests().len(), requests);
}

#[test]
fn an_interrupted_download_is_not_a_model_and_goes_on() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let folder = server.hub(&cache).folder("org/name", "main", &mut |_| {}).unwrap();
    fs::remove_file(folder.join("model-2.safetensors")).unwrap();
    // Cut by another tool: the size is looked at.
    let first = fs::canonicalize(folder.join("model-1.safetensors")).unwrap();
    fs::write(&first, "o").unwrap();
    let offline = Hub { offline: true, ..server.hub(&cache) };
    let message = offline.folder("org/name", "main", &mut |_| {}).unwrap_err().to_string();
    assert!(message.contains("HF_HUB_OFFLINE") && message.contains("lacks model-2.safetensors"), "{message}");

    let before = server.downloads().len();
    assert_eq!(server.hub(&cache).folder("org/name", "main", &mut |_| {}).unwrap(), folder);
    let again = server.downloads().split_off(before);
    // The second shard's bytes were in the cache still.
    assert!(again.len() == 1 && again[0].line.contains("model-1"), "{again:?}");
    assert_eq!(fs::read_to_string(folder.join("model-1.safetensors")).unwrap(), "one");
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    for (manner, ranges) in [
        (Manner::Good, vec![""]),
        (Manner::Breaks(2), vec!["", "bytes=300000-", "bytes=450000-"]),
        (Manner::Busy(2), vec![""]),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let (bytes, downloads) = download_from(manner, &cache);
        assert_eq!(bytes.unwrap(), weights(), "{manner:?}");
        assert_eq!(downloads.iter().map(|seen| seen.range.as_str()).collect::<Vec<_>>(), ranges, "{manner:?}");
        assert_eq!(blobs(&cache).len(), 1, "{:?}", blobs(&cache));
    }
    let cache = tempfile::tempdir().unwrap();
    let (failed, downloads) = download_from(Manner::Breaks(100), &cache);
    // Of the last byte half is nothing: tries that bring nothing end.
    assert!(failed.unwrap_err().contains("check the network") && downloads.len() < 30, "{}", downloads.len());
    assert!(blobs(&cache)[0].0.ends_with(".incomplete") && blobs(&cache)[0].1 == 599_999);
    let message = download_from(Manner::Busy(100), &tempfile::tempdir().unwrap()).0.unwrap_err();
    assert!(message.contains("503") && message.contains("try again later"), "{message}");
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with_and_never_trusted() {
    let whole = weights();
    let other: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    let longer = [&whole[..], b"more"].concat();
    let half = "bytes=300000-";
    for (left, manner, ranges) in [
        (&whole[..300_000], Manner::Good, vec![half]),
        (&whole[..300_000], Manner::NoRanges, vec![half]),
        (&whole[..], Manner::Good, vec![]),
        (&other[..300_000], Manner::Good, vec![half, ""]),
        (&other[..], Manner::Good, vec![""]),
        (&longer[..], Manner::Good, vec![""]),
    ] {
        let cache = tempfile::tempdir().unwrap();
        leave_behind(&cache, left);
        let (bytes, downloads) = download_from(manner, &cache);
        assert_eq!(bytes.unwrap(), whole);
        assert_eq!(downloads.iter().map(|seen| seen.range.as_str()).collect::<Vec<_>>(), ranges);
        assert_eq!(blobs(&cache).iter().map(|(_, size)| *size).collect::<Vec<_>>(), [600_000]);
    }
}

#[test]
fn bytes_of_another_hash_are_an_error_and_do_not_stay() {
    let cache = tempfile::tempdir().unwrap();
    let (result, downloads) = download_from(Manner::WrongHash, &cache);
    let message = result.unwrap_err();
    assert!(message.contains("has SHA-256") && message.contains("expected"), "{message}");
    assert_eq!(downloads.len(), 1);
    assert!(
        blobs(&cache).iter().all(|(name, size)| name.ends_with(".incomplete") && *size == 0),
        "{:?}",
        blobs(&cache)
    );
    // The same bytes under their own hash.
    assert_eq!(download_from(Manner::Good, &cache).0.unwrap(), weights());
}

#[test]
fn two_downloads_of_one_file_write_once() {
    let (server, cache) = (Server::start(&[("m.gguf", &weights())], Manner::Good), tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let path = server.hub(&cache).gguf("org/name", "main", "m.gguf", &mut |_| {}).unwrap();
                assert_eq!(fs::read(path).unwrap(), weights());
            });
        }
    });
    assert_eq!(server.downloads().len(), 1);
    assert_eq!(blobs(&cache).len(), 1, "{:?}", blobs(&cache));
}

#[test]
fn a_refusal_says_what_to_do() {
    for (status, code, says) in [
        ("401 Unauthorized", "", "HF_TOKEN does not open it"),
        ("403 Forbidden", "GatedRepo", "accept its terms"),
        ("404 Not Found", "RevisionNotFound", "what is behind `@`"),
        ("404 Not Found", "EntryNotFound", "the name of the file"),
        ("404 Not Found", "RepoNotFound", "check the name"),
        ("418 Teapot", "", "418"),
    ] {
        let (result, _) = download_from(Manner::Refuses(status, code), &tempfile::tempdir().unwrap());
        let message = result.unwrap_err();
        assert!(message.contains("`org/name` is no file or folder here") && message.contains(says), "{message}");
    }
    let server = Server::start(&[], Manner::Refuses("401 Unauthorized", ""));
    let cache = tempfile::tempdir().unwrap();
    let anonymous = Hub { token: None, ..server.hub(&cache) };
    let message = anonymous.folder("org/name", "main", &mut |_| {}).unwrap_err().to_string();
    assert!(message.contains("set HF_TOKEN"), "{message}");
}

#[test]
fn a_hub_cannot_name_paths_outside_of_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let message = download_from(Manner::EtagOfPath, &cache).0.unwrap_err();
    assert!(message.contains("found `../../../outside`"), "{message}");
    assert!(blobs(&cache).is_empty());
}

#[test]
fn one_gguf_file_of_a_repository_also_by_its_old_name() {
    let (server, cache) = (Server::start(&[("m-q4.gguf", b"GGUF")], Manner::Good), tempfile::tempdir().unwrap());
    for id in ["org/name", "org/old"] {
        let path = server.hub(&cache).gguf(id, "main", "m-q4.gguf", &mut |_| {}).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "GGUF");
        let offline = Hub { offline: true, ..server.hub(&cache) };
        assert_eq!(offline.gguf(id, "main", "m-q4.gguf", &mut |_| {}).unwrap(), path);
        let message = offline.gguf(id, "main", "other.gguf", &mut |_| {}).unwrap_err().to_string();
        assert!(message.contains("lacks other.gguf"), "{message}");
    }
}

#[test]
fn a_revision_is_asked_for_and_kept_beside_others() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let folder = server.hub(&cache).folder("org/name", "v1", &mut |_| {}).unwrap();
    assert!(server.requests()[0].line.contains("/revision/v1"));
    let offline = Hub { offline: true, ..server.hub(&cache) };
    assert_eq!(offline.folder("org/name", "v1", &mut |_| {}).unwrap(), folder);
    assert_eq!(offline.folder("org/name", COMMIT, &mut |_| {}).unwrap(), folder);
    assert!(offline.folder("org/name", "main", &mut |_| {}).is_err(), "nobody asked for main");
    assert!(matches!(server.hub(&cache).folder("org/name", "v2", &mut |_| {}), Err(LoadError::Hub { .. })));
}

#[test]
fn one_part_of_a_split_file_brings_all() {
    let [first, second] = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    let (server, cache) =
        (Server::start(&[(first, b"one"), (second, b"two")], Manner::Good), tempfile::tempdir().unwrap());
    let path = server.hub(&cache).gguf("org/name", "v1", second, &mut |_| {}).unwrap();
    assert_eq!(fs::read_to_string(path.with_file_name(first)).unwrap(), "one");
    assert_eq!(fs::read_to_string(path).unwrap(), "two");
}

#[test]
fn what_the_hub_cannot_give_is_an_error_that_says_what_to_do() {
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Files, &str); 3] = [
        (&[("m-q4.gguf", b"GGUF")], "`org/name:m-q4.gguf`"),
        (&[("README.md", b"-")], "no config.json"),
        (&[("config.json", b"{}"), ("pytorch_model.bin", b"-")], "no model.safetensors"),
    ];
    for (files, says) in cases {
        let (server, cache) = (Server::start(files, Manner::Good), tempfile::tempdir().unwrap());
        let message = server.hub(&cache).folder("org/name", "main", &mut |_| {}).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    let cache = tempfile::tempdir().unwrap();
    let message = sharded().hub(&cache).folder("org/other", "main", &mut |_| {}).unwrap_err().to_string();
    assert!(message.contains("404") && message.contains("check the name"), "{message}");
    // A port that was free a moment ago: nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message =
        hub(&cache, &format!("http://{closed}")).folder("org/name", "main", &mut |_| {}).unwrap_err().to_string();
    assert!(message.contains("the network"), "{message}");
}
