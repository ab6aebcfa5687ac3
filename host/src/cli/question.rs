//! A question to the person at the terminal, and the answer.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _};

use tokio::sync::oneshot;

use super::errors::Problem;
use super::signals::Stop;
use super::stdio;

/// The longest answer that is read, in bytes.
const ANSWER: u64 = 256;

/// Whether somebody can be asked: who reads standard error can type.
pub(super) fn can_be_asked() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks, and waits for yes or no; all but `y` and `yes` is no.
pub(super) async fn ask(question: &str, stop: &mut Stop, when: &str) -> Result<bool, Problem> {
    // What was typed before the question is no answer to it.
    let _ = rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush);
    stdio::tell(&format!("{question} [y/N] "));
    let (answer, answered) = oneshot::channel();
    // In a thread of its own, which ends with the process: a read of a terminal can't be taken back.
    let reading = std::thread::Builder::new().name("question".to_owned()).spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(std::io::stdin().take(ANSWER)).read_line(&mut line);
        let _ = answer.send(read.map(|_| line));
    });
    reading.map_err(|e| Problem::usage(format!("the question can't be asked: {e}")))?;
    tokio::select! {
        biased;
        () = stop.next() => {
            stdio::tell("\n");
            Err(Problem::stopped(when))
        }
        answer = answered => match answer {
            Ok(Ok(line)) => Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")),
            Ok(Err(_)) | Err(_) => Ok(false),
        },
    }
}
