//! A terminal: what the program writes becomes a screen, what is typed goes to the program.

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use std::io::{Read, Write};
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Far more than anything takes here, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Every screen that differed from the one before.
    screens: Vec<String>,
}

impl Terminal {
    /// Runs the program on a screen of 24 rows and so many columns.
    pub fn run(columns: u16, arguments: &[&str]) -> Self {
        let (pty, process_side) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(24, columns)).expect("a size");
        let command =
            Command::new(env!("CARGO_BIN_EXE_sparse-accelerate")).args(arguments).env("TERM", "xterm-256color");
        let child = command.spawn(process_side).expect("the program was built");
        let pty = Arc::new(pty);
        let (sender, output) = mpsc::channel();
        let from = pty.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is how a terminal says that the program has gone.
            while let Ok(read @ 1..) = (&*from).read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, pty, output, screen: vt100::Parser::new(24, columns, 0), screens: vec![String::new()] }
    }

    pub fn screen(&self) -> String {
        self.screen.screen().contents()
    }

    pub fn screens(&self) -> &[String] {
        &self.screens
    }

    pub fn type_keys(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).expect("the program listens");
    }

    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        let killed = std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill is everywhere");
        assert!(killed.success());
    }

    /// Waits until the screen is as wanted.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !wanted(&self.screen()) {
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.show(&bytes),
                Err(_) => panic!("expected {what}, the screen is:\n{}", self.screen()),
            }
        }
    }

    /// Waits until the program has ended; returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.show(&bytes),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("it ended").code(),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end, the screen is:\n{}", self.screen()),
            }
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        // A drawing begins where the last was: at the start of its line.
        for piece in bytes.split_inclusive(|byte| *byte == b'\r') {
            self.screen.process(piece);
            let screen = self.screen();
            if self.screens.last() != Some(&screen) {
                self.screens.push(screen);
            }
        }
    }
}

impl Drop for Terminal {
    /// A test that failed leaves no program behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
