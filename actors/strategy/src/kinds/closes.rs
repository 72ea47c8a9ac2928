//! The last closes of an instrument, in memory that is taken once.

use kimera_protocol::{Loader, Saver, State, StateError};

/// A window of closes, oldest first: kept twice over, so that it always lies in one piece.
#[derive(Clone, Debug, PartialEq)]
pub struct Closes {
    /// Twice the window: each value stands at two places, a window apart.
    values: Box<[f64]>,
    /// Values taken since the beginning.
    n: u64,
}

impl Closes {
    /// Room for `window` closes, at least 2.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self { values: vec![0.0; 2 * window.max(2)].into(), n: 0 }
    }

    fn window(&self) -> usize {
        self.values.len() / 2
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.values.fill(0.0);
        self.n = 0;
    }

    /// Takes the next.
    pub fn push(&mut self, close: f64) {
        let window = self.window();
        let at = (self.n % window as u64) as usize;
        self.values[at] = close;
        self.values[at + window] = close;
        self.n += 1;
    }

    /// What there is, oldest first.
    #[must_use]
    pub fn all(&self) -> &[f64] {
        let window = self.window();
        if self.n < window as u64 {
            return &self.values[..self.n as usize];
        }
        let at = (self.n % window as u64) as usize;
        &self.values[at..at + window]
    }

    /// The close `back` bars before the last; none where it is not known.
    #[must_use]
    pub fn back(&self, back: usize) -> Option<f64> {
        let all = self.all();
        all.len().checked_sub(back + 1).map(|at| all[at])
    }

    /// True where the window is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.n >= self.window() as u64
    }

    /// Closes taken since the beginning.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.n
    }
}

impl State for Closes {
    fn save(&self, out: &mut Saver) {
        self.n.save(out);
        self.all().iter().for_each(|close| close.save(out));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut n = 0u64;
        n.load(from)?;
        self.clear();
        let known = n.min(self.window() as u64);
        self.n = n - known;
        for _ in 0..known {
            let mut close = 0.0;
            State::load(&mut close, from)?;
            self.push(close);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_in_one_piece() {
        let mut closes = Closes::new(4);
        assert_eq!((closes.all(), closes.back(0)), (&[][..], None));
        for i in 1..=6 {
            closes.push(f64::from(i));
        }
        assert_eq!(closes.all(), [3.0, 4.0, 5.0, 6.0]);
        assert_eq!((closes.back(0), closes.back(3), closes.back(4)), (Some(6.0), Some(3.0), None));
        let (bytes, mut other) = (Saver::of(&closes), Closes::new(4));
        Loader::new(&bytes).into_state(&mut other).unwrap();
        assert_eq!((other.all(), other.taken()), (closes.all(), 6));
        other.push(7.0);
        closes.push(7.0);
        assert_eq!(other, closes);
    }
}
