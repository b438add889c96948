//! Clients of every API at once, well behaved ones and others, for `TRAFFIC_SECONDS` (20): nobody hangs, nothing is lost, no memory grows.

mod asked;
mod client;
#[path = "../running_server/mod.rs"]
mod running_server;

use asked::Kind;
use client::Seen;
use running_server::{Server, TAGGED};
use runtime::engine::service::ServiceOptions;
use serde_json::{Value, json};
use server::ServerOptions;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Clients at a time: more than there are places, so that some are told to come again.
const CLIENTS: u64 = 12;
const PLACES: usize = 8;
const MAX_BODY_BYTES: usize = 1 << 16;
/// By which the process may hold more at the end than in the middle: buffers of allocators, by thread.
const GROWTH_BYTES: u64 = 32 << 20;
/// What is still under way when the clients end is done by then.
const PATIENCE: Duration = Duration::from_secs(60);

fn server() -> Server {
    let options = ServerOptions { max_requests: PLACES, max_body_bytes: MAX_BODY_BYTES, ..ServerOptions::default() };
    let of_service = ServiceOptions { max_running: 4, max_kept_tokens: Some(1024), ..ServiceOptions::default() };
    Server::of(1024, TAGGED, options, of_service)
}

/// Bytes of the process that are in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Of a metric, by its name and labels behind the prefix.
fn metric(server: &Server, name: &str) -> f64 {
    let (_, metrics) = server.get("/metrics");
    let name = format!("sparse_accelerate_{name} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
}

/// Nothing waits, runs or holds pages any more.
fn assert_at_rest(server: &Server) {
    let busy = ["requests_waiting", "requests_running", "pages{used_for=\"requests\"}"];
    let since = Instant::now();
    loop {
        let counts = busy.map(|name| metric(server, name));
        if counts == [0.0; 3] {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "at rest, {busy:?} are {counts:?}");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(metric(server, "pages{used_for=\"kept\"}") <= 16.0 && metric(server, "pages{used_for=\"free\"}") > 0.0);
}

#[test]
fn mixed_and_hostile_traffic_leaves_nothing_behind() {
    let seconds = std::env::var("TRAFFIC_SECONDS").ok().map_or(20, |text| text.parse().expect("a number of seconds"));
    let mut server = server();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let ended = AtomicBool::new(false);
    let mut middle = 0;
    let seen: Vec<Seen> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let (address, model, ended) = (&address, &server.model, &ended);
                scope.spawn(move || client::run(seed, address, model, || ended.load(Ordering::Relaxed)))
            })
            .collect();
        thread::sleep(Duration::from_secs(seconds) / 2);
        middle = resident_bytes();
        thread::sleep(Duration::from_secs(seconds) / 2);
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("what this client saw is right")).collect()
    });
    let mut all: BTreeMap<(Kind, u16), u64> = BTreeMap::new();
    for (key, count) in seen.into_iter().flat_map(|Seen(counts)| counts) {
        *all.entry(key).or_default() += count;
    }
    assert_at_rest(&server);
    let end = resident_bytes();
    eprintln!("{} MiB in the middle, {} MiB at the end; by kind and status:\n{all:?}", middle >> 20, end >> 20);
    assert!(end <= middle + GROWTH_BYTES, "{middle} bytes in the middle, {end} at the end");
    // Each kind came through at least once; 0 is a client that did not wait for an answer.
    for kind in Kind::ALL {
        assert!(
            all.iter().any(|((of, status), _)| *of == kind && *status != 429),
            "{kind:?} never came through: {all:?}"
        );
    }
    assert!(all.keys().any(|(_, status)| *status == 429), "nobody was told to come again: {all:?}");

    let chat = json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 4 });
    let (status, answer): (u16, Value) = server.post_json("/v1/chat/completions", chat);
    assert_eq!(status, 200, "{answer}");
    let (tell, told) = channel();
    thread::spawn(move || {
        server.end();
        let _ = tell.send(());
    });
    assert!(told.recv_timeout(PATIENCE).is_ok(), "the server does not end");
}
