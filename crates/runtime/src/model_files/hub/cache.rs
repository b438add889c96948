//! The cache of models that all clients of the hub share on a machine: blobs by their hash, and for each commit a folder
//! of links to them (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder with all repositories.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the environment puts it, which is told by `variable`; `None` where there is no home either.
    pub(super) fn from_env(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let own = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        Some(Self::new(own.or_else(|| Some(hub_home(variable)?.join("hub")))?))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What is kept of `org/name`.
    pub(super) fn repository(&self, id: &str) -> Repository {
        Repository { folder: self.root.join(format!("models--{}", id.replace('/', "--"))) }
    }
}

/// `HF_HOME`, or where it is by default.
pub(super) fn hub_home(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let of_caches = || variable("XDG_CACHE_HOME").map(PathBuf::from);
    let of_user = || Some(std::env::home_dir()?.join(".cache"));
    variable("HF_HOME").map(PathBuf::from).or_else(|| Some(of_caches().or_else(of_user)?.join("huggingface")))
}

/// One repository in the cache.
pub(super) struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// The files of a branch, tag or commit, as it was when it was last downloaded.
    pub(super) fn snapshot(&self, revision: &str) -> PathBuf {
        let commit = fs::read_to_string(self.reference(revision));
        self.folder.join("snapshots").join(commit.as_deref().map_or(revision, str::trim))
    }

    /// From now on `revision` stands for `commit`.
    pub(super) fn set_revision(&self, revision: &str, commit: &str) -> io::Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.reference(revision);
        fs::create_dir_all(path.with_file_name(""))?;
        fs::write(path, commit)
    }

    /// Where the bytes of a file lie.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Makes a blob the file `name` of a commit.
    pub(super) fn link(&self, commit: &str, name: &str, etag: &str) -> io::Result<()> {
        let snapshot = self.folder.join("snapshots").join(commit);
        fs::create_dir_all(&snapshot)?;
        let (path, target) = (snapshot.join(name), Path::new("../../blobs").join(etag));
        let mut linked = symlink(&target, &path);
        // Another process may have done so just now. Anything else there is of no use, or nobody would link anew.
        if linked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            if fs::read_link(&path).is_ok_and(|found| found == target) {
                return Ok(());
            }
            fs::remove_file(&path)?;
            linked = symlink(&target, &path);
        }
        // Not every file system has links.
        linked.or_else(|_| fs::rename(self.blob(etag), &path))
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes of what a path leads to, if that is there.
pub(super) fn size_of(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_where_the_cache_is() {
        let root = |set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
            Cache::from_env(variable).unwrap().root
        };
        assert_eq!(root(&[("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b")]), Path::new("/a"));
        assert_eq!(root(&[("HUGGINGFACE_HUB_CACHE", "/a"), ("HF_HOME", "/b")]), Path::new("/a"));
        assert_eq!(root(&[("HF_HOME", "/b"), ("XDG_CACHE_HOME", "/c")]), Path::new("/b/hub"));
        assert_eq!(root(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
    }

    #[test]
    fn a_revision_is_a_name_of_a_commit_or_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Cache::new(folder.path().into()).repository("org/name");
        let snapshots = folder.path().join("models--org--name/snapshots");
        assert_eq!(repository.snapshot("0123"), snapshots.join("0123"));
        repository.set_revision("main", "0123").unwrap();
        repository.set_revision("main", "4567").unwrap();
        assert_eq!(repository.snapshot("main"), snapshots.join("4567"));
    }
}
