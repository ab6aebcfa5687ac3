//! The binary on a terminal: a pseudo-terminal that `script` of util-linux makes, and keys typed into it.

use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::Host;

/// A command on a terminal of 100 columns.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    pieces: Receiver<Vec<u8>>,
    screen: Vec<u8>,
}

impl Terminal {
    /// Starts it.
    pub fn start(host: Host) -> Self {
        let inner = host.into_command();
        let mut line = String::from("stty cols 100 rows 40; exec");
        for word in std::iter::once(inner.get_program()).chain(inner.get_args()) {
            let word = std::str::from_utf8(word.as_bytes()).unwrap();
            line.push_str(&format!(" '{}'", word.replace('\'', r"'\''")));
        }
        let mut outer = Command::new("script");
        outer.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        outer.env_clear().env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer.current_dir(inner.get_current_dir().unwrap());
        let mut child = outer
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            pieces,
            screen: Vec::new(),
        }
    }

    /// Types these bytes: 3 is Ctrl-C.
    pub fn types(&mut self, bytes: &[u8]) {
        let keyboard = self.child.stdin.as_mut().unwrap();
        keyboard.write_all(bytes).unwrap();
        keyboard.flush().unwrap();
    }

    /// Waits until it has shown these words.
    #[track_caller]
    pub fn sees(&mut self, words: &str, timeout: Duration) {
        let until = Instant::now() + timeout;
        while !String::from_utf8_lossy(&self.screen).contains(words) {
            let rest = until.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(rest) {
                Ok(piece) => self.screen.extend(piece),
                Err(_) => panic!("{words:?} was not seen: {:?}", String::from_utf8_lossy(&self.screen)),
            }
        }
    }

    /// Waits for its end: what the terminal got, and the exit code.
    pub fn finish(mut self) -> (String, Option<i32>) {
        // The keyboard stays open until the end: `script` takes its closing for a Ctrl-D.
        let keyboard = self.child.stdin.take();
        self.screen.extend(self.pieces.iter().flatten());
        let code = self.child.wait().unwrap().code();
        drop(keyboard);
        (String::from_utf8_lossy(&self.screen).into_owned(), code)
    }
}
