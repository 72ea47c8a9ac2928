//! Shows that an allocation under the seal would be noticed.

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
