//! One client: asks for one thing after another, and knows what it must get.

use crate::asked::{Asked, End, Kind};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Who hears nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often requests of each kind ended with each status; 0 where the client went away.
#[derive(Default)]
pub struct Seen(pub BTreeMap<(Kind, u16), u64>);

/// The same numbers for the same seed.
pub struct Draw(u64);

impl Draw {
    /// The next number below `n` (splitmix64).
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

/// Asks until it has ended.
///
/// # Panics
/// When an answer is not what it must be.
pub fn run(seed: u64, address: &str, model: &str, ended: impl Fn() -> bool) -> Seen {
    let mut draw = Draw(seed);
    let mut seen = Seen::default();
    // Every kind in its turn, each client beginning at another.
    let mut turn = seed as usize * 5;
    while !ended() {
        let kind = Kind::ALL[turn % Kind::ALL.len()];
        turn += 1;
        let asked = kind.asked(&mut draw, model);
        let status = ask(address, &asked, &mut draw);
        *seen.0.entry((kind, status)).or_default() += 1;
    }
    seen
}

/// The status, 0 where the client did not wait for one.
fn ask(address: &str, asked: &Asked, draw: &mut Draw) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let sent = stream.write_all(&asked.bytes);
    match asked.end {
        End::Vanish => {
            std::thread::sleep(Duration::from_millis(draw.below(20)));
            return 0;
        }
        End::VanishInTheMiddle => {
            sent.unwrap();
            let mut some = vec![0; 16 + draw.below(600) as usize];
            assert!(stream.read(&mut some).unwrap() > 0, "an end in place of an answer to {asked:?}");
            stream.shutdown(Shutdown::Both).ok();
            return 0;
        }
        End::Read => {}
    }
    sent.unwrap_or_else(|error| panic!("{error} at sending {asked:?}"));
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(read.is_ok(), "{read:?}, with {answer} as the beginning of the answer to {asked:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {asked:?}: {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(status == 429 || asked.statuses.contains(&status), "{status} for {asked:?}: {answer}");
    if status == 200 {
        (asked.check)(body);
    }
    status
}
