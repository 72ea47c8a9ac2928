//! What became of forecasts: the triple barrier (model book 3.16; López de Prado 2018, ch. 3).
//!
//! A forecast is open until the mid has moved by the barrier (up or down) or the horizon is over (flat). The barrier is a
//! multiple of the volatility over the horizon at the time of the forecast.

use kimera_protocol::{MEMBERS_MAX, Nanos};

use crate::pool::Forecast;

/// Forecasts open at a time; while there are as many no new one is opened.
pub const OPEN_MAX: usize = 256;

/// A forecast that is not decided yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Open<T> {
    /// When it was made.
    pub time: Nanos,
    /// Mid at that time, in ticks.
    pub mid: f64,
    /// Distance of the barriers, in ticks.
    pub barrier: f64,
    /// What it is a forecast of, and what was said.
    pub of: T,
}

/// What members and the ensemble have said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Said {
    /// Each member, where it voted.
    pub votes: [Option<Forecast>; MEMBERS_MAX],
    /// What was made of it.
    pub pooled: Forecast,
}

kimera_protocol::state!(Said { votes, pooled });
kimera_protocol::state!(Open<Said> { time, mid, barrier, of });

/// Open forecasts, oldest first.
#[derive(Clone, Debug)]
pub struct Barriers<T> {
    horizon: Nanos,
    open: Vec<Open<T>>,
}

/// Forecasts of the ensemble.
pub type Outcomes = Barriers<Said>;

kimera_protocol::state!(Barriers<Said> { open } fixed { horizon });

impl<T> Barriers<T> {
    /// Forecasts over `horizon`.
    #[must_use]
    pub fn new(horizon: Nanos) -> Self {
        Self { horizon, open: Vec::with_capacity(OPEN_MAX) }
    }

    /// Opens a forecast; false where too many are open or the barrier is none.
    pub fn open(&mut self, forecast: Open<T>) -> bool {
        let fits = self.open.len() < OPEN_MAX && forecast.barrier > 0.0 && forecast.barrier.is_finite();
        if fits {
            self.open.push(forecast);
        }
        fits
    }

    /// Time of the newest.
    #[must_use]
    pub fn newest(&self) -> Option<Nanos> {
        self.open.last().map(|o| o.time)
    }

    /// Takes the mid at a time; calls `resolved` with each forecast that has ended and its class: 0 down, 1 flat, 2 up.
    pub fn moved(&mut self, mid: f64, time: Nanos, mut resolved: impl FnMut(&Open<T>, usize)) {
        let horizon = self.horizon;
        self.open.retain(|o| {
            let move_ = mid - o.mid;
            // What is touched when the horizon is over was not touched within it.
            let is_over = time.saturating_sub(o.time) > horizon;
            let class = if is_over {
                Some(1)
            } else if move_ >= o.barrier {
                Some(2)
            } else if move_ <= -o.barrier {
                Some(0)
            } else {
                (time.saturating_sub(o.time) == horizon).then_some(1)
            };
            if let Some(class) = class {
                resolved(o, class);
            }
            class.is_none()
        });
    }

    /// Forgets everything: after a gap nobody knows what was touched.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(time: Nanos) -> Open<Said> {
        let of = Said { votes: [None; MEMBERS_MAX], pooled: [0.3, 0.4, 0.3] };
        Open { time, mid: 100.0, barrier: 5.0, of }
    }

    #[test]
    fn the_first_barrier_that_is_touched_decides() {
        let mut outcomes = Outcomes::new(10);
        (0..3).for_each(|t| assert!(outcomes.open(forecast(t))));
        let mut seen = Vec::new();
        outcomes.moved(104.9, 9, |o, class| seen.push((o.time, class)));
        assert!(seen.is_empty());
        outcomes.moved(100.0, 10, |o, class| seen.push((o.time, class)));
        outcomes.moved(95.0, 11, |o, class| seen.push((o.time, class)));
        assert_eq!(seen, [(0, 1), (1, 0), (2, 0)]);
        outcomes.open(forecast(12));
        outcomes.moved(120.0, 23, |o, class| seen.push((o.time, class)));
        assert_eq!(seen.last(), Some(&(12, 1)), "behind its horizon it does not count");
        outcomes.open(forecast(30));
        outcomes.moved(105.0, 31, |o, class| seen.push((o.time, class)));
        assert_eq!(seen.last(), Some(&(30, 2)));
        assert_eq!(outcomes.newest(), None);
    }

    #[test]
    fn what_cannot_be_judged_is_not_opened() {
        let mut outcomes = Outcomes::new(10);
        assert!(!outcomes.open(Open { barrier: 0.0, ..forecast(0) }));
        assert!(!outcomes.open(Open { barrier: f64::NAN, ..forecast(0) }));
        (0..OPEN_MAX as i64).for_each(|t| assert!(outcomes.open(forecast(t))));
        assert!(!outcomes.open(forecast(999)));
    }
}
