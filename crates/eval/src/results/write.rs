//! Writing a result file so that it is either whole or not there.

use super::layout::RowPerLine;
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Fails when [`write()`] to `path` would: asked before a measurement of an hour, not after it.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match destination(path) {
        Destination::Replace(target) => temporary_beside(&target).map(drop),
        Destination::Stream => fs::OpenOptions::new().write(true).open(path).map(drop),
    }
}

/// Writes `value` as JSON, one row a line, as [`write_text`] does.
pub fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut json = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, RowPerLine::default()))?;
    json.push(b'\n');
    write_bytes(path, &json)
}

/// Writes a page or a picture to a new file beside `path` and moves it there. A pipe or a device is written directly.
pub fn write_text(path: &Path, text: &str) -> io::Result<()> {
    write_bytes(path, text.as_bytes())
}

fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match destination(path) {
        Destination::Stream => fs::OpenOptions::new().write(true).open(path)?.write_all(bytes),
        Destination::Replace(target) => {
            let mut file = temporary_beside(&target)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&target).map_err(|e| e.error)?;
            Ok(())
        }
    }
}

enum Destination {
    /// A regular file, there or not, symbolic links followed.
    Replace(PathBuf),
    /// A pipe, terminal or device: renaming a file over it would destroy it.
    Stream,
}

fn destination(path: &Path) -> Destination {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => Destination::Stream,
        _ => Destination::Replace(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())),
    }
}

fn temporary_beside(target: &Path) -> io::Result<NamedTempFile> {
    if target.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "this is a directory, not a file"));
    }
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; a result file is as readable as any other.
    #[cfg(unix)]
    builder.permissions(<fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    builder.prefix(".result-").tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_a_file_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        for run in [1, 2] {
            check_writable(&path).unwrap();
            write(&path, &json!({ "run": run })).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{{\n  \"run\": {run}\n}}\n"));
            assert_eq!(names(directory.path()), ["r.json"]);
        }
    }

    #[test]
    fn a_value_that_cannot_be_written_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        write(&path, &json!({})).unwrap();
        let map_with_bad_keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(write(&path, &map_with_bad_keys).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
        assert_eq!(names(directory.path()), ["r.json"]);
    }

    #[test]
    fn refuses_before_the_work_starts() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check_writable(directory.path()).is_err());
        assert!(check_writable(&directory.path().join("missing/r.json")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn follows_a_link_and_keeps_a_device() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target.json"), directory.path().join("link.json"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, &json!({})).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "{}\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        write(Path::new("/dev/null"), &json!({})).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
