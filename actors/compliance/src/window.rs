//! Counts over a sliding stretch of time, in steps, without a list of events.

use kimera_protocol::Nanos;

/// Steps of a window.
const STEPS: usize = 64;

/// Events of the last `length`, to a step of a 64th of it: what is counted is never younger than the window and at most
/// one step older.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    step: Nanos,
    counts: [u32; STEPS],
    /// The step that is being counted.
    now: i64,
    total: u64,
}

kimera_protocol::state!(Window { counts, now, total } fixed { step });

impl Window {
    /// An empty window; a length below 64 ns is taken as that.
    #[must_use]
    pub fn new(length: Nanos) -> Self {
        Self { step: (length / STEPS as Nanos).max(1), counts: [0; STEPS], now: i64::MIN, total: 0 }
    }

    /// Forgets what has become too old.
    fn advance(&mut self, time: Nanos) {
        let step = time.div_euclid(self.step);
        let passed = step.saturating_sub(self.now);
        if passed <= 0 {
            return; // time does not go back behind the door
        }
        if passed >= STEPS as i64 {
            (self.counts, self.total) = ([0; STEPS], 0);
        } else {
            for forgotten in self.now + 1..=step {
                let slot = &mut self.counts[forgotten.rem_euclid(STEPS as i64) as usize];
                self.total -= u64::from(std::mem::take(slot));
            }
        }
        self.now = step;
    }

    /// Counts an event.
    pub fn add(&mut self, time: Nanos) {
        self.advance(time);
        let slot = &mut self.counts[self.now.rem_euclid(STEPS as i64) as usize];
        if let Some(more) = slot.checked_add(1) {
            *slot = more;
            self.total += 1;
        }
    }

    /// Events in the window that ends at `time`.
    pub fn count(&mut self, time: Nanos) -> u64 {
        self.advance(time);
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of all events: those of the last 63 steps are counted, those older than 64 are not.
        #[test]
        fn it_counts_what_a_list_would(gaps in proptest::collection::vec(0i64..2_000, 1..200)) {
            let mut window = Window::new(6_400);
            let (mut time, mut events) = (0i64, Vec::new());
            for gap in gaps {
                time += gap;
                window.add(time);
                events.push(time);
                let younger = |age: i64| events.iter().filter(|e| time - **e < age).count() as u64;
                let counted = window.count(time);
                prop_assert!(younger(6_300) <= counted && counted <= younger(6_400), "{counted}");
            }
        }
    }

    #[test]
    fn after_a_long_pause_it_is_empty() {
        let mut window = Window::new(6_400);
        (0..10).for_each(|_| window.add(5));
        assert_eq!((window.count(5), window.count(6_305), window.count(i64::MAX)), (10, 10, 0));
    }
}
