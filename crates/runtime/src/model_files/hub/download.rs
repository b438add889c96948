//! One file, from the hub into the cache: what an interrupted download left is gone on with, and nothing has its final name
//! before it is whole.

use super::cache::size_of;
use super::client::{Client, Failure, RETRIES, Remote};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// Bytes that are read at a time; progress is told as often.
const PIECE_BYTES: usize = 256 << 10;
/// Between looks at what another process downloads.
const WAIT: Duration = Duration::from_millis(200);

/// Brings a file to `blob`. `report` hears how many bytes are there.
pub(super) fn download(
    client: &Client,
    remote: &Remote,
    blob: &Path,
    report: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    // The name that other clients of the hub give it.
    let mut partial = blob.as_os_str().to_owned();
    partial.push(".incomplete");
    let partial = Path::new(&partial);
    let here = |error: io::Error| Failure::lasting(format!("cannot write {}: {error}", partial.display()));

    fs::create_dir_all(blob.with_file_name("")).map_err(here)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(partial).map_err(here)?;
    wait_for_others(&file, report).map_err(here)?;
    if size_of(blob) == Some(remote.size_bytes) {
        // Another process was quicker, and it may be gone already.
        let _ = fs::remove_file(partial);
        return Ok(());
    }
    let found = size_of(partial).unwrap_or(0);
    if found > remote.size_bytes {
        file.set_len(0).map_err(here)?;
    }
    let resumed = (1..=remote.size_bytes).contains(&found);
    let mut result = fetch(client, remote, &mut file, report).and_then(|()| check(remote, &mut file));
    if resumed && result.as_ref().is_err_and(|failure| !failure.passing) {
        // What was there may be of another time or tool.
        file.set_len(0).map_err(here)?;
        result = fetch(client, remote, &mut file, report).and_then(|()| check(remote, &mut file));
    }
    result?;
    file.sync_all().and_then(|()| fs::rename(partial, blob)).map_err(here)
}

/// Two processes never write into one file; the lock goes with the handle.
fn wait_for_others(file: &File, report: &mut dyn FnMut(u64)) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                report(file.metadata()?.len());
                std::thread::sleep(WAIT);
            }
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
}

/// Goes on until all bytes are there, or several tries in a row bring nothing.
fn fetch(client: &Client, remote: &Remote, file: &mut File, report: &mut dyn FnMut(u64)) -> Result<(), Failure> {
    let mut failed = 0;
    loop {
        let before = length(file)?;
        if before == remote.size_bytes {
            report(before);
            return Ok(());
        }
        let outcome = fetch_once(client, remote, file, report);
        let after = length(file)?;
        if after == remote.size_bytes {
            continue;
        }
        let failure = outcome.err().unwrap_or_else(|| {
            Failure::passing(format!("{}: ends after {after} of {} bytes", remote.url, remote.size_bytes))
        });
        failed = if after > before { 1 } else { failed + 1 };
        if failed > RETRIES || !failure.passing {
            return Err(failure);
        }
        client.pause(failed);
    }
}

fn fetch_once(client: &Client, remote: &Remote, file: &mut File, report: &mut dyn FnMut(u64)) -> Result<(), Failure> {
    let (mut done, mut reader) = client.open(remote, length(file)?)?;
    file.set_len(done).map_err(here)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        report(done);
        let read = reader.read(&mut piece);
        let read = read.map_err(|error| Failure::passing(format!("{}: {error}; check the network", remote.url)))?;
        if read == 0 {
            return Ok(());
        }
        done += read as u64;
        if done > remote.size_bytes {
            let message = format!("{}: sends more than the {} bytes that it has", remote.url, remote.size_bytes);
            return Err(Failure::lasting(message));
        }
        file.write_all(&piece[..read]).map_err(here)?;
    }
}

/// Whether these are the bytes that the hub names; if not, none of them stay.
fn check(remote: &Remote, file: &mut File) -> Result<(), Failure> {
    let Some(expected) = remote.sha256() else { return Ok(()) };
    let found = sha256(file).map_err(here)?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    file.set_len(0).map_err(here)?;
    Err(Failure::lasting(format!(
        "{}: what came has SHA-256 {found}, expected {expected}; try again, and check the proxy and HF_ENDPOINT",
        remote.url
    )))
}

fn sha256(file: &mut File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut digest, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => digest.update(&piece[..n]),
        }
    }
}

fn length(file: &File) -> Result<u64, Failure> {
    file.metadata().map(|data| data.len()).map_err(here)
}

fn here(error: io::Error) -> Failure {
    Failure::lasting(format!("cannot write into the cache: {error}"))
}
