//! Signals: those that ask the process to stop, and one that must not end it. And what the system holds the process to.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop a run.
#[derive(Debug)]
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// From now on these signals are heard and end nothing by themselves.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next of them. Loses none when dropped.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Holds files of this process to `limits.file_size`. A write past it fails with an error then, as the signal that would end
/// the process has a handler.
pub(super) fn bound_files(bytes: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    let hard = getrlimit(Resource::Fsize).maximum;
    let current = Some(hard.map_or(bytes, |hard| bytes.min(hard)));
    setrlimit(Resource::Fsize, Rlimit { current, maximum: hard })?;
    Ok(())
}

/// Has the system write no core file of this process, nor of those that it starts: the keys and secrets that it holds would lie in one.
pub(super) fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // A limit can always be lowered.
    let _ = setrlimit(Resource::Core, none);
}

/// Lets the process open as many files as the system allows: the usual limit is made for programs that wait with `select`.
pub(super) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(DESCRIPTORS, |hard| hard.min(DESCRIPTORS));
    if now.current.is_some_and(|current| current < wanted) {
        // Where it can't be raised, `limits.fds` holds all the same.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: now.maximum,
            },
        );
    }
}

/// More than any run has open.
const DESCRIPTORS: u64 = 1 << 16;
