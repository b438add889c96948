//! Room to begin with.

use runtime::memory::{Bytes, available_bytes};

/// For arguments, texts and what libraries take for themselves. The engine counts what it takes before it takes it.
const LEAST_BYTES: u64 = 8 << 20;

/// Refuses to begin where any small allocation may be the one that fails: nothing can catch that, the process would end by a signal.
///
/// # Errors
/// When less than that is left, as far as the system says.
pub fn check() -> anyhow::Result<()> {
    check_left(available_bytes())
}

fn check_left(left_bytes: Option<u64>) -> anyhow::Result<()> {
    match left_bytes {
        Some(left) if left < LEAST_BYTES => anyhow::bail!(
            "to begin takes {}, {} are available: close other programs, or raise the limit of addresses (`ulimit -v`) or of the control group",
            Bytes(LEAST_BYTES),
            Bytes(left)
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_an_error_with_numbers() {
        let error = check_left(Some(5 << 19)).unwrap_err().to_string();
        assert!(error.contains("takes 8.0 MiB, 2.5 MiB are available") && error.contains("ulimit -v"), "{error}");
        assert!(check_left(Some(LEAST_BYTES)).is_ok() && check_left(None).is_ok());
    }
}
