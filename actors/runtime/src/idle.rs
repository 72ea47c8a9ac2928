//! What a core thread does when a pass over its seats found no work.

use std::time::Duration;

/// Idle strategy of a core thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// Only `pause`: for a core nothing else runs on, the kernel's own workers included.
    Spin,
    /// Spin a while, then give the core to whoever waits (0.45 µs): the default on shared cores.
    #[default]
    SpinYield,
    /// Spin, yield, then sleep 50 µs doubling to 1 ms: for threads nobody waits for.
    Backoff,
}

const SPINS: u32 = 128;
const YIELDS: u32 = 256;

/// The running state of an [`Idle`] strategy.
pub struct Idler {
    idle: Idle,
    rounds: u32,
}

impl Idler {
    /// A strategy that has just seen work.
    #[must_use]
    pub fn new(idle: Idle) -> Self {
        Self { idle, rounds: 0 }
    }

    /// Called after a pass with work.
    #[inline]
    pub fn reset(&mut self) {
        self.rounds = 0;
    }

    /// Called after a pass without work.
    #[inline]
    pub fn wait(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        match self.idle {
            Idle::Spin => std::hint::spin_loop(),
            _ if self.rounds <= SPINS => std::hint::spin_loop(),
            Idle::SpinYield => std::thread::yield_now(),
            Idle::Backoff if self.rounds <= YIELDS => std::thread::yield_now(),
            Idle::Backoff => {
                let doublings = ((self.rounds - YIELDS) / 16).min(5);
                std::thread::sleep(Duration::from_micros((50 << doublings).min(1_000)));
            }
        }
    }
}
