//! The Hugging Face hub, and the cache on this machine that all its clients share.
//!
//! hf-hub 1.0 brings an asynchronous runtime, a build of C and 130 crates more, starts a broken download anew and compares
//! no hash; its version 0.4 had no hashes either. What an engine needs of the hub is little: two questions and a download.

mod cache;
mod client;
mod download;

use crate::formats::{PartName, SHARD_INDEX, shard_names};
use crate::weights::LoadError;
use cache::{Cache, hub_home, size_of};
use client::{Client, Failure};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an engine reads beside the weights. A repository need not have all of them.
const TEXT_FILES: [&str; 5] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// What happens while a model is got from the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubProgress<'a> {
    /// The model is no path here, and not all of it is in the cache: a hub is asked for it.
    Asks {
        /// `org/name`.
        id: &'a str,
        /// The address of the hub.
        endpoint: &'a str,
    },
    /// A file comes.
    Downloads {
        /// Its name.
        file: &'a str,
        /// Bytes that are here.
        done_bytes: u64,
        /// Bytes of all of it.
        total_bytes: u64,
    },
}

/// Hears what happens.
pub(super) type Report<'a> = &'a mut dyn FnMut(HubProgress);

/// The hub as the environment sets it up.
pub(super) struct Hub {
    cache: Cache,
    token: Option<String>,
    endpoint: String,
    offline: bool,
    pause: Duration,
}

impl Hub {
    /// Reads `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` (else the token that `hf auth login` stored), `HF_ENDPOINT` and
    /// `HF_HUB_OFFLINE`; `None` where neither they nor a home say where the cache is.
    fn from_env() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let stored = || {
            let path =
                variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(hub_home(variable)?.join("token")))?;
            Some(std::fs::read_to_string(path).ok()?.trim().to_string()).filter(|token| !token.is_empty())
        };
        Some(Self {
            cache: Cache::from_env(variable)?,
            token: variable("HF_TOKEN").or_else(stored),
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            offline: variable("HF_HUB_OFFLINE")
                .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())),
            pause: Duration::from_millis(500),
        })
    }

    /// As the environment sets it up for `id`.
    pub(super) fn for_model(id: &str) -> Result<Self, LoadError> {
        Self::from_env().ok_or_else(|| failed(id, &"there is no home folder for its cache; set HF_HOME to a folder"))
    }

    /// A GGUF file of a repository; all parts where the name is that of one.
    pub(super) fn gguf(&self, id: &str, revision: &str, name: &str, report: Report) -> Result<PathBuf, LoadError> {
        let names = PartName::parse(name).map_or_else(|| vec![name.into()], |part| part.all().collect::<Vec<_>>());
        let snapshot = self.cache.repository(id).snapshot(revision);
        let missing: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !snapshot.join(name).exists()).collect();
        if missing.is_empty() {
            return Ok(snapshot.join(name));
        }
        let session = self.session(id, &missing.join(", "), report)?;
        let fail = |failure: Failure| failed(id, &failure);
        // One commit for all parts, even if the repository changes meanwhile.
        let commit = session.client.look_up(id, revision, &names[0]).map_err(fail)?.commit;
        for name in &names {
            session.get(&commit, name, report).map_err(fail)?;
        }
        session.stands_for(revision, &commit).map_err(fail)?;
        Ok(self.cache.repository(id).snapshot(&commit).join(name))
    }

    /// A folder with the config, the tokenizer and all safetensors of a repository, from one commit.
    pub(super) fn folder(&self, id: &str, revision: &str, report: Report) -> Result<PathBuf, LoadError> {
        let folder = self.cache.repository(id).snapshot(revision);
        match missing_in(&folder) {
            Some(missing) => self.download_folder(&self.session(id, &missing, report)?, revision, report),
            // A model that is here needs no network.
            None => Ok(folder),
        }
    }

    fn download_folder(&self, session: &Session, revision: &str, report: Report) -> Result<PathBuf, LoadError> {
        let id = session.id;
        let fail = |failure: Failure| failed(id, &failure);
        let listing = session.client.listing(id, revision).map_err(fail)?;
        let names = listing.names();
        if !names.contains(&"config.json") {
            return Err(failed(
                id,
                &match names.iter().find(|name| name.ends_with(".gguf")) {
                    Some(file) => format!("it holds GGUF files; name one, as in `{id}:{file}`"),
                    None => "it has no config.json, so it is not a model for this engine".into(),
                },
            ));
        }
        if !names.contains(&SHARD_INDEX) && !names.contains(&"model.safetensors") {
            return Err(failed(id, &"it has no model.safetensors, and other weight files are not supported"));
        }
        let mut get = |name: &str| session.get(&listing.sha, name, report).map_err(fail);
        // The index says which shards there are.
        for name in TEXT_FILES.into_iter().chain([SHARD_INDEX]).filter(|name| names.contains(name)) {
            get(name)?;
        }
        let folder = self.cache.repository(id).snapshot(&listing.sha);
        for name in shard_names(&folder)? {
            get(&name)?;
        }
        session.stands_for(revision, &listing.sha).map_err(fail)?;
        Ok(folder)
    }

    /// A connection for what is missing.
    fn session<'a>(&'a self, id: &'a str, missing: &str, report: Report) -> Result<Session<'a>, LoadError> {
        if self.offline {
            let root = self.cache.root().display();
            let message = format!(
                "HF_HUB_OFFLINE is set, and the cache in {root} lacks {missing} of it; unset it, or give a local path"
            );
            return Err(failed(id, &message));
        }
        report(HubProgress::Asks { id, endpoint: &self.endpoint });
        Ok(Session { client: Client::new(&self.endpoint, self.token.clone(), self.pause), cache: &self.cache, id })
    }
}

