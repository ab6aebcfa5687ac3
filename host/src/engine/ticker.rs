//! The thread that raises the engine's epoch each millisecond while a guest runs, so that deadlines and cancels act on a
//! guest that computes. It sleeps while none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the epoch rises.
const TICK: Duration = Duration::from_millis(1);

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicUsize,
    ended: AtomicBool,
}

/// A guest runs while this lives.
pub struct Running {
    ticker: Arc<Ticker>,
}

impl Ticker {
    pub(super) fn start(engine: &wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let engine = engine.weak();
        let inner = shared.clone();
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            while !inner.ended.load(Ordering::Acquire) {
                if inner.running.load(Ordering::Acquire) == 0 {
                    thread::park();
                    continue;
                }
                thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn running(this: &Arc<Self>) -> Running {
        if this.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            this.wake();
        }
        Running { ticker: this.clone() }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ticker.shared.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
