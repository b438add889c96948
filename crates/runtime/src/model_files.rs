//! Where a model lies: a GGUF file or its parts, a Hugging Face folder, what Ollama keeps, or the Hugging Face hub.

mod hub;
mod ollama;

use crate::formats::{PartName, SHARD_INDEX, shard_names};
use crate::weights::{LoadError, ModelWeights};
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hub::Hub;
pub use hub::HubProgress;

/// The files of a model on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFiles {
    /// A GGUF file with everything in it, or any of several with all of it (`m-00001-of-00003.gguf`).
    Gguf(PathBuf),
    /// A folder with `config.json`, safetensors and `tokenizer.json`.
    Folder(PathBuf),
}

impl ModelFiles {
    /// Finds the files of `model`: a path to a GGUF file of any name, to any part of a split one, to a folder, to a
    /// `.safetensors` file or the `config.json` of one, or to a manifest of Ollama, else a Hugging Face id `org/name`, or
    /// `org/name:file.gguf` for a GGUF file of it (or all parts, for one of them), each with an optional revision as in
    /// `org/name@revision`, which is downloaded into the hub's usual cache unless it is there. The variables `HF_HOME`,
    /// `HF_HUB_CACHE`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` mean what they mean to other tools of the hub.
    ///
    /// # Errors
    /// When there is no such file, folder or id, or Git LFS has not fetched the files yet.
    pub fn locate(model: &str) -> Result<Self, LoadError> {
        Self::locate_with(model, &mut |_| {})
    }

    /// As [`ModelFiles::locate`]; `report` hears when a hub is asked, and what comes from it.
    ///
    /// # Errors
    /// As there.
    pub fn locate_with(model: &str, report: &mut dyn FnMut(HubProgress)) -> Result<Self, LoadError> {
        let path = Path::new(model);
        if path.is_dir() {
            return folder(path);
        }
        if path.exists() {
            if path.extension().is_some_and(|extension| extension == "safetensors" || extension == "json") {
                return folder_of(path);
            }
            gguf_files(path).iter().try_for_each(|part| refuse_pointer(part))?;
            return Ok(ModelFiles::Gguf(ollama::blob_of(path)?.unwrap_or(path.into())));
        }
        match HubId::parse(model) {
            Some(HubId { id, revision, file: Some(file) }) => {
                Ok(ModelFiles::Gguf(Hub::for_model(id)?.gguf(id, revision, file, report)?))
            }
            Some(HubId { id, revision, file: None }) => {
                Ok(ModelFiles::Folder(Hub::for_model(id)?.folder(id, revision, report)?))
            }
            None => Err(LoadError::NotFound(model.into())),
        }
    }

    /// Reads the heads of the files and checks that every tensor the architecture needs is there in the right shape.
    ///
    /// # Errors
    /// [`LoadError`]; nothing large has been read by then.
    pub fn open(&self) -> Result<ModelWeights, LoadError> {
        match self {
            ModelFiles::Gguf(path) => ModelWeights::open_gguf(path),
            ModelFiles::Folder(folder) => ModelWeights::open_folder(folder),
        }
    }

    /// Name for results: the file without its ending and the number of a part, the folder, or the id of a folder in the hub's cache.
    pub fn name(&self) -> String {
        if let ModelFiles::Gguf(path) = self
            && let Some(part) = path.file_name().and_then(|name| PartName::parse(name.to_str()?))
        {
            return part.stem;
        }
        let (path, name) = match self {
            ModelFiles::Gguf(path) => (path, path.file_stem()),
            ModelFiles::Folder(path) => match cached_id(path) {
                Some(id) => return id,
                None => (path, path.file_name()),
            },
        };
        name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The files that a GGUF model is read from, by the path of any: this one, or all its parts that are there.
pub fn gguf_files(path: &Path) -> Vec<PathBuf> {
    match path.file_name().and_then(|name| PartName::parse(name.to_str()?)) {
        Some(name) => name.all().map(|name| path.with_file_name(name)).filter(|part| part.exists()).collect(),
        None => vec![path.into()],
    }
}

fn folder(path: &Path) -> Result<ModelFiles, LoadError> {
    match path.join("config.json").exists() {
        true => refuse_pointers_in(path).map(|()| ModelFiles::Folder(path.into())),
        false => Err(LoadError::NotFound(format!("{} (a folder without config.json)", path.display()))),
    }
}

/// The folder of a file that a model is read from.
fn folder_of(path: &Path) -> Result<ModelFiles, LoadError> {
    let parent = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let files = folder(parent)?;
    let mut read = vec!["config.json".into(), SHARD_INDEX.into()];
    read.extend(shard_names(parent)?);
    match path.file_name().is_some_and(|name| read.iter().any(|read| name == read.as_str())) {
        true => Ok(files),
        false => Err(LoadError::NotOfModel { path: path.into(), read: read[2..].join(", ") }),
    }
}

/// Refuses a folder of which a file that will be read is a pointer; others beside them are nobody's business.
fn refuse_pointers_in(folder: &Path) -> Result<(), LoadError> {
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", SHARD_INDEX] {
        refuse_pointer(&folder.join(name))?;
    }
    shard_names(folder)?.iter().try_for_each(|name| refuse_pointer(&folder.join(name)))
}

/// Refuses what `git clone` without Git LFS leaves in place of a file. What cannot be read is for its reader to say.
fn refuse_pointer(path: &Path) -> Result<(), LoadError> {
    const START: &[u8] = b"version https://git-lfs.github.com/spec/";
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START.len() as u64).read_to_end(&mut start));
    match read {
        Ok(_) if start == START => Err(LoadError::LfsPointer(path.into())),
        _ => Ok(()),
    }
}

