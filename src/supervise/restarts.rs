//! How often a child that has fallen is started again: a few times in a while, then it is given up.

use std::time::Duration;

use kimera_runtime::clock::monotonic_ns;

/// Restarts within the window, oldest first (intensity `most` in `within`).
#[derive(Debug)]
pub struct Restarts {
    most: usize,
    within: u64,
    at: Vec<u64>,
}

impl Default for Restarts {
    /// Three in a minute.
    fn default() -> Self {
        Self::new(3, Duration::from_secs(60))
    }
}

impl Restarts {
    /// At most `most` restarts within a time.
    #[must_use]
    pub fn new(most: usize, within: Duration) -> Self {
        Self { most, within: within.as_nanos() as u64, at: Vec::new() }
    }

    /// True where a child that has ended may be started again now; `fell` says that it did, and not because of what it
    /// was told.
    pub fn allow(&mut self, fell: bool) -> bool {
        let now = monotonic_ns();
        self.at.retain(|at| now.saturating_sub(*at) < self.within);
        let allowed = fell && self.at.len() < self.most;
        if allowed {
            self.at.push(now);
        }
        allowed
    }

    /// How long to wait before the next start: nothing at first, then longer, so that what made it fall may pass.
    #[must_use]
    pub fn pause(&self) -> Duration {
        match self.at.len() {
            0 | 1 => Duration::ZERO,
            n => Duration::from_millis(250 << (n - 2).min(5)),
        }
    }

    /// Restarts within the window.
    #[must_use]
    pub fn count(&self) -> usize {
        self.at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_runtime::world;

    #[test]
    fn a_few_in_a_while_with_growing_pauses_and_none_for_who_ended_as_told() {
        let _entered = world::enter(1);
        let mut restarts = Restarts::new(3, Duration::from_secs(60));
        assert!(!restarts.allow(false));
        let pauses: Vec<u64> = (0..3)
            .map(|_| {
                assert!(restarts.allow(true));
                restarts.pause().as_millis() as u64
            })
            .collect();
        assert_eq!(pauses, [0, 250, 500]);
        assert!(!restarts.allow(true));
        world::skip(Duration::from_secs(60));
        assert!(restarts.allow(true));
        assert_eq!(restarts.count(), 1);
    }
}
