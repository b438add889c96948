//! A file of weights: opened once, read piece by piece, and never mapped.
//!
//! A map of a file that another process truncates ends this one by a signal, and one that is overwritten changes answers
//! without a word. A read that finds less than there was is an error, and what has been read stays what it was.

use super::FileError;
use crate::memory::available_bytes;
use bytemuck::allocation::try_zeroed_vec;
use rayon::prelude::*;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// An open file, and what says later that it is still the same.
pub(crate) struct WeightFile {
    path: PathBuf,
    file: File,
    version: Version,
}

/// What changes when somebody writes to a file. One that is replaced by another of its name stays what it was for those who
/// have it open.
#[derive(PartialEq)]
struct Version {
    len: u64,
    /// `None` where the system does not keep it.
    modified: Option<SystemTime>,
}

/// Bytes that one thread reads at a time: many calls' worth of copying, few enough that all threads have some.
const PIECE_BYTES: usize = 1 << 20;

/// Memory for each byte of a head: the bytes as read and as parsed, and names and places beside them.
const HEAD_FACTOR: u64 = 3;
/// What loading takes beside it until weights are asked for.
const BESIDE_HEAD_BYTES: u64 = 4 << 20;

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl WeightFile {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let open = || {
            let file = File::open(path)?;
            let version = Version::of(&file.metadata()?);
            match version.len {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty")),
                _ => Ok(Self { path: path.into(), file, version }),
            }
        };
        open().map_err(|error| FileError::Read { path: path.into(), error })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.version.len
    }

    /// The bytes of `range`.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<u8>, FileError> {
        let len = range.end - range.start;
        let too_large =
            || FileError::Allocation { what: format!("{len} bytes of {}", self.path.display()), bytes: len };
        let in_memory = usize::try_from(len).ok().filter(|len| *len <= isize::MAX as usize);
        let mut bytes: Vec<u8> = in_memory.and_then(|len| try_zeroed_vec(len).ok()).ok_or_else(too_large)?;
        let read_piece = |(n, piece): (usize, &mut [u8])| {
            At { file: &self.file, at: range.start + (n * PIECE_BYTES) as u64 }.read_exact(piece)
        };
        // Waking threads takes longer than a small piece; and out of a pool rayon would start one, of threads that nobody asked for.
        let read = match bytes.len() <= PIECE_BYTES || rayon::current_thread_index().is_none() {
            true => read_piece((0, &mut bytes)),
            false => bytes.par_chunks_mut(PIECE_BYTES).enumerate().try_for_each(read_piece),
        };
        match read {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
            Err(error) => Err(FileError::Read { path: self.path.clone(), error }),
        }
    }

    /// The bytes of `range`, the head of the file. Parsing it takes about as much again, in many allocations, and where the system
    /// refuses one of those the process ends: so there must be room for all.
    ///
    /// # Errors
    /// As [`read`](Self::read), and where there is no such room.
    pub(crate) fn read_head(&self, range: Range<u64>) -> Result<Vec<u8>, FileError> {
        let need = (range.end - range.start).saturating_mul(HEAD_FACTOR).saturating_add(BESIDE_HEAD_BYTES);
        match available_bytes() {
            Some(left) if left < need => Err(FileError::HeadRoom { path: self.path.clone(), need, left }),
            _ => self.read(range),
        }
    }

    /// Says if somebody has written to the file since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), FileError> {
        match self.file.metadata() {
            Ok(metadata) if Version::of(&metadata) == self.version => Ok(()),
            Ok(_) => Err(self.changed()),
            Err(error) => Err(FileError::Read { path: self.path.clone(), error }),
        }
    }

    fn changed(&self) -> FileError {
        let now = self.file.metadata().map_or(0, |metadata| metadata.len());
        FileError::Changed { path: self.path.clone(), before: self.len(), now }
    }
}

/// Reads from a place of its own, not from where the file is at: other readers do not move it.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let n = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.at)?;
        #[cfg(windows)]
        let n = std::os::windows::fs::FileExt::seek_read(self.file, buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf, WeightFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::write(&path, bytes).unwrap();
        let file = WeightFile::open(&path).unwrap();
        (folder, path, file)
    }

    #[test]
    fn pieces_are_read_in_any_order() {
        let (_folder, _, file) = file(b"0123456789");
        assert_eq!(file.read(7..10).unwrap(), b"789");
        assert_eq!(file.read(0..3).unwrap(), b"012");
        assert_eq!(file.read(4..4).unwrap(), b"");
        file.check_unchanged().unwrap();
    }

    #[test]
    fn a_file_that_shrinks_or_is_written_to_is_an_error_with_both_lengths() {
        let (_folder, path, file) = file(b"0123456789");
        fs::write(&path, "0123").unwrap();
        let shrunk = file.read(2..8).unwrap_err().to_string();
        assert!(shrunk.contains("10 bytes") && shrunk.contains("4 now"), "{shrunk}");
        assert!(matches!(file.check_unchanged(), Err(FileError::Changed { before: 10, now: 4, .. })));
        // As long as before, but later.
        fs::write(&path, "9876543210").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(matches!(file.check_unchanged(), Err(FileError::Changed { .. })));
    }

    #[test]
    fn a_file_that_is_replaced_stays_what_it_was() {
        let (folder, path, file) = file(b"0123456789");
        let other = folder.path().join("other");
        fs::write(&other, "abc").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(file.read(0..10).unwrap(), b"0123456789");
        file.check_unchanged().unwrap();
    }
}
