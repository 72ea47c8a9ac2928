//! Faults put in on purpose: an allocation under the seal, a line that does not come back for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kimera_runtime::Work;
use kimera_runtime::seat::Cell;

use crate::line;

/// Poll with work at which the canary allocates.
const CANARY_POLL: u64 = 50;

/// A seat that allocates once, after some work under the seal.
pub struct Canary {
    inner: Box<dyn Cell>,
    worked: u64,
}

impl Canary {
    /// Puts the canary into the market stage.
    pub fn wrap(inner: Box<dyn Cell>) -> Box<dyn Cell> {
        if inner.name() == line::MARKET { Box::new(Self { inner, worked: 0 }) } else { inner }
    }
}

impl Cell for Canary {
    fn poll(&mut self) -> Work {
        let work = self.inner.poll();
        self.worked += u64::from(work == Work::Done);
        if work == Work::Done && self.worked == CANARY_POLL {
            kimera_runtime::memory::canary();
        }
        work
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

/// What may be asked for where an engine was started for it.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Milliseconds for which the line is to be held, once.
    pub hold_line_ms: Arc<AtomicU64>,
    /// A member panics at its next input.
    pub panic_member: Arc<AtomicBool>,
}

/// The market stage, which sleeps when it is told to: everything on its thread stands still.
pub struct Held {
    inner: Box<dyn Cell>,
    hold: Arc<AtomicU64>,
}

impl Held {
    /// Puts the hold into the market stage.
    #[must_use]
    pub fn wrap(inner: Box<dyn Cell>, hold: &Arc<AtomicU64>) -> Box<dyn Cell> {
        if inner.name() == line::MARKET { Box::new(Self { inner, hold: hold.clone() }) } else { inner }
    }
}

impl Cell for Held {
    fn poll(&mut self) -> Work {
        let ms = self.hold.load(Ordering::Acquire);
        if ms > 0 {
            self.hold.store(0, Ordering::Release);
            std::thread::sleep(Duration::from_millis(ms));
        }
        self.inner.poll()
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_sealed(&self) -> bool {
        self.inner.is_sealed()
    }
}