/// `org/name` of `.../models--org--name/snapshots/<commit>`: the commit would tell people nothing.
fn cached_id(folder: &Path) -> Option<String> {
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let repository = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    Some(repository.replacen("--", "/", 1))
}

/// What `org/name@revision:file.gguf` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HubId<'a> {
    /// `org/name`.
    id: &'a str,
    /// A branch, a tag or a commit.
    revision: &'a str,
    /// One file of it.
    file: Option<&'a str>,
}

impl<'a> HubId<'a> {
    /// `None` for what looks like a path.
    fn parse(model: &'a str) -> Option<Self> {
        let (rest, file) = match model.split_once(':') {
            Some((rest, file)) => (rest, Some(file)),
            None => (model, None),
        };
        let (id, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let legal = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let (org, name) = id.split_once('/')?;
        let is_file = name.ends_with(".gguf") || name.ends_with(".safetensors");
        let all_legal = legal(org) && legal(name) && legal(revision);
        (all_legal && !is_file && file.is_none_or(|f| legal(f) && f.ends_with(".gguf"))).then_some(Self {
            id,
            revision,
            file,
        })
    }
}

#[cfg(test)]
mod split_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        let id = |id, revision, file| Some(HubId { id, revision, file });
        assert_eq!(HubId::parse("Qwen/Qwen2.5-0.5B"), id("Qwen/Qwen2.5-0.5B", "main", None));
        assert_eq!(HubId::parse("a/b:model-q4.gguf"), id("a/b", "main", Some("model-q4.gguf")));
        assert_eq!(HubId::parse("a/b@v1.0"), id("a/b", "v1.0", None));
        assert_eq!(HubId::parse("a/b@0123abc:m.gguf"), id("a/b", "0123abc", Some("m.gguf")));
        for path in
            ["model.gguf", "models/x.gguf", "./a/b", "../a", "/a/b", "a/b/c", "a/b:../c.gguf", "a/", "/b", "a b/c"]
        {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
        for path in ["a/b@", "a/b@../c", "a/b@c/d", "a@b", "a/b@c@d"] {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
    }

    #[test]
    fn pointers_of_git_lfs_are_told_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        let locate = |path: &Path| ModelFiles::locate(path.to_str().unwrap());
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{:064}\nsize 987654\n", 5);
        write("m.gguf", &pointer);
        let message = locate(&path("m.gguf")).unwrap_err().to_string();
        assert!(message.contains("m.gguf is a Git LFS pointer") && message.contains("`git lfs pull`"), "{message}");

        write("config.json", "{}");
        write("pytorch_model.bin", &pointer);
        assert!(locate(folder.path()).is_ok(), "what is not read may be anything");
        write(SHARD_INDEX, r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#);
        // Each is looked at before those that are pointers already.
        for name in ["two.safetensors", SHARD_INDEX, "tokenizer.json"] {
            write(name, &pointer);
            let error = locate(folder.path()).unwrap_err();
            assert!(matches!(&error, LoadError::LfsPointer(found) if *found == path(name)), "{name}: {error}");
        }
    }

    #[test]
    fn a_file_of_a_folder_is_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let locate = |name: &str| ModelFiles::locate(path(name).to_str().unwrap());
        std::fs::write(path("model.safetensors"), "anything").unwrap();
        let message = locate("model.safetensors").unwrap_err().to_string();
        assert!(message.contains("without config.json"), "{message}");

        std::fs::write(path("config.json"), "{}").unwrap();
        for name in ["model.safetensors", "config.json"] {
            assert_eq!(locate(name).unwrap(), ModelFiles::Folder(folder.path().into()));
        }
        std::fs::write(path("adapter_model.safetensors"), "anything").unwrap();
        let message = locate("adapter_model.safetensors").unwrap_err().to_string();
        assert!(message.contains("adapter_model") && message.contains("which is model.safetensors"), "{message}");

        let index = r#"{"weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}"#;
        std::fs::write(path(SHARD_INDEX), index).unwrap();
        std::fs::write(path("m-00002-of-00002.safetensors"), "anything").unwrap();
        assert_eq!(locate("m-00002-of-00002.safetensors").unwrap(), ModelFiles::Folder(folder.path().into()));
        let message = locate("model.safetensors").unwrap_err().to_string();
        assert!(message.contains("m-00001-of-00002.safetensors, m-00002"), "{message}");
    }

    #[test]
    fn names_are_for_people() {
        let folder = |path: &str| ModelFiles::Folder(path.into()).name();
        assert_eq!(folder("hub/models--Qwen--Qwen2.5-0.5B/snapshots/0123abc"), "Qwen/Qwen2.5-0.5B");
        assert_eq!(folder("models/tiny"), "tiny");
        assert_eq!(ModelFiles::Gguf("hub/models--a--b/snapshots/0123abc/m-q4.gguf".into()).name(), "m-q4");
    }

    #[test]
    fn what_is_not_there_is_an_error_that_names_it() {
        let message = ModelFiles::locate("nowhere/models/x.gguf").unwrap_err().to_string();
        assert!(message.contains("nowhere/models/x.gguf") && message.contains(".gguf file"), "{message}");
        let folder = std::env::temp_dir();
        let message = ModelFiles::locate(folder.to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("config.json"), "{message}");
    }
}
