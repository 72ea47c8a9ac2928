//! Progress and credit: why no ring ever fills.
//!
//! Every seat publishes a [`Frontier`]: all inputs up to it are handled and what they caused is sent. The door admits
//! an input only while `seq − min(frontiers of all sinks)` leaves room in the input class's window, and every edge is
//! at least window × outputs-an-input long, so a send behind the door cannot find its ring full.

use std::sync::Arc;

use kimera_protocol::Seq;

use crate::absence::Absences;
use crate::sync::{AtomicU64, Ordering};

/// The seq up to which a seat is done; one writer, many readers.
#[repr(C, align(128))] // A line pair of its own: the adjacent-line prefetcher would otherwise share it.
#[derive(Debug)]
pub struct Frontier {
    done: AtomicU64,
    absences: Absences,
    /// The input on which whoever sits there has died; 0 while nobody has.
    death: AtomicU64,
}

impl Frontier {
    /// A frontier at 0, before the first input.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { done: AtomicU64::new(0), absences: Absences::default(), death: AtomicU64::new(0) })
    }

    /// The inputs that the seat has no answer to.
    #[inline]
    #[must_use]
    pub fn absences(&self) -> &Absences {
        &self.absences
    }

    /// The input on which whoever sat there has died.
    #[must_use]
    pub fn death(&self) -> Option<Seq> {
        Some(self.death.load(Ordering::Acquire)).filter(|seq| *seq > 0)
    }

    pub(crate) fn note_death(&self, seq: Seq) {
        self.death.store(seq, Ordering::Release);
    }

    /// Everything up to the returned seq is done, and its effects are visible to the caller.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Seq {
        self.done.load(Ordering::Acquire)
    }

    /// Publishes progress; going back is ignored. Only the owning seat calls it.
    #[inline]
    pub fn advance(&self, seq: Seq) {
        if seq > self.done.load(Ordering::Relaxed) {
            self.done.store(seq, Ordering::Release);
        }
    }
}

/// Classes of inputs, lowest priority first; each may use more of the window than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputClass {
    /// Venue market data.
    Market = 0,
    /// Results of slow models.
    Opinion = 1,
    /// Deadlines the line asked for.
    Timer = 2,
    /// Operators and the supervisor.
    Command = 3,
    /// Executions, rejects, order states, and the line's own feedback.
    Execution = 4,
}

/// Inputs in flight each class may reach; nested, so that market data never holds up an execution.
#[cfg(not(loom))]
pub const WINDOW: [u64; 5] = [768, 832, 896, 960, 1024];
/// As small as it can be where every order of events is tried.
#[cfg(loom)]
pub const WINDOW: [u64; 5] = [1, 1, 2, 2, 2];

/// The largest number of inputs in flight.
pub const WINDOW_MAX: u64 = WINDOW[4];

/// Messages the largest admissible frame has: a 4,500-level snapshot.
#[cfg(not(loom))]
pub const FRAME_MESSAGES_MAX: usize = WINDOW[0] as usize - 16;
/// One.
#[cfg(loom)]
pub const FRAME_MESSAGES_MAX: usize = 1;

/// Counts the inputs in flight against the slowest sink.
pub struct CreditWindow {
    sinks: Vec<Arc<Frontier>>,
    slowest: Seq,
}

impl CreditWindow {
    /// A window over `sinks`: every seat at which inputs end.
    #[must_use]
    pub fn new(sinks: Vec<Arc<Frontier>>) -> Self {
        Self { sinks, slowest: 0 }
    }

    /// True where `messages` more inputs of `class` may follow `seq`.
    #[inline]
    pub fn admits(&mut self, class: InputClass, seq: Seq, messages: usize) -> bool {
        let limit = WINDOW[class as usize];
        let after = seq + messages as u64;
        if after.saturating_sub(self.slowest) <= limit {
            return true;
        }
        self.slowest = self.sinks.iter().map(|sink| sink.get()).min().unwrap_or(seq);
        after.saturating_sub(self.slowest) <= limit
    }

    /// True where every sink is done with everything up to `seq`.
    #[must_use]
    pub fn drained(&self, seq: Seq) -> bool {
        self.sinks.iter().all(|sink| sink.get() >= seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_sink_holds_and_higher_classes_still_pass() {
        let (fast, slow) = (Frontier::new(), Frontier::new());
        let mut window = CreditWindow::new(vec![fast.clone(), slow.clone()]);
        fast.advance(10_000);
        assert!(window.admits(InputClass::Market, 0, 768));
        assert!(!window.admits(InputClass::Market, 768, 1));
        assert!(window.admits(InputClass::Execution, 768, 256));
        assert!(!window.admits(InputClass::Execution, 1024, 1));
        slow.advance(100);
        assert!(window.admits(InputClass::Market, 768, 100));
        slow.advance(50); // never back
        assert_eq!(slow.get(), 100);
        assert!(window.drained(100) && !window.drained(101));
    }
}
