//! What the hub is asked, and what its answers mean.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::fmt::{self, Display};
use std::io::Read;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

/// A transfer of gigabytes over a home connection breaks now and then.
pub(super) const RETRIES: u32 = 5;
/// Nobody who mistyped a path wants to wait long to hear that.
const RETRIES_OF_QUESTIONS: u32 = 2;

const NAME_CHARACTERS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A connection to one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    /// Before the second try; twice as long before each more.
    pause: Duration,
}

/// A file as the hub has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) url: String,
    pub(super) commit: String,
    /// Names the content: a SHA-256 of files in large file storage, Git's hash of others.
    pub(super) etag: String,
    pub(super) size_bytes: u64,
}

impl Remote {
    /// The SHA-256 in hexadecimal digits, where the hub knows it.
    pub(super) fn sha256(&self) -> Option<&str> {
        (self.etag.len() == 64 && self.etag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(&self.etag)
    }
}

/// The names of all files of a revision.
#[derive(Deserialize)]
pub(super) struct Listing {
    /// The commit.
    pub(super) sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    pub(super) fn names(&self) -> Vec<&str> {
        self.siblings.iter().map(|file| file.rfilename.as_str()).collect()
    }
}

/// Why something did not come.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    /// The same may work in a moment.
    pub(super) passing: bool,
}

impl Failure {
    pub(super) fn lasting(message: impl Into<String>) -> Self {
        Self { message: message.into(), passing: false }
    }

    pub(super) fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), passing: true }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<String>, pause: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .accept_encoding("identity")
            .user_agent(concat!("sparse-accelerate/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().new_agent(), endpoint: endpoint.trim_end_matches('/').into(), token, pause }
    }

    /// The files of a revision.
    pub(super) fn listing(&self, id: &str, revision: &str) -> Result<Listing, Failure> {
        let url = format!("{}/api/models/{id}/revision/{revision}", self.endpoint);
        self.insist(|| {
            let answer = self.ask(self.agent.get(&url), &url)?;
            let listing: Listing = answer.into_body().read_json().map_err(|error| self.unexpected(&url, &error))?;
            named("commit", &listing.sha).map_err(|error| self.unexpected(&url, &error))?;
            Ok(listing)
        })
    }

    /// What the hub has under a name.
    pub(super) fn look_up(&self, id: &str, revision: &str, name: &str) -> Result<Remote, Failure> {
        let name = utf8_percent_encode(name, NAME_CHARACTERS);
        let first = format!("{}/{id}/resolve/{revision}/{name}", self.endpoint);
        self.insist(|| {
            let mut url = first.clone();
            // Of a repository that has a new name the hub says where it is now. Where the content lies is told by a
            // redirection too, to another host: the headers that count are those of the hub itself.
            for _ in 0..5 {
                let request = self.agent.head(&url).config().max_redirects(0).max_redirects_will_error(false).build();
                let answer = self.ask(request, &url)?;
                match header(&answer, "location") {
                    Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                        url = format!("{}{path}", self.origin());
                    }
                    _ => return remote(url, &answer).map_err(|error| self.unexpected(&first, &error)),
                }
            }
            Err(self.unexpected(&first, &"it is redirected again and again"))
        })
    }

    /// The bytes of a file from `start` on, and where they start: some servers send all of it nevertheless.
    pub(super) fn open(&self, remote: &Remote, start: u64) -> Result<(u64, impl Read), Failure> {
        let request = self.agent.get(&remote.url);
        let request = if start > 0 { request.header("range", format!("bytes={start}-")) } else { request };
        let answer = self.ask(request, &remote.url)?;
        let start = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = header(&answer, "content-range").unwrap_or_default();
                match range.starts_with(&format!("bytes {start}-")) {
                    true => start,
                    false => {
                        let found = format!("expected bytes from {start} on, found the range `{range}`");
                        return Err(self.unexpected(&remote.url, &found));
                    }
                }
            }
            _ => 0,
        };
        Ok((start, answer.into_body().into_reader()))
    }

    /// Waits before a try after so many that failed in a row.
    pub(super) fn pause(&self, failed: u32) {
        std::thread::sleep(self.pause * 2u32.pow(failed.saturating_sub(1).min(RETRIES)));
    }

    /// Asks until there is an answer.
    fn insist<T>(&self, mut question: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        for failed in 1..=RETRIES_OF_QUESTIONS {
            match question() {
                Err(failure) if failure.passing => self.pause(failed),
                done => return done,
            }
        }
        question()
    }

    fn ask(&self, request: RequestBuilder<WithoutBody>, url: &str) -> Result<Response<Body>, Failure> {
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let answer = request.call().map_err(|error| match error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl => {
                Failure::lasting(format!("{url}: {error}; check HF_ENDPOINT, HF_TOKEN and the proxy's address"))
            }
            _ => Failure::passing(format!("{url}: {error}; check the network")),
        })?;
        match answer.status() {
            status if status.is_success() || status.is_redirection() => Ok(answer),
            status => Err(self.refused(status, header(&answer, "x-error-code"), url)),
        }
    }

    /// What a status means to people.
    fn refused(&self, status: StatusCode, code: Option<&str>, url: &str) -> Failure {
        let number = status.as_u16();
        let lasting = |what: &str| Failure::lasting(format!("{url}: {number}, {what}"));
        match (number, code) {
            (401, _) if self.token.is_some() => {
                lasting("there is no such model, or HF_TOKEN does not open it; check the name and the token")
            }
            (401, _) => lasting("there is no such model, or it needs a token; check the name, or set HF_TOKEN"),
            (403, _) => lasting(
                "it is gated; accept its terms on its page of the hub, and set HF_TOKEN to a token of that account",
            ),
            (404, Some("RevisionNotFound")) => lasting("there is no such revision of it; check what is behind `@`"),
            (404, Some("EntryNotFound")) => lasting("it has no such file; check the name of the file"),
            (404, _) => lasting("there is none of this name; check the name"),
            (408 | 425 | 429 | 500.., _) => Failure::passing(format!("{url}: {status}; try again later")),
            _ => Failure::lasting(format!("{url}: {status}")),
        }
    }

    fn unexpected(&self, url: &str, error: &dyn Display) -> Failure {
        Failure::lasting(format!("{url}: {error}; is {} a Hugging Face hub?", self.endpoint))
    }

    /// Scheme and host of the hub.
    fn origin(&self) -> &str {
        let host = self.endpoint.find("://").map_or(0, |at| at + 3);
        let end = self.endpoint[host..].find('/').map_or(self.endpoint.len(), |at| host + at);
        &self.endpoint[..end]
    }
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn remote(url: String, answer: &Response<Body>) -> Result<Remote, String> {
    let either = |linked: &'static str, own: &'static str| header(answer, linked).or_else(|| header(answer, own));
    let etag = either("x-linked-etag", "etag").unwrap_or_default().trim_start_matches("W/").trim_matches('"');
    let size = either("x-linked-size", "content-length").and_then(|size| size.parse().ok());
    Ok(Remote {
        commit: named("commit", header(answer, "x-repo-commit").unwrap_or_default())?.into(),
        etag: named("ETag", etag)?.into(),
        size_bytes: size.ok_or("the answer has no size")?,
        url,
    })
}

/// What becomes the name of a file or folder here.
fn named<'a>(what: &str, name: &'a str) -> Result<&'a str, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(legal) {
        true => Ok(name),
        false => Err(format!("expected a {what} of letters and digits, found `{name}`")),
    }
}