/// One repository, from the hub into the cache.
struct Session<'a> {
    client: Client,
    cache: &'a Cache,
    id: &'a str,
}

impl Session<'_> {
    /// Makes sure that a file of a commit is in the cache, in its full size.
    fn get(&self, commit: &str, name: &str, report: Report) -> Result<(), Failure> {
        let remote = self.client.look_up(self.id, commit, name)?;
        let repository = self.cache.repository(self.id);
        if size_of(&repository.snapshot(commit).join(name)) == Some(remote.size_bytes) {
            return Ok(());
        }
        let total_bytes = remote.size_bytes;
        let blob = repository.blob(&remote.etag);
        if size_of(&blob) != Some(total_bytes) {
            let mut tell = |done_bytes| report(HubProgress::Downloads { file: name, done_bytes, total_bytes });
            download::download(&self.client, &remote, &blob, &mut tell)?;
        }
        repository.link(commit, name, &remote.etag).map_err(|error| self.unwritable(&error))
    }

    /// Only when all is there: an interrupted download is never taken for a whole model.
    fn stands_for(&self, revision: &str, commit: &str) -> Result<(), Failure> {
        self.cache.repository(self.id).set_revision(revision, commit).map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &std::io::Error) -> Failure {
        let root = self.cache.root().display();
        Failure::lasting(format!("cannot write into the cache in {root}: {error}; set HF_HOME to a folder of yours"))
    }
}

/// The first file that a whole model has and this folder lacks.
fn missing_in(folder: &Path) -> Option<String> {
    let mut needed = vec!["config.json".to_string(), "tokenizer.json".into()];
    match shard_names(folder) {
        Ok(shards) => needed.extend(shards),
        Err(_) => return Some(SHARD_INDEX.into()),
    }
    needed.into_iter().find(|name| !folder.join(name).exists())
}

fn failed(id: &str, error: &dyn Display) -> LoadError {
    LoadError::Hub { id: id.into(), message: error.to_string() }
}

#[cfg(test)]
mod tests;
