//! A hub with one repository, `org/name`, that speaks as much HTTP as a download takes, and can misbehave.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(super) const COMMIT: &str = "0123456789abcdef";

/// What a server does besides its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    #[default]
    Good,
    /// Breaks off so many bodies half way.
    Breaks(usize),
    /// Sends whole files only.
    NoRanges,
    /// Names another hash than that of the bytes.
    WrongHash,
    /// Is out of order so many times.
    Busy(usize),
    /// Answers everything with this status and this code.
    Refuses(&'static str, &'static str),
    /// Names content like a path.
    EtagOfPath,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) token: String,
    pub(super) range: String,
}

pub(super) struct Server {
    pub(super) endpoint: String,
    requests: Arc<Mutex<Vec<Seen>>>,
}

struct Site {
    files: BTreeMap<String, Vec<u8>>,
    manner: Mutex<Manner>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) fn start(files: &[(&str, &[u8])], manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        let site = Site { files, manner: Mutex::new(manner), seen: requests.clone() };
        // Ends with the test process.
        std::thread::spawn(move || listener.incoming().for_each(|stream| site.answer(stream.unwrap())));
        Self { endpoint, requests }
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests for the bytes of files.
    pub(super) fn downloads(&self) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| seen.line.starts_with("GET /org/name/resolve/")).collect()
    }
}

impl Site {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(line) = lines.next() else { return };
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let header = |name: &str| {
            let found =
                headers.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_string()).unwrap_or_default()
        };
        let seen = Seen { line: line.clone(), token: header("authorization"), range: header("range") };
        self.seen.lock().unwrap().push(seen.clone());
        let response = self.response(&line, &seen.range);
        // A client that has heard enough may have gone.
        let _ = stream.write_all(&response);
    }

    fn response(&self, line: &str, range: &str) -> Vec<u8> {
        let mut manner = self.manner.lock().unwrap();
        let plain = |status: &str, more: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())
                .into_bytes()
        };
        match *manner {
            Manner::Refuses(status, code) => return plain(status, &format!("X-Error-Code: {code}\r\n"), ""),
            Manner::Busy(times @ 1..) => {
                *manner = Manner::Busy(times - 1);
                return plain("503 Service Unavailable", "", "");
            }
            _ => {}
        }
        let path = line.split(' ').nth(1).unwrap();
        if path.starts_with("/api/") {
            let known =
                ["main", "v1"].iter().any(|revision| path == format!("/api/models/org/name/revision/{revision}"));
            let siblings: Vec<String> = self.files.keys().map(|name| format!(r#"{{"rfilename": "{name}"}}"#)).collect();
            let listing = format!(r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#, siblings.join(","));
            return if known { plain("200 OK", "", &listing) } else { plain("404 Not Found", "", "") };
        }
        // The repository had another name once.
        if let Some(rest) = path.strip_prefix("/org/old/") {
            return plain("307 Temporary Redirect", &format!("Location: /org/name/{rest}\r\n"), "");
        }
        let revisions = ["main", "v1", COMMIT].map(|revision| format!("/org/name/resolve/{revision}/"));
        let name = revisions.iter().find_map(|prefix| path.strip_prefix(prefix));
        let Some(bytes) = name.and_then(|name| self.files.get(name)) else {
            return plain("404 Not Found", "X-Error-Code: EntryNotFound\r\n", "");
        };
        let start: usize = range.strip_prefix("bytes=").map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let start = if *manner == Manner::NoRanges { 0 } else { start };
        if start > 0 && start >= bytes.len() {
            return plain("416 Range Not Satisfiable", "", "");
        }
        let body = &bytes[start..];
        let hash = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let etag = match *manner {
            Manner::WrongHash => hash(b"something else"),
            Manner::EtagOfPath => "../../../outside".into(),
            _ => hash(bytes),
        };
        let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
        let range = format!("Content-Range: bytes {start}-{}/{}\r\n", bytes.len().saturating_sub(1), bytes.len());
        let mut response = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{}ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n\r\n",
            body.len(),
            if start > 0 { &range } else { "" },
        )
        .into_bytes();
        if line.starts_with("GET") {
            let sent = match *manner {
                Manner::Breaks(times @ 1..) => {
                    *manner = Manner::Breaks(times - 1);
                    body.len() / 2
                }
                _ => body.len(),
            };
            response.extend(&body[..sent]);
        }
        response
    }
}
