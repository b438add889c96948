//! The Hugging Face hub, and the cache on this machine that all its clients share.

use crate::weights::{LoadError, PartName, SHARD_INDEX, shard_names};
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use std::fmt::Display;
use std::path::PathBuf;

/// What an engine reads beside the weights. A repository need not have all of them.
const TEXT_FILES: [&str; 5] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// A transfer of gigabytes over a home connection breaks now and then; it goes on where it broke.
const RETRIES: usize = 5;

/// The hub as the environment sets it up.
pub(super) struct Hub {
    cache: Cache,
    token: Option<String>,
    endpoint: Option<String>,
    offline: bool,
    progress: bool,
}

impl Hub {
    /// Reads `HF_HOME`, `HF_TOKEN` (else the token that `hf auth login` stored), `HF_ENDPOINT` and `HF_HUB_OFFLINE`.
    pub(super) fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = Cache::from_env();
        Self {
            token: variable("HF_TOKEN").or_else(|| cache.token()),
            endpoint: variable("HF_ENDPOINT"),
            offline: variable("HF_HUB_OFFLINE")
                .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())),
            progress: true,
            cache,
        }
    }

    /// A GGUF file of a repository; all parts where the name is that of one.
    pub(super) fn gguf(&self, id: &str, revision: &str, name: &str) -> Result<PathBuf, LoadError> {
        if let Some(part) = PartName::parse(name) {
            for part in part.all() {
                self.file(id, revision, &part)?;
            }
        }
        self.file(id, revision, name)
    }

    fn file(&self, id: &str, revision: &str, name: &str) -> Result<PathBuf, LoadError> {
        let repo = repo(id, revision);
        match self.cache.repo(repo.clone()).get(name) {
            Some(path) => Ok(path),
            None => self.connect(id)?.repo(repo).get(name).map_err(|error| failed(id, &error)),
        }
    }

    /// A folder with the config, the tokenizer and all safetensors of a repository, from one commit.
    pub(super) fn folder(&self, id: &str, revision: &str) -> Result<PathBuf, LoadError> {
        match self.cached_folder(id, revision) {
            Some(folder) => Ok(folder),
            None => self.download_folder(id, revision),
        }
    }

    /// The folder when nothing of it is missing; a model that is here needs no network.
    fn cached_folder(&self, id: &str, revision: &str) -> Option<PathBuf> {
        let cached = self.cache.repo(repo(id, revision));
        cached.get("tokenizer.json")?;
        let folder = cached.get("config.json")?.parent()?.to_path_buf();
        let complete = shard_names(&folder).ok()?.iter().all(|name| folder.join(name).exists());
        complete.then_some(folder)
    }

    fn download_folder(&self, id: &str, revision: &str) -> Result<PathBuf, LoadError> {
        let fail = |error: &dyn Display| failed(id, error);
        let api = self.connect(id)?;
        let listing = api.repo(repo(id, revision)).info().map_err(|error| fail(&error))?;
        let names: Vec<&str> = listing.siblings.iter().map(|file| file.rfilename.as_str()).collect();
        if !names.contains(&"config.json") {
            return Err(fail(&match names.iter().find(|name| name.ends_with(".gguf")) {
                Some(file) => format!("it holds GGUF files; name one, as in `{id}:{file}`"),
                None => "it has no config.json, so it is not a model for this engine".into(),
            }));
        }
        if !names.contains(&SHARD_INDEX) && !names.contains(&"model.safetensors") {
            return Err(fail(&"it has no model.safetensors, and other weight files are not supported"));
        }
        // One commit for all files, even if the repository changes meanwhile.
        let pinned = Repo::with_revision(id.into(), RepoType::Model, listing.sha.clone());
        let cached = self.cache.repo(pinned.clone());
        cached.create_ref(&listing.sha).map_err(|error| fail(&error))?;
        let pinned = api.repo(pinned);
        let get = |name: &str| pinned.get(name).map_err(|error| fail(&error));

        let config = get("config.json")?;
        let folder = config.parent().map(PathBuf::from).unwrap_or_default();
        // The index says which shards there are.
        for name in TEXT_FILES.into_iter().chain([SHARD_INDEX]).filter(|name| names.contains(name)) {
            get(name)?;
        }
        for name in shard_names(&folder)? {
            get(&name)?;
        }
        // Only now is it what the name stands for: an interrupted download is never taken for a whole model.
        self.cache.repo(repo(id, revision)).create_ref(&listing.sha).map_err(|error| fail(&error))?;
        Ok(folder)
    }

    fn connect(&self, id: &str) -> Result<Api, LoadError> {
        if self.offline {
            return Err(failed(id, &"HF_HUB_OFFLINE is set and the cache does not hold all of it"));
        }
        let builder = ApiBuilder::from_cache(self.cache.clone())
            .with_token(self.token.clone())
            .with_retries(RETRIES)
            .with_progress(self.progress);
        let builder = match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.clone()),
            None => builder,
        };
        builder.build().map_err(|error| failed(id, &error))
    }
}

fn repo(id: &str, revision: &str) -> Repo {
    Repo::with_revision(id.into(), RepoType::Model, revision.into())
}

fn failed(id: &str, error: &dyn Display) -> LoadError {
    LoadError::Hub { id: id.into(), message: error.to_string() }
}

#[cfg(test)]
mod tests;
