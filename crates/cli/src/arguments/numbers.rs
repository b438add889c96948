//! Numbers as flags take them: in their range, or refused with it.

use attention::shape::HeadShape;
use std::str::FromStr;
use std::thread::available_parallelism;

/// More threads than this for each core are a mistake.
const MOST_THREADS_PER_CORE: usize = 16;

/// Query heads and kv heads, like `32,8`.
pub fn head_counts(text: &str) -> Result<(usize, usize), String> {
    let counts = text.split_once(',').and_then(|(q, kv)| Some((q.trim().parse().ok()?, kv.trim().parse().ok()?)));
    let (q, kv) = counts.ok_or_else(|| format!("expected query heads and kv heads like 32,8, found `{text}`"))?;
    // No layer has more, and sizes of buffers can be counted.
    if !(1..=1024).contains(&q) {
        return Err(format!("expected 1 to 1024 query heads, found {q}"));
    }
    HeadShape::new(q, kv, 64).map(|_| (q, kv)).map_err(|error| error.to_string())
}

/// A recall target or a share of probability.
pub fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0, at most 1".into()),
    }
}

/// As [`share`], or 0.
pub fn share_or_0(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number of at least 0, at most 1".into()),
    }
}

pub fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(temperature) if temperature >= 0.0 && temperature.is_finite() => Ok(temperature),
        _ => Err("expected 0 or a number above it".into()),
    }
}

pub fn penalty(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(penalty) if penalty > 0.0 && penalty.is_finite() => Ok(penalty),
        _ => Err("expected a number above 0".into()),
    }
}

pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a whole number of at least 0".into())
}

pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number above 0".into()),
    }
}

pub fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n >= eval::LEAST_ROUNDS => Ok(n),
        _ => Err(format!("expected a whole number of at least {}, for an interval", eval::LEAST_ROUNDS)),
    }
}

/// Worker threads that this machine has some use for.
pub fn threads(text: &str) -> Result<usize, String> {
    let cores = available_parallelism().map_or(1, usize::from);
    let most = cores * MOST_THREADS_PER_CORE;
    match whole(text)? {
        threads if threads <= most => Ok(threads),
        _ => Err(format!(
            "this machine offers {cores} cores, one thread for each is fastest: expected at most {most}, or 0 for one for each"
        )),
    }
}

/// `8G`, `512M`, `1.5GiB`, `1000000`: binary units.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no amount of memory; write it like 8G or 512M");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok((number * (1u64 << shift) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory() {
        assert_eq!(bytes("8G"), Ok(8 << 30));
        assert_eq!(bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(bytes("512MB"), Ok(512 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
        for wrong in ["", "G", "8X", "-1G", "1..2G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn threads_are_those_of_this_machine() {
        assert_eq!(threads("0"), Ok(0));
        assert_eq!(threads("1"), Ok(1));
        let message = threads("100000").unwrap_err();
        let cores = available_parallelism().unwrap();
        assert!(message.contains(&format!("offers {cores} cores")), "{message}");
        assert!(threads("-1").unwrap_err().contains("at least 0"));
    }
}
